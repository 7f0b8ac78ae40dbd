import { Button, Select, Switch, TextInput } from "@mantine/core";
import { useState } from "react";
import { Icon } from "../../components/icons";
import { Empty, Problem } from "../../components/notice";
import { Card, Head, Loading, Scroll, Tag } from "../../components/page";
import { QueryView } from "../../components/query-view";
import { STRATEGIES } from "../../format";
import { useConfig, useResetProvider, useSetStrategy, useStatus, useSwitchProvider } from "../../queries";
import type { Strategy } from "../../types";
import { AuditLog } from "./audit-log";
import classes from "./settings.module.css";

const STRATEGY_OPTIONS = (Object.keys(STRATEGIES) as Strategy[]).map((value) => ({
  value,
  label: `${value}: ${STRATEGIES[value]}`,
}));

export default function Settings() {
  return (
    <>
      <Head
        title="Settings"
        lead="Runtime settings, the configuration at start-up, and the audit log. A change takes effect on every replica with its next request."
      />
      <div className={classes.columns}>
        <Routing />
        <Providers />
      </div>
      <Configuration />
      <AuditLog />
    </>
  );
}

function Routing() {
  const status = useStatus();
  const set = useSetStrategy();
  return (
    <Card title="Routing">
      <QueryView query={status} loading={<Loading rows={1} />}>
        {({ routingStrategy }) => (
          <>
            <Select
              label={
                <>
                  Strategy of <code>free</code>
                </>
              }
              description="The order in which it tries models that have capacity"
              data={STRATEGY_OPTIONS}
              allowDeselect={false}
              value={set.isPending ? set.variables : routingStrategy}
              disabled={set.isPending}
              onChange={(value) => value && set.mutate(value)}
            />
            <Problem error={set.error} />
          </>
        )}
      </QueryView>
    </Card>
  );
}

function Providers() {
  const status = useStatus();
  const reset = useResetProvider();
  const toggle = useSwitchProvider();
  return (
    <Card title="Providers">
      <QueryView query={status} loading={<Loading rows={3} />}>
        {({ providers }) =>
          providers.length === 0 ? (
            <p className={classes.soft}>No provider is configured.</p>
          ) : (
            <ul className={classes.providers}>
              {providers.map(({ id, name, enabled, circuitBreakerState }) => (
                <li key={id}>
                  <Switch
                    label={name}
                    checked={toggle.isPending && toggle.variables.id === id ? toggle.variables.enabled : enabled}
                    onChange={(event) => toggle.mutate({ id, enabled: event.currentTarget.checked })}
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
          )
        }
      </QueryView>
      <Problem error={reset.error ?? toggle.error} />
      <p className={classes.soft}>Reset closes breakers and ends cooldowns. Used budget stays used.</p>
    </Card>
  );
}

function Configuration() {
  const config = useConfig();
  const [text, setText] = useState("");
  const [onlySet, setOnlySet] = useState(false);
  const query = text.trim().toLowerCase();
  const found = (config.data?.settings ?? []).filter(
    ({ name, value, source }) =>
      (!onlySet || source !== "default") && `${name} ${value} ${source}`.toLowerCase().includes(query),
  );
  return (
    <Card
      flush
      title="Effective configuration"
      note="secrets are omitted"
      action={
        <div className={classes.filter}>
          <Switch
            size="xs"
            label="Only changed from default"
            checked={onlySet}
            onChange={(event) => setOnlySet(event.currentTarget.checked)}
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
      <QueryView query={config} loading={<Loading rows={5} height={26} padded />}>
        {() =>
          found.length === 0 ? (
            <Empty icon="search" title="No setting matches" />
          ) : (
            <Scroll label="All settings" tall>
              <table className={classes.table}>
                <thead>
                  <tr>
                    <th scope="col">Setting</th>
                    <th scope="col">Value</th>
                    <th scope="col">Source</th>
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
          )
        }
      </QueryView>
    </Card>
  );
}
