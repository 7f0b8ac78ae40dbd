import { expect, test } from "vitest";
import type { UsagePoint } from "./types";
import { fillGaps, today } from "./usage";

const figures = {
  requests: 3,
  ok: 3,
  failed: 0,
  limited: 0,
  tokens_in: 1,
  tokens_out: 1,
  tokens_cached: 0,
  audio_seconds: 0,
  waited_ms: 0,
  first_token_p50_ms: 5,
  first_token_p95_ms: 9,
  saved: null,
};
const point = (time: string): UsagePoint => ({ time, ...figures });

test("intervals without a request are filled with zeros", () => {
  const usage = fillGaps({
    object: "usage",
    by: "provider",
    step: "minute",
    from: "2026-06-03T10:00:00Z",
    to: "2026-06-03T10:03:30Z",
    currency: null,
    series: [{ name: "groq", label: null, points: [point("2026-06-03T10:01:00Z")], total: figures }],
  });
  expect(usage.series[0]?.points.map(({ requests }) => requests)).toEqual([0, 3, 0, 0]);
  expect(usage.series[0]?.points[0]?.first_token_p50_ms).toBeNull();
  expect(usage.series[0]?.points.map(({ time }) => time.slice(10))).toEqual([
    "T10:00:00.000Z",
    "T10:01:00.000Z",
    "T10:02:00.000Z",
    "T10:03:00.000Z",
  ]);
  expect(today(usage.series[0]).requests).toBe(0);
  expect(today(undefined).requests).toBe(0);
});
