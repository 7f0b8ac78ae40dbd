// node tests/shot.mjs <base url> <key> <out folder> [page,page…]: each page, light and dark, wide and narrow.
import { mkdir } from "node:fs/promises";
import { open } from "./browser.mjs";

const [base, key, out, only] = process.argv.slice(2);
const PAGES = { pool: "", requests: "requests", clients: "clients", models: "models", playground: "playground", settings: "settings", start: "start" };
const wanted = only ? only.split(",") : Object.keys(PAGES);
await mkdir(out, { recursive: true });
const browser = await open();
for (const [scheme, width, height] of [["light", 1360, 900], ["dark", 1360, 900], ["light", 360, 740]]) {
  const context = await browser.newContext({ colorScheme: scheme, viewport: { width, height } });
  const page = await context.newPage();
  page.setDefaultTimeout(120_000);
  page.on("console", (message) => message.type() === "error" && console.log(scheme, message.text()));
  page.on("pageerror", (error) => console.log(scheme, String(error)));
  await page.goto(`${base}/dashboard/`);
  await page.getByLabel("Admin key").waitFor();
  if (!only) await page.screenshot({ path: `${out}/login-${scheme}-${width}.png` });
  await page.getByLabel("Admin key").fill(key);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("heading", { level: 1 }).waitFor();
  for (const name of wanted) {
    await page.goto(`${base}/dashboard/${PAGES[name]}`);
    await page.getByRole("heading", { level: 1 }).waitFor();
    await page.waitForFunction(() => !document.querySelector("main [aria-label=Loading]"), null, { timeout: 60_000 });
    await page.waitForTimeout(700);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    if (wide > 0) console.log(`${name} at ${width}: ${wide} px too wide`);
    await page.screenshot({ path: `${out}/${name}-${scheme}-${width}.png`, fullPage: width < 400 ? false : false });
  }
  await context.close();
}
await browser.close();
