import { useEffect, useRef, useState } from "react";
import { useFeedMode } from "../../live-feed";
import { listNewestRequests, liveFeed, type Filters } from "../../queries";
import type { RequestRecord } from "../../types";

const MAX_RECORDS = 10_000;
const POLL_MS = 3_000;
/** Records that arrive within this time are rendered together. */
const BATCH_MS = 250;

/** The requests that ended since the page was opened, newest first. */
export function useTail(filters: Filters, newestShown: RequestRecord | undefined): RequestRecord[] {
  const [tail, setTail] = useState<{ filters: Filters; records: RequestRecord[] }>({ filters, records: [] });
  const mode = useFeedMode(liveFeed);
  const base = useRef(newestShown);
  useEffect(() => {
    base.current = newestShown;
  }, [newestShown]);

  // New filters start a new list.
  if (tail.filters !== filters) setTail({ filters, records: [] });

  useEffect(() => {
    let batch: RequestRecord[] = [];
    let timer: ReturnType<typeof setTimeout> | undefined;
    const stop = liveFeed.onRequest((record) => {
      if (!matchesFilters(record, filters)) return;
      batch.unshift(record);
      timer ??= setTimeout(() => {
        const more = batch;
        setTail((now) => withRecords(now, more));
        batch = [];
        timer = undefined;
      }, BATCH_MS);
    });
    return () => {
      stop();
      clearTimeout(timer);
    };
  }, [filters]);

  // While the stream is interrupted, and once after it is back, fetch the requests it did not deliver.
  useEffect(() => {
    if (mode === "connecting") return;
    const fetchMissed = () =>
      listNewestRequests(filters).then(
        ({ data }) =>
          setTail((now) =>
            withRecords(
              now,
              data.filter((record) => !base.current || record.time > base.current.time),
            ),
          ),
        () => {}, // the freshness indicator shows the failure
      );
    if (mode === "live") {
      if (base.current) void fetchMissed();
      return;
    }
    const timer = setInterval(() => void fetchMissed(), POLL_MS);
    return () => clearInterval(timer);
  }, [mode, filters]);

  return tail.filters === filters ? tail.records : [];
}

function withRecords<T extends { records: RequestRecord[] }>(now: T, more: RequestRecord[]): T {
  const known = new Set(now.records.map((record) => record.cursor));
  const fresh = more.filter((record) => !known.has(record.cursor));
  return fresh.length === 0 ? now : { ...now, records: [...fresh, ...now.records].slice(0, MAX_RECORDS) };
}

/** Whether a record of the event stream, which the gateway does not filter, matches the filters of the list. */
export function matchesFilters(record: RequestRecord, { client, provider, model, status, search }: Filters): boolean {
  const kind = record.status < 400 ? "ok" : record.status === 429 ? "429" : "error";
  const text =
    `${record.id} ${record.client} ${record.client_name ?? ""} ${record.model_requested} ${record.model ?? ""} ${record.session ?? ""}`.toLowerCase();
  return (
    (!client || record.client === client) &&
    (!provider || record.provider === provider) &&
    (!model || record.model === model || record.model_requested === model) &&
    (!status || status === kind || status === String(record.status)) &&
    (!search || text.includes(search.toLowerCase()))
  );
}
