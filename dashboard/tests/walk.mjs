// node tests/walk.mjs '{"replicas":["http://…","http://…"],"key":"…","control":"http://…","model":"groq/…"}'
// A person's walk through the dashboard of two replicas on simulated providers. Started by tests/it/dashboard.rs.
import { strict as assert } from "node:assert";
import { readFileSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { createRequire } from "node:module";
import { open } from "./browser.mjs";

const { replicas, key, control, model } = JSON.parse(process.argv[2]);
const [here, there] = replicas;
const [provider] = model.split("/");
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const PATIENCE = 20_000;
/** No step takes longer, even on a machine busy with other work: what waits for ever must say where. */
const STEP = 120_000;
const PAGES = ["", "requests", "clients", "models", "playground", "settings", "start"];

const wrong = [];
const browser = await open();

/** A window that notes everything it should not see. Contexts without a policy are for measuring tools only. */
async function look(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1360, height: 900 }, ...options });
  await context.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) =>
      console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`),
    );
  });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  page.on(
    "console",
    (message) => ["error", "warning"].includes(message.type()) && wrong.push(`console: ${message.text()}`),
  );
  page.on("pageerror", (error) => wrong.push(`page: ${error}`));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (!replicas.includes(url.origin) && !["data:", "blob:"].includes(url.protocol))
      wrong.push(`request to ${url.origin}`);
  });
  return page;
}

/** `what`, or a failure after `patience` ms: scripts run in a page have no limit of their own. */
async function within(patience, name, what) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`not within ${patience} ms: ${name}`)), patience);
  });
  return Promise.race([what(), late]).finally(() => clearTimeout(timer));
}

async function step(name, what) {
  const started = performance.now();
  try {
    await within(STEP, name, what);
  } catch (error) {
    console.log(`FAILED: ${name}\n${error.stack}`);
    for (const each of wrong) console.log(`  ${each}`);
    for (const context of browser.contexts()) {
      for (const each of context.pages())
        console.log(`  ${each.url()}: ${(await each.locator("body").innerText()).slice(0, 400)}`);
    }
    await browser.close();
    process.exit(1);
  }
  console.log(`ok: ${name} (${Math.round(performance.now() - started)} ms)`);
}

async function until(what, ask, patience = PATIENCE) {
  const deadline = performance.now() + patience;
  for (;;) {
    const found = await ask();
    if (found) return found;
    assert(performance.now() < deadline, `not within ${patience} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const call = (base, token, asked = model) =>
  fetch(`${base}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ model: asked, messages: [{ role: "user", content: "hi" }], max_tokens: 20 }),
  });
const faults = (body) =>
  fetch(
    `${control}/_control/faults`,
    body
      ? { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) }
      : { method: "DELETE" },
  );
const visit = async (page, base, path) => {
  await page.goto(`${base}/dashboard/${path}`);
  await page.getByRole("heading", { level: 1 }).waitFor();
};
const settled = (page) =>
  page.waitForFunction(() => !document.querySelector("main [aria-label=Loading]"), undefined, { polling: 50 });

const page = await look();
let secret;
let id;

await step("the login is there within a second", async () => {
  let best = Infinity;
  for (let times = 0; times < 4 && best >= 1_000; times += 1) {
    await page.goto(`${here}/dashboard/`);
    await page.getByLabel("Admin key").waitFor();
    const painted = await page.evaluate(
      () => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? Infinity,
    );
    best = Math.min(best, painted);
  }
  console.log(`  first paint after ${Math.round(best)} ms`);
  assert(best < 1_000, `first paint after ${best} ms`);
});

await step("the admin key opens it, at one replica for both", async () => {
  await page.getByLabel("Admin key").fill(key);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("heading", { name: "Pool" }).waitFor();
  const stored = await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }));
  assert(!stored.includes(key), stored);
  const cookie = (await page.context().cookies()).find((each) => each.name === "tf_session");
  assert(cookie.httpOnly && cookie.sameSite === "Strict");
});

/** Who is logged in at one replica, at both: behind an ingress they are one origin. */
async function entered() {
  const state = await page.context().storageState();
  return { ...state, origins: replicas.map((origin) => ({ ...state.origins[0], origin })) };
}
const other = await look({ storageState: await entered() });

await step("a key is made, shown once", async () => {
  await visit(page, here, "clients");
  await page.getByRole("button", { name: "New client" }).first().click();
  const form = page.getByRole("dialog");
  await form.getByLabel("Name").fill("walker");
  await form.getByLabel("requests / min").fill("500");
  await form.getByRole("button", { name: "Create the key" }).click();
  secret = await page.getByTestId("secret").textContent();
  assert.match(secret, /^sk-tf-/);
  await page.getByRole("tab", { name: "Python" }).click();
  assert((await page.getByRole("tabpanel").textContent()).includes(secret));
  await page.getByRole("button", { name: "I have it" }).click();
  await page.getByTestId("secret").waitFor({ state: "detached" });
  id = secret.split("-")[2];
});

await step("it shows at the other replica", async () => {
  await visit(other, there, "clients");
  await other.getByRole("link", { name: "walker" }).waitFor();
});

await step("bars move under load, at both", async () => {
  const used = async (of) =>
    Number(
      /requests \/ min\s*(\d+) \//.exec(
        (await of
          .getByRole("button", { name: new RegExp(`^${model}, requests / min`) })
          .first()
          .textContent()) ?? "",
      )?.[1] ?? Number.NaN,
    );
  await visit(page, here, "");
  await visit(other, there, "");
  const before = await used(page);
  const answers = await Promise.all([call(here, secret), call(there, secret), call(there, secret)]);
  assert.deepEqual(
    answers.map((answer) => answer.status),
    [200, 200, 200],
  );
  await until("the bar shows three more here", async () => (await used(page)) >= before + 3);
  await until("and there", async () => (await used(other)) >= before + 3);
});

await step("the journal has it, live, with its trail", async () => {
  await visit(page, here, `requests?client=${id}`);
  const rows = page.getByRole("table", { name: "Requests" }).getByRole("row");
  await until("three rows and the head", async () => (await rows.count()) >= 4);
  const seen = await rows.count();
  assert.equal((await call(there, secret)).status, 200);
  await until("the fourth comes by itself", async () => (await rows.count()) > seen);
  await rows.nth(1).getByRole("button").click();
  const drawer = page.getByRole("dialog");
  await drawer.getByText("Answered in").waitFor();
  await drawer.getByText(model).first().waitFor();
  assert.match(new URL(page.url()).pathname, /^\/dashboard\/requests\/.+/);
  await page.keyboard.press("Escape");
  await drawer.waitFor({ state: "detached" });
});

await step("a broken provider's breaker opens, counts down and closes", async () => {
  await visit(other, there, "");
  const card = other.getByRole("region", { name: new RegExp(provider, "i") });
  await faults({ provider, fault: "reset", times: 40 });
  const open = card.getByText(/breaker open/).first();
  await until("the breaker opens", async () => {
    await call(here, secret);
    return open.isVisible();
  });
  const left = async () => Number(/in (\d+) s/.exec((await open.textContent()) ?? "")?.[1] ?? 0);
  const first = await until("it says for how long", left);
  await faults();
  await until("it counts down", async () => (await left()) < first);
  await until("it closes", async () => {
    await call(here, secret);
    return !(await card
      .getByText(/breaker/)
      .first()
      .isVisible());
  });
});

await step("the playground streams, and says who answered", async () => {
  await visit(page, here, "playground");
  await page.getByLabel("Message").fill("Say something long.");
  await page.keyboard.press("Enter");
  const telltale = page.getByTestId("telltale").first();
  await telltale.getByText("in all").waitFor();
  assert.match(await telltale.textContent(), /attempt.*waited.*first token.*tokens/);
});

await step("the key is revoked, at both at once", async () => {
  await visit(page, here, `clients/${id}`);
  await page.getByRole("button", { name: "Revoke…" }).click();
  const confirm = page.getByRole("dialog", { name: "Revoke walker?" });
  await confirm.getByLabel("Write its name to confirm").fill("walker");
  await confirm.getByRole("button", { name: "Revoke" }).click();
  await page.getByText("revoked").first().waitFor();
  for (const base of replicas) assert.equal((await call(base, secret)).status, 401, base);
  await visit(other, there, "settings");
  await other.getByText("revoked client").first().waitFor();
});

await step("by keyboard: skip, a bar and its details, away again", async () => {
  await visit(page, here, "");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement?.textContent), "Skip to the page");
  const bar = page.getByRole("button", { name: new RegExp(`^${model}, requests / min`) }).first();
  await bar.focus();
  await page.keyboard.press("Enter");
  const details = page.getByRole("dialog", { name: /requests \/ min of/ });
  await details.getByText("Limit", { exact: true }).waitFor();
  await page.keyboard.press("Escape");
  await details.waitFor({ state: "hidden" });
});

for (const scheme of ["light", "dark"]) {
  await step(`axe finds nothing serious, ${scheme}`, async () => {
    // The tool is put in from outside the page, past its policy; its own styles must not count as the page's.
    const audited = await look({ storageState: await entered(), colorScheme: scheme });
    for (const path of PAGES) {
      await visit(audited, here, path);
      await settled(audited);
      await audited.evaluate(axe);
      const { violations } = await audited.evaluate(() => window.axe.run({ resultTypes: ["violations"] }));
      const serious = violations.filter((each) => ["serious", "critical"].includes(each.impact));
      assert.deepEqual(
        serious.map(
          (each) =>
            `${path}: ${each.id}: ${each.nodes
              .slice(0, 3)
              .map((node) => node.html.slice(0, 160))
              .join(" | ")}`,
        ),
        [],
      );
    }
    await audited.context().close();
  });
}

await step("at 360 px nothing sticks out", async () => {
  const narrow = await look({ storageState: await entered(), viewport: { width: 360, height: 740 } });
  for (const path of PAGES) {
    await visit(narrow, here, path);
    await settled(narrow);
    const over = await narrow.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    );
    assert(over <= 0, `${path}: ${over} px too wide`);
  }
  await narrow.getByRole("button", { name: "Menu" }).click();
  await narrow.getByRole("navigation", { name: "Pages" }).getByRole("link", { name: "Models" }).click();
  await narrow.getByRole("heading", { name: "Models" }).waitFor();
  await narrow.context().close();
});

await step("ten thousand rows and two hundred bars scroll without a jerk", async () => {
  const heavy = await look({ storageState: await entered() });
  await heavy.route("**/admin/v1/events", (route) => route.abort());
  const sample = await (await heavy.request.get(`${here}/admin/v1/requests?limit=1`)).json();
  const rows = Array.from({ length: 10_000 }, (_, at) => ({ ...sample.data[0], id: `row-${at}`, cursor: `${at}` }));
  await heavy.route("**/admin/v1/requests*", (route) =>
    route.fulfill({ json: { object: "list", data: rows, next_cursor: null } }),
  );
  const budget = await (await heavy.request.get(`${here}/admin/v1/budget`)).json();
  const account = budget.providers[0].accounts[0];
  const sampled = account.models[0];
  account.models = Array.from({ length: Math.ceil(200 / sampled.windows.length) }, (_, at) => ({
    ...sampled,
    id: `${sampled.id}-${at}`,
    name: `${sampled.name}-${at}`,
  }));
  await heavy.route("**/admin/v1/budget", (route) => route.fulfill({ json: budget }));
  for (const path of ["requests", ""]) {
    let longest = Infinity;
    // A busy machine makes any task long: the best of a few runs is what the page itself takes.
    for (let times = 0; times < 8 && longest > 100; times += 1) {
      await visit(heavy, here, path);
      await settled(heavy);
      await heavy.bringToFront();
      longest = await heavy.evaluate(async () => {
        const tasks = [0];
        const observer = new PerformanceObserver((list) =>
          tasks.push(...list.getEntries().map((entry) => entry.duration)),
        );
        observer.observe({ type: "longtask" });
        // A browser without a screen may stop painting: it is the tasks that are measured, so it goes on without.
        const painted = () =>
          Promise.race([new Promise(requestAnimationFrame), new Promise((resolve) => setTimeout(resolve, 250))]);
        for (let at = 0; at < 60; at += 1) {
          window.scrollBy(0, 400);
          await painted();
        }
        await new Promise((resolve) => setTimeout(resolve, 100));
        observer.disconnect();
        return Math.max(...tasks);
      });
      console.log(
        `  ${path || "pool"}: longest task while scrolling ${Math.round(longest)} ms, ${await heavy.evaluate(() => document.querySelectorAll("*").length)} elements`,
      );
    }
    assert(longest <= 100, `${path}: a task of ${longest} ms`);
  }
  // The stream was cut off on purpose.
  wrong.splice(0, wrong.length, ...wrong.filter((each) => !each.includes("ERR_FAILED")));
  await heavy.context().close();
});

await step("the script's size is within its budget", async () => {
  const folder = new URL("../dist/assets/", import.meta.url);
  const names = (await readdir(folder)).filter((name) => name.endsWith(".js.gz"));
  const sizes = await Promise.all(names.map(async (name) => (await stat(new URL(name, folder))).size));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  console.log(`  ${Math.round(total / 1000)} kB of JavaScript, by gzip`);
  assert(names.length > 0 && total < 350_000, `${total} bytes`);
});

await step("logging out ends it at both", async () => {
  await visit(page, here, "");
  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByLabel("Admin key").waitFor();
  const answer = await other.request.get(`${there}/admin/v1/session`);
  assert.equal(answer.status(), 401);
});

await step("no console error, no foreign request, no CSP violation", () => assert.deepEqual(wrong, []));
await browser.close();
console.log("all checks passed");
