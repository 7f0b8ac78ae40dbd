/** A small line chart without axes. Decorative: the figure beside it carries the meaning. */
export function Sparkline({
  values,
  width = 96,
  height = 26,
  color = "var(--used)",
}: {
  values: number[];
  width?: number;
  height?: number;
  color?: string;
}) {
  const max = Math.max(...values, 1e-9);
  const step = width / Math.max(values.length - 1, 1);
  const y = (value: number) => height - 2 - (value / max) * (height - 4);
  const line = values.map((value, at) => `${at ? "L" : "M"}${(at * step).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  if (values.length < 2) return <svg aria-hidden width={width} height={height} />;
  return (
    <svg aria-hidden width={width} height={height} viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none">
      <path d={`${line}L${width} ${height}L0 ${height}Z`} fill={color} opacity="0.12" />
      <path
        d={line}
        fill="none"
        stroke={color}
        strokeWidth="1.5"
        strokeLinejoin="round"
        vectorEffect="non-scaling-stroke"
      />
    </svg>
  );
}
