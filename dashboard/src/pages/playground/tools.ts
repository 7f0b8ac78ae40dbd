/** Two harmless tools that run in the browser, to try how a model calls tools. */
export const TOOLS = [
  {
    type: "function",
    function: {
      name: "current_time",
      description: "The current date and time of the user, with the time zone",
      parameters: { type: "object", properties: {}, additionalProperties: false },
    },
  },
  {
    type: "function",
    function: {
      name: "roll_dice",
      description: "Rolls dice and returns each result",
      parameters: {
        type: "object",
        properties: {
          count: { type: "integer", minimum: 1, maximum: 20 },
          sides: { type: "integer", minimum: 2, maximum: 100 },
        },
        required: ["count"],
      },
    },
  },
] as const;

export function runTool(name: string, given: string): string {
  let args: Record<string, unknown>;
  try {
    args = JSON.parse(given || "{}") as Record<string, unknown>;
  } catch {
    return JSON.stringify({ error: "the arguments are not valid JSON" });
  }
  if (name === "current_time") return JSON.stringify({ time: new Date().toString() });
  if (name === "roll_dice") {
    const count = clamp(args.count, 1, 20, 1);
    const sides = clamp(args.sides, 2, 100, 6);
    return JSON.stringify({ rolls: Array.from({ length: count }, () => 1 + Math.floor(Math.random() * sides)) });
  }
  return JSON.stringify({ error: `there is no tool ${name}` });
}

function clamp(value: unknown, min: number, max: number, fallback: number): number {
  const n = Math.round(Number(value));
  return Number.isFinite(n) ? Math.min(max, Math.max(min, n)) : fallback;
}
