import { expect, test } from "vitest";
import { ago, causeName, shortTime, percent, compact, duration, elapsed } from "./format";

test("a large number stays short and never rounds up into the wrong unit", () => {
  expect([0, 7, 999, 1000, 1234, 99_949, 99_950, 999_949, 999_950, 1_250_000, 3e9, 7.2e12].map(compact)).toEqual([
    "0",
    "7",
    "999",
    "1k",
    "1.2k",
    "99.9k",
    "100k",
    "1,000k",
    "1M",
    "1.3M",
    "3G",
    "7.2T",
  ]);
});

test("a duration has at most two units", () => {
  expect([0, 400, 9_940, 59_400, 59_600, 60_000, 185_000, 7_800_000, 273_600_000].map(duration)).toEqual([
    "0.0 s",
    "0.4 s",
    "9.9 s",
    "59 s",
    "1 min",
    "1 min",
    "3 min 5 s",
    "2 h 10 min",
    "3 d 4 h",
  ]);
  expect([elapsed(null), elapsed(240), elapsed(1_240)]).toEqual(["–", "240 ms", "1.2 s"]);
});

test("a percentage of zero is shown as a dash", () => {
  expect([percent(0, 0), percent(1, 3), percent(3, 3)]).toEqual(["–", "33.3 %", "100 %"]);
});

test("a cause becomes readable text", () => {
  expect([causeName("ok"), causeName("429_rpd"), causeName("503_busy")]).toEqual([
    "answered",
    "429, out of requests / day",
    "503 busy",
  ]);
});

test("a time on another day includes its date, and an invalid time is empty", () => {
  const now = Date.parse("2026-06-03T12:00:00");
  expect(shortTime("2026-06-03T09:05:00", now)).toBe("09:05");
  expect(shortTime("2026-06-02T09:05:00", now)).toMatch(/2.*09:05/);
  expect(shortTime("nonsense")).toBe("");
  expect([ago("2026-06-03T11:59:58", now), ago("2026-06-03T10:30:00", now)]).toEqual(["just now", "1 h ago"]);
});
