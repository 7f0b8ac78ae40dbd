import { Alert, Button, Modal } from "@mantine/core";
import { CopyButton } from "../../components/copy-button";
import { SnippetTabs } from "../../components/snippet-tabs";
import { basics, setupLines, useRoot } from "../../components/snippets";
import type { ClientWithKey } from "../../types";
import classes from "./clients.module.css";

/** Shows a new key. It cannot be shown again: only the state of this dialog holds it. */
export function NewKeyDialog({ client, close }: { client: ClientWithKey | null; close: () => void }) {
  const root = useRoot();
  return (
    <Modal
      opened={client !== null}
      onClose={close}
      title={`Key of ${client?.name ?? ""}`}
      size="xl"
      closeOnClickOutside={false}
      closeButtonProps={{ "aria-label": "Close" }}
    >
      {client && (
        <>
          <p style={{ margin: 0 }}>
            Copy it now: <b>it is shown only once.</b> Only a digest is stored. If the key is lost, rotate it.
          </p>
          <div className={classes.secret}>
            <code data-testid="secret">{client.key}</code>
            <CopyButton text={client.key} label="Copy the key" />
          </div>
          {client.notice && (
            <Alert color="yellow" role="status" mb="md">
              {client.notice}
            </Alert>
          )}
          <SnippetTabs snippets={basics(client.key, root)} />
          <p>Or set up a coding agent. The line asks for the key:</p>
          <SnippetTabs snippets={setupLines(root)} />
          <div className={classes.buttons} style={{ marginTop: 18 }}>
            <Button onClick={close}>Done</Button>
          </div>
        </>
      )}
    </Modal>
  );
}
