import type { Series, Usage, UsageFigures, UsagePoint } from "./types";

const STEP_MS = { minute: 60_000, hour: 3_600_000, day: 86_400_000 };
const ZERO: UsageFigures = {
  requests: 0,
  ok: 0,
  failed: 0,
  limited: 0,
  tokens_in: 0,
  tokens_out: 0,
  tokens_cached: 0,
  audio_seconds: 0,
  waited_ms: 0,
  first_token_p50_ms: null,
  first_token_p95_ms: null,
  saved: null,
};

/** Adds the intervals without a request, which the gateway omits: charts need every series to have the same times. */
export function fillGaps(usage: Usage): Usage {
  const step = STEP_MS[usage.step];
  const times: number[] = [];
  for (let at = Math.floor(Date.parse(usage.from) / step) * step; at <= Date.parse(usage.to); at += step)
    times.push(at);
  return { ...usage, series: usage.series.map((series) => ({ ...series, points: pointsAt(series, times) })) };
}

function pointsAt({ points, total }: Series, times: number[]): UsagePoint[] {
  const known = new Map(points.map((point) => [Date.parse(point.time), point]));
  // Charts identify points by this string, so each time has one spelling.
  const none = { ...ZERO, saved: total.saved === null ? null : 0 };
  return times.map((at) => ({ ...(known.get(at) ?? none), time: new Date(at).toISOString() }));
}

/** The figures since midnight UTC, from a series by day. */
export const today = (series: Series | undefined): UsageFigures => series?.points.at(-1) ?? ZERO;
