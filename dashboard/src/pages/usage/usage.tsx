import { SegmentedControl } from "@mantine/core";
import { useState } from "react";
import { CsvButton } from "../../components/csv-button";
import { Empty } from "../../components/notice";
import { Card, Head, Loading, Scroll } from "../../components/page";
import { QueryView } from "../../components/query-view";
import { Sparkline } from "../../components/sparkline";
import { shortDate, shortTime } from "../../format";
import { useBudget, useUsage, type UsageQuery } from "../../queries";
import { NO_PROVIDER } from "../../theme";
import type { Series, Usage } from "../../types";
import { columnsOf, overTime, summable, type Column } from "./figures";
import { Forecast } from "./forecast";
import classes from "./usage.module.css";

const HOUR = 3_600_000;
const RANGES = {
  "24 hours": { step: "hour", back: 23 * HOUR },
  "30 days": { step: "day", back: 29 * 24 * HOUR },
  "12 months": { step: "day", back: 364 * 24 * HOUR },
} as const;
type Range = keyof typeof RANGES;

const SUBJECTS = { client: "Clients", model: "Models", provider: "Providers" } as const;

/** Who has used what over hours and days, what that would have cost elsewhere, and how long the budgets last. */
export default function UsagePage() {
  const [range, setRange] = useState<Range>("24 hours");
  const budget = useBudget();
  return (
    <>
      <Head
        title="Usage"
        lead="Requests, tokens, times and refusals by client, model and provider. Each table can be downloaded."
      >
        <SegmentedControl
          size="xs"
          aria-label="Range"
          value={range}
          onChange={(value) => setRange(value as Range)}
          data={Object.keys(RANGES)}
        />
      </Head>
      <OverTime range={range} />
      {(Object.keys(SUBJECTS) as (keyof typeof SUBJECTS)[]).map((by) => (
        <BySubject key={by} by={by} range={range} />
      ))}
      <QueryView query={budget} loading={<Loading rows={4} />} errorInCard>
        {(current) => <Forecast budget={current} />}
      </QueryView>
    </>
  );
}

function BySubject({ by, range }: { by: UsageQuery["by"]; range: Range }) {
  const usage = useUsage({ by, ...RANGES[range] });
  const columns = columnsOf(usage.data?.currency ?? null);
  const series = (usage.data?.series ?? []).filter(({ total }) => total.requests > 0);
  const rows = series.map((one) => [nameOf(one), ...columns.map(({ of }) => of(one.total))]);
  return (
    <Card
      flush
      title={SUBJECTS[by]}
      action={<CsvButton name={`${by}s`} header={[by, ...columns.map(({ name }) => name)]} rows={rows} />}
    >
      <QueryView query={usage} loading={<Loading rows={4} padded />}>
        {() => <FiguresTable label={SUBJECTS[by]} subject={by} columns={columns} series={series} />}
      </QueryView>
    </Card>
  );
}

/** `none` and `other` are no names. */
function nameOf({ name, label }: Series) {
  if (name === "none") return NO_PROVIDER;
  return label ?? (name === "other" ? "all others" : name);
}

function FiguresTable({
  label,
  subject,
  columns,
  series,
}: {
  label: string;
  subject: string;
  columns: Column[];
  series: Series[];
}) {
  if (series.length === 0) return <Empty icon="requests" title="No request in this time" />;
  return (
    <Scroll label={label} tall>
      <table className={classes.table}>
        <thead>
          <tr>
            <th scope="col">{subject}</th>
            <th scope="col">Requests over time</th>
            {columns.map(({ name }) => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {series.map((one) => (
            <tr key={one.name}>
              <th scope="row" title={one.name}>
                {nameOf(one)}
              </th>
              <td>
                <Sparkline values={one.points.map(({ requests }) => requests)} />
              </td>
              {columns.map(({ name, text, title }) => (
                <td key={name} className="num" title={title?.(one.total)}>
                  {text(one.total)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

function OverTime({ range }: { range: Range }) {
  const usage = useUsage({ by: "provider", ...RANGES[range] });
  const columns = summable(columnsOf(usage.data?.currency ?? null));
  const { step } = RANGES[range];
  const steps = usage.data ? overTime(usage.data).filter(({ figures }) => figures.requests > 0) : [];
  const title = step === "hour" ? "Hours" : "Days";
  const when = (time: string) => (step === "hour" ? shortTime(time) : shortDate(time));
  const rows = steps.map(({ time, figures }) => [time, ...columns.map(({ of }) => of(figures))]);
  return (
    <Card
      flush
      title={title}
      note={step === "day" ? "days of UTC" : undefined}
      action={<CsvButton name={`${step}s`} header={[step, ...columns.map(({ name }) => name)]} rows={rows} />}
    >
      <QueryView query={usage} loading={<Loading rows={4} padded />}>
        {(current) => (
          <>
            <Totals usage={current} columns={columns} />
            {steps.length > 0 && (
              <Scroll label={title} tall>
                <table className={classes.table}>
                  <thead>
                    <tr>
                      <th scope="col">{step}</th>
                      {columns.map(({ name }) => (
                        <th key={name} scope="col">
                          {name}
                        </th>
                      ))}
                    </tr>
                  </thead>
                  <tbody>
                    {steps.toReversed().map(({ time, figures }) => (
                      <tr key={time}>
                        <th scope="row">{when(time)}</th>
                        {columns.map(({ name, text, title }) => (
                          <td key={name} className="num" title={title?.(figures)}>
                            {text(figures)}
                          </td>
                        ))}
                      </tr>
                    ))}
                  </tbody>
                </table>
              </Scroll>
            )}
          </>
        )}
      </QueryView>
    </Card>
  );
}

/** The sums of the whole range. */
function Totals({ usage, columns }: { usage: Usage; columns: Column[] }) {
  const whole = { ...usage, series: usage.series.map((one) => ({ ...one, points: [{ time: "", ...one.total }] })) };
  const [sum] = overTime(whole);
  if (!sum) return <Empty icon="requests" title="No request in this time" />;
  return (
    <dl className={classes.totals}>
      {columns.map(({ name, text, title }) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd title={title?.(sum.figures)}>{text(sum.figures)}</dd>
        </div>
      ))}
    </dl>
  );
}
