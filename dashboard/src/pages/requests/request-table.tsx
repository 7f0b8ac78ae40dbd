import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { memo, useEffect, useLayoutEffect, useRef, useState } from "react";
import { Tag } from "../../components/page";
import type { RequestRecord } from "../../types";
import { causeName, timeWithSeconds, exact, fullTime, compact, elapsed } from "../../format";
import classes from "./request-table.module.css";

const COLUMNS = [
  "Time",
  "Status",
  "Client",
  "Model",
  "Served by",
  "Attempts",
  "Waited",
  "First token",
  "Duration",
  "Tokens in",
  "Out",
];
const ROW = 36;
const NARROW_ROW = 62;

/** A list of requests. Only the visible rows are rendered, so ten thousand scroll smoothly. */
export function RequestTable({
  rows,
  open,
  more,
  busy,
}: {
  rows: RequestRecord[];
  open: (record: RequestRecord) => void;
  more: (() => void) | null;
  busy: boolean;
}) {
  const list = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const narrow = useNarrow();
  useLayoutEffect(() => setTop(list.current?.offsetTop ?? 0), [narrow]);
  const virtual = useWindowVirtualizer({
    count: rows.length,
    estimateSize: () => (narrow ? NARROW_ROW : ROW),
    overscan: 12,
    scrollMargin: top,
    getItemKey: (at) => rows[at]?.cursor ?? at,
  });
  useEffect(() => virtual.measure(), [narrow, virtual]);
  const items = virtual.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (more && last > rows.length - 40) more();
  }, [last, rows.length, more]);

  return (
    // The arrow keys move between rows. Each row contains one button.
    <div
      className={classes.table}
      role="table"
      aria-label="Requests"
      aria-rowcount={more ? -1 : rows.length + 1}
      aria-colcount={COLUMNS.length}
    >
      <div role="rowgroup" className={classes.heads}>
        <div role="row" aria-rowindex={1} className={classes.row}>
          {COLUMNS.map((name) => (
            <span key={name} role="columnheader">
              {name}
            </span>
          ))}
        </div>
      </div>
      <div role="rowgroup" ref={list} className={classes.body} style={{ height: virtual.getTotalSize() }}>
        {items.map((item) => {
          const record = rows[item.index];
          return (
            record && (
              <Row
                key={item.key}
                record={record}
                index={item.index}
                top={item.start - top}
                height={item.size}
                open={open}
              />
            )
          );
        })}
      </div>
      {busy && <p className={classes.busy}>Loading older requests…</p>}
    </div>
  );
}

interface RowProps {
  record: RequestRecord;
  index: number;
  top: number;
  height: number;
  open: (record: RequestRecord) => void;
}

const Row = memo(function Row({ record, index, top, height, open }: RowProps) {
  const {
    time,
    status,
    client,
    client_name,
    model_requested,
    model,
    attempts,
    waited_ms,
    first_token_ms,
    duration_ms,
    tokens_in,
    tokens_out,
  } = record;
  return (
    <div
      role="row"
      aria-rowindex={index + 2}
      className={classes.row}
      style={{ transform: `translateY(${top}px)`, height }}
      onClick={() => open(record)}
      onKeyDown={moveFocus}
      tabIndex={-1}
    >
      <span role="cell" className={classes.time} title={fullTime(time)}>
        <button
          type="button"
          className={classes.open}
          aria-label={`Request of ${timeWithSeconds(time)} by ${client_name ?? client}, ${status}: show`}
        >
          {timeWithSeconds(time)}
        </button>
      </span>
      <span role="cell" className={classes.status}>
        <StatusTag record={record} />
      </span>
      <span role="cell" className={classes.client} title={client_name ? `${client_name} (${client})` : client}>
        {client_name ?? client}
      </span>
      <span role="cell" className={classes.model} title={model_requested}>
        {model_requested}
      </span>
      <span role="cell" className={classes.served} title={model ?? undefined}>
        {model ?? <i>none</i>}
      </span>
      <span
        role="cell"
        className={classes.attempts}
        aria-label={`${attempts.length} attempts`}
        title={attempts.map(({ candidate, cause }) => `${candidate}: ${causeName(cause)}`).join("\n")}
      >
        {attempts.slice(0, 8).map((attempt, at) => (
          <span
            key={at}
            data-cause={attempt.cause === "ok" ? "ok" : attempt.cause.startsWith("429") ? "limited" : "failed"}
          />
        ))}
        {attempts.length > 8 && `+${attempts.length - 8}`}
      </span>
      <span role="cell" className={classes.figure} data-what="waited" data-long={waited_ms > 1_000 || undefined}>
        {waited_ms ? elapsed(waited_ms) : "–"}
      </span>
      <span role="cell" className={classes.figure} data-what="first">
        {elapsed(first_token_ms)}
      </span>
      <span role="cell" className={classes.figure} data-what="took">
        {elapsed(duration_ms)}
      </span>
      <span
        role="cell"
        className={classes.figure}
        data-what="in"
        title={tokens_in === null ? undefined : exact(tokens_in)}
      >
        {tokens_in === null ? "–" : compact(tokens_in)}
      </span>
      <span
        role="cell"
        className={classes.figure}
        data-what="out"
        title={tokens_out === null ? undefined : exact(tokens_out)}
      >
        {tokens_out === null ? "–" : compact(tokens_out)}
      </span>
    </div>
  );
});

export function StatusTag({ record: { status, error_code } }: { record: RequestRecord }) {
  const tone = status < 400 ? "ok" : status === 429 ? "warn" : "bad";
  return (
    <Tag tone={tone} title={error_code ?? undefined}>
      {status}
    </Tag>
  );
}

function moveFocus(event: React.KeyboardEvent<HTMLElement>) {
  const step =
    event.key === "ArrowDown" ? "nextElementSibling" : event.key === "ArrowUp" ? "previousElementSibling" : null;
  const other = step && event.currentTarget[step];
  if (!other) return;
  event.preventDefault();
  other.querySelector("button")?.focus();
}

function useNarrow(): boolean {
  const [narrow, setNarrow] = useState(() => matchMedia(NARROW).matches);
  useEffect(() => {
    const query = matchMedia(NARROW);
    const listen = () => setNarrow(query.matches);
    query.addEventListener("change", listen);
    return () => query.removeEventListener("change", listen);
  }, []);
  return narrow;
}
const NARROW = "(max-width: 860px)";
