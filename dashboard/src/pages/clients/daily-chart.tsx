import "@mantine/charts/styles.css";
import { AreaChart } from "@mantine/charts";
import type { Series } from "../../types";
import { shortDate, exact, compact } from "../../format";

/** Requests per day, with the daily quota if the usage comes near it. */
export default function DailyChart({ series, quota }: { series: Series; quota: number | null }) {
  const rows = series.points.map(({ time, requests }) => ({ time, requests }));
  const near = quota !== null && rows.some((row) => row.requests > quota / 3);
  return (
    <figure style={{ margin: 0 }} aria-label={`Requests per day: ${rows.map((row) => exact(row.requests)).join(", ")}`}>
      <AreaChart
        h={130}
        data={rows}
        dataKey="time"
        series={[{ name: "requests", color: "var(--used)" }]}
        gridAxis="x"
        tickLine="none"
        valueFormatter={exact}
        xAxisProps={{ tickFormatter: shortDate, minTickGap: 40 }}
        yAxisProps={{ width: 38, tickFormatter: compact, allowDecimals: false }}
        areaProps={{ isAnimationActive: false }}
        curveType="step"
        withDots={false}
        withGradient={false}
        fillOpacity={0.2}
        strokeWidth={1.4}
        tooltipAnimationDuration={0}
        tooltipProps={{ labelFormatter: (time) => (typeof time === "string" ? shortDate(time) : "") }}
        referenceLines={near ? [{ y: quota, label: "quota", color: "red" }] : []}
      />
    </figure>
  );
}
