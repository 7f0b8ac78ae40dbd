import "@mantine/charts/styles.css";
import { AreaChart } from "@mantine/charts";
import { useMemo } from "react";
import { NO_PROVIDER, seriesColor, seriesIndex } from "../../theme";
import type { Series, Usage, UsagePoint } from "../../types";
import { shortTime, shortDate, exact, axisSeconds, compact, elapsed } from "../../format";
import { RANGES, type Range } from "./ranges";
import classes from "./pool.module.css";

/** Requests by provider over time, and the time to first token of each provider. */
export default function Charts({ usage, range }: { usage: Usage; range: Range }) {
  // A fixed order, so that colours and layers do not move when traffic shifts.
  const busy = useMemo(
    () =>
      usage.series
        .filter((series) => series.total.requests > 0)
        .map((series) => (series.name === "none" ? { ...series, name: NO_PROVIDER } : series))
        .sort((a, b) => seriesIndex(a.name) - seriesIndex(b.name)),
    [usage],
  );
  const rows = useMemo(() => stacked(busy, RANGES[range].bin), [busy, range]);
  const label = (time: string) => (range === "30 d" ? shortDate(time) : shortTime(time));
  const axis = { tickFormatter: label, minTickGap: 48, tickMargin: 8 };
  return (
    <div className={classes.charts}>
      <figure style={{ margin: 0 }} aria-label={summary(busy)}>
        <AreaChart
          h={272}
          data={rows}
          dataKey="time"
          type="stacked"
          withDots={false}
          strokeWidth={1.2}
          fillOpacity={0.5}
          curveType="monotone"
          series={busy.map(({ name }) => ({ name, color: seriesColor(name) }))}
          gridAxis="x"
          tickLine="none"
          xAxisProps={axis}
          yAxisProps={{ width: 38, tickFormatter: compact, allowDecimals: false }}
          areaProps={{ isAnimationActive: false }}
          valueFormatter={exact}
          tooltipAnimationDuration={0}
          tooltipProps={{ labelFormatter: (time) => (typeof time === "string" ? label(time) : "") }}
        />
        <ul className={classes.key}>
          {busy.map(({ name, total }) => (
            <li key={name}>
              <span className={classes.swatch} style={{ background: seriesColor(name) }} />
              {name} <b title={exact(total.requests)}>{compact(total.requests)}</b>
            </li>
          ))}
        </ul>
      </figure>
      <div className={classes.latency}>
        {busy
          .filter((series) => series.total.first_token_p50_ms !== null)
          .map((series) => (
            <Latency key={series.name} series={series} bin={RANGES[range].bin} label={label} />
          ))}
      </div>
    </div>
  );
}

function Latency({ series, bin, label }: { series: Series; bin: number; label: (time: string) => string }) {
  const { name, total } = series;
  const points = useMemo(() => latencies(series.points, bin), [series, bin]);
  const color = seriesColor(name);
  return (
    <figure
      className={classes.small}
      style={{ margin: 0 }}
      aria-label={`${name}: time to first token, p50 ${elapsed(total.first_token_p50_ms)}, p95 ${elapsed(total.first_token_p95_ms)}`}
    >
      <h3>
        <span className={classes.swatch} style={{ background: color, margin: 0 }} />
        {name}
        <span>
          p50 {elapsed(total.first_token_p50_ms)} · p95 {elapsed(total.first_token_p95_ms)}
        </span>
      </h3>
      <AreaChart
        h={78}
        data={points}
        dataKey="time"
        withDots={false}
        withXAxis={false}
        strokeWidth={1.4}
        gridAxis="none"
        tickLine="none"
        curveType="monotone"
        connectNulls={false}
        areaProps={{ isAnimationActive: false }}
        withGradient={false}
        fillOpacity={0.1}
        valueFormatter={elapsed}
        tooltipAnimationDuration={0}
        yAxisProps={{ width: 46, tickFormatter: axisSeconds, tickCount: 3 }}
        tooltipProps={{ labelFormatter: (time) => (typeof time === "string" ? label(time) : "") }}
        series={[
          { name: "p95", color: `color-mix(in srgb, ${color} 45%, transparent)` },
          { name: "p50", color },
        ]}
      />
    </figure>
  );
}

type Row = { time: string } & Record<string, number | string>;

function stacked(series: Series[], bin: number): Row[] {
  const rows = new Map<string, Row>();
  for (const { name, points } of series) {
    for (const [time, binned] of bins(points, bin)) {
      const row = rows.get(time) ?? { time };
      row[name] = binned.reduce((sum, point) => sum + point.requests, 0);
      rows.set(time, row);
    }
  }
  return [...rows.values()].sort((a, b) => a.time.localeCompare(b.time));
}

/** Percentiles per bin. For a bin of several minutes this is the mean weighted by requests, which is an estimate. */
function latencies(points: UsagePoint[], bin: number) {
  return bins(points, bin).map(([time, binned]) => {
    const mean = (of: (point: UsagePoint) => number | null) => {
      const known = binned.filter((point) => of(point) !== null && point.requests > 0);
      const weight = known.reduce((sum, point) => sum + point.requests, 0);
      return weight ? known.reduce((sum, point) => sum + (of(point) ?? 0) * point.requests, 0) / weight : null;
    };
    return { time, p50: mean((point) => point.first_token_p50_ms), p95: mean((point) => point.first_token_p95_ms) };
  });
}

function bins(points: UsagePoint[], size: number): [string, UsagePoint[]][] {
  const binned: [string, UsagePoint[]][] = [];
  for (const [at, point] of points.entries()) {
    if (at % size === 0) binned.push([point.time, []]);
    binned.at(-1)?.[1].push(point);
  }
  return binned;
}

const summary = (series: Series[]) =>
  `Requests by provider: ${series.map(({ name, total }) => `${name} ${exact(total.requests)}`).join(", ")}`;
