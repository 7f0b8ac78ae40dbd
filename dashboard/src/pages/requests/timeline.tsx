import type { RequestRecord } from "../../types";
import { causeName, elapsed } from "../../format";
import classes from "./timeline.module.css";

interface Step {
  name: string;
  detail: string;
  from: number;
  to: number;
  kind: "waited" | "ok" | "limited" | "failed";
}

/** The wait, each attempt, the first token and the end on one time scale. */
export function Timeline({ record }: { record: RequestRecord }) {
  const steps = stepsOf(record);
  const end = Math.max(record.duration_ms, ...steps.map((step) => step.to), 1);
  const at = (ms: number) => `${Math.min(100, (100 * ms) / end)}%`;
  const first = record.first_token_ms;
  if (steps.length === 0)
    return (
      <p className={classes.none}>No attempt was made: the request was rejected after {elapsed(record.duration_ms)}.</p>
    );
  return (
    <div className={classes.timeline}>
      <ol>
        {steps.map((step, nth) => (
          <li key={nth}>
            <span className={classes.name}>{step.name}</span>
            <span className={classes.detail}>
              {step.detail}, {elapsed(step.to - step.from)}
            </span>
            <span className={classes.lane}>
              <span
                className={classes.bar}
                data-kind={step.kind}
                style={{ left: at(step.from), width: `max(3px, ${at(step.to - step.from)})` }}
              />
              {step.kind === "ok" && first !== null && (
                <span
                  className={classes.first}
                  style={{ left: at(first) }}
                  title={`First token after ${elapsed(first)}`}
                />
              )}
            </span>
          </li>
        ))}
      </ol>
      <div className={classes.scale}>
        <span>0</span>
        {first !== null && <span className={classes.firstLabel}>first token {elapsed(first)}</span>}
        <span>end {elapsed(end)}</span>
      </div>
    </div>
  );
}

export function stepsOf({ waited_ms, attempts }: RequestRecord): Step[] {
  const steps: Step[] = attempts.map(({ candidate, cause, at_ms, duration_ms }) => ({
    name: candidate,
    detail: causeName(cause),
    from: at_ms,
    to: at_ms + duration_ms,
    kind: cause === "ok" ? "ok" : cause.startsWith("429") ? "limited" : "failed",
  }));
  return waited_ms > 0
    ? [{ name: "Wait queue", detail: "waited for capacity", from: 0, to: waited_ms, kind: "waited" }, ...steps]
    : steps;
}
