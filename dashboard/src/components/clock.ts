import { useSyncExternalStore } from "react";

/** One clock for everything that counts down: ticks each second while somebody looks at it. */
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

export function useNow(): number {
  return useSyncExternalStore(subscribe, () => {
    if (listeners.size === 0) now = Math.max(now, Math.floor(Date.now() / 1_000) * 1_000);
    return now;
  });
}

/** How far the gateway's clock is from ours; what is within the age of a snapshot is none. */
const NOTICEABLE_MS = 3_000;
let ahead = Number.NEGATIVE_INFINITY;

/** A snapshot came that was taken then: the freshest of them says the most about the clock. */
export function saw(takenAt: string) {
  ahead = Math.max(ahead, Date.parse(takenAt) - Date.now());
}

export const offset = () => (Number.isFinite(ahead) && Math.abs(ahead) > NOTICEABLE_MS ? ahead : 0);
