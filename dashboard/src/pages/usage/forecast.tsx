import { CsvButton } from "../../components/csv-button";
import { Empty } from "../../components/notice";
import { Card, Scroll, Tag } from "../../components/page";
import { compact, exact, limitName, percent, shortTime } from "../../format";
import type { Budget, Window } from "../../types";
import classes from "./usage.module.css";

interface Row {
  provider: string;
  account: string;
  model: string | null;
  window: Window;
}

/** The budgets of days and months that are in use: at which pace, and until when they last. The first to run out come first. */
export function Forecast({ budget }: { budget: Budget }) {
  const rows = forecasts(budget);
  return (
    <Card
      flush
      title="Budgets of days and months"
      note="at the pace of the last hours"
      action={
        <CsvButton
          name="budgets"
          header={["provider", "account", "model", "limit", "used", "max", "per hour", "out at", "resets at"]}
          rows={rows.map(({ provider, account, model, window: { limit, used, max, forecast, resets_at } }) => [
            provider,
            account,
            model ?? "*",
            limit,
            used,
            max,
            forecast?.pace_per_hour ?? null,
            forecast?.exhausted_at ?? null,
            resets_at,
          ])}
        />
      }
    >
      {rows.length === 0 ? (
        <Empty icon="clock" title="No budget of a day or a month is in use" />
      ) : (
        <Scroll label="Budgets of days and months">
          <table className={classes.table}>
            <thead>
              <tr>
                <th scope="col">Model</th>
                <th scope="col">Limit</th>
                <th scope="col">Used</th>
                <th scope="col">Per hour</th>
                <th scope="col">Lasts</th>
              </tr>
            </thead>
            <tbody>
              {rows.map(({ provider, account, model, window }) => (
                <tr key={`${provider}/${account}/${model ?? "*"}/${window.limit}`}>
                  <th scope="row">
                    <span className={classes.soft}>{provider}/</span>
                    {model ?? "all models"} <span className={classes.soft}>{account}</span>
                  </th>
                  <td>{limitName(window.limit)}</td>
                  <td className="num" title={`${exact(window.used)} of ${exact(window.max)}`}>
                    {percent(window.used, window.max)}
                  </td>
                  <td className="num">{compact(window.forecast?.pace_per_hour ?? 0)}</td>
                  <td>
                    {window.forecast?.exhausted_at ? (
                      <Tag tone="warn">out by {shortTime(window.forecast.exhausted_at)}</Tag>
                    ) : (
                      <span className={classes.soft}>until the reset</span>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </Card>
  );
}

export function forecasts(budget: Budget): Row[] {
  const rows = budget.providers.flatMap(({ id: provider, accounts }) =>
    accounts.flatMap(({ id: account, windows, models }) => [
      ...windows.map((window) => ({ provider, account, model: null, window })),
      ...models.flatMap(({ id: model, windows }) => windows.map((window) => ({ provider, account, model, window }))),
    ]),
  );
  const outAt = ({ window }: Row) => Date.parse(window.forecast?.exhausted_at ?? "") || Infinity;
  const share = ({ window: { used, max } }: Row) => used / max;
  return rows
    .filter(({ window }) => window.forecast && window.used > 0)
    .sort((a, b) => (outAt(a) === outAt(b) ? share(b) - share(a) : outAt(a) - outAt(b)));
}
