import { Button, Switch } from "@mantine/core";
import { memo, useCallback } from "react";
import { Countdown } from "../../components/countdown";
import { Icon } from "../../components/icons";
import { Tag } from "../../components/page";
import { useResetProvider, useSwitchModel, useSwitchProvider } from "../../queries";
import { seriesColor } from "../../theme";
import type { Account, Breaker, BudgetModel, Provider, Window } from "../../types";
import { causeName, elapsed } from "../../format";
import { Bar } from "./bar";
import type { BarId } from "./bar-details";
import classes from "./provider-card.module.css";

type Show = (bar: BarId, anchor: HTMLElement) => void;

export const ProviderCard = memo(function ProviderCard({ provider, show }: { provider: Provider; show: Show }) {
  const reset = useResetProvider();
  const toggle = useSwitchProvider();
  const canReset =
    provider.breaker.state !== "closed" ||
    provider.accounts.some(
      (account) =>
        account.keys.some((key) => key.cooldown_until) ||
        account.models.some((model) => model.cooldown || model.breaker.state !== "closed"),
    );
  return (
    <section className={classes.provider} aria-label={provider.name} data-off={!provider.enabled || undefined}>
      <header className={classes.head}>
        <span className={classes.dot} style={{ background: seriesColor(provider.id) }} aria-hidden />
        <h3>{provider.name}</h3>
        {!provider.enabled && <Tag>switched off</Tag>}
        <BreakerTag breaker={provider.breaker} />
        <div className={classes.actions}>
          {canReset && (
            <Button
              variant="default"
              size="compact-xs"
              loading={reset.isPending}
              leftSection={<Icon name="reset" size={13} />}
              aria-label={`Reset ${provider.name}: close its breakers and end its cooldowns`}
              onClick={() => reset.mutate(provider.id)}
            >
              Reset
            </Button>
          )}
          <Switch
            size="xs"
            aria-label={`Use ${provider.name}`}
            title="When off, no replica sends requests to it"
            checked={toggle.isPending ? toggle.variables.enabled : provider.enabled}
            onChange={(event) => toggle.mutate({ id: provider.id, enabled: event.currentTarget.checked })}
          />
        </div>
      </header>
      {provider.accounts.map((account) => (
        <AccountBlock
          key={account.id}
          provider={provider.id}
          account={account}
          alone={provider.accounts.length === 1}
          show={show}
        />
      ))}
    </section>
  );
});

function BreakerTag({ breaker, of }: { breaker: Breaker; of?: string }) {
  if (breaker.state === "closed") return null;
  if (breaker.state === "half_open") return <Tag tone="warn">{of}breaker half open: one probe at a time</Tag>;
  return (
    <Tag tone="bad">
      {of}breaker open
      {breaker.until && (
        <>
          {" "}
          · probe <Countdown to={breaker.until} />
        </>
      )}
    </Tag>
  );
}

const AccountBlock = memo(function AccountBlock({
  provider,
  account,
  alone,
  show,
}: {
  provider: string;
  account: Account;
  alone: boolean;
  show: Show;
}) {
  const closedKeys = account.keys.filter((key) => key.cooldown_until);
  return (
    <div className={classes.account}>
      {(!alone || closedKeys.length > 0 || account.windows.length > 0) && (
        <div className={classes.row} data-account>
          <div className={classes.name}>
            <span className={classes.accountName}>
              account <b>{account.id}</b>
            </span>
            {account.keys.length > 1 && (
              <span className={classes.sub}>{account.keys.length} keys share its limits</span>
            )}
            {closedKeys.map((key) => (
              <Tag key={key.id} tone="bad">
                key {key.id} in cooldown: {causeName(key.cause ?? "rejected")} · ends{" "}
                <Countdown to={key.cooldown_until ?? ""} />
              </Tag>
            ))}
          </div>
          <Bars
            windows={account.windows}
            subject={`${provider} ${account.id}`}
            provider={provider}
            account={account.id}
            model={null}
            show={show}
          />
        </div>
      )}
      {account.models.map((model) => (
        <ModelRow key={model.id} provider={provider} account={account.id} model={model} show={show} />
      ))}
    </div>
  );
});

const ModelRow = memo(function ModelRow({
  provider,
  account,
  model,
  show,
}: {
  provider: string;
  account: string;
  model: BudgetModel;
  show: Show;
}) {
  const toggle = useSwitchModel();
  return (
    <div className={classes.row} data-off={!model.enabled || undefined}>
      <div className={classes.name}>
        <span className={classes.model} title={model.name}>
          {model.id}
        </span>
        <span className={classes.tags}>
          {!model.enabled && (
            <>
              <Tag>off</Tag>
              <Button
                variant="subtle"
                size="compact-xs"
                aria-label={`Switch on ${model.name}`}
                onClick={() => toggle.mutate({ name: model.name, enabled: true })}
              >
                Switch on
              </Button>
            </>
          )}
          <BreakerTag breaker={model.breaker} />
          {model.cooldown && (
            <Tag tone="warn">
              {causeName(model.cooldown.cause)} · ends <Countdown to={model.cooldown.until} />
            </Tag>
          )}
          {model.first_token_ms !== null && (
            <span className={classes.sub}>first token {elapsed(model.first_token_ms)}</span>
          )}
        </span>
      </div>
      <Bars
        windows={model.windows}
        subject={model.name}
        provider={provider}
        account={account}
        model={model.id}
        show={show}
      />
    </div>
  );
});

function Bars({
  windows,
  subject,
  provider,
  account,
  model,
  show,
}: {
  windows: Window[];
  subject: string;
  provider: string;
  account: string;
  model: string | null;
  show: Show;
}) {
  return (
    <div className={classes.bars}>
      {windows.map((window) => (
        <OneBar
          key={window.limit}
          window={window}
          subject={subject}
          provider={provider}
          account={account}
          model={model}
          show={show}
        />
      ))}
      {windows.length === 0 && model !== null && <span className={classes.unmetered}>no limit of its own</span>}
    </div>
  );
}

function OneBar({
  window,
  subject,
  provider,
  account,
  model,
  show,
}: {
  window: Window;
  subject: string;
  provider: string;
  account: string;
  model: string | null;
  show: Show;
}) {
  const { limit } = window;
  const open = useCallback(
    (anchor: HTMLElement) => show({ provider, account, model, limit }, anchor),
    [show, provider, account, model, limit],
  );
  return <Bar window={window} subject={subject} open={open} />;
}
