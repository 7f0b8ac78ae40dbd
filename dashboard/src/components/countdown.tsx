import { moment, span } from "../format";
import { offset, useNow } from "./clock";

/** Time left, by the gateway's clock: `in 18 s`, and `now` when it has come. */
export function Countdown({ to }: { to: string }) {
  const left = Date.parse(to) - (useNow() + offset());
  return (
    <time dateTime={to} title={moment(to)} className="num">
      {left <= 0 ? "now" : `in ${span(Math.ceil(left / 1000) * 1000).replace(".0 s", " s")}`}
    </time>
  );
}
