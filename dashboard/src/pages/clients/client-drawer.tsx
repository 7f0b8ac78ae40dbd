import { Anchor, Button, Drawer, Modal, Select, TextInput } from "@mantine/core";
import { Suspense, lazy, useState } from "react";
import { Link } from "wouter";
import { Empty, Failure } from "../../components/notice";
import { useNow } from "../../components/clock";
import { Loading } from "../../components/page";
import { Refusal } from "../../api";
import { useChangeClient, useClient, useDeleteClient, useRevokeClient, useRotateClient } from "../../queries";
import type { Client, ClientWithKey, Series } from "../../types";
import { today } from "../../usage";
import { exact, moment } from "../../format";
import { ClientTags } from "./clients";
import { Fields, changes, draftOf } from "./client-form";
import classes from "./clients.module.css";

const Days = lazy(() => import("./daily-chart"));

interface Props {
  id: string | null;
  close: () => void;
  show: (client: ClientWithKey) => void;
  usage: Series | undefined;
}

export function ClientDrawer({ id, close, show, usage }: Props) {
  return (
    <Drawer
      opened={id !== null}
      onClose={close}
      size={620}
      title={<b>Client</b>}
      closeButtonProps={{ "aria-label": "Close" }}
    >
      {id !== null && <Body id={id} close={close} show={show} usage={usage} />}
    </Drawer>
  );
}

function Body({ id, close, show, usage }: Props & { id: string }) {
  const found = useClient(id);
  if (found.data) return <Told key={found.data.version} client={found.data} close={close} show={show} usage={usage} />;
  if (found.isPending) return <Loading rows={6} />;
  if (found.error instanceof Refusal && found.error.status === 404) {
    return (
      <Empty icon="clients" title="No such client">
        <code>{id}</code> has no key here: it may have been deleted, or called without one.{" "}
        <Anchor component={Link} href={`/requests?client=${encodeURIComponent(id)}`}>
          Its requests
        </Anchor>
      </Empty>
    );
  }
  return <Failure error={found.error} retry={() => void found.refetch()} />;
}

function Told({ client, close, show, usage }: Omit<Props, "id"> & { client: Client }) {
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
        {client.created_at && <> · made {moment(client.created_at)}</>}
        {client.old_secret_until && Date.parse(client.old_secret_until) > now && (
          <> · the old key works until {moment(client.old_secret_until)}</>
        )}
      </p>
      <p style={{ margin: "0 0 10px" }}>
        Today: <b>{exact(used.requests)}</b> requests, {exact(used.requests - used.ok)} of them not answered,{" "}
        {exact(used.tokens_in)} tokens in, {exact(used.tokens_out)} out.{" "}
        <Anchor component={Link} href={`/requests?client=${encodeURIComponent(client.id)}`} inherit>
          See them
        </Anchor>
      </p>
      {usage && usage.total.requests > 0 && (
        <Suspense fallback={<Loading rows={1} height={130} />}>
          <Days series={usage} quota={client.limits.rpd} />
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
          <p className={classes.soft}>This client stands in the key file: change it there.</p>
        )}
        <Fields draft={draft} set={setDraft} frozen={frozen} />
        {change.isError && (
          <p className={classes.problem} role="alert">
            {change.error.message}
          </p>
        )}
        <div className={classes.buttons}>
          <Button type="submit" disabled={frozen || Object.keys(changed).length === 0} loading={change.isPending}>
            Save
          </Button>
        </div>
      </form>
      {!frozen && <Dangerous client={client} close={close} show={show} />}
      {client.revoked_at !== null && <DeleteOnly client={client} close={close} />}
    </>
  );
}

const OVERLAPS = [
  { value: "0", label: "ends at once" },
  { value: "3600", label: "works for another hour" },
  { value: "86400", label: "works for another day" },
  { value: "604800", label: "works for another week" },
];

