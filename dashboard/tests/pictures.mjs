// node tests/pictures.mjs <program> <folder>: `make pictures`. Starts a gateway on simulated providers, gives it clients,
// traffic and failures, and takes the pictures of docs/img: each page, light and dark.
import { spawn } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { open } from "./browser.mjs";

const [program, out] = process.argv.slice(2).map((path) => resolve(path));
const KEY = "the-admin-key-of-the-pictures";
const PAGES = ["", "requests", "clients", "providers", "models", "usage", "playground", "settings", "start"];
const SIZE = { width: 1360, height: 900 };
/** Traffic before the first picture. It goes on until the last one, so that windows are in use. */
const TRAFFIC_MS = (process.env.PICTURES_MINUTES ?? 20) * 60_000;
const QUESTION = "Which of the free models would you take for a long summary, and why?";
const CLIENTS = [
  { name: "ann", limits: { rpm: 20, tpd: 400_000 }, note: "laptop" },
  { name: "ben", limits: { rpd: 500 }, models: ["free*", "groq/*"] },
  { name: "nightly-summaries", limits: { concurrency: 2 }, weight: 3, priority: true },
  { name: "support-bot", limits: { rpm: 60 } },
];

const folder = await mkdtemp(join(tmpdir(), "pictures-"));
const children = [];

/** Starts a program. Resolves to the first line of its output that `wanted` accepts. */
function start(args, env, wanted) {
  const child = spawn(program, args, { cwd: folder, env: { PATH: process.env.PATH, HOME: folder, ...env } });
  children.push(child);
  return new Promise((found, failed) => {
    let output = "";
    const read = (bytes) => {
      output += bytes;
      const line = output.split("\n").find(wanted);
      if (line !== undefined) found(line);
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.on("exit", (code) => failed(new Error(`${program} ${args} ended with ${code}:\n${output}`)));
  });
}

function freePort() {
  return new Promise((found) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => found(port));
    });
  });
}

/** The gateway's address, and where faults of the providers are ordered. */
async function startGateway() {
  const providers = ["demo", "--providers-only", "--port", "0"];
  const simulated = JSON.parse(await start(providers, {}, (line) => line.startsWith("{")));
  const env = { TOLLFREE_ADMIN_KEY: KEY, TOLLFREE_MASTER_KEY: "m".repeat(64), TOLLFREE_DATA_DIR: join(folder, "data") };
  for (const [name, { base_url, keys }] of Object.entries(simulated.providers)) {
    env[`${name.toUpperCase()}_BASE_URL`] = base_url;
    if (keys.length > 0) env[`${name.toUpperCase()}_API_KEY`] = keys.join(",");
  }
  const port = await freePort();
  // An address of this machine alone would be the same for every reader; the port is that of the documents.
  await start(["serve"], { ...env, PORT: String(port) }, (line) => line.includes(`127.0.0.1:${port}`));
  return { base: `http://127.0.0.1:${port}`, control: simulated.control };
}

async function post(url, body, key) {
  const headers = { "content-type": "application/json", authorization: `Bearer ${key}` };
  const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
  return { status: response.status, text: await response.text() };
}

/** Four clients that call several models. Some calls fail at the first provider. Returns what ends it. */
async function startTraffic({ base, control }) {
  const keys = [];
  for (const client of CLIENTS) {
    const { status, text } = await post(`${base}/admin/v1/clients`, client, KEY);
    if (status !== 201) throw new Error(`client ${client.name}: ${status} ${text}`);
    keys.push(JSON.parse(text).key);
  }
  let isOver = false;
  const models = ["free", "free-fast", "groq/openai/gpt-oss-120b", "free", "groq/openai/gpt-oss-120b", "free-smart"];
  const caller = async (key, number) => {
    for (let turn = number; !isOver; turn += 1) {
      const content = `Summarise the minutes of meeting ${turn}. [[tokens=${60 + ((turn * 137) % 500)}]]`;
      const body = {
        model: models[turn % models.length],
        stream: turn % 2 === 0,
        messages: [{ role: "user", content }],
      };
      await post(`${base}/v1/chat/completions`, body, key).catch(() => {});
      await sleep(2_000 + ((turn * 1_310) % 4_000));
    }
  };
  const faults = async () => {
    for (const [provider, fault] of [
      ["gemini", "hang"],
      ["groq", "reset"],
      ["mistral", "slow"],
    ]) {
      await sleep(TRAFFIC_MS / 4);
      await post(`${control}/_control/faults`, { provider, fault, times: 3 }, "none");
    }
  };
  const running = [faults(), ...[...keys, ...keys].map((key, number) => caller(key, number))];
  return () => {
    isOver = true;
    return Promise.all(running);
  };
}

/** Actions before the picture of a page is taken. */
const ACTIONS = {
  async requests(page, base) {
    const { data } = await (await page.request.get(`${base}/admin/v1/requests?status=ok&limit=200`)).json();
    // A stream after a slow failure shows the most.
    const failed = ({ attempts: [first] }) => first.duration_ms;
    const [example] = data
      .filter(({ stream, attempts }) => stream && attempts.length > 1)
      .sort((a, b) => failed(b) - failed(a));
    if (!example) return;
    await page.goto(`${base}/dashboard/requests/${example.id}`);
    await page.getByRole("dialog").getByText("Timeline").waitFor();
  },
  async playground(page) {
    await page.getByLabel("Message").fill(QUESTION);
    await page.keyboard.press("Enter");
    await page.getByTestId("reply-details").first().getByText("in total").waitFor();
  },
};

async function takePictures(browser, base, colorScheme) {
  const context = await browser.newContext({
    colorScheme,
    viewport: SIZE,
    deviceScaleFactor: 1,
    reducedMotion: "reduce",
  });
  // No space is reserved for scroll bars.
  await context.addInitScript(() =>
    document.addEventListener("DOMContentLoaded", () => (document.documentElement.style.scrollbarGutter = "auto")),
  );
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  page.on("pageerror", (error) => console.log(colorScheme, String(error)));
  await page.goto(`${base}/dashboard/`);
  await page.getByLabel("Admin key").fill(KEY);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("heading", { name: "Pool" }).waitFor();
  // Playwright itself takes no WebP, which is a third of the size of PNG.
  const screen = await context.newCDPSession(page);
  for (const path of PAGES) {
    await page.goto(`${base}/dashboard/${path}`);
    await page.getByRole("heading", { level: 1 }).waitFor();
    await page.waitForFunction(() => !document.querySelector("main [aria-label=Loading]"));
    await ACTIONS[path]?.(page, base);
    await page.waitForTimeout(700); // wait for animations to end
    const { data } = await screen.send("Page.captureScreenshot", { format: "webp", quality: 88 });
    await writeFile(join(out, `${path || "pool"}-${colorScheme}.webp`), Buffer.from(data, "base64"));
  }
  await context.close();
}

try {
  const gateway = await startGateway();
  console.log(`pictures: ${TRAFFIC_MS / 60_000} minutes of traffic`);
  const endTraffic = await startTraffic(gateway);
  await sleep(TRAFFIC_MS);
  await mkdir(out, { recursive: true });
  const browser = await open();
  for (const colorScheme of ["light", "dark"]) await takePictures(browser, gateway.base, colorScheme);
  await browser.close();
  await endTraffic();
} finally {
  for (const child of children) child.kill("SIGKILL");
  await rm(folder, { recursive: true, force: true });
}
process.exit(0);
