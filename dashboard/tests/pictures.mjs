// node tests/shot.mjs <base url> <admin key> <out folder>: takes the pictures of docs/img, each page light and dark.
// Send some traffic first, with failovers: the pictures show the current state.
// The pictures in docs/img were then reduced to 256 colours, a third of the size.
import { mkdir } from "node:fs/promises";
import { open } from "./browser.mjs";

const [base, key, out] = process.argv.slice(2);
const PAGES = {
  pool: "",
  requests: "requests",
  clients: "clients",
  models: "models",
  playground: "playground",
  settings: "settings",
  start: "start",
};
const SIZE = { width: 1360, height: 900 };
const QUESTION = "Which of the free models would you take for a long summary, and why?";

/** Actions before the picture of a page is taken. */
const ACTIONS = {
  async requests(page) {
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

await mkdir(out, { recursive: true });
const browser = await open();
for (const colorScheme of ["light", "dark"]) {
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
  page.on("console", (message) => message.type() === "error" && console.log(colorScheme, message.text()));
  page.on("pageerror", (error) => console.log(colorScheme, String(error)));
  await page.goto(`${base}/dashboard/`);
  await page.getByLabel("Admin key").fill(key);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("heading", { name: "Pool" }).waitFor();
  for (const [name, path] of Object.entries(PAGES)) {
    await page.goto(`${base}/dashboard/${path}`);
    await page.getByRole("heading", { level: 1 }).waitFor();
    await page.waitForFunction(() => !document.querySelector("main [aria-label=Loading]"));
    await ACTIONS[name]?.(page);
    await page.waitForTimeout(700); // wait for animations to end
    await page.screenshot({ path: `${out}/${name}-${colorScheme}.png` });
  }
  await context.close();
}
await browser.close();
