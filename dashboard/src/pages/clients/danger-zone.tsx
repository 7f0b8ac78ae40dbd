import { Button, Modal, Select, TextInput } from "@mantine/core";
import { useState } from "react";
import { Problem } from "../../components/notice";
import { useChangeClient, useDeleteClient, useRevokeClient, useRotateClient } from "../../queries";
import type { Client, ClientWithKey } from "../../types";
import classes from "./clients.module.css";

const OVERLAPS = [
  { value: "0", label: "expires immediately" },
  { value: "3600", label: "stays valid for another hour" },
  { value: "86400", label: "stays valid for another day" },
  { value: "604800", label: "stays valid for another week" },
];

interface Props {
  client: Client;
  close: () => void;
  showKey: (client: ClientWithKey) => void;
}

/** The actions on a key that affect its users: disable, rotate, revoke, delete. */
export function DangerZone({ client, close, showKey }: Props) {
  const [overlap, setOverlap] = useState("0");
  const [confirming, setConfirming] = useState<"revoke" | "delete" | null>(null);
  const change = useChangeClient(client.id);
  const rotate = useRotateClient(client.id);
  const problem = change.error ?? rotate.error;
  return (
    <section className={`${classes.section} ${classes.danger}`} aria-label="The key">
      <div>
        <p>
          <b>{client.disabled ? "Disabled." : "Disable."}</b>{" "}
          {client.disabled
            ? "The key is rejected until the client is enabled again."
            : "Reject the key until the client is enabled again."}
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
          <b>Rotate.</b> Issue a new key with the same limits and history. The old key
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
          onClick={() => rotate.mutate(Number(overlap), { onSuccess: showKey })}
        >
          Rotate
        </Button>
      </div>
      <div>
        <p>
          <b>Revoke.</b> Reject the key for ever, on every replica from the next request on. The client stays in this
          list.
        </p>
        <Button variant="light" color="red" size="xs" onClick={() => setConfirming("revoke")}>
          Revoke…
        </Button>
      </div>
      <div>
        <p>
          <b>Delete.</b> Revoke the key and remove the client from this list.
        </p>
        <Button variant="light" color="red" size="xs" onClick={() => setConfirming("delete")}>
          Delete…
        </Button>
      </div>
      <Problem error={problem} />
      <Confirm
        client={client}
        action={confirming}
        cancel={() => setConfirming(null)}
        done={(action) => (action === "delete" ? close() : setConfirming(null))}
      />
    </section>
  );
}

/** The only action left for a revoked client. */
export function DeleteOnly({ client, close }: { client: Client; close: () => void }) {
  const [confirming, setConfirming] = useState(false);
  return (
    <section className={`${classes.section} ${classes.danger}`} aria-label="The key">
      <div>
        <p>
          <b>Delete.</b> Remove the client from this list. Its requests stay in the journal.
        </p>
        <Button variant="light" color="red" size="xs" onClick={() => setConfirming(true)}>
          Delete…
        </Button>
      </div>
      <Confirm client={client} action={confirming ? "delete" : null} cancel={() => setConfirming(false)} done={close} />
    </section>
  );
}

/** Confirms an irreversible action by typing the name of the client. */
function Confirm({
  client,
  action,
  cancel,
  done,
}: {
  client: Client;
  action: "revoke" | "delete" | null;
  cancel: () => void;
  done: (action: "revoke" | "delete") => void;
}) {
  const [name, setName] = useState("");
  const revoke = useRevokeClient(client.id);
  const remove = useDeleteClient(client.id);
  const error = revoke.error ?? remove.error;
  const verb = action === "delete" ? "Delete" : "Revoke";
  return (
    <Modal
      opened={action !== null}
      onClose={cancel}
      title={`${verb} ${client.name}?`}
      closeButtonProps={{ "aria-label": "Close" }}
    >
      <form
        className={classes.form}
        onSubmit={(event) => {
          event.preventDefault();
          if (action === null) return;
          const finish = { onSuccess: () => done(action) };
          if (action === "delete") remove.mutate(undefined, finish);
          else revoke.mutate(undefined, finish);
        }}
      >
        <TextInput
          data-autofocus
          label="Type the name to confirm"
          placeholder={client.name}
          autoComplete="off"
          value={name}
          onChange={(event) => setName(event.currentTarget.value)}
        />
        <Problem error={error} />
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
