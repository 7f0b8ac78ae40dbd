import { Button, TextInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useMemo, useState } from "react";
import { Link, useLocation, useParams } from "wouter";
import { Icon } from "../../components/icons";
import { Empty } from "../../components/notice";
import { useNow } from "../../components/clock";
import { Card, Head, Loading, Scroll } from "../../components/page";
import { MoreButton } from "../../components/more-button";
import { QueryView } from "../../components/query-view";
import { Sparkline } from "../../components/sparkline";
import { useClients, useUsage } from "../../queries";
import type { Client, ClientLimits, ClientWithKey, Series, UsageFigures } from "../../types";
import { today } from "../../usage";
import { ago, exact, limitName, fullTime, compact } from "../../format";
import { ClientDrawer } from "./client-drawer";
import { ClientTags } from "./client-tags";
import { CreateDialog } from "./create-dialog";
import { NewKeyDialog } from "./new-key-dialog";
import classes from "./clients.module.css";

const DAYS = 14;

export default function Clients() {
  const [text, setText] = useState("");
  const [search] = useDebouncedValue(text.trim(), 250);
  const [creating, setCreating] = useState(false);
  const [newKey, setNewKey] = useState<ClientWithKey | null>(null);
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
      <Head
        title="Clients"
        lead="People and programs with a key. Each key has its own limits, weight and allowed models."
      >
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
        <QueryView query={found} loading={<Loading rows={6} padded />}>
          {() =>
            clients.length > 0 ? (
              <Table clients={clients} usage={byClient} />
            ) : search ? (
              <Empty icon="search" title="No client matches">
                No name, id or note contains <q>{search}</q>.
              </Empty>
            ) : (
              <Empty icon="clients" title="No client has a key yet" action={create}>
                Give each person or program its own key. You can then see the usage of each and revoke one key without
                affecting the others.
              </Empty>
            )
          }
        </QueryView>
        <MoreButton query={found}>Show more</MoreButton>
      </Card>
      <CreateDialog
        opened={creating}
        close={() => setCreating(false)}
        done={(client) => {
          setCreating(false);
          setNewKey(client);
        }}
      />
      <ClientDrawer
        key={id}
        id={id ?? null}
        close={() => go("/clients")}
        showKey={setNewKey}
        usage={id ? byClient.get(id) : undefined}
      />
      <NewKeyDialog client={newKey} close={() => setNewKey(null)} />
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
              <td className={classes.limits}>{limitSummary(client)}</td>
              <td>
                <Today client={client} used={today(usage.get(client.id))} />
              </td>
              <td>
                <Sparkline
                  width={84}
                  height={24}
                  values={usage.get(client.id)?.points.map((point) => point.requests) ?? []}
                />
              </td>
              <td className={classes.soft} title={client.last_used_at ? fullTime(client.last_used_at) : undefined}>
                {client.last_used_at ? ago(client.last_used_at, now) : "never"}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

function limitSummary({ limits, models }: Client): string {
  const parts = (Object.keys(limits) as (keyof ClientLimits)[]).flatMap((name) =>
    limits[name] === null ? [] : [`${compact(limits[name])} ${limitName(name)}`],
  );
  if (models.length) parts.push(models.length === 1 ? `only ${models[0]}` : `${models.length} model patterns`);
  return parts.length ? parts.join(" · ") : "none";
}

/** Usage since midnight UTC, and the daily quota. */
function Today({ client: { limits }, used }: { client: Client; used: UsageFigures }) {
  const { requests, ok, tokens_in, tokens_out } = used;
  const quota = limits.rpd;
  const full = quota !== null && requests >= quota;
  return (
    <div
      className={classes.today}
      title={`${exact(requests)} requests, ${exact(requests - ok)} failed, ${exact(tokens_in)} tokens in, ${exact(tokens_out)} out`}
    >
      <span className="num">
        <b>{compact(requests)}</b>
        {quota !== null && ` / ${compact(quota)}`}{" "}
        <span className={classes.soft}>· {compact(tokens_in + tokens_out)} tokens</span>
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
