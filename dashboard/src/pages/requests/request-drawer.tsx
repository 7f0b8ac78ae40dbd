import { Anchor, Drawer } from "@mantine/core";
import { Link } from "wouter";
import { CopyButton } from "../../components/copy-button";
import { Icon } from "../../components/icons";
import { Empty, Failure } from "../../components/notice";
import { Loading, Tag } from "../../components/page";
import { useConfig, useRequest } from "../../queries";
import type { PassedOver, RequestRecord } from "../../types";
import { causeName, exact, limitName, moment, span, took } from "../../format";
import { StatusTag } from "./request-table";
import { Timeline } from "./timeline";
import classes from "./request-drawer.module.css";

/** One request, from its arrival to its end. `known`: it stands in the list, so nobody need be asked. */
export function RequestDrawer({
  id,
  known,
  close,
}: {
  id: string | null;
  known: RequestRecord | undefined;
  close: () => void;
}) {
  const asked = useRequest(known ? null : id);
  const record = known ?? asked.data;
  return (
    <Drawer
      opened={id !== null}
      onClose={close}
      size={620}
      title={<span className={classes.title}>Request</span>}
      closeButtonProps={{ "aria-label": "Close" }}
    >
      {record ? (
        <Told record={record} />
      ) : asked.isError ? (
        <Failure error={asked.error} retry={() => void asked.refetch()} />
      ) : asked.isSuccess ? (
        <Empty icon="search" title="Not in the journal">
          No request has the id <code>{id}</code>, or it is older than what the journal keeps.
        </Empty>
      ) : (
        id !== null && <Loading rows={6} height={30} />
      )}
    </Drawer>
  );
}

function Told({ record }: { record: RequestRecord }) {
  const {
    id,
    time,
    client,
    client_name,
    model_asked,
    model,
    account,
    stream,
    tokens_in,
    tokens_out,
    first_content_ms,
    duration_ms,
    passed_over,
    error_code,
  } = record;
  const speed =
    tokens_out && first_content_ms !== null && duration_ms > first_content_ms
      ? (tokens_out * 1000) / (duration_ms - first_content_ms)
      : null;
  return (
    <div className={classes.told}>
      <p className={classes.id}>
        <code>{id}</code>
        <CopyButton text={id} label="Copy the id" />
      </p>
      <p className={classes.verdict}>
        <StatusTag record={record} /> {verdict(record)}
      </p>
      <dl className={classes.facts}>
        <Fact name="Ended">{moment(time)}</Fact>
        <Fact name="Client">
          <Anchor component={Link} href={`/clients/${encodeURIComponent(client)}`} inherit>
            {client_name ?? client}
          </Anchor>
        </Fact>
        <Fact name="Asked for">{model_asked}</Fact>
        <Fact name="Answered by">{model ? `${model}${account ? `, account ${account}` : ""}` : "nobody"}</Fact>
        <Fact name="Tokens">
          {tokens_in === null && tokens_out === null
            ? "unknown"
            : `${exact(tokens_in ?? 0)} in, ${exact(tokens_out ?? 0)} out`}
        </Fact>
        <Fact name="Form">
          {stream ? "streamed" : "whole"}
          {speed !== null && `, ${exact(Math.round(speed))} tokens/s`}
        </Fact>
        {error_code && (
          <Fact name="Error">
            <code>{error_code}</code>
          </Fact>
        )}
        <TraceLink record={record} />
      </dl>
      <h3>What happened</h3>
      <Timeline record={record} />
      <h3>Passed over</h3>
      {passed_over.length === 0 ? (
        <p className={classes.soft}>
          Nobody: the first of its order had room. (Who is known to have none is put last.)
        </p>
      ) : (
        <ul className={classes.over}>
          {passed_over.map((each, at) => (
            <li key={at}>
              <span>{each.candidate === client ? "The client's own quota" : each.candidate}</span>
              <Tag tone="warn">{whyName(each)}</Tag>
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

/** The answer to "why?", in a sentence. */
function verdict({ status, attempts, waited_ms, passed_over, duration_ms, error_code }: RequestRecord): string {
  const waited = waited_ms > 0 ? ` after waiting ${took(waited_ms)} for room` : "";
  if (status < 400) {
    const failed = attempts.filter((attempt) => attempt.cause !== "ok").length;
    return `Answered in ${took(duration_ms)}${waited}${failed ? `; ${failed} other${failed > 1 ? "s" : ""} failed first` : ""}.`;
  }
  if (error_code === "client_quota_exceeded") return "The client has used up its own quota.";
  if (error_code === "budget_exhausted") {
    const soonest = Math.min(...passed_over.map((each) => each.retry_in_ms));
    return `No candidate had room${waited}.${Number.isFinite(soonest) ? ` The first would have had some ${span(soonest)} later.` : ""}`;
  }
  if (attempts.length > 0 && status >= 500) return `Every candidate that was asked failed${waited}.`;
  return error_code ? `Refused: ${causeName(error_code)}.` : `Ended with ${status}.`;
}

function whyName({ why, retry_in_ms }: PassedOver): string {
  const when = retry_in_ms ? `, opens in ${span(retry_in_ms)}` : "";
  const name = limitName(why);
  return `${name === why ? causeName(why) : `out of ${name}`}${when}`;
}
