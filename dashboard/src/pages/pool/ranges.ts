const HOUR = 3_600_000;

/** The selectable time ranges. `bin`: how many points are merged into one, so that a day stays legible. */
export const RANGES = {
  "1 h": { step: "minute", back: HOUR, bin: 1 },
  "24 h": { step: "minute", back: 24 * HOUR, bin: 15 },
  "30 d": { step: "day", back: 30 * 24 * HOUR, bin: 1 },
} as const;
export type Range = keyof typeof RANGES;
