import "@mantine/charts/styles.css";
import { AreaChart } from "@mantine/charts";
import type { Series } from "../../types";
import { date, exact, short } from "../../format";

/** Requests a day, beside the quota where there is one. */
export default function Days({ series, quota }: { series: Series; quota: number | null }) {
  const rows = series.points.map(({ time, requests }) => ({ time, requests }));
  const near = quota !== null && rows.some((row) => row.requests > quota / 3);
  return (
    <figure style={{ margin: 0 }} aria-label={`Requests a day: ${rows.map((row) => exact(row.requests)).join(", ")}`}>
      <AreaChart
        h={130}
        data={rows}
        dataKey="time"
        series={[{ name: "requests", color: "var(--used)" }]}
        gridAxis="x"
        tickLine="none"
        valueFormatter={exact}
        xAxisProps={{ tickFormatter: date, minTickGap: 40 }}
        yAxisProps={{ width: 38, tickFormatter: short, allowDecimals: false }}
        areaProps={{ isAnimationActive: false }}
        curveType="step"
        withDots={false}
        withGradient={false}
        fillOpacity={0.2}
        strokeWidth={1.4}
        tooltipAnimationDuration={0}
        tooltipProps={{ labelFormatter: (time) => (typeof time === "string" ? date(time) : "") }}
        referenceLines={near ? [{ y: quota, label: "quota", color: "red" }] : []}
      />
    </figure>
  );
}
