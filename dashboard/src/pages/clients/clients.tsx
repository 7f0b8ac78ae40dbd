import { Button, TextInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useMemo, useState } from "react";
import { Link, useLocation, useParams } from "wouter";
import { Icon } from "../../components/icons";
import { Empty, Failure } from "../../components/notice";
import { useNow } from "../../components/clock";
import { Card, Head, Loading, Scroll, Tag } from "../../components/page";
import { Spark } from "../../components/sparkline";
import { useClients, useUsage } from "../../queries";
import type { Client, ClientLimits, ClientWithKey, Series, UsageFigures } from "../../types";
import { today } from "../../usage";
import { ago, exact, limitName, moment, short } from "../../format";
import { ClientDrawer } from "./client-drawer";
import { CreateClient } from "./create-dialog";
import { Secret } from "./new-key-dialog";
import classes from "./clients.module.css";

const DAYS = 14;

export default function Clients() {
  const [text, setText] = useState("");
  const [search] = useDebouncedValue(text.trim(), 250);
  const [creating, setCreating] = useState(false);
  const [made, setMade] = useState<ClientWithKey | null>(null);
  const { id } = useParams();
  const [, go] = useLocation();
  const found = useClients(search);
  const usage = useUsage({ by: "client", step: "day", back: DAYS * 86_400_000 });
  const clients = useMemo(() => found.data?.pages.flatMap((page) => page.data) ?? [], [found.data]);
  const byClient = useMemo(() => new Map(usage.data?.series.map((series) => [series.name, series])), [usage.data]);
  const create = (
    <Button size="xs" leftSection={<Icon name="plus" size={14} />} onClick={() => setCreating(true)}>
      New client
    </Button>
  );

  return (
    <>
      <Head title="Clients" lead="Who may use the pool: a key each, with limits, weight and models of its own.">
        <TextInput
          size="xs"
          aria-label="Search clients"
          placeholder="Search clients"
          value={text}
          leftSection={<Icon name="search" size={14} />}
          onChange={(event) => setText(event.currentTarget.value)}
        />
        {create}
      </Head>
      <Card flush>
        {clients.length > 0 ? (
          <Table clients={clients} usage={byClient} />
        ) : found.isPending ? (
          <div className={classes.pad}>
            <Loading rows={6} />
          </div>
        ) : found.isError ? (
          <Failure error={found.error} retry={() => void found.refetch()} />
        ) : search ? (
          <Empty icon="search" title="No client matches">
            Nobody has <q>{search}</q> in the name, the id or the note.
          </Empty>
        ) : (
          <Empty icon="clients" title="No client has a key yet" action={create}>
            Give each person or program a key of its own: then you see who uses what, and can take one back without
            disturbing the others.
          </Empty>
        )}
        {found.hasNextPage && (
          <div className={classes.pad}>
            <Button
              variant="default"
              size="xs"
              loading={found.isFetchingNextPage}
              onClick={() => void found.fetchNextPage()}
            >
              Show more
            </Button>
          </div>
        )}
      </Card>
      <CreateClient
        opened={creating}
        close={() => setCreating(false)}
        done={(client) => {
          setCreating(false);
          setMade(client);
        }}
      />
      <ClientDrawer
        key={id}
        id={id ?? null}
        close={() => go("/clients")}
        show={setMade}
        usage={id ? byClient.get(id) : undefined}
      />
      <Secret client={made} close={() => setMade(null)} />
    </>
  );
}

function Table({ clients, usage }: { clients: Client[]; usage: Map<string, Series> }) {
  const now = useNow();
  const [, go] = useLocation();
  return (
    <Scroll label="All clients">
      <table className={classes.table}>
        <thead>
          <tr>
            <th scope="col">Client</th>
            <th scope="col">Key</th>
            <th scope="col">Limits</th>
            <th scope="col">Today</th>
            <th scope="col">{DAYS} days</th>
            <th scope="col">Last used</th>
          </tr>
        </thead>
        <tbody>
          {clients.map((client) => (
            <tr
              key={client.id}
              onClick={() => go(`/clients/${encodeURIComponent(client.id)}`)}
              data-off={client.disabled || client.revoked_at !== null || undefined}
            >
              <th scope="row">
                <Link href={`/clients/${encodeURIComponent(client.id)}`} className={classes.name}>
                  {client.name}
                </Link>{" "}
                <ClientTags client={client} now={now} />
                {client.note && <span className={classes.note}>{client.note}</span>}
              </th>
              <td>
                <code className={classes.prefix}>{client.prefix}…</code>
              </td>
              <td className={classes.limits}>{limitsSaid(client)}</td>
              <td>
                <Today client={client} used={today(usage.get(client.id))} />
              </td>
              <td>
                <Spark
                  width={84}
                  height={24}
                  values={usage.get(client.id)?.points.map((point) => point.requests) ?? []}
                />
              </td>
              <td className={classes.soft} title={client.last_used_at ? moment(client.last_used_at) : undefined}>
                {client.last_used_at ? ago(client.last_used_at, now) : "never"}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

export function ClientTags({ client, now }: { client: Client; now: number }) {
  const expired = client.expires_at !== null && Date.parse(client.expires_at) <= now;
  return (
    <span className={classes.tags}>
      {client.revoked_at !== null ? (
        <Tag tone="bad">revoked</Tag>
      ) : client.disabled ? (
        <Tag tone="warn">disabled</Tag>
      ) : (
        expired && <Tag tone="bad">expired</Tag>
      )}
      {client.source === "file" && <Tag title="From the key file: changed there, not here">from file</Tag>}
      {client.priority && <Tag tone="info">may jump the line</Tag>}
      {client.weight !== 1 && <Tag title="Its share when several wait">weight {client.weight}</Tag>}
    </span>
  );
}

function limitsSaid({ limits, models }: Client): string {
  const said = (Object.keys(limits) as (keyof ClientLimits)[]).flatMap((name) =>
    limits[name] === null ? [] : [`${short(limits[name])} ${limitName(name)}`],
  );
  if (models.length) said.push(models.length === 1 ? `only ${models[0]}` : `${models.length} model patterns`);
  return said.length ? said.join(" · ") : "none";
}

/** What was used since midnight UTC, and of how much. */
function Today({ client: { limits }, used }: { client: Client; used: UsageFigures }) {
  const { requests, ok, tokens_in, tokens_out } = used;
  const quota = limits.rpd;
  const full = quota !== null && requests >= quota;
  return (
    <div
      className={classes.today}
      title={`${exact(requests)} requests, ${exact(requests - ok)} of them not answered, ${exact(tokens_in)} tokens in, ${exact(tokens_out)} out`}
    >
      <span className="num">
        <b>{short(requests)}</b>
        {quota !== null && ` / ${short(quota)}`}{" "}
        <span className={classes.soft}>· {short(tokens_in + tokens_out)} tokens</span>
      </span>
      {quota !== null && (
        <span className={classes.track}>
          <span
            data-full={full || undefined}
            style={{ width: `${Math.min(100, (100 * requests) / Math.max(1, quota))}%` }}
          />
        </span>
      )}
    </div>
  );
}
