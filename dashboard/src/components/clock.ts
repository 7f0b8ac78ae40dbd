import { useSyncExternalStore } from "react";

/** One timer for every countdown on the page. It runs only while something subscribes to it. */
const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;
let now = Date.now();

function subscribe(listener: () => void) {
  listeners.add(listener);
  if (listeners.size === 1) {
    now = Date.now();
    timer = setInterval(() => {
      now = Date.now();
      for (const each of listeners) each();
    }, 1_000);
  }
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) clearInterval(timer);
  };
}

/** The current time by this browser's clock, updated every second. */
export function useNow(): number {
  return useSyncExternalStore(subscribe, () => {
    if (listeners.size === 0) now = Math.max(now, Math.floor(Date.now() / 1_000) * 1_000);
    return now;
  });
}

/** Smaller differences may come from the age of a snapshot alone. */
const MIN_SKEW_MS = 3_000;
let skewMs = Number.NEGATIVE_INFINITY;

/** Learns the gateway's clock from the time of a snapshot. The freshest snapshot gives the best estimate. */
export function syncClock(takenAt: string) {
  skewMs = Math.max(skewMs, Date.parse(takenAt) - Date.now());
}

/** How far the gateway's clock is ahead of this browser's, in ms. */
export const clockSkew = () => (Number.isFinite(skewMs) && Math.abs(skewMs) > MIN_SKEW_MS ? skewMs : 0);
