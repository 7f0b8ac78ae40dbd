import { Button, Modal } from "@mantine/core";
import { CopyButton } from "../../components/copy-button";
import { SnippetTabs } from "../../components/snippet-tabs";
import { basics } from "../../components/snippets";
import type { ClientWithKey } from "../../types";
import classes from "./clients.module.css";

/** The one moment a key can be read. It lives in this dialog's state and is gone with it. */
export function Secret({ client, close }: { client: ClientWithKey | null; close: () => void }) {
  return (
    <Modal
      opened={client !== null}
      onClose={close}
      title={`The key of ${client?.name ?? ""}`}
      size="xl"
      closeOnClickOutside={false}
      closeButtonProps={{ "aria-label": "Close" }}
    >
      {client && (
        <>
          <p style={{ margin: 0 }}>
            Copy it now: <b>it is shown this once.</b> Only its digest is kept, so nobody can look it up later; a lost
            key is rotated.
          </p>
          <div className={classes.secret}>
            <code data-testid="secret">{client.key}</code>
            <CopyButton text={client.key} label="Copy the key" />
          </div>
          <SnippetTabs snippets={basics(client.key)} />
          <div className={classes.buttons} style={{ marginTop: 18 }}>
            <Button onClick={close}>I have it</Button>
          </div>
        </>
      )}
    </Modal>
  );
}
