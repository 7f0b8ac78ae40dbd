import { Autocomplete, Button, Modal, PasswordInput, Select, Switch, TextInput } from "@mantine/core";
import { useState } from "react";
import { Problem } from "../../components/notice";
import { useAddProviderKey } from "../../queries";
import type { KnownProvider, ProviderKey } from "../../types";
import { UNVERIFIED, accountsOf } from "./key-table";
import classes from "./providers.module.css";

interface Props {
  opened: boolean;
  /** Empty: to be chosen. */
  provider: string;
  providers: KnownProvider[];
  keys: ProviderKey[];
  close: () => void;
}

export function AddKeyDialog({ opened, close, ...rest }: Props) {
  return (
    <Modal opened={opened} onClose={close} title="Add a key" closeButtonProps={{ "aria-label": "Close" }}>
      {opened && <Form close={close} {...rest} />}
    </Modal>
  );
}

/** The secret exists in the state of this form only. */
function Form({ provider: given, providers, keys, close }: Omit<Props, "opened">) {
  const [provider, setProvider] = useState(given);
  const [key, setKey] = useState("");
  const [account, setAccount] = useState("");
  const [label, setLabel] = useState("");
  const [isTried, setIsTried] = useState(true);
  const add = useAddProviderKey();
  const choices = providers
    .filter(({ takes_keys, missing }) => takes_keys && !missing)
    .map(({ id, name }) => ({ value: id, label: name }));
  if (add.data?.test === "unverified")
    return (
      <div className={classes.form}>
        <p role="status">
          <b>The key is stored, and may still be wrong.</b> {UNVERIFIED}
        </p>
        <div className={classes.buttons}>
          <Button data-autofocus onClick={close}>
            Close
          </Button>
        </div>
      </div>
    );
  return (
    <form
      className={classes.form}
      onSubmit={(event) => {
        event.preventDefault();
        add.mutate(
          { provider, key: key.trim(), account: account.trim() || null, label: label.trim(), try: isTried },
          { onSuccess: ({ test }) => (test === "unverified" ? setKey("") : close()) },
        );
      }}
    >
      <Select
        searchable
        required
        label="Provider"
        data={choices}
        value={provider || null}
        onChange={(value) => setProvider(value ?? "")}
      />
      <PasswordInput
        required
        data-autofocus
        label="Key"
        description="It is encrypted, and never shown again"
        autoComplete="off"
        value={key}
        onChange={(event) => setKey(event.currentTarget.value)}
      />
      <Autocomplete
        label="Account"
        description="Keys of one organisation share its limits: give them the same account. Empty: one of its own"
        data={accountsOf(provider, keys)}
        value={account}
        onChange={setAccount}
      />
      <TextInput
        label="Label"
        description="Such as who made the key"
        maxLength={100}
        value={label}
        onChange={(event) => setLabel(event.currentTarget.value)}
      />
      <Switch
        label="Try the key first, with one small call"
        checked={isTried}
        onChange={(event) => setIsTried(event.currentTarget.checked)}
      />
      <Problem error={add.error} />
      <div className={classes.buttons}>
        <Button variant="default" onClick={close}>
          Cancel
        </Button>
        <Button type="submit" loading={add.isPending} disabled={!provider || key.trim() === ""}>
          Add key
        </Button>
      </div>
    </form>
  );
}
