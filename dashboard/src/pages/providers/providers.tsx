import { Button } from "@mantine/core";
import { useState } from "react";
import { Icon } from "../../components/icons";
import { Empty } from "../../components/notice";
import { Card, Head, Loading, Tag } from "../../components/page";
import { QueryView } from "../../components/query-view";
import { useProviderKeys, useProviders } from "../../queries";
import type { KnownProvider, ProviderKey } from "../../types";
import { AddKeyDialog } from "./add-key-dialog";
import { KeyTable } from "./key-table";
import classes from "./providers.module.css";

/** Providers with their keys; keys can be added, tried, grouped, disabled and deleted. */
export default function Providers() {
  const providers = useProviders();
  const keys = useProviderKeys();
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
      <Card title="Providers">
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
      {providers.map(({ id, name, status, signup, takes_keys, configured, models, missing }) => {
        const own = keys.filter((key) => key.provider === id).length;
        return (
          <li key={id} data-off={!configured || undefined}>
            <b>{name}</b>
            {status !== "active" && <Tag>{status}</Tag>}
            <span className={classes.soft}>
              {configured ? `${models} ${models === 1 ? "model" : "models"}` : "not configured"}
              {own > 0 && `, ${own} ${own === 1 ? "key" : "keys"}`}
              {missing && `; missing: ${missing}`}
            </span>
            <span className={classes.side}>
              {signup && (
                <a href={signup} target="_blank" rel="noreferrer" aria-label={`Make a key at ${name}`}>
                  <Icon name="external" size={14} />
                </a>
              )}
              {takes_keys && !missing && (
                <Button variant="default" size="compact-xs" aria-label={`Add a key of ${name}`} onClick={() => add(id)}>
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
