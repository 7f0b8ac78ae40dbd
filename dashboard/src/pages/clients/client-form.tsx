import { Switch, TagsInput, TextInput, Textarea } from "@mantine/core";
import { useMemo } from "react";
import { NumberField } from "../../components/number-field";
import { useModels } from "../../queries";
import type { Client, ClientChange, ClientLimits } from "../../types";
import { limitName } from "../../format";
import classes from "./clients.module.css";

export type Draft = Required<Omit<ClientChange, "limits">> & { limits: ClientLimits };

const LIMITS: (keyof ClientLimits)[] = ["rpm", "rpd", "tpm", "tpd", "concurrency"];

export const EMPTY_DRAFT: Draft = {
  name: "",
  limits: { rpm: null, rpd: null, tpm: null, tpd: null, concurrency: null },
  weight: 1,
  models: [],
  priority: false,
  paid: false,
  wait_ms: null,
  expires_at: null,
  note: "",
  disabled: false,
};

export function draftOf(client: Client): Draft {
  const { name, limits, weight, models, priority, paid, wait_ms, expires_at, note, disabled } = client;
  return {
    name,
    limits: { ...EMPTY_DRAFT.limits, ...limits },
    weight,
    models,
    priority,
    paid,
    wait_ms,
    expires_at,
    note,
    disabled,
  };
}

/** The fields that differ. A field that another administrator changed meanwhile keeps that change. */
export function changes(from: Draft, to: Draft): ClientChange {
  const changed: Record<string, unknown> = {};
  for (const name of Object.keys(to) as (keyof Draft)[]) {
    if (name !== "limits" && JSON.stringify(from[name]) !== JSON.stringify(to[name])) changed[name] = to[name];
  }
  const limits = LIMITS.filter((limit) => from.limits[limit] !== to.limits[limit]).map((limit) => [
    limit,
    to.limits[limit],
  ]);
  if (limits.length) changed.limits = Object.fromEntries(limits);
  return changed;
}

/** The editable fields of a client, for a new one and an existing one. */
export function ClientFields({ draft, set, frozen }: { draft: Draft; set: (draft: Draft) => void; frozen?: boolean }) {
  const models = useModels().data?.data;
  const known = useMemo(() => {
    const ids =
      models?.filter((model) => model.kind === "meta" || model.status !== "retired").map((model) => model.id) ?? [];
    const providers = [...new Set(ids.filter((id) => id.includes("/")).map((id) => `${id.split("/")[0]}/*`))];
    return [...ids.filter((id) => !id.includes("/")), ...providers, ...ids.filter((id) => id.includes("/"))];
  }, [models]);
  const update = <K extends keyof Draft>(name: K, value: Draft[K]) => set({ ...draft, [name]: value });
  return (
    <>
      <TextInput
        label="Name"
        required
        maxLength={80}
        data-autofocus
        disabled={frozen}
        value={draft.name}
        onChange={(event) => update("name", event.currentTarget.value)}
      />
      <fieldset disabled={frozen}>
        <legend>Limits</legend>
        <div className={classes.grid}>
          {LIMITS.map((limit) => (
            <NumberField
              key={limit}
              label={limit === "concurrency" ? "concurrent" : limitName(limit)}
              placeholder="no limit"
              min={1}
              disabled={frozen}
              value={draft.limits[limit]}
              set={(value) => update("limits", { ...draft.limits, [limit]: value })}
            />
          ))}
        </div>
      </fieldset>
      <TagsInput
        label="Models"
        description="Names or patterns; empty: all models"
        placeholder={draft.models.length ? "" : "all"}
        data={known}
        maxDropdownHeight={240}
        clearable
        disabled={frozen}
        value={draft.models}
        onChange={(value) => update("models", value)}
        clearButtonProps={{ "aria-label": "Clear models" }}
      />
      <div className={classes.grid}>
        <NumberField
          label="Weight"
          description="Share while several clients wait"
          required
          withAsterisk={false}
          min={1}
          max={1000}
          disabled={frozen}
          value={draft.weight}
          set={(value) => update("weight", value ?? 1)}
        />
        <NumberField
          label="Maximum wait"
          description="For capacity, in seconds"
          placeholder="server default"
          min={0}
          max={3600}
          step="any"
          disabled={frozen}
          value={draft.wait_ms === null ? null : draft.wait_ms / 1000}
          set={(value) => update("wait_ms", value === null ? null : Math.round(value * 1000))}
        />
        <TextInput
          type="datetime-local"
          label="Expires"
          description="Your time zone; empty: never"
          disabled={frozen}
          value={localTime(draft.expires_at)}
          onChange={(event) =>
            update("expires_at", event.currentTarget.value ? new Date(event.currentTarget.value).toISOString() : null)
          }
        />
      </div>
      <Textarea
        label="Note"
        autosize
        minRows={1}
        maxRows={4}
        maxLength={500}
        disabled={frozen}
        value={draft.note}
        onChange={(event) => update("note", event.currentTarget.value)}
      />
      <Switch
        label="May send service_tier: priority, which is served sooner"
        disabled={frozen}
        checked={draft.priority}
        onChange={(event) => update("priority", event.currentTarget.checked)}
      />
      <Switch
        label="May use what costs money at a provider, such as plugins of OpenRouter"
        disabled={frozen}
        checked={draft.paid}
        onChange={(event) => update("paid", event.currentTarget.checked)}
      />
    </>
  );
}

function localTime(time: string | null): string {
  if (!time) return "";
  const at = new Date(time);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
