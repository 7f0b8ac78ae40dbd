import { Button, Switch } from "@mantine/core";
import { useState } from "react";
import { Icon } from "../../components/icons";
import { Empty, Problem } from "../../components/notice";
import { Card, Head, Loading, Tag } from "../../components/page";
import { fullTime } from "../../format";
import { QueryView } from "../../components/query-view";
import { useProviderKeys, useProviders, useRefreshLists, useSwitchKeyless } from "../../queries";
import type { KnownProvider, ModelList, ProviderKey } from "../../types";
import { AddKeyDialog } from "./add-key-dialog";
import { KeyTable } from "./key-table";
import classes from "./providers.module.css";

/** Providers with their keys; keys can be added, tried, grouped, disabled and deleted. */
export default function Providers() {
  const providers = useProviders();
  const keys = useProviderKeys();
  const refresh = useRefreshLists();
  const [adding, setAdding] = useState<string | null>(null);
  const all = providers.data?.data ?? [];
  const stored = keys.data?.data ?? [];
  return (
    <>
      <Head
        title="Providers"
        lead="Providers and their keys. A change takes effect on every replica within a second; a key that is disabled or deleted is out at once."
      >
        <Button size="xs" leftSection={<Icon name="plus" size={14} />} onClick={() => setAdding("")}>
          Add key
        </Button>
      </Head>
      <Card flush title="Keys" note="a secret is never shown again">
        <QueryView query={keys} loading={<Loading rows={4} padded />}>
          {({ data }) =>
            data.length > 0 ? (
              <KeyTable keys={data} />
            ) : (
              <Empty icon="key" title="No provider has a key yet">
                Make a key at a provider below and add it here, or set it in the environment.
              </Empty>
            )
          }
        </QueryView>
      </Card>
      <Card
        title="Providers"
        note="their lists of models are looked at every six hours, once for all replicas"
        action={
          <Button
            variant="default"
            size="xs"
            loading={refresh.isPending}
            leftSection={<Icon name="reset" size={14} />}
            onClick={() => refresh.mutate()}
          >
            Look now
          </Button>
        }
      >
        <Problem error={refresh.error} />
        <QueryView query={providers} loading={<Loading rows={4} />}>
          {({ data }) => <ProviderList providers={data} keys={stored} add={setAdding} />}
        </QueryView>
      </Card>
      <AddKeyDialog
        key={adding}
        opened={adding !== null}
        provider={adding ?? ""}
        providers={all}
        keys={stored}
        close={() => setAdding(null)}
      />
    </>
  );
}

function ProviderList({
  providers,
  keys,
  add,
}: {
  providers: KnownProvider[];
  keys: ProviderKey[];
  add: (provider: string) => void;
}) {
  return (
    <ul className={classes.providers}>
      {providers.map((provider) => {
        const { id, name, status, signup, takes_keys, configured, models, missing, list } = provider;
        const own = keys.filter((key) => key.provider === id).length;
        return (
          <li key={id} data-off={!configured || undefined}>
            <b>{name}</b>
            {status !== "active" && <Tag>{status}</Tag>}
            <span className={classes.soft}>
              {configured ? `${models} ${models === 1 ? "model" : "models"}` : "not configured"}
              {provider.keyless && ", without a key"}
              {provider.can_be_keyless && !configured && ", answers without a key"}
              {own > 0 && `, ${own} ${own === 1 ? "key" : "keys"}`}
              {missing && `; missing: ${missing}`}
            </span>
            {list && <Findings of={list} />}
            <span className={classes.side}>
              {provider.can_be_keyless && (provider.keyless || !configured) && <KeylessSwitch of={provider} />}
              {signup && (
                <a href={signup} target="_blank" rel="noreferrer" aria-label={`Make a key at ${name}`}>
                  <Icon name="external" size={14} />
                </a>
              )}
              {takes_keys && !missing && (
                <Button variant="default" size="compact-xs" aria-label={`Add key of ${name}`} onClick={() => add(id)}>
                  Add key
                </Button>
              )}
            </span>
          </li>
        );
      })}
    </ul>
  );
}

/** Has a provider that answers without a key called so. */
function KeylessSwitch({ of: { id, name, keyless, keyless_configured } }: { of: KnownProvider }) {
  const change = useSwitchKeyless(id);
  if (keyless_configured) return <Tag title="TOLLFREE_KEYLESS, or routing.keyless of the file">by configuration</Tag>;
  return (
    <>
      <Problem error={change.error} />
      <Switch
        size="xs"
        label="without a key"
        aria-label={`Call ${name} without a key`}
        title="Its limits then count the address of the gateway, and prompts may be logged"
        checked={keyless}
        disabled={change.isPending}
        onChange={({ currentTarget }) => change.mutate(currentTarget.checked)}
      />
    </>
  );
}

/** How the list of a provider differs from the catalogue: "3 new, 1 gone", with what and why. */
function Findings({ of: { looked_at, new: added, gone, problem } }: { of: ModelList }) {
  const isChanged = added.length + gone.length > 0;
  const stateOf = ({ not_served, on_trial }: ModelList["new"][number]) =>
    not_served ? `not served: ${not_served}` : on_trial ? "on trial until it has answered" : "served";
  const lines = [
    ...gone.map(({ id, since, why }) => `gone: ${id} (since ${fullTime(since)}: ${why})`),
    ...added.map((model) => `new: ${model.id} (${stateOf(model)})`),
  ];
  return (
    <>
      {problem && (
        <Tag tone="warn" title={problem}>
          list not read
        </Tag>
      )}
      {isChanged && (
        <details className={classes.findings}>
          <summary title={looked_at ? `looked at ${fullTime(looked_at)}` : "the list has not been read yet"}>
            {[added.length > 0 && `${added.length} new`, gone.length > 0 && `${gone.length} gone`]
              .filter(Boolean)
              .join(", ")}
          </summary>
          <ul>
            {lines.map((line) => (
              <li key={line}>{line}</li>
            ))}
          </ul>
        </details>
      )}
    </>
  );
}
