import { useImperativeHandle, useRef, useState, type Ref } from "react";
import { Button } from "@mantine/core";
import { Countdown } from "../../components/countdown";
import { Problem } from "../../components/notice";
import { useForgetLimit } from "../../queries";
import type { Budget, Window } from "../../types";
import { shortTime, exact, kindName, limitName, fullTime, compact, sourceName, duration } from "../../format";
import { Track } from "./bar";
import classes from "./bar-details.module.css";

/** Identifies a bar. `model` is null for a limit over all models of the account. */
export interface BarId {
  provider: string;
  account: string;
  model: string | null;
  limit: string;
}
export interface DetailsHandle {
  show: (bar: BarId, anchor: HTMLElement) => void;
}

const WIDTH = 330;
const GAP = 6;

/** The details of one bar in a popover beside it. One popover serves all bars of the page. */
export function BarDetails({ budget, ref }: { budget: Budget; ref: Ref<DetailsHandle> }) {
  const box = useRef<HTMLDivElement>(null);
  const [bar, setBar] = useState<BarId | null>(null);
  useImperativeHandle(ref, () => ({
    show(bar, anchor) {
      setBar(bar);
      const at = anchor.getBoundingClientRect();
      const popover = box.current;
      if (!popover) return;
      const above = at.bottom > window.innerHeight * 0.62;
      popover.style.left = `${Math.max(8, Math.min(at.left, window.innerWidth - WIDTH - 8))}px`;
      popover.style.top = above ? "auto" : `${at.bottom + GAP}px`;
      popover.style.bottom = above ? `${window.innerHeight - at.top + GAP}px` : "auto";
      popover.showPopover();
      popover.focus();
      window.addEventListener("scroll", () => popover.hidePopover(), { once: true, passive: true });
    },
  }));
  const found = bar && find(budget, bar);
  return (
    <div
      ref={box}
      popover="auto"
      role="dialog"
      tabIndex={-1}
      aria-label={bar ? title(bar) : "Limit"}
      className={classes.box}
    >
      {bar && found && <Details bar={bar} window={found} />}
      {bar && !found && <p>This limit no longer exists.</p>}
    </div>
  );
}

const title = ({ provider, account, model, limit }: BarId) =>
  `${limitName(limit)} of ${model ?? "all models"}, ${provider} ${account}`;

function find(budget: Budget, bar: BarId): Window | undefined {
  const account = budget.providers
    .find((each) => each.id === bar.provider)
    ?.accounts.find((each) => each.id === bar.account);
  const windows =
    bar.model === null ? account?.windows : account?.models.find((each) => each.id === bar.model)?.windows;
  return windows?.find((each) => each.limit === bar.limit);
}

function Details({ bar, window }: { bar: BarId; window: Window }) {
  const { used, left, max, configured, source, kind, span_ms, next_free_at, resets_at, forecast, clients, waiting } =
    window;
  return (
    <>
      <h3>{limitName(bar.limit)}</h3>
      <p className={classes.subject}>
        {bar.model ?? "All models"} · {bar.provider} / {bar.account}
      </p>
      <Track window={window} />
      <dl className={classes.facts}>
        <Fact name="Used">{source === "unknown" ? "unknown" : exact(used)}</Fact>
        {waiting > 0 && <Fact name="Reserved for waiting requests">{exact(waiting)}</Fact>}
        <Fact name="Left">{source === "unknown" ? "unknown" : exact(left)}</Fact>
        <Fact name="Limit">
          {exact(max)}{" "}
          {source === "learned" && configured !== max && (
            <span className={classes.soft}>(configured {exact(configured)})</span>
          )}
        </Fact>
        <Fact name="Source">{sourceName(source)}</Fact>
        {window.learned && (
          <Fact name="Learned">
            <Learned bar={bar} from={window.learned} />
          </Fact>
        )}
        <Fact name="Window">
          {kindName(kind)}
          {span_ms > 0 && `, ${duration(span_ms).replace(".0", "")}`}
        </Fact>
        {used >= max && (
          <Fact name="Next free">
            <Countdown to={next_free_at} />
          </Fact>
        )}
        {resets_at && (
          <Fact name="Resets">
            <span title={fullTime(resets_at)}>{shortTime(resets_at)}</span>{" "}
            <span className={classes.soft}>your time zone</span>
          </Fact>
        )}
        {forecast && (
          <Fact name="At this pace">
            {compact(forecast.pace_per_hour)} per hour,{" "}
            {forecast.exhausted_at ? `out by ${shortTime(forecast.exhausted_at)}` : "lasts until the reset"}
          </Fact>
        )}
      </dl>
      {clients.length > 0 && (
        <>
          <h4>Usage by client</h4>
          <ul className={classes.clients}>
            {clients.map((share) => (
              <li key={share.client}>
                <span className={classes.client}>{share.name ?? share.client}</span>
                <span
                  className={classes.share}
                  style={{ width: `${Math.max(2, (70 * share.units) / Math.max(1, used))}px` }}
                />
                <span className="num">{exact(share.units)}</span>
              </li>
            ))}
          </ul>
        </>
      )}
    </>
  );
}

const ORIGINS = {
  answer: "from the headers of an answer",
  refusal: "from a refusal",
  ceiling: "a refusal named no limit: what was used then, for a day",
  unknown: "from a response",
} as const;

/** Where and when the limit was learned, and a button that puts the configured one in force again. */
function Learned({ bar, from: { from, at } }: { bar: BarId; from: NonNullable<Window["learned"]> }) {
  const forget = useForgetLimit();
  return (
    <>
      {ORIGINS[from]}
      {at && <span title={fullTime(at)}>, {shortTime(at)}</span>}{" "}
      <Button variant="default" size="compact-xs" loading={forget.isPending} onClick={() => forget.mutate(bar)}>
        Dismiss
      </Button>
      <Problem error={forget.error} />
    </>
  );
}

function Fact({ name, children }: { name: string; children: React.ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
