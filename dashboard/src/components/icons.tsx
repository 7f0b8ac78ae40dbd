import type { SVGProps } from "react";

/** Line icons on a 24-unit grid. Decorative: the text beside them carries the meaning. */
const PATHS = {
  pool: "M4 20V10M10 20V4M16 20v-7M22 20H2",
  usage: "M3 3v18h18M7 15l4-4 3 3 6-7",
  requests: "M4 6h16M4 12h10M4 18h13",
  clients:
    "M9 11a4 4 0 1 0 0-8 4 4 0 0 0 0 8ZM2.5 21v-1a5 5 0 0 1 5-5h3a5 5 0 0 1 5 5v1M16 3.5a4 4 0 0 1 0 7.3M18.5 15.3a5 5 0 0 1 3 4.7v1",
  models: "M12 3 3 7.5l9 4.5 9-4.5L12 3ZM3 12l9 4.5 9-4.5M3 16.5 12 21l9-4.5",
  playground: "M21 12a8 8 0 0 1-8 8H4l2-3a8 8 0 1 1 15-5ZM9 12h.01M13 12h.01M17 12h.01",
  settings:
    "M4 7h9M19 7h1M4 17h1M11 17h9M16 9.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5ZM8 19.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5Z",
  start: "M5 4l14 8-14 8V4Z",
  sun: "M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8ZM12 2v2M12 20v2M4.9 4.9l1.4 1.4M17.7 17.7l1.4 1.4M2 12h2M20 12h2M4.9 19.1l1.4-1.4M17.7 6.3l1.4-1.4",
  moon: "M20 14.5A8.5 8.5 0 1 1 9.5 4a7 7 0 0 0 10.5 10.5Z",
  auto: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18ZM12 3v18M12 7h5M12 11h8M12 15h7",
  logout: "M10 4H5v16h5M15 8l4 4-4 4M19 12H9",
  copy: "M9 9h11v11H9V9ZM15 9V4H4v11h5",
  check: "m4 12.5 5 5L20 6.5",
  plus: "M12 5v14M5 12h14",
  search: "M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13ZM15.5 15.5 21 21",
  dots: "M5 12h.01M12 12h.01M19 12h.01",
  close: "M6 6l12 12M18 6 6 18",
  warning: "M12 3 2 20h20L12 3ZM12 10v4M12 17h.01",
  menu: "M3 6h18M3 12h18M3 18h18",
  reset: "M4 5v5h5M4.6 10A8 8 0 1 1 4 13",
  stop: "M6 6h12v12H6V6Z",
  send: "M4 12 20 4l-5 16-4-6-7-2Z",
  key: "M14.5 13.5a5 5 0 1 0-4-4L3 17v4h4v-3h3v-3l1.5-1.5M16 8h.01",
  external: "M10 5H5v14h14v-5M14 4h6v6M20 4l-9 9",
  clock: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18ZM12 7v5l3 2",
  pause: "M8 5v14M16 5v14",
  chevron: "m9 6 6 6-6 6",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 16, ...rest }: { name: IconName; size?: number } & SVGProps<SVGSVGElement>) {
  return (
    <svg
      aria-hidden
      width={size}
      height={size}
      viewBox="0 0 24 24"
      fill="none"
      stroke="currentColor"
      strokeWidth={name === "dots" ? 3 : 1.8}
      strokeLinecap="round"
      strokeLinejoin="round"
      {...rest}
    >
      <path d={PATHS[name]} />
    </svg>
  );
}
