import { Tooltip } from "@mantine/core";
import { duration, timeWithSeconds } from "../format";
import { useFeedMode, type FeedMode } from "../live-feed";
import { liveFeed } from "../queries";
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
