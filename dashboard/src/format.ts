import type { Strategy } from "./types";

/** Figures, times and causes as text. */

const integer = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const UNITS: [number, string][] = [
  [1e12, "T"],
  [1e9, "G"],
  [1e6, "M"],
  [1e3, "k"],
];

/** All digits: `1,234`. */
export const exact = (n: number) => integer.format(n);

/** At most four characters: `950`, `1.2k`, `84k`, `3.4M`. */
export function compact(n: number): string {
  const size = Math.abs(n);
  if (size < 1000) return size < 10 && !Number.isInteger(n) ? n.toFixed(1) : integer.format(n);
  for (const [unit, sign] of UNITS) {
    // 999,950 is "1M", not "1000k"
    if (size >= unit * 0.99995 || unit === 1e3) {
      const value = n / unit;
      return `${Math.abs(value) < 99.95 ? value.toFixed(1).replace(/\.0$/, "") : integer.format(value)}${sign}`;
    }
  }
  return integer.format(n);
}

/** A duration in at most two units: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`. */
export function duration(ms: number): string {
  const s = ms / 1000;
  if (s < 9.95) return `${s.toFixed(1)} s`;
  if (s < 59.5) return `${Math.round(s)} s`;
  const m = Math.floor(Math.round(s) / 60);
  if (m < 60) return twoUnits(m, "min", Math.round(s) % 60, "s");
  const h = Math.floor(m / 60);
  if (h < 24) return twoUnits(h, "h", m % 60, "min");
  return twoUnits(Math.floor(h / 24), "d", h % 24, "h");
}
const twoUnits = (a: number, unitA: string, b: number, unitB: string) =>
  b ? `${a} ${unitA} ${b} ${unitB}` : `${a} ${unitA}`;

/** A latency: `240 ms`, `1.2 s`. */
export const elapsed = (ms: number | null) => (ms === null ? "–" : ms < 1000 ? `${Math.round(ms)} ms` : duration(ms));

export const percent = (part: number, of: number) =>
  of > 0 ? `${((100 * part) / of).toFixed(part === of ? 0 : 1)} %` : "–";

const amount = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

/** An amount of money without its currency: `1,234.50`. */
export const money = (n: number) => amount.format(n);

/** For the axis of a chart, where all labels share one unit: `0.4 s`. */
export const axisSeconds = (ms: number) => `${Number((ms / 1000).toFixed(2))} s`;

const timeOfDay = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const withSeconds = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const dayAndYear = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
const complete = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });

const isSameDay = (a: Date, b: Date) => a.toDateString() === b.toDateString();

/** In the browser's time zone: `14:03`, or `3 Jun 14:03` on another day. */
export function shortTime(time: string | number, now = Date.now()): string {
  const at = new Date(time);
  if (Number.isNaN(at.valueOf())) return "";
  return isSameDay(at, new Date(now)) ? timeOfDay.format(at) : `${day.format(at)} ${timeOfDay.format(at)}`;
}
export function timeWithSeconds(time: string | number, now = Date.now()): string {
  const at = new Date(time);
  return isSameDay(at, new Date(now)) ? withSeconds.format(at) : shortTime(time, now);
}
export function shortDate(time: string): string {
  const at = new Date(time);
  if (Number.isNaN(at.valueOf())) return "";
  return at.getFullYear() === new Date().getFullYear() ? day.format(at) : dayAndYear.format(at);
}
export const fullTime = (time: string | number) => complete.format(new Date(time));

/** `just now`, `5 min ago`, `3 d ago`. */
export function ago(time: string, now: number): string {
  const ms = now - Date.parse(time);
  return ms < 5_000 ? "just now" : `${duration(ms).split(" ").slice(0, 2).join(" ")} ago`;
}

const LIMITS: Record<string, string> = {
  rps: "requests / s",
  rpm: "requests / min",
  rph: "requests / h",
  rpd: "requests / day",
  rpmonth: "requests / month",
  tps: "tokens / s",
  tpm: "tokens / min",
  tph: "tokens / h",
  tpd: "tokens / day",
  tpmonth: "tokens / month",
  itpm: "input tokens / min",
  ash: "audio seconds / h",
  asd: "audio seconds / day",
  concurrency: "concurrent requests",
  allowance: "‰ of the month",
};
export const limitName = (limit: string) => LIMITS[limit] ?? limit;

const SOURCES: Record<string, string> = {
  catalogue: "from the built-in catalogue",
  file: "from tollfree.toml",
  provider: "reported by the provider",
  learned: "learned from the provider's responses",
  unknown: "not reported by the provider yet",
};
export const sourceName = (source: string) => SOURCES[source] ?? source;

/** How a meta-model orders its members. */
export const STRATEGIES: Record<Strategy, string> = {
  headroom: "most headroom left first",
  fast: "lowest measured time to first token first",
  smart: "highest quality rank first",
  listed: "in the configured order",
  round_robin: "in turn",
  random: "in random order",
};

const KINDS: Record<string, string> = {
  sliding: "sliding: at most this many in any span of this length",
  bucket: "bucket: refilled continuously",
  calendar: "calendar: ends at the provider's midnight",
  concurrency: "concurrency: requests in flight",
};
export const kindName = (kind: string) => KINDS[kind] ?? kind;

/** The outcome of an attempt as text: `429_rpd` is `429, out of requests / day`. */
export function causeName(cause: string): string {
  const limited = /^(\d{3})_(.+)$/.exec(cause);
  if (cause === "ok") return "answered";
  if (limited?.[1] === "429") return `429, out of ${limitName(limited[2] ?? "")}`;
  return cause.replaceAll("_", " ");
}
