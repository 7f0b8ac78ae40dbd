import { Anchor, Button, Drawer } from "@mantine/core";
import { Suspense, lazy, useState } from "react";
import { Link } from "wouter";
import { ApiError } from "../../api";
import { useNow } from "../../components/clock";
import { Empty, Problem } from "../../components/notice";
import { Loading } from "../../components/page";
import { QueryView } from "../../components/query-view";
import { useChangeClient, useClient } from "../../queries";
import type { Client, ClientWithKey, Series } from "../../types";
import { today } from "../../usage";
import { exact, fullTime } from "../../format";
import { ClientFields, changes, draftOf } from "./client-form";
import { ClientTags } from "./client-tags";
import { DangerZone, DeleteOnly } from "./danger-zone";
import classes from "./clients.module.css";

const DailyChart = lazy(() => import("./daily-chart"));

interface Props {
  id: string | null;
  close: () => void;
  showKey: (client: ClientWithKey) => void;
  usage: Series | undefined;
}

export function ClientDrawer({ id, close, showKey, usage }: Props) {
  return (
    <Drawer
      opened={id !== null}
      onClose={close}
      size={620}
      title={<b>Client</b>}
      closeButtonProps={{ "aria-label": "Close" }}
    >
      {id !== null && <Body id={id} close={close} showKey={showKey} usage={usage} />}
    </Drawer>
  );
}

function Body({ id, close, showKey, usage }: Props & { id: string }) {
  const query = useClient(id);
  const isUnknown = query.error instanceof ApiError && query.error.status === 404;
  if (isUnknown) return <UnknownClient id={id} />;
  return (
    <QueryView query={query} loading={<Loading rows={6} />}>
      {(client) => <Details key={client.version} client={client} close={close} showKey={showKey} usage={usage} />}
    </QueryView>
  );
}

function UnknownClient({ id }: { id: string }) {
  return (
    <Empty icon="clients" title="No such client">
      <code>{id}</code> has no key here: it was deleted, or it sent requests without a key.{" "}
      <Anchor component={Link} href={`/requests?client=${encodeURIComponent(id)}`}>
        Show its requests
      </Anchor>
    </Empty>
  );
}

function Details({ client, close, showKey, usage }: Omit<Props, "id"> & { client: Client }) {
  const [draft, setDraft] = useState(() => draftOf(client));
  const change = useChangeClient(client.id);
  const now = useNow();
  const frozen = client.source === "file" || client.revoked_at !== null;
  const changed = changes(draftOf(client), draft);
  const used = today(usage);
  return (
    <>
      <p style={{ margin: "-4px 0 4px" }}>
        <b style={{ fontSize: 17, overflowWrap: "anywhere" }}>{client.name}</b> <ClientTags client={client} now={now} />
      </p>
      <p className={classes.soft} style={{ margin: "0 0 14px" }}>
        <code>{client.prefix}…</code>
        {client.created_at && <> · created {fullTime(client.created_at)}</>}
        {client.old_secret_until && Date.parse(client.old_secret_until) > now && (
          <> · the old key works until {fullTime(client.old_secret_until)}</>
        )}
      </p>
      <p style={{ margin: "0 0 10px" }}>
        Today: <b>{exact(used.requests)}</b> requests, {exact(used.requests - used.ok)} failed, {exact(used.tokens_in)}{" "}
        tokens in, {exact(used.tokens_out)} out.{" "}
        <Anchor component={Link} href={`/requests?client=${encodeURIComponent(client.id)}`} inherit>
          Show them
        </Anchor>
      </p>
      {usage && usage.total.requests > 0 && (
        <Suspense fallback={<Loading rows={1} height={130} />}>
          <DailyChart series={usage} quota={client.limits.rpd} />
        </Suspense>
      )}
      <form
        className={`${classes.form} ${classes.section}`}
        onSubmit={(event) => {
          event.preventDefault();
          change.mutate(changed);
        }}
      >
        {client.source === "file" && (
          <p className={classes.soft}>This client is defined in the clients file: change it there.</p>
        )}
        <ClientFields draft={draft} set={setDraft} frozen={frozen} />
        <Problem error={change.error} />
        <div className={classes.buttons}>
          <Button type="submit" disabled={frozen || Object.keys(changed).length === 0} loading={change.isPending}>
            Save
          </Button>
        </div>
      </form>
      {!frozen && <DangerZone client={client} close={close} showKey={showKey} />}
      {client.revoked_at !== null && <DeleteOnly client={client} close={close} />}
    </>
  );
}
