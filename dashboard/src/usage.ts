import type { Series, Usage, UsageFigures, UsagePoint } from "./types";

const STEP_MS = { minute: 60_000, day: 86_400_000 };
const NOTHING: UsageFigures = {
  requests: 0,
  ok: 0,
  failed: 0,
  limited: 0,
  tokens_in: 0,
  tokens_out: 0,
  waited_ms: 0,
  first_content_p50_ms: null,
  first_content_p95_ms: null,
};

/** The gateway leaves out stretches without a request: a chart needs them. Every series gets the same times. */
export function whole(usage: Usage): Usage {
  const step = STEP_MS[usage.step];
  const times: number[] = [];
  for (let at = Math.floor(Date.parse(usage.from) / step) * step; at <= Date.parse(usage.to); at += step)
    times.push(at);
  return { ...usage, series: usage.series.map((series) => ({ ...series, points: filled(series, times) })) };
}

function filled(series: Series, times: number[]): UsagePoint[] {
  const known = new Map(series.points.map((point) => [Date.parse(point.time), point]));
  // One spelling of each time, whoever said it: charts tell points apart by it.
  return times.map((at) => ({ ...(known.get(at) ?? NOTHING), time: new Date(at).toISOString() }));
}

/** What the day so far brought; days are those of UTC. */
export const today = (series: Series | undefined): UsageFigures => series?.points.at(-1) ?? NOTHING;
