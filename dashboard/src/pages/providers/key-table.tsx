import { Button, Modal, Select } from "@mantine/core";
import { useState } from "react";
import { useNow } from "../../components/clock";
import { Problem } from "../../components/notice";
import { Scroll, Tag } from "../../components/page";
import { ago, fullTime } from "../../format";
import { useChangeProviderKey, useDeleteProviderKey, useTestProviderKey } from "../../queries";
import type { ProviderKey } from "../../types";
import classes from "./providers.module.css";

export function KeyTable({ keys }: { keys: ProviderKey[] }) {
  const [deleting, setDeleting] = useState<ProviderKey | null>(null);
  return (
    <>
      <Scroll label="All provider keys">
        <table className={classes.table}>
          <thead>
            <tr>
              <th scope="col">Provider</th>
              <th scope="col">Key</th>
              <th scope="col">Account</th>
              <th scope="col">State</th>
              <th scope="col">Added</th>
              <th scope="col">Actions</th>
            </tr>
          </thead>
          <tbody>
            {keys.map((key) => (
              <KeyRow key={key.id} of={key} keys={keys} remove={() => setDeleting(key)} />
            ))}
          </tbody>
        </table>
      </Scroll>
      <DeleteDialog target={deleting} close={() => setDeleting(null)} />
    </>
  );
}

function KeyRow({ of: key, keys, remove }: { of: ProviderKey; keys: ProviderKey[]; remove: () => void }) {
  const now = useNow();
  const change = useChangeProviderKey(key.id);
  const test = useTestProviderKey(key.id);
  const stored = key.source === "store";
  const disabled = key.state === "disabled";
  return (
    <tr data-off={disabled || undefined}>
      <th scope="row">{key.provider}</th>
      <td>
        <code>{key.last_four ? `…${key.last_four}` : key.fingerprint}</code>
        {key.label && <span className={classes.note}>{key.label}</span>}
      </td>
      <td>
        <AccountSelect of={key} keys={keys} busy={change.isPending} set={(account) => change.mutate({ account })} />
      </td>
      <td>
        <State of={key} />
        <Result of={test.data} />
        <Problem error={change.error ?? test.error} />
      </td>
      <td className={classes.soft} title={key.created_at ? fullTime(key.created_at) : undefined}>
        {key.created_at ? `${ago(key.created_at, now)} by ${key.created_by}` : "in the environment"}
      </td>
      <td>
        <div className={classes.actions}>
          <Button
            variant="default"
            size="compact-xs"
            aria-label={`Test ${key.id}`}
            loading={test.isPending}
            onClick={() => test.mutate()}
          >
            Test
          </Button>
          {stored && (
            <>
              <Button
                variant="default"
                size="compact-xs"
                aria-label={`${disabled ? "Enable" : "Disable"} ${key.id}`}
                loading={change.isPending}
                onClick={() => change.mutate({ disabled: !disabled })}
              >
                {disabled ? "Enable" : "Disable"}
              </Button>
              <Button variant="light" color="red" size="compact-xs" aria-label={`Delete ${key.id}`} onClick={remove}>
                Delete…
              </Button>
            </>
          )}
        </div>
      </td>
    </tr>
  );
}

const OWN = "";

/** Keys of one account share its limits. The other accounts of the provider can be joined, and left again; so can keys of the
 * environment, whose own account may be one that the configuration names. */
function AccountSelect({
  of: key,
  keys,
  busy,
  set,
}: {
  of: ProviderKey;
  keys: ProviderKey[];
  busy: boolean;
  set: (account: string | null) => void;
}) {
  const others = accountsOf(key.provider, keys).filter((account) => account !== key.fingerprint);
  return (
    <Select
      size="xs"
      w={150}
      aria-label={`Account of ${key.id}`}
      data={[{ value: OWN, label: key.source === "store" ? "one of its own" : "as configured" }, ...others]}
      value={key.account === key.fingerprint ? OWN : key.account}
      allowDeselect={false}
      disabled={busy}
      onChange={(account) => set(account || null)}
    />
  );
}

/** The accounts of a provider's keys, each once. */
export const accountsOf = (provider: string, keys: ProviderKey[]) => [
  ...new Set(keys.filter((key) => key.provider === provider).map((key) => key.account)),
];

function State({ of: { state, problem, cooldown } }: { of: ProviderKey }) {
  if (state === "disabled") return <Tag tone="warn">disabled</Tag>;
  if (state === "unreadable")
    return (
      <>
        <Tag tone="bad">unreadable</Tag>
        <span className={classes.note}>{problem}</span>
      </>
    );
  if (cooldown)
    return (
      <Tag tone="bad" title={`until ${fullTime(cooldown.until)}`}>
        refused: {cooldown.cause}
      </Tag>
    );
  return <Tag tone="ok">active</Tag>;
}

export const UNVERIFIED =
  "Nothing is proven: the provider answers without a key as well, or has not said whether it takes this one.";

const RESULTS = {
  accepted: "The provider accepts it.",
  unverified: UNVERIFIED,
  refused: "The provider refuses it",
  unanswered: "The provider did not answer",
} as const;

function Result({ of: tested }: { of: ProviderKey | undefined }) {
  if (!tested?.test) return null;
  return (
    <span className={classes.note} role="status">
      {RESULTS[tested.test]}
      {tested.test_detail && `: ${tested.test_detail}`}
    </span>
  );
}

function DeleteDialog({ target, close }: { target: ProviderKey | null; close: () => void }) {
  const remove = useDeleteProviderKey();
  return (
    <Modal
      opened={target !== null}
      onClose={close}
      title={`Delete ${target?.label || target?.id || ""}?`}
      closeButtonProps={{ "aria-label": "Close" }}
    >
      <p className={classes.soft}>
        No replica uses the key any more, and it cannot be shown or restored. What it has used stays counted.
      </p>
      <Problem error={remove.error} />
      <div className={classes.buttons}>
        <Button variant="default" onClick={close}>
          Cancel
        </Button>
        <Button
          color="red"
          data-autofocus
          loading={remove.isPending}
          onClick={() => target && remove.mutate(target.id, { onSuccess: close })}
        >
          Delete
        </Button>
      </div>
    </Modal>
  );
}
