import { useNow } from "../../components/clock";
import { MoreButton } from "../../components/more-button";
import { Empty } from "../../components/notice";
import { Card, Loading, Scroll } from "../../components/page";
import { QueryView } from "../../components/query-view";
import { ago, fullTime } from "../../format";
import { useAudit } from "../../queries";
import type { AuditEntry } from "../../types";
import classes from "./settings.module.css";

/** The changes that administrators made, newest first. */
export function AuditLog() {
  const audit = useAudit();
  return (
    <Card flush title="Audit log" note="changes made by administrators">
      <QueryView query={audit} loading={<Loading rows={4} height={26} padded />}>
        {({ pages }) => <Entries entries={pages.flatMap((page) => page.data)} />}
      </QueryView>
      <MoreButton query={audit}>Show older</MoreButton>
    </Card>
  );
}

function Entries({ entries }: { entries: AuditEntry[] }) {
  const now = useNow();
  if (entries.length === 0) {
    return (
      <Empty icon="clock" title="No changes yet">
        Every change to a client, a switch or the routing, every reset and every login is recorded here.
      </Empty>
    );
  }
  return (
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
              <td title={fullTime(entry.time)} className={classes.when}>
                {ago(entry.time, now)}
              </td>
              <td>{entry.actor}</td>
              <td>
                {actionName(entry.action)} <code>{entry.subject}</code>
              </td>
              <td className={classes.change}>{diffText(entry)}</td>
              <td className={classes.soft}>{entry.address ?? "–"}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

const ACTIONS: Record<string, string> = {
  "client.create": "created client",
  "client.update": "changed client",
  "client.rotate": "rotated the key of",
  "client.revoke": "revoked client",
  "client.delete": "deleted client",
  "provider_key.create": "added provider key",
  "provider_key.update": "changed provider key",
  "provider_key.delete": "deleted provider key",
  "routing.set": "set the strategy of",
  "provider.reset": "reset provider",
  "provider.switch": "switched provider",
  "model.switch": "switched model",
  "session.create": "logged in",
  "session.delete": "logged out",
};
const actionName = (action: string) => ACTIONS[action] ?? action;

/** The fields that differ between before and after. */
function diffText({ before, after }: AuditEntry): string {
  const names = [...new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])];
  return names
    .filter((name) => JSON.stringify(before?.[name]) !== JSON.stringify(after?.[name]))
    .map((name) => {
      const [from, to] = [valueText(before?.[name]), valueText(after?.[name])];
      return from === "" ? `${name}: ${to}` : `${name}: ${from} → ${to || "none"}`;
    })
    .join(", ");
}

function valueText(value: unknown): string {
  if (value === undefined || value === null) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}
