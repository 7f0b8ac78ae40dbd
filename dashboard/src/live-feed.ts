import { useSyncExternalStore } from "react";
import { api, session } from "./api";
import { readEvents } from "./sse";
import type { Budget, RequestRecord } from "./types";

/**
 * How current the figures on the page are. `live`: the event stream delivers changes. `polling`: the stream is
 * interrupted and the page polls every few seconds. `stale`: neither has delivered anything since `updatedAt`.
 */
export type FeedMode = "connecting" | "live" | "polling" | "stale";
export interface Freshness {
  mode: FeedMode;
  updatedAt: number;
}

/** The gateway sends a keep-alive every 10 s: a stream silent for longer than this is dead. */
const STREAM_SILENCE_MS = 25_000;
const STALE_AFTER_MS = 15_000;
/** A tab hidden for this long gives up its connection. */
const HIDDEN_MS = 30_000;
const RETRY_DELAYS_MS = [500, 1_000, 2_000, 5_000, 10_000];

type OnBudget = (budget: Budget) => void;
type OnRequest = (record: RequestRecord) => void;
/** A provider has gained or lost models. */
type OnModels = () => void;

/** The gateway's event stream, reconnected when it breaks, and a record of how current the page is. */
export class LiveFeed {
  private freshness: Freshness = { mode: "connecting", updatedAt: 0 };
  private publishedMode: FeedMode = "connecting";
  private readonly listeners = new Set<() => void>();
  private readonly requestListeners = new Set<OnRequest>();
  private controller: AbortController | null = null;
  private lastEventId: string | null = null;
  private failures = 0;
  /** When the open stream last delivered anything; 0 without an open stream. */
  private streamActiveAt = 0;
  private retryTimer: ReturnType<typeof setTimeout> | undefined;
  private modeTimer: ReturnType<typeof setInterval> | undefined;
  private hiddenTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly onBudget: OnBudget,
    private readonly onModels: OnModels = () => {},
  ) {}

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
    this.markUpdated();
    document.addEventListener("visibilitychange", this.onVisibilityChange);
    this.modeTimer = setInterval(() => this.updateMode(), 1_000);
    this.connect();
  }

  stop() {
    document.removeEventListener("visibilitychange", this.onVisibilityChange);
    clearInterval(this.modeTimer);
    clearTimeout(this.hiddenTimer);
    this.disconnect();
    this.failures = 0;
    this.publish({ mode: "connecting", updatedAt: 0 });
  }

  /** Records that the page has just received data, by the stream or by a poll. */
  markUpdated() {
    this.freshness = { ...this.freshness, updatedAt: Date.now() };
    this.updateMode();
  }

  private readonly onVisibilityChange = () => {
    clearTimeout(this.hiddenTimer);
    if (document.hidden) this.hiddenTimer = setTimeout(() => this.disconnect(), HIDDEN_MS);
    else if (!this.controller) this.connect();
  };

  private connect() {
    clearTimeout(this.retryTimer);
    const controller = new AbortController();
    this.controller = controller;
    void this.readStream(controller).finally(() => {
      if (this.controller !== controller) return; // disconnected on purpose
      this.controller = null;
      const delay = RETRY_DELAYS_MS[Math.min(this.failures, RETRY_DELAYS_MS.length - 1)];
      this.failures += 1;
      this.updateMode();
      if (session.get()) this.retryTimer = setTimeout(() => this.connect(), delay);
    });
  }

  private disconnect() {
    clearTimeout(this.retryTimer);
    const { controller } = this;
    this.controller = null;
    this.streamActiveAt = 0;
    controller?.abort();
  }

  private async readStream(controller: AbortController) {
    const onChunk = () => {
      if (this.controller !== controller) return;
      this.failures = 0;
      this.streamActiveAt = Date.now();
      this.markUpdated();
    };
    try {
      const { data: body } = await api.GET("/admin/v1/events", {
        params: { header: this.lastEventId ? { "Last-Event-ID": this.lastEventId } : {} },
        headers: { accept: "text/event-stream" },
        parseAs: "stream",
        signal: controller.signal,
        cache: "no-store",
      });
      if (!body) return;
      onChunk();
      for await (const { event, data, id } of readEvents(body, { onChunk })) {
        if (id) this.lastEventId = id;
        if (event === "budget") this.onBudget(JSON.parse(data) as Budget);
        if (event === "models") this.onModels();
        if (event === "request") {
          const record = JSON.parse(data) as RequestRecord;
          for (const listener of this.requestListeners) listener(record);
        }
      }
    } catch {
      // The page shows the mode and polls until the stream is back.
    } finally {
      if (this.controller === controller) this.streamActiveAt = 0;
    }
  }

  private updateMode() {
    const now = Date.now();
    if (this.streamActiveAt && now - this.streamActiveAt > STREAM_SILENCE_MS) {
      this.disconnect();
      if (session.get()) this.connect();
    }
    this.publish({ mode: this.currentMode(now), updatedAt: this.freshness.updatedAt });
  }

  private currentMode(now: number): FeedMode {
    const { updatedAt, mode } = this.freshness;
    if (this.streamActiveAt > 0) return "live";
    if (now - updatedAt > STALE_AFTER_MS) return "stale";
    return this.failures > 0 || mode === "live" ? "polling" : mode;
  }

  private publish(next: Freshness) {
    this.freshness = next;
    if (next.mode === this.publishedMode) return;
    this.publishedMode = next.mode;
    for (const listener of this.listeners) listener();
  }
}

/** The mode of the feed. Re-renders when it changes, not for every event. */
export function useFeedMode(feed: LiveFeed): FeedMode {
  return useSyncExternalStore(feed.subscribe, () => feed.get().mode);
}
