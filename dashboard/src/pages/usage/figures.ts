import type { Cell } from "../../csv";
import { compact, elapsed, exact, money, percent } from "../../format";
import type { Usage, UsageFigures } from "../../types";

/** The columns of every table of figures. `saved` is left out where the operator has set no prices. */

export interface Column {
  name: string;
  of: (figures: UsageFigures) => Cell;
  text: (figures: UsageFigures) => string;
  /** The exact figure, where `text` rounds. */
  title?: (figures: UsageFigures) => string;
}

const counted = (name: string, of: (figures: UsageFigures) => number): Column => ({
  name,
  of,
  text: (figures) => compact(of(figures)),
  title: (figures) => exact(of(figures)),
});
const share = (name: string, of: (figures: UsageFigures) => number): Column => ({
  name,
  of,
  text: (figures) => percent(of(figures), figures.requests),
  title: (figures) => exact(of(figures)),
});
const timed = (name: string, of: (figures: UsageFigures) => number | null): Column => ({
  name,
  of,
  text: (figures) => elapsed(of(figures)),
});

const COLUMNS: Column[] = [
  counted("Requests", ({ requests }) => requests),
  share("Answered", ({ ok }) => ok),
  share("Refused", ({ limited }) => limited),
  share("Failed", ({ failed }) => failed),
  counted("Tokens in", ({ tokens_in }) => tokens_in),
  counted("Tokens out", ({ tokens_out }) => tokens_out),
  timed("First token p50", ({ first_token_p50_ms }) => first_token_p50_ms),
  timed("First token p95", ({ first_token_p95_ms }) => first_token_p95_ms),
];

export function columnsOf(currency: string | null): Column[] {
  if (currency === null) return COLUMNS;
  const saved = ({ saved }: UsageFigures) => saved ?? 0;
  return [...COLUMNS, { name: `Saved, ${currency}`, of: saved, text: (figures) => money(saved(figures)) }];
}

/** The same columns without percentiles, which cannot be added up. */
export const summable = (columns: Column[]) => columns.filter(({ name }) => !name.startsWith("First token"));

const ADDED = ["requests", "ok", "failed", "limited", "tokens_in", "tokens_out", "waited_ms"] as const;

/** The sums of all series in each step, oldest first. */
export function overTime({ series }: Usage): { time: string; figures: UsageFigures }[] {
  const sums = new Map<string, UsageFigures>();
  for (const point of series.flatMap(({ points }) => points)) {
    const before = sums.get(point.time);
    const sum = { ...point, first_token_p50_ms: null, first_token_p95_ms: null };
    if (before) {
      for (const name of ADDED) sum[name] = before[name] + point[name];
      sum.saved = before.saved === null || point.saved === null ? null : before.saved + point.saved;
    }
    sums.set(point.time, sum);
  }
  return [...sums].map(([time, figures]) => ({ time, figures })).sort((a, b) => a.time.localeCompare(b.time));
}
