import { createTheme, type MantineColorsTuple } from "@mantine/core";

/** The green of a road sign. */
const sign: MantineColorsTuple = [
  "#e7f6ef",
  "#cdeadc",
  "#9dd5ba",
  "#69bf96",
  "#3fab78",
  "#249b65",
  "#12845a",
  "#0b7049",
  "#07593a",
  "#04402a",
];
const gray: MantineColorsTuple = [
  "#f6f7f9",
  "#eef0f3",
  "#e4e7ec",
  "#d3d8df",
  "#b3bac6",
  "#8790a0",
  "#626c7c",
  "#4a5361",
  "#333a45",
  "#1b2028",
];
const dark: MantineColorsTuple = [
  "#d9dde4",
  "#b0b8c4",
  "#939dac",
  "#5a6473",
  "#39414d",
  "#2b323c",
  "#1c2129",
  "#14181e",
  "#0f1216",
  "#0a0c0f",
];

export const theme = createTheme({
  colors: { sign, gray, dark },
  primaryColor: "sign",
  primaryShade: { light: 7, dark: 6 },
  defaultRadius: "sm",
  radius: { xs: "3px", sm: "6px", md: "8px", lg: "12px", xl: "20px" },
  fontFamily: "Inter, system-ui, sans-serif",
  fontFamilyMonospace: "ui-monospace, SFMono-Regular, Menlo, Consolas, 'Liberation Mono', monospace",
  fontSizes: { xs: "12px", sm: "13px", md: "14px", lg: "16px", xl: "20px" },
  headings: {
    fontWeight: "600",
    sizes: {
      h1: { fontSize: "20px", lineHeight: "1.3" },
      h2: { fontSize: "15px", lineHeight: "1.4" },
      h3: { fontSize: "14px", lineHeight: "1.4" },
    },
  },
  components: {
    // Mantine locks scrolling with a <style> element, which the CSP forbids: theme.css does it instead.
    Modal: { defaultProps: { lockScroll: false, centered: true, transitionProps: { duration: 120 } } },
    Drawer: { defaultProps: { lockScroll: false, position: "right", transitionProps: { duration: 120 } } },
    Tooltip: { defaultProps: { withArrow: true, openDelay: 250, events: { hover: true, focus: true, touch: true } } },
    Anchor: { defaultProps: { underline: "always" } },
    Button: { defaultProps: { size: "sm" } },
    TextInput: { defaultProps: { size: "sm" } },
  },
});

/** Colours of series. Each provider keeps its colour in every chart, however its traffic ranks. */
const SERIES = [
  "var(--series-1)",
  "var(--series-2)",
  "var(--series-3)",
  "var(--series-4)",
  "var(--series-5)",
  "var(--series-6)",
  "var(--series-7)",
  "var(--series-8)",
];
const KNOWN = ["groq", "gemini", "cerebras", "mistral", "ollama", "openrouter", "nvidia", "cloudflare"];

/** The series of requests that reached no provider: rejected or invalid ones. */
export const NO_PROVIDER = "no provider";

/** The position of a series among others in charts and legends. */
export const seriesIndex = (name: string) =>
  KNOWN.includes(name) ? KNOWN.indexOf(name) : KNOWN.length + (name === NO_PROVIDER ? 1 : 0);

export function seriesColor(name: string): string {
  const known = KNOWN.indexOf(name);
  if (known >= 0) return SERIES[known] ?? "gray";
  if (name === NO_PROVIDER) return "var(--soft)"; // not the colour of any provider
  let hash = 0;
  for (const sign of name) hash = (hash * 31 + sign.charCodeAt(0)) >>> 0;
  return SERIES[hash % SERIES.length] ?? "gray";
}
