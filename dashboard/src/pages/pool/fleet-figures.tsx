import { useEffect, useRef, useState } from "react";
import { Sparkline } from "../../components/sparkline";
import type { Budget, Usage, UsagePoint } from "../../types";
import { exact, percent, compact } from "../../format";
import classes from "./pool.module.css";

/** Requests per second are averaged over this time. */
const RATE_MS = 20_000;
/** Tokens per minute are averaged over this number of complete minutes. */
const RECENT_MINUTES = 5;

/** The current activity of all replicas. */
export function FleetFigures({ budget, hour }: { budget: Budget; hour: Usage | undefined }) {
  const minutes = byMinute(hour);
  const recent = minutes.slice(-1 - RECENT_MINUTES, -1); // without the current, incomplete minute
  const rate = useRate(budget) ?? perSecond(recent);
  const tokens = recent.length ? sum(recent, (point) => point.tokens_in + point.tokens_out) / recent.length : 0;
  const total = sum(minutes, (point) => point.requests);
  const ok = sum(minutes, (point) => point.ok);
  const failed = total - ok;
  const prompts = sum(minutes, (point) => point.tokens_in);
  const cached = sum(minutes, (point) => point.tokens_cached);
  return (
    <dl className={classes.figures}>
      <Figure
        name="Requests / s"
        value={rate.toFixed(rate < 10 ? 1 : 0)}
        note={`${compact(budget.totals.requests)} in total`}
        title={exact(budget.totals.requests)}
      >
        <Sparkline values={minutes.map((point) => point.requests)} />
      </Figure>
      <Figure
        name="Success rate, last hour"
        value={percent(ok, total)}
        note={failed ? `${compact(failed)} of ${compact(total)} failed` : `${compact(total)} requests`}
        tone={total && ok / total < 0.95 ? "bad" : undefined}
      >
        <Sparkline values={minutes.map((point) => point.failed + point.limited)} color="var(--full)" />
      </Figure>
      <Figure
        name="Tokens / min"
        value={compact(Math.round(tokens))}
        note="over five minutes"
        title={exact(Math.round(tokens))}
      >
        <Sparkline values={minutes.map((point) => point.tokens_in + point.tokens_out)} />
      </Figure>
      <Figure
        name="From providers' caches"
        value={percent(cached, prompts)}
        note={`${compact(cached)} prompt tokens, last hour`}
        title={`${exact(cached)} of ${exact(prompts)}`}
      >
        <Sparkline values={minutes.map((point) => point.tokens_cached)} />
      </Figure>
      <Figure
        name="Waiting now"
        value={exact(budget.waiting)}
        note={budget.waiting ? "for capacity" : "no request"}
        tone={budget.waiting ? "warn" : undefined}
      />
      <Figure
        name="Replicas alive"
        value={exact(budget.replicas)}
        note="sharing this budget"
        tone={budget.replicas === 0 ? "bad" : undefined}
      />
    </dl>
  );
}

function Figure({
  name,
  value,
  note,
  title,
  tone,
  children,
}: {
  name: string;
  value: string;
  note: string;
  title?: string;
  tone?: "warn" | "bad";
  children?: React.ReactNode;
}) {
  return (
    <div className={classes.figure}>
      <dt>{name}</dt>
      <dd className={classes.value} data-tone={tone} title={title}>
        {value}
      </dd>
      <dd className={classes.figureNote}>{note}</dd>
      {children && <dd className={classes.spark}>{children}</dd>}
    </div>
  );
}

/** Requests per second between recent snapshots; null until two of them are far enough apart. */
function useRate(budget: Budget): number | null {
  const samples = useRef<{ at: number; requests: number }[]>([]);
  const [rate, setRate] = useState<number | null>(null);
  useEffect(() => {
    const now = { at: Date.parse(budget.taken_at), requests: budget.totals.requests };
    const kept = samples.current.filter(
      (sample) => sample.at > now.at - RATE_MS && sample.at < now.at && sample.requests <= now.requests,
    );
    samples.current = [...kept, now];
    const [oldest] = kept;
    if (oldest && now.at - oldest.at > 4_000)
      setRate((now.requests - oldest.requests) / ((now.at - oldest.at) / 1_000));
  }, [budget]);
  return rate;
}

const perSecond = (points: UsagePoint[]) =>
  points.length ? sum(points, (point) => point.requests) / (points.length * 60) : 0;
const sum = (points: UsagePoint[], of: (point: UsagePoint) => number) =>
  points.reduce((total, point) => total + of(point), 0);

type Minute = Pick<
  UsagePoint,
  "time" | "requests" | "ok" | "failed" | "limited" | "tokens_in" | "tokens_out" | "tokens_cached" | "audio_seconds"
>;

/** The figures of all providers, summed by minute. */
function byMinute(usage: Usage | undefined): UsagePoint[] {
  const minutes = new Map<string, UsagePoint>();
  for (const point of usage?.series.flatMap((series) => series.points) ?? []) {
    const known = minutes.get(point.time);
    minutes.set(point.time, known ? { ...known, ...added(known, point) } : point);
  }
  return [...minutes.values()].sort((a, b) => a.time.localeCompare(b.time));
}

const added = (a: UsagePoint, b: UsagePoint): Minute => ({
  time: a.time,
  requests: a.requests + b.requests,
  ok: a.ok + b.ok,
  failed: a.failed + b.failed,
  limited: a.limited + b.limited,
  tokens_in: a.tokens_in + b.tokens_in,
  tokens_out: a.tokens_out + b.tokens_out,
  tokens_cached: a.tokens_cached + b.tokens_cached,
  audio_seconds: a.audio_seconds + b.audio_seconds,
});
