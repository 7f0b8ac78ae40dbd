// node tests/walk.mjs '{"replicas":["http://…","http://…"],"key":"…","control":"http://…","model":"groq/…",
//   "added":{"name":"Cerebras","provider":"cerebras","model":"cerebras/…","key":"…"}}'
// Uses the dashboard of two replicas in a browser, with simulated providers. Started by tests/it/end_to_end/dashboard.rs.
import { strict as assert } from "node:assert";
import { readFileSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { createRequire } from "node:module";
import { open } from "./browser.mjs";

const { replicas, key, control, model, added } = JSON.parse(process.argv[2]);
const [here, there] = replicas;
const origins = replicas.map((url) => new URL(url).origin);
const [provider] = model.split("/");
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const TIMEOUT_MS = 20_000;
/** The limit of one step, even on a busy machine. It names the step that hangs. */
const STEP_TIMEOUT_MS = 120_000;
const PAGES = ["", "requests", "usage", "clients", "providers", "models", "playground", "settings", "start"];

const problems = [];
const browser = await open();

/** A page that records console errors, policy violations and requests to other origins. */
async function newPage(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1360, height: 900 }, ...options });
  await context.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) =>
      console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`),
    );
  });
  const page = await context.newPage();
  page.setDefaultTimeout(TIMEOUT_MS);
  page.on(
    "console",
    (message) => ["error", "warning"].includes(message.type()) && problems.push(`console: ${message.text()}`),
  );
  page.on("pageerror", (error) => problems.push(`page: ${error}`));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (!origins.includes(url.origin) && !["data:", "blob:"].includes(url.protocol))
      problems.push(`request to ${url.origin}`);
  });
  return page;
}

/** Runs `action` and fails after `timeoutMs`: scripts that run in a page have no time limit. */
async function within(timeoutMs, name, action) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`not within ${timeoutMs} ms: ${name}`)), timeoutMs);
  });
  return Promise.race([action(), late]).finally(() => clearTimeout(timer));
}

async function step(name, action) {
  const started = performance.now();
  try {
    await within(STEP_TIMEOUT_MS, name, action);
  } catch (error) {
    console.log(`FAILED: ${name}\n${error.stack}`);
    for (const each of problems) console.log(`  ${each}`);
    for (const context of browser.contexts()) {
      for (const each of context.pages())
        console.log(`  ${each.url()}: ${(await each.locator("body").innerText()).slice(0, 400)}`);
    }
    await browser.close();
    process.exit(1);
  }
  console.log(`ok: ${name} (${Math.round(performance.now() - started)} ms)`);
}

async function until(description, check, timeoutMs = TIMEOUT_MS) {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const found = await check();
    if (found) return found;
    assert(performance.now() < deadline, `not within ${timeoutMs} ms: ${description}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const call = (base, token, name = model) =>
  fetch(`${base}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ model: name, messages: [{ role: "user", content: "hi" }], max_tokens: 20 }),
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

const page = await newPage();
let secret;
let id;

await step("the login page appears within a second", async () => {
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

await step("a login at one replica is valid at both", async () => {
  await page.getByLabel("Admin key").fill(key);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("heading", { name: "Pool" }).waitFor();
  const stored = await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }));
  assert(!stored.includes(key), stored);
  const cookie = (await page.context().cookies()).find((each) => each.name === "tf_session");
  assert(cookie.httpOnly && cookie.sameSite === "Strict");
});

/** The session of one replica, for both: behind an ingress they share one origin. */
async function loggedInState() {
  const state = await page.context().storageState();
  return { ...state, origins: origins.map((origin) => ({ ...state.origins[0], origin })) };
}
const other = await newPage({ storageState: await loggedInState() });

await step("a new key is shown once", async () => {
  await visit(page, here, "clients");
  await page.getByRole("button", { name: "New client" }).first().click();
  const form = page.getByRole("dialog");
  await form.getByLabel("Name").fill("walker");
  await form.getByLabel("requests / min").fill("500");
  await form.getByRole("button", { name: "Create key" }).click();
  secret = await page.getByTestId("secret").textContent();
  assert.match(secret, /^sk-tf-/);
  await page.getByRole("tab", { name: "Python" }).click();
  assert((await page.getByRole("tabpanel", { name: "Python" }).textContent()).includes(secret));
  await page.getByRole("button", { name: "Done" }).click();
  await page.getByTestId("secret").waitFor({ state: "detached" });
  id = secret.split("-")[2];
});

await step("the client appears at the other replica", async () => {
  await visit(other, there, "clients");
  await other.getByRole("link", { name: "walker" }).waitFor();
});

await step("bars show the load at both replicas", async () => {
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
  await until("the bar shows three more at the first replica", async () => (await used(page)) >= before + 3);
  await until("the bar shows three more at the second replica", async () => (await used(other)) >= before + 3);
});

await step("the journal shows requests live, with their attempts", async () => {
  await visit(page, here, `requests?client=${id}`);
  const rows = page.getByRole("table", { name: "Requests" }).getByRole("row");
  await until("three rows and the header", async () => (await rows.count()) >= 4);
  const seen = await rows.count();
  assert.equal((await call(there, secret)).status, 200);
  await until("the fourth row appears", async () => (await rows.count()) > seen);
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
  const first = await until("it shows the remaining time", left);
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

await step("the playground streams and shows the routing", async () => {
  await visit(page, here, "playground");
  await page.getByLabel("Message").fill("Say something long.");
  await page.keyboard.press("Enter");
  const details = page.getByTestId("reply-details").first();
  await details.getByText("in total").waitFor();
  assert.match(await details.textContent(), /attempt.*waited.*first token.*tokens/);
});

await step("a revoked key is rejected at both replicas", async () => {
  await visit(page, here, `clients/${id}`);
  await page.getByRole("button", { name: "Revoke…" }).click();
  const confirm = page.getByRole("dialog", { name: "Revoke walker?" });
  await confirm.getByLabel("Type the name to confirm").fill("walker");
  await confirm.getByRole("button", { name: "Revoke" }).click();
  await page.getByText("revoked").first().waitFor();
  for (const base of replicas) assert.equal((await call(base, secret)).status, 401, base);
  await visit(other, there, "settings");
  await other.getByText("revoked client").first().waitFor();
});

await step("a provider key is added, serves at the other replica within a second, and is out at once", async () => {
  await visit(page, here, "providers");
  await page.getByRole("button", { name: `Add key of ${added.name}` }).click();
  const form = page.getByRole("dialog", { name: "Add a key" });
  const paste = async (text) => {
    await form.locator("input[type=password]").fill(text);
    await form.getByRole("button", { name: "Add key" }).click();
  };
  await paste(`${added.key}-wrong`);
  await form.getByText(`${added.provider} refuses this key`).waitFor();
  // A browser reports the refusal as an error of its own.
  problems.splice(0, problems.length, ...problems.filter((each) => !each.includes("status of 400")));
  assert.equal(await page.getByRole("button", { name: new RegExp(`^Disable ${added.provider}-`) }).count(), 0);
  assert.notEqual((await call(there, key, added.model)).status, 200, "a refused key is not kept");
  await paste(added.key);
  await form.waitFor({ state: "hidden" });
  await until("the other replica serves it", async () => (await call(there, key, added.model)).status === 200, 1_000);
  const shown = await page.content();
  assert(!shown.includes(added.key), "the page shows the secret");
  const disable = page.getByRole("button", { name: new RegExp(`^Disable ${added.provider}-`) });
  await disable.click();
  await page.getByRole("button", { name: new RegExp(`^Enable ${added.provider}-`) }).waitFor();
  assert.notEqual((await call(there, key, added.model)).status, 200, "a disabled key is out at the next admission");
  await page.getByRole("button", { name: new RegExp(`^Delete ${added.provider}-`) }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete", exact: true }).click();
  await page.getByRole("button", { name: new RegExp(`^Enable ${added.provider}-`) }).waitFor({ state: "hidden" });
});

await step("the page Usage shows what was used, and downloads it", async () => {
  await visit(page, here, "usage");
  const models = page.getByRole("region", { name: "Models" });
  await models.getByRole("rowheader", { name: model }).waitFor();
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: "Download models as CSV" }).click(),
  ]);
  assert.equal(download.suggestedFilename(), "tollfree-models.csv");
});

await step("the skip link, a bar and its details work by keyboard", async () => {
  await visit(page, here, "");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement?.textContent), "Skip to content");
  const bar = page.getByRole("button", { name: new RegExp(`^${model}, requests / min`) }).first();
  await bar.focus();
  await page.keyboard.press("Enter");
  const details = page.getByRole("dialog", { name: /requests \/ min of/ });
  await details.getByText("Limit", { exact: true }).waitFor();
  await page.keyboard.press("Escape");
  await details.waitFor({ state: "hidden" });
});

for (const scheme of ["light", "dark"]) {
  await step(`axe finds no serious problem, ${scheme}`, async () => {
    // axe is injected from outside the page, so the page's policy does not apply to it.
    const audited = await newPage({ storageState: await loggedInState(), colorScheme: scheme });
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

await step("no page is wider than 360 px", async () => {
  const narrow = await newPage({ storageState: await loggedInState(), viewport: { width: 360, height: 740 } });
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

await step("ten thousand rows and two hundred bars scroll smoothly", async () => {
  const heavy = await newPage({ storageState: await loggedInState() });
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
    // A busy machine makes any task long. The best of several runs shows the cost of the page itself.
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
        // A headless browser may stop painting. The tasks are measured, so the loop continues without a frame.
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
  // This step aborts the event stream on purpose.
  problems.splice(0, problems.length, ...problems.filter((each) => !each.includes("ERR_FAILED")));
  await heavy.context().close();
});

await step("the size of the scripts is within its budget", async () => {
  const folder = new URL("../dist/assets/", import.meta.url);
  const names = (await readdir(folder)).filter((name) => name.endsWith(".js.gz"));
  const sizes = await Promise.all(names.map(async (name) => (await stat(new URL(name, folder))).size));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  console.log(`  ${Math.round(total / 1000)} kB of JavaScript, by gzip`);
  assert(names.length > 0 && total < 370_000, `${total} bytes`);
});

await step("a logout is valid at both replicas", async () => {
  await visit(page, here, "");
  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByLabel("Admin key").waitFor();
  const answer = await other.request.get(`${there}/admin/v1/session`);
  assert.equal(answer.status(), 401);
});

await step("no console error, no request to another origin, no CSP violation", () => assert.deepEqual(problems, []));
await browser.close();
console.log("all checks passed");
