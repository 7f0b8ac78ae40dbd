import { Tooltip } from "@mantine/core";
import { live } from "../queries";
import { useMode, type Mode } from "../live-feed";
import { clockSeconds, span } from "../format";
import { useNow } from "./clock";
import classes from "./freshness.module.css";

const SAYS: Record<Mode, [label: string, why: string]> = {
  connecting: ["Connecting", "Opening the live feed"],
  live: ["Live", "Told by the gateway as it happens, over all replicas"],
  polling: ["Polling", "The live feed is away: asking every few seconds until it is back"],
  stale: ["Stale", "Nothing has been heard from the gateway for a while"],
};

/** How fresh the figures are, always in sight. */
export function Freshness() {
  const mode = useMode(live);
  const [label, why] = SAYS[mode];
  return (
    <Tooltip label={why}>
      <span className={classes.pill} data-mode={mode} role="status">
        <span className={classes.dot} aria-hidden />
        {label}
      </span>
    </Tooltip>
  );
}

export function StaleBanner() {
  return useMode(live) === "stale" ? <Stale since={live.get().heardAt} /> : null;
}

export function Stale({ since }: { since: number }) {
  const now = useNow();
  return (
    <div className={classes.banner} role="alert">
      <strong>The gateway has not answered for {span(now - since)}.</strong> What you see is from{" "}
      {clockSeconds(since, now)}; this page keeps trying.
    </div>
  );
}
