import { Button, Select, Switch, TextInput } from "@mantine/core";
import { useState } from "react";
import { Icon } from "../../components/icons";
import { Empty, Failure } from "../../components/notice";
import { useNow } from "../../components/clock";
import { Card, Head, Loading, Scroll, Tag } from "../../components/page";
import { useAudit, useConfig, useResetProvider, useSetOrder, useStatus, useSwitchProvider } from "../../queries";
import type { AuditEntry, Status } from "../../types";
import { ago, moment } from "../../format";
import classes from "./settings.module.css";

const ORDERS: { value: Status["routingStrategy"]; label: string }[] = [
  { value: "headroom", label: "headroom: the most room left" },
  { value: "fast", label: "fast: the lowest time to first token" },
  { value: "smart", label: "smart: the highest quality rank" },
  { value: "listed", label: "listed: as in the configuration" },
  { value: "round_robin", label: "round_robin: in turn" },
  { value: "random", label: "random: by chance" },
];

export default function Settings() {
  return (
    <>
      <Head
        title="Settings"
        lead="What can be changed while it runs, what it was started with, and who changed what. Changes bind every replica from its next admission on."
      />
      <div className={classes.columns}>
        <Routing />
        <Providers />
      </div>
      <Configuration />
      <Audit />
    </>
  );
}

function Routing() {
  const status = useStatus();
  const set = useSetOrder();
  return (
    <Card title="Routing">
      {status.data ? (
        <>
          <Select
            label={
              <>
                Order of <code>free</code>
              </>
            }
            description="Whom it tries first among those with room"
            data={ORDERS}
            allowDeselect={false}
            value={set.isPending ? set.variables : status.data.routingStrategy}
            disabled={set.isPending}
            onChange={(value) => value && set.mutate(value)}
          />
          {set.isError && (
            <p className={classes.problem} role="alert">
              {set.error.message}
            </p>
          )}
        </>
      ) : status.isError ? (
        <Failure error={status.error} retry={() => void status.refetch()} />
      ) : (
        <Loading rows={1} />
      )}
    </Card>
  );
}

function Providers() {
  const status = useStatus();
  const reset = useResetProvider();
  const turn = useSwitchProvider();
  const problem = reset.error ?? turn.error;
  return (
    <Card title="Providers">
      {status.data ? (
        status.data.providers.length ? (
          <ul className={classes.providers}>
            {status.data.providers.map(({ id, name, enabled, circuitBreakerState }) => (
              <li key={id}>
                <Switch
                  label={name}
                  checked={turn.isPending && turn.variables.id === id ? turn.variables.enabled : enabled}
                  onChange={(event) => turn.mutate({ id, enabled: event.currentTarget.checked })}
                />
                {circuitBreakerState !== "closed" && (
                  <Tag tone="bad">breaker {circuitBreakerState.replace("_", " ")}</Tag>
                )}
                <Button
                  variant="default"
                  size="compact-xs"
                  aria-label={`Reset ${name}`}
                  loading={reset.isPending && reset.variables === id}
                  leftSection={<Icon name="reset" size={13} />}
                  onClick={() => reset.mutate(id)}
                >
                  Reset
                </Button>
              </li>
            ))}
          </ul>
        ) : (
          <p className={classes.soft}>No provider is configured.</p>
        )
      ) : status.isError ? (
        <Failure error={status.error} retry={() => void status.refetch()} />
      ) : (
        <Loading rows={3} />
      )}
      {problem && (
        <p className={classes.problem} role="alert">
          {problem.message}
        </p>
      )}
      <p className={classes.soft}>Reset closes breakers and ends cool-downs. What is used up stays used up.</p>
    </Card>
  );
}