function Dangerous({
  client,
  close,
  show,
}: {
  client: Client;
  close: () => void;
  show: (client: ClientWithKey) => void;
}) {
  const [overlap, setOverlap] = useState("0");
  const [asking, setAsking] = useState<"revoke" | "delete" | null>(null);
  const change = useChangeClient(client.id);
  const rotate = useRotateClient(client.id);
  const problem = change.error ?? rotate.error;
  return (
    <section className={`${classes.section} ${classes.danger}`} aria-label="The key">
      <div>
        <p>
          <b>{client.disabled ? "Disabled." : "Disable."}</b>{" "}
          {client.disabled ? "Its key is turned away until it is enabled again." : "Turn its key away for a while."}
        </p>
        <Button
          variant="default"
          size="xs"
          loading={change.isPending}
          onClick={() => change.mutate({ disabled: !client.disabled })}
        >
          {client.disabled ? "Enable" : "Disable"}
        </Button>
      </div>
      <div>
        <p>
          <b>Rotate.</b> A new key, same limits and history. The old one
        </p>
        <Select
          size="xs"
          aria-label="The old key"
          w={180}
          data={OVERLAPS}
          value={overlap}
          allowDeselect={false}
          onChange={(value) => setOverlap(value ?? "0")}
          comboboxProps={{ withinPortal: false }}
        />
        <Button
          variant="default"
          size="xs"
          loading={rotate.isPending}
          onClick={() => rotate.mutate(Number(overlap), { onSuccess: show })}
        >
          Rotate
        </Button>
      </div>
      <div>
        <p>
          <b>Revoke.</b> Never valid again, at every replica from the next request on. It stays in this list.
        </p>
        <Button variant="light" color="red" size="xs" onClick={() => setAsking("revoke")}>
          Revoke…
        </Button>
      </div>
      <div>
        <p>
          <b>Delete.</b> Revoke it and remove it from this list.
        </p>
        <Button variant="light" color="red" size="xs" onClick={() => setAsking("delete")}>
          Delete…
        </Button>
      </div>
      {problem && (
        <p className={classes.problem} role="alert">
          {problem.message}
        </p>
      )}
      <Confirm
        client={client}
        what={asking}
        cancel={() => setAsking(null)}
        done={(what) => (what === "delete" ? close() : setAsking(null))}
      />
    </section>
  );
}

function DeleteOnly({ client, close }: { client: Client; close: () => void }) {
  const [asking, setAsking] = useState(false);
  return (
    <section className={`${classes.section} ${classes.danger}`} aria-label="The key">
      <div>
        <p>
          <b>Delete.</b> Remove it from this list. Its requests stay in the journal.
        </p>
        <Button variant="light" color="red" size="xs" onClick={() => setAsking(true)}>
          Delete…
        </Button>
      </div>
      <Confirm client={client} what={asking ? "delete" : null} cancel={() => setAsking(false)} done={close} />
    </section>
  );
}

/** What cannot be taken back is confirmed by writing the name. */
function Confirm({
  client,
  what,
  cancel,
  done,
}: {
  client: Client;
  what: "revoke" | "delete" | null;
  cancel: () => void;
  done: (what: "revoke" | "delete") => void;
}) {
  const [name, setName] = useState("");
  const revoke = useRevokeClient(client.id);
  const remove = useDeleteClient(client.id);
  const error = revoke.error ?? remove.error;
  const verb = what === "delete" ? "Delete" : "Revoke";
  return (
    <Modal
      opened={what !== null}
      onClose={cancel}
      title={`${verb} ${client.name}?`}
      closeButtonProps={{ "aria-label": "Close" }}
    >
      <form
        className={classes.form}
        onSubmit={(event) => {
          event.preventDefault();
          if (what === null) return;
          const finish = { onSuccess: () => done(what) };
          if (what === "delete") remove.mutate(undefined, finish);
          else revoke.mutate(undefined, finish);
        }}
      >
        <TextInput
          data-autofocus
          label="Write its name to confirm"
          placeholder={client.name}
          autoComplete="off"
          value={name}
          onChange={(event) => setName(event.currentTarget.value)}
        />
        {error && (
          <p className={classes.problem} role="alert">
            {error.message}
          </p>
        )}
        <div className={classes.buttons}>
          <Button variant="default" onClick={cancel}>
            Cancel
          </Button>
          <Button
            type="submit"
            color="red"
            disabled={name.trim() !== client.name.trim()}
            loading={revoke.isPending || remove.isPending}
          >
            {verb}
          </Button>
        </div>
      </form>
    </Modal>
  );
}
