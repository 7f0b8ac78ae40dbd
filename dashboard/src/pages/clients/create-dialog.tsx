import { Button, Modal } from "@mantine/core";
import { useState } from "react";
import { Problem } from "../../components/notice";
import { useCreateClient } from "../../queries";
import type { ClientWithKey } from "../../types";
import { ClientFields, EMPTY_DRAFT, changes } from "./client-form";
import classes from "./clients.module.css";

export function CreateDialog({
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
  const [draft, setDraft] = useState(EMPTY_DRAFT);
  const create = useCreateClient();
  return (
    <form
      className={classes.form}
      onSubmit={(event) => {
        event.preventDefault();
        create.mutate({ ...changes(EMPTY_DRAFT, draft), name: draft.name.trim() }, { onSuccess: done });
      }}
    >
      <ClientFields draft={draft} set={setDraft} />
      <Problem error={create.error} />
      <div className={classes.buttons}>
        <Button variant="default" onClick={close}>
          Cancel
        </Button>
        <Button type="submit" loading={create.isPending} disabled={draft.name.trim() === ""}>
          Create key
        </Button>
      </div>
    </form>
  );
}