function Configuration() {
  const config = useConfig();
  const [text, setText] = useState("");
  const [own, setOwn] = useState(false);
  const wanted = text.trim().toLowerCase();
  const found = config.data?.settings.filter(
    ({ name, value, source }) =>
      (!own || source !== "default") && `${name} ${value} ${source}`.toLowerCase().includes(wanted),
  );
  return (
    <Card
      flush
      title="Configuration in force"
      note="without its secrets"
      action={
        <div className={classes.filter}>
          <Switch
            size="xs"
            label="Only what was set"
            checked={own}
            onChange={(event) => setOwn(event.currentTarget.checked)}
          />
          <TextInput
            size="xs"
            aria-label="Filter settings"
            placeholder="Filter settings"
            value={text}
            leftSection={<Icon name="search" size={14} />}
            onChange={(event) => setText(event.currentTarget.value)}
          />
        </div>
      }
    >
      {found ? (
        found.length ? (
          <Scroll label="All settings" tall>
            <table className={classes.table}>
              <thead>
                <tr>
                  <th scope="col">Setting</th>
                  <th scope="col">Value</th>
                  <th scope="col">From</th>
                </tr>
              </thead>
              <tbody>
                {found.map(({ name, value, source }) => (
                  <tr key={name}>
                    <th scope="row">
                      <code>{name}</code>
                    </th>
                    <td>
                      <code>{value}</code>
                    </td>
                    <td>
                      {source === "default" ? (
                        <span className={classes.soft}>default</span>
                      ) : (
                        <Tag tone="info">{source}</Tag>
                      )}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </Scroll>
        ) : (
          <Empty icon="search" title="No setting matches" />
        )
      ) : config.isError ? (
        <Failure error={config.error} retry={() => void config.refetch()} />
      ) : (
        <div className={classes.pad}>
          <Loading rows={5} height={26} />
        </div>
      )}
    </Card>
  );
}

function Audit() {
  const audit = useAudit();
  const entries = audit.data?.pages.flatMap((page) => page.data);
  const now = useNow();
  return (
    <Card flush title="Audit log" note="what was changed, by whom, from where">
      {entries ? (
        entries.length ? (
          <>
            <Scroll label="All changes" tall>
              <table className={classes.table}>
                <thead>
                  <tr>
                    <th scope="col">When</th>
                    <th scope="col">Who</th>
                    <th scope="col">What</th>
                    <th scope="col">Change</th>
                    <th scope="col">Address</th>
                  </tr>
                </thead>
                <tbody>
                  {entries.map((entry) => (
                    <tr key={entry.id}>
                      <td title={moment(entry.time)} className={classes.when}>
                        {ago(entry.time, now)}
                      </td>
                      <td>{entry.actor}</td>
                      <td>
                        {actionName(entry.action)} <code>{entry.subject}</code>
                      </td>
                      <td className={classes.change}>{changeSaid(entry)}</td>
                      <td className={classes.soft}>{entry.address ?? "–"}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </Scroll>
            {audit.hasNextPage && (
              <div className={classes.pad}>
                <Button
                  variant="default"
                  size="xs"
                  loading={audit.isFetchingNextPage}
                  onClick={() => void audit.fetchNextPage()}
                >
                  Show older
                </Button>
              </div>
            )}
          </>
        ) : (
          <Empty icon="clock" title="Nothing was changed yet">
            Every client made or changed, every switch and reset is noted here.
          </Empty>
        )
      ) : audit.isError ? (
        <Failure error={audit.error} retry={() => void audit.refetch()} />
      ) : (
        <div className={classes.pad}>
          <Loading rows={4} height={26} />
        </div>
      )}
    </Card>
  );
}

const ACTIONS: Record<string, string> = {
  "client.create": "made client",
  "client.update": "changed client",
  "client.rotate": "rotated the key of",
  "client.revoke": "revoked client",
  "client.delete": "deleted client",
  "routing.set": "set the order of",
  "provider.reset": "reset provider",
  "provider.switch": "switched provider",
  "model.switch": "switched model",
  "session.create": "logged in",
  "session.delete": "logged out",
};
const actionName = (action: string) => ACTIONS[action] ?? action;

/** What differs between before and after. */
function changeSaid({ before, after }: AuditEntry): string {
  const names = [...new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])];
  return names
    .filter((name) => JSON.stringify(before?.[name]) !== JSON.stringify(after?.[name]))
    .map((name) => {
      const [from, to] = [said(before?.[name]), said(after?.[name])];
      return from === "" ? `${name}: ${to}` : `${name}: ${from} → ${to || "none"}`;
    })
    .join(", ");
}

function said(value: unknown): string {
  if (value === undefined || value === null) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}
