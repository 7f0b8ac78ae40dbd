import { Tag } from "../../components/page";
import type { Client } from "../../types";
import classes from "./clients.module.css";

export function ClientTags({ client, now }: { client: Client; now: number }) {
  const expired = client.expires_at !== null && Date.parse(client.expires_at) <= now;
  return (
    <span className={classes.tags}>
      {client.revoked_at !== null ? (
        <Tag tone="bad">revoked</Tag>
      ) : client.disabled ? (
        <Tag tone="warn">disabled</Tag>
      ) : (
        expired && <Tag tone="bad">expired</Tag>
      )}
      {client.source === "file" && (
        <Tag title="Defined in the clients file, which is the place to change it">from file</Tag>
      )}
      {client.priority && (
        <Tag tone="info" title="May use service_tier: priority">
          priority
        </Tag>
      )}
      {client.weight !== 1 && <Tag title="Share of the capacity when several clients wait">weight {client.weight}</Tag>}
    </span>
  );
}
