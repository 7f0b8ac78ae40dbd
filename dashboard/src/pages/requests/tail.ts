import { useEffect, useRef, useState } from "react";
import { useMode } from "../../live-feed";
import { live, newest, type Filters } from "../../queries";
import type { RequestRecord } from "../../types";

const KEEP = 10_000;
const POLL_MS = 3_000;
const BATCH_MS = 250; // a burst is one render

/** What ended since the page was opened, the newest first. */
export function useTail(filters: Filters, newestShown: RequestRecord | undefined): RequestRecord[] {
  const [tail, setTail] = useState<{ filters: Filters; records: RequestRecord[] }>({ filters, records: [] });
  const mode = useMode(live);
  const base = useRef(newestShown);
  useEffect(() => {
    base.current = newestShown;
  }, [newestShown]);

  // Other filters: another list.
  if (tail.filters !== filters) setTail({ filters, records: [] });

  useEffect(() => {
    let batch: RequestRecord[] = [];
    let timer: ReturnType<typeof setTimeout> | undefined;
    const stop = live.onRequest((record) => {
      if (!fits(record, filters)) return;
      batch.unshift(record);
      timer ??= setTimeout(() => {
        const more = batch;
        setTail((now) => joined(now, more));
        batch = [];
        timer = undefined;
      }, BATCH_MS);
    });
    return () => {
      stop();
      clearTimeout(timer);
    };
  }, [filters]);

  // The stream is away, or just back: ask what was missed.
  useEffect(() => {
    if (mode === "connecting") return;
    const ask = () =>
      newest(filters).then(
        ({ data }) =>
          setTail((now) =>
            joined(
              now,
              data.filter((record) => !base.current || record.time > base.current.time),
            ),
          ),
        () => {}, // the mode says so
      );
    if (mode === "live") {
      if (base.current) void ask();
      return;
    }
    const timer = setInterval(() => void ask(), POLL_MS);
    return () => clearInterval(timer);
  }, [mode, filters]);

  return tail.filters === filters ? tail.records : [];
}

function joined<T extends { records: RequestRecord[] }>(now: T, more: RequestRecord[]): T {
  const known = new Set(now.records.map((record) => record.id));
  const fresh = more.filter((record) => !known.has(record.id));
  return fresh.length === 0 ? now : { ...now, records: [...fresh, ...now.records].slice(0, KEEP) };
}

/** The same question the gateway answers, for what it tells of itself. */
export function fits(record: RequestRecord, { client, provider, model, status, search }: Filters): boolean {
  const kind = record.status < 400 ? "ok" : record.status === 429 ? "429" : "error";
  const text =
    `${record.id} ${record.client} ${record.client_name ?? ""} ${record.model_asked} ${record.model ?? ""}`.toLowerCase();
  return (
    (!client || record.client === client) &&
    (!provider || record.provider === provider) &&
    (!model || record.model === model || record.model_asked === model) &&
    (!status || status === kind || status === String(record.status)) &&
    (!search || text.includes(search.toLowerCase()))
  );
}
