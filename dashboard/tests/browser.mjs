import { chromium } from "playwright-core";

/** Debian's chromium, or the one that CHROMIUM names. */
export const open = () =>
  chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-dev-shm-usage"] });
