import { Anchor, Drawer } from "@mantine/core";
import { Link } from "wouter";
import { CopyButton } from "../../components/copy-button";
import { Icon } from "../../components/icons";
import { Empty } from "../../components/notice";
import { Loading, Tag } from "../../components/page";
import { QueryView } from "../../components/query-view";
import { useConfig, useRequest } from "../../queries";
import type { PassedOver, RequestRecord } from "../../types";
import { causeName, exact, limitName, fullTime, duration, elapsed } from "../../format";
import { StatusTag } from "./request-table";
import { Timeline } from "./timeline";
import classes from "./request-drawer.module.css";

interface Props {
  id: string | null;
  /** The record, if the list already contains it. */
  known: RequestRecord | undefined;
  close: () => void;
}

/** The details of one request. */
export function RequestDrawer({ id, known, close }: Props) {
  const query = useRequest(known ? null : id);
  return (
    <Drawer
      opened={id !== null}
      onClose={close}
      size={620}
      title={<span className={classes.title}>Request</span>}
      closeButtonProps={{ "aria-label": "Close" }}
    >
      {known ? (
        <Details record={known} />
      ) : (
        id !== null && (
          <QueryView query={query} loading={<Loading rows={6} height={30} />}>
            {(record) => (record ? <Details record={record} /> : <NotInJournal id={id} />)}
          </QueryView>
        )
      )}
    </Drawer>
  );
}

const NotInJournal = ({ id }: { id: string }) => (
  <Empty icon="search" title="Not in the journal">
    No request has the id <code>{id}</code>, or it is older than the journal.
  </Empty>
);

function Details({ record }: { record: RequestRecord }) {
  const {
    id,
    time,
    client,
    client_name,
    model_requested,
    model,
    account,
    stream,
    protocol,
    tokens_in,
    tokens_out,
    tokens_cached,
    audio_seconds,
    session,
    first_token_ms,
    duration_ms,
    passed_over,
    error_code,
  } = record;
  const speed =
    tokens_out && first_token_ms !== null && duration_ms > first_token_ms
      ? (tokens_out * 1000) / (duration_ms - first_token_ms)
      : null;
  return (
    <div className={classes.details}>
      <p className={classes.id}>
        <code>{id}</code>
        <CopyButton text={id} label="Copy the id" />
      </p>
      <p className={classes.summary}>
        <StatusTag record={record} /> {summary(record)}
      </p>
      <dl className={classes.facts}>
        <Fact name="Ended">{fullTime(time)}</Fact>
        <Fact name="Client">
          <Anchor component={Link} href={`/clients/${encodeURIComponent(client)}`} inherit>
            {client_name ?? client}
          </Anchor>
        </Fact>
        <Fact name="Model">{model_requested}</Fact>
        <Fact name="Served by">{model ? `${model}${account ? `, account ${account}` : ""}` : "no provider"}</Fact>
        <Fact name="Tokens">
          {tokens_in === null && tokens_out === null
            ? "unknown"
            : `${exact(tokens_in ?? 0)} in${tokens_cached ? ` (${exact(tokens_cached)} from the provider's cache)` : ""}, ${exact(tokens_out ?? 0)} out`}
        </Fact>
        {typeof audio_seconds === "number" && <Fact name="Sound">{exact(audio_seconds)} s counted</Fact>}
        <Fact name="Response">
          {protocol}, {stream ? "streamed" : "not streamed"}
          {speed !== null && `, ${exact(Math.round(speed))} tokens/s`}
        </Fact>
        {session && (
          <Fact name="Session">
            <Anchor component={Link} href={`/requests?search=${encodeURIComponent(session)}`} inherit>
              <code>{session}</code>
            </Anchor>
          </Fact>
        )}
        {error_code && (
          <Fact name="Error">
            <code>{error_code}</code>
          </Fact>
        )}
        <TraceLink record={record} />
      </dl>
      <h3>Timeline</h3>
      <Timeline record={record} />
      <h3>Skipped candidates</h3>
      {passed_over.length === 0 ? (
        <p className={classes.soft}>None: the first candidate of the route plan had capacity.</p>
      ) : (
        <ul className={classes.skipped}>
          {passed_over.map((each, at) => (
            <li key={at}>
              <span>{each.candidate === client ? "The client's own quota" : each.candidate}</span>
              <Tag tone="warn">{skipReason(each)}</Tag>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

function Fact({ name, children }: { name: string; children: React.ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function TraceLink({ record: { trace_id } }: { record: RequestRecord }) {
  const template = useConfig().data?.trace_link;
  if (!trace_id) return null;
  const href = template?.replaceAll("{trace_id}", encodeURIComponent(trace_id));
  return (
    <Fact name="Trace">
      {href && /^https?:\/\//.test(href) ? (
        <Anchor href={href} target="_blank" rel="noreferrer" inherit>
          Open the trace <Icon name="external" size={12} />
        </Anchor>
      ) : (
        <>
          <code>{trace_id}</code>
          <CopyButton text={trace_id} label="Copy the trace id" />
        </>
      )}
    </Fact>
  );
}

/** The outcome of the request and its reason, in a sentence. */
function summary({ status, attempts, waited_ms, passed_over, duration_ms, error_code }: RequestRecord): string {
  const waited = waited_ms > 0 ? ` after waiting ${elapsed(waited_ms)} for capacity` : "";
  if (status < 400) {
    const failed = attempts.filter((attempt) => attempt.cause !== "ok").length;
    return `Answered in ${elapsed(duration_ms)}${waited}${failed ? `, after ${failed} failed attempt${failed > 1 ? "s" : ""}` : ""}.`;
  }
  if (error_code === "client_quota_exceeded") return "The client has exhausted its own quota.";
  if (error_code === "budget_exhausted") {
    const soonest = Math.min(...passed_over.map((each) => each.retry_in_ms));
    return `No candidate had capacity${waited}.${Number.isFinite(soonest) ? ` The first would have had capacity ${duration(soonest)} later.` : ""}`;
  }
  if (attempts.length > 0 && status >= 500) return `Every attempt failed${waited}.`;
  return error_code ? `Rejected: ${causeName(error_code)}.` : `Ended with ${status}.`;
}

function skipReason({ why, retry_in_ms }: PassedOver): string {
  const when = retry_in_ms ? `, available in ${duration(retry_in_ms)}` : "";
  const name = limitName(why);
  return `${name === why ? causeName(why) : `out of ${name}`}${when}`;
}
