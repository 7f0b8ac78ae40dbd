import { useEffect, useRef, useState } from "react";
import { Spark } from "../../components/sparkline";
import type { Budget, Usage, UsagePoint } from "../../types";
import { exact, percent, short } from "../../format";
import classes from "./pool.module.css";

const RATE_MS = 20_000; // requests/s is over this span
const LATELY = 5; // tokens/min is over the last five whole minutes

/** What the fleet does at this moment. */
export function Vitals({ budget, hour }: { budget: Budget; hour: Usage | undefined }) {
  const minutes = byMinute(hour);
  const lately = minutes.slice(-1 - LATELY, -1); // the running minute is not whole yet
  const rate = useRate(budget) ?? perSecond(lately);
  const tokens = lately.length ? sum(lately, (point) => point.tokens_in + point.tokens_out) / lately.length : 0;
  const asked = sum(minutes, (point) => point.requests);
  const ok = sum(minutes, (point) => point.ok);
  const trouble = asked - ok;
  return (
    <dl className={classes.vitals}>
      <Vital
        name="Requests / s"
        value={rate.toFixed(rate < 10 ? 1 : 0)}
        note={`${short(budget.totals.requests)} in all`}
        title={exact(budget.totals.requests)}
      >
        <Spark values={minutes.map((point) => point.requests)} />
      </Vital>
      <Vital
        name="Answered, last hour"
        value={percent(ok, asked)}
        note={trouble ? `${short(trouble)} of ${short(asked)} not` : `${short(asked)} asked`}
        tone={asked && ok / asked < 0.95 ? "bad" : undefined}
      >
        <Spark values={minutes.map((point) => point.failed + point.limited)} color="var(--full)" />
      </Vital>
      <Vital
        name="Tokens / min"
        value={short(Math.round(tokens))}
        note="over five minutes"
        title={exact(Math.round(tokens))}
      >
        <Spark values={minutes.map((point) => point.tokens_in + point.tokens_out)} />
      </Vital>
      <Vital
        name="Waiting now"
        value={exact(budget.waiting)}
        note={budget.waiting ? "for a window to open" : "nobody"}
        tone={budget.waiting ? "warn" : undefined}
      />
      <Vital
        name="Replicas alive"
        value={exact(budget.replicas)}
        note="sharing this budget"
        tone={budget.replicas === 0 ? "bad" : undefined}
      />
    </dl>
  );
}

function Vital({
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
    <div className={classes.vital}>
      <dt>{name}</dt>
      <dd className={classes.value} data-tone={tone} title={title}>
        {value}
      </dd>
      <dd className={classes.vitalNote}>{note}</dd>
      {children && <dd className={classes.spark}>{children}</dd>}
    </div>
  );
}

/** Requests per second between the snapshots of the last seconds; null until there are two that are apart enough. */
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

type Minute = Pick<UsagePoint, "time" | "requests" | "ok" | "failed" | "limited" | "tokens_in" | "tokens_out">;

/** All providers together. */
function byMinute(usage: Usage | undefined): UsagePoint[] {
  const minutes = new Map<string, UsagePoint>();
  for (const point of usage?.series.flatMap((series) => series.points) ?? []) {
    const so_far = minutes.get(point.time);
    minutes.set(point.time, so_far ? { ...so_far, ...added(so_far, point) } : point);
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
});
