import { Button, Modal } from "@mantine/core";
import { useState } from "react";
import { useCreateClient } from "../../queries";
import type { ClientWithKey } from "../../types";
import { BLANK, Fields, changes } from "./client-form";
import classes from "./clients.module.css";

export function CreateClient({
  opened,
  close,
  done,
}: {
  opened: boolean;
  close: () => void;
  done: (client: ClientWithKey) => void;
}) {
  return (
    <Modal opened={opened} onClose={close} title="New client" size="lg" closeButtonProps={{ "aria-label": "Close" }}>
      <Form close={close} done={done} />
    </Modal>
  );
}

function Form({ close, done }: { close: () => void; done: (client: ClientWithKey) => void }) {
  const [draft, setDraft] = useState(BLANK);
  const create = useCreateClient();
  return (
    <form
      className={classes.form}
      onSubmit={(event) => {
        event.preventDefault();
        create.mutate({ ...changes(BLANK, draft), name: draft.name.trim() }, { onSuccess: done });
      }}
    >
      <Fields draft={draft} set={setDraft} />
      {create.isError && (
        <p className={classes.problem} role="alert">
          {create.error.message}
        </p>
      )}
      <div className={classes.buttons}>
        <Button variant="default" onClick={close}>
          Cancel
        </Button>
        <Button type="submit" loading={create.isPending} disabled={draft.name.trim() === ""}>
          Create the key
        </Button>
      </div>
    </form>
  );
}
