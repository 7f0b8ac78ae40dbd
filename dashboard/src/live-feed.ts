import { useSyncExternalStore } from "react";
import { call, session } from "./api";
import { events } from "./sse";
import type { Budget, RequestRecord } from "./types";

/**
 * How fresh what the page shows is. `live`: told as it happens. `polling`: the stream is away, so the page asks every few
 * seconds. `stale`: neither has brought anything for a while, and what is shown is from `heardAt`.
 */
export type Mode = "connecting" | "live" | "polling" | "stale";
export interface Freshness {
  mode: Mode;
  heardAt: number;
}

const QUIET_MS = 25_000; // the stream says something every 10 s
const STALE_MS = 15_000;
const HIDDEN_MS = 30_000; // a tab nobody looks at gives its connection back
const RETRIES_MS = [500, 1_000, 2_000, 5_000, 10_000];

type OnBudget = (budget: Budget) => void;
type OnRequest = (record: RequestRecord) => void;

export class Live {
  private freshness: Freshness = { mode: "connecting", heardAt: 0 };
  private readonly listeners = new Set<() => void>();
  private readonly requestListeners = new Set<OnRequest>();
  private controller: AbortController | null = null;
  private lastId: string | null = null;
  private failures = 0;
  private heardStream = 0;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private watch: ReturnType<typeof setInterval> | undefined;
  private hiding: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly onBudget: OnBudget) {}

  readonly get = () => this.freshness;
  readonly subscribe = (listener: () => void) => {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  };
  readonly onRequest = (listener: OnRequest) => {
    this.requestListeners.add(listener);
    return () => void this.requestListeners.delete(listener);
  };

  start() {
    this.heard();
    document.addEventListener("visibilitychange", this.seen);
    this.watch = setInterval(() => this.judge(), 1_000);
    this.connect();
  }

  stop() {
    document.removeEventListener("visibilitychange", this.seen);
    clearInterval(this.watch);
    clearTimeout(this.hiding);
    this.disconnect();
    this.failures = 0;
    this.show({ mode: "connecting", heardAt: 0 });
  }

  /** A poll brought an answer. */
  heard() {
    this.freshness = { ...this.freshness, heardAt: Date.now() };
    this.judge();
  }

  private readonly seen = () => {
    clearTimeout(this.hiding);
    if (document.hidden) this.hiding = setTimeout(() => this.disconnect(), HIDDEN_MS);
    else if (!this.controller) this.connect();
  };

  private connect() {
    clearTimeout(this.retry);
    const controller = new AbortController();
    this.controller = controller;
    void this.read(controller).finally(() => {
      if (this.controller !== controller) return; // somebody disconnected us
      this.controller = null;
      const wait = RETRIES_MS[Math.min(this.failures, RETRIES_MS.length - 1)];
      this.failures += 1;
      this.judge();
      if (session.get()) this.retry = setTimeout(() => this.connect(), wait);
    });
  }

  private disconnect() {
    clearTimeout(this.retry);
    const { controller } = this;
    this.controller = null;
    this.heardStream = 0;
    controller?.abort();
  }

  private async read(controller: AbortController) {
    const headers: Record<string, string> = { accept: "text/event-stream" };
    if (this.lastId) headers["last-event-id"] = this.lastId;
    try {
      const response = await call("GET", "/admin/v1/events", undefined, {
        headers,
        signal: controller.signal,
        cache: "no-store",
      });
      if (!response.body) return;
      const alive = () => {
        if (this.controller !== controller) return;
        this.failures = 0;
        this.heardStream = Date.now();
        this.heard();
      };
      alive();
      for await (const { event, data, id } of events(response.body, alive)) {
        if (id) this.lastId = id;
        if (event === "budget") this.onBudget(JSON.parse(data) as Budget);
        if (event === "request") {
          const record = JSON.parse(data) as RequestRecord;
          for (const listener of this.requestListeners) listener(record);
        }
      }
    } catch {
      // The mode says so; polling goes on meanwhile.
    } finally {
      if (this.controller === controller) this.heardStream = 0;
    }
  }

  private judge() {
    const now = Date.now();
    if (this.heardStream && now - this.heardStream > QUIET_MS) {
      this.disconnect();
      if (session.get()) this.connect();
    }
    const { heardAt, mode } = this.freshness;
    const stream = this.heardStream > 0;
    const next = stream
      ? "live"
      : now - heardAt > STALE_MS
        ? "stale"
        : this.failures > 0
          ? "polling"
          : mode === "live"
            ? "polling"
            : mode;
    this.show({ mode: next, heardAt });
  }

  private show(next: Freshness) {
    const changed = next.mode !== this.shown.mode;
    this.freshness = next;
    if (!changed) return;
    this.shown = next;
    for (const listener of this.listeners) listener();
  }
  private shown: Freshness = this.freshness;
}

/** Re-renders when the mode changes, not at every sign of life. */
export function useMode(live: Live): Mode {
  return useSyncExternalStore(live.subscribe, () => live.get().mode);
}
