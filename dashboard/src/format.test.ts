import { expect, test } from "vitest";
import { ago, causeName, clock, percent, short, span, took } from "./format";

test("large numbers stay short and never round up into a wrong unit", () => {
  expect([0, 7, 999, 1000, 1234, 99_949, 99_950, 999_949, 999_950, 1_250_000, 3e9, 7.2e12].map(short)).toEqual([
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

test("a span is said in at most two units", () => {
  expect([0, 400, 9_940, 59_400, 59_600, 60_000, 185_000, 7_800_000, 273_600_000].map(span)).toEqual([
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
  expect([took(null), took(240), took(1_240)]).toEqual(["–", "240 ms", "1.2 s"]);
});

test("a share of nothing is not a number", () => {
  expect([percent(0, 0), percent(1, 3), percent(3, 3)]).toEqual(["–", "33.3 %", "100 %"]);
});

test("causes are said in words", () => {
  expect([causeName("ok"), causeName("429_rpd"), causeName("503_busy")]).toEqual([
    "answered",
    "429, out of requests / day",
    "503 busy",
  ]);
});

test("a time of another day brings its day, and no time nothing", () => {
  const now = Date.parse("2026-06-03T12:00:00");
  expect(clock("2026-06-03T09:05:00", now)).toBe("09:05");
  expect(clock("2026-06-02T09:05:00", now)).toMatch(/2.*09:05/);
  expect(clock("nonsense")).toBe("");
  expect([ago("2026-06-03T11:59:58", now), ago("2026-06-03T10:30:00", now)]).toEqual(["just now", "1 h ago"]);
});
