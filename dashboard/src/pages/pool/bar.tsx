import { memo } from "react";
import { Countdown } from "../../components/countdown";
import type { Window } from "../../types";
import { shortTime, exact, limitName, compact, sourceName } from "../../format";
import { NEARLY_FULL, fill } from "./filter";
import classes from "./bar.module.css";

/** One limit as a bar. Pressing it opens the details. */
export const Bar = memo(function Bar({
  window,
  subject,
  open,
}: {
  window: Window;
  subject: string;
  open: (anchor: HTMLElement) => void;
}) {
  const { limit, used, max, waiting } = window;
  const isKnown = window.source !== "unknown";
  const full = used + waiting >= max;
  return (
    <button
      type="button"
      className={classes.cell}
      aria-haspopup="dialog"
      onClick={(event) => open(event.currentTarget)}
    >
      <span className={classes.top}>
        <span className={classes.subject}>{subject}, </span>
        <span className={classes.limit}>{limitName(limit)}</span>{" "}
        <span className={classes.figures} title={isKnown ? `${exact(used)} of ${exact(max)}` : sourceName("unknown")}>
          <b>{isKnown ? compact(used) : "unknown"}</b> / {compact(max)}
          {window.source === "learned" && (
            <span
              className={classes.learned}
              title={`Learned from the provider; configured: ${exact(window.configured)}`}
            >
              learned
            </span>
          )}
        </span>
      </span>
      <Track window={window} />
      <span className={classes.below} data-full={full || undefined}>
        <Below window={window} full={full} />
      </span>
    </button>
  );
});

export function Track({ window }: { window: Window }) {
  const { used, max, waiting } = window;
  const part = (units: number) => `${max > 0 ? Math.min(100, (100 * units) / max) : 100}%`;
  const pressure = used >= max ? "full" : fill(window) >= NEARLY_FULL ? "high" : "used";
  return (
    <span className={classes.track}>
      <span className={classes.used} data-pressure={pressure} style={{ width: part(used) }} />
      {waiting > 0 && (
        <span className={classes.held} style={{ width: part(Math.min(waiting, Math.max(0, max - used)) || waiting) }} />
      )}
    </span>
  );
}

/** The line below a bar: when it is free again, its forecast, its reset or what is left. */
function Below({ window, full }: { window: Window; full: boolean }) {
  const { next_free_at, resets_at, forecast, left, waiting } = window;
  const waits = waiting > 0 && ` · ${exact(waiting)} waiting`;
  if (full) {
    return (
      <>
        free <Countdown to={next_free_at} />
        {waits}
      </>
    );
  }
  if (waits) return <>{`${exact(waiting)} waiting`}</>;
  if (forecast?.exhausted_at)
    return <span className={classes.forecast}>out by {shortTime(forecast.exhausted_at)} at this pace</span>;
  if (resets_at) return <>resets {shortTime(resets_at)}</>;
  if (window.source === "unknown") return null;
  return <>{compact(left)} left</>;
}
