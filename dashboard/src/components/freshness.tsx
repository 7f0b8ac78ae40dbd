import { Tooltip } from "@mantine/core";
import { duration, timeWithSeconds } from "../format";
import { useFeedMode, type FeedMode } from "../live-feed";
import { liveFeed, useStatus } from "../queries";
import type { Status } from "../types";
import { useNow } from "./clock";
import classes from "./freshness.module.css";

const MODES: Record<FeedMode, [label: string, description: string]> = {
  connecting: ["Connecting", "Connecting to the live feed"],
  live: ["Live", "Updated as events happen, on all replicas"],
  polling: ["Polling", "The live feed is interrupted: polling every few seconds until it is back"],
  stale: ["Stale", "No response from the gateway for a while"],
};

/** How current the figures on the page are. Always visible. */
export function Freshness() {
  const mode = useFeedMode(liveFeed);
  const [label, description] = MODES[mode];
  return (
    <Tooltip label={description}>
      <span className={classes.pill} data-mode={mode} role="status">
        <span className={classes.dot} aria-hidden />
        {label}
      </span>
    </Tooltip>
  );
}

export function StaleBanner() {
  return useFeedMode(liveFeed) === "stale" ? <Stale since={liveFeed.get().updatedAt} /> : null;
}

export function Stale({ since }: { since: number }) {
  const now = useNow();
  return (
    <div className={classes.banner} role="alert">
      <strong>The gateway has not responded for {duration(now - since)}.</strong> The figures shown are from{" "}
      {timeWithSeconds(since, now)}. Retrying.
    </div>
  );
}

/** Shown while the ledger cannot be reached: since when and why, and how many requests wait for it. */
export function OutageBanner() {
  const ledger = useStatus().data?.ledger;
  return ledger && !ledger.reachable ? <Outage ledger={ledger} /> : null;
}

function Outage({ ledger }: { ledger: Status["ledger"] }) {
  const now = useNow();
  const since = ledger.awaySince ? ` since ${timeWithSeconds(Date.parse(ledger.awaySince), now)}` : "";
  const waiting = ledger.waiting === 1 ? "1 request waits" : `${ledger.waiting} requests wait`;
  return (
    <div className={classes.banner} role="alert">
      <strong>
        The ledger (Redis) has been away{since}: {waiting} for it at this replica.
      </strong>{" "}
      They are admitted in order when it is back.{ledger.awayCause && ` The cause: ${ledger.awayCause}`}
    </div>
  );
}
