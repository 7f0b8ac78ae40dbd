import { duration, fullTime } from "../format";
import { clockSkew, useNow } from "./clock";

/** The time left until `to` by the gateway's clock, such as `in 18 s`; then `now`. */
export function Countdown({ to }: { to: string }) {
  const left = Date.parse(to) - (useNow() + clockSkew());
  return (
    <time dateTime={to} title={fullTime(to)} className="num">
      {left <= 0 ? "now" : `in ${duration(Math.ceil(left / 1000) * 1000).replace(".0 s", " s")}`}
    </time>
  );
}
