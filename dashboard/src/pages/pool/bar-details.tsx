import { useImperativeHandle, useRef, useState, type Ref } from "react";
import { Countdown } from "../../components/countdown";
import type { Budget, Window } from "../../types";
import { clock, exact, kindName, limitName, moment, short, sourceName, span } from "../../format";
import { Track } from "./bar";
import classes from "./bar-details.module.css";

/** Which bar: `model` null for a limit over all models of the account. */
export interface Place {
  provider: string;
  account: string;
  model: string | null;
  limit: string;
}
export interface DetailsHandle {
  show: (place: Place, anchor: HTMLElement) => void;
}

const WIDTH = 330;
const GAP = 6;

/** All there is to say of one bar, beside it. One for the page: two hundred bars need not bring one each. */
export function BarDetails({ budget, ref }: { budget: Budget; ref: Ref<DetailsHandle> }) {
  const box = useRef<HTMLDivElement>(null);
  const [place, setPlace] = useState<Place | null>(null);
  useImperativeHandle(ref, () => ({
    show(place, anchor) {
      setPlace(place);
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
  const found = place && find(budget, place);
  return (
    <div
      ref={box}
      popover="auto"
      role="dialog"
      tabIndex={-1}
      aria-label={place ? title(place) : "Limit"}
      className={classes.box}
    >
      {place && found && <Told place={place} window={found} />}
      {place && !found && <p>This limit is no longer there.</p>}
    </div>
  );
}

const title = ({ provider, account, model, limit }: Place) =>
  `${limitName(limit)} of ${model ?? "all models"}, ${provider} ${account}`;

function find(budget: Budget, place: Place): Window | undefined {
  const account = budget.providers
    .find((each) => each.id === place.provider)
    ?.accounts.find((each) => each.id === place.account);
  const windows =
    place.model === null ? account?.windows : account?.models.find((each) => each.id === place.model)?.windows;
  return windows?.find((each) => each.limit === place.limit);
}

function Told({ place, window }: { place: Place; window: Window }) {
  const { used, left, max, configured, source, kind, span_ms, next_free_at, resets_at, forecast, users, waiting } =
    window;
  return (
    <>
      <h3>{limitName(place.limit)}</h3>
      <p className={classes.subject}>
        {place.model ?? "All models"} · {place.provider} / {place.account}
      </p>
      <Track window={window} />
      <dl className={classes.facts}>
        <Fact name="Used">{exact(used)}</Fact>
        {waiting > 0 && <Fact name="Held for waiters">{exact(waiting)}</Fact>}
        <Fact name="Left">{exact(left)}</Fact>
        <Fact name="Limit">
          {exact(max)}{" "}
          {source === "learned" && configured !== max && (
            <span className={classes.soft}>(configured {exact(configured)})</span>
          )}
        </Fact>
        <Fact name="Figure">{sourceName(source)}</Fact>
        <Fact name="Counted">
          {kindName(kind)}
          {span_ms > 0 && `, ${span(span_ms).replace(".0", "")}`}
        </Fact>
        {used >= max && (
          <Fact name="Next free">
            <Countdown to={next_free_at} />
          </Fact>
        )}
        {resets_at && (
          <Fact name="Resets">
            <span title={moment(resets_at)}>{clock(resets_at)}</span> <span className={classes.soft}>your time</span>
          </Fact>
        )}
        {forecast && (
          <Fact name="At this pace">
            {short(forecast.pace_per_hour)} an hour,{" "}
            {forecast.exhausted_at ? `out by ${clock(forecast.exhausted_at)}` : "it lasts until the reset"}
          </Fact>
        )}
      </dl>
      {users.length > 0 && (
        <>
          <h4>Who uses it</h4>
          <ul className={classes.users}>
            {users.map((user) => (
              <li key={user.client}>
                <span className={classes.user}>{user.name ?? user.client}</span>
                <span
                  className={classes.share}
                  style={{ width: `${Math.max(2, (70 * user.units) / Math.max(1, used))}px` }}
                />
                <span className="num">{exact(user.units)}</span>
              </li>
            ))}
          </ul>
        </>
      )}
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
