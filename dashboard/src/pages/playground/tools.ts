/** Two harmless tools, run in this page, to see a model use them. */
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

export function run(name: string, given: string): string {
  let asked: Record<string, unknown>;
  try {
    asked = JSON.parse(given || "{}") as Record<string, unknown>;
  } catch {
    return JSON.stringify({ error: "the arguments are not JSON" });
  }
  if (name === "current_time") return JSON.stringify({ time: new Date().toString() });
  if (name === "roll_dice") {
    const count = between(asked.count, 1, 20, 1);
    const sides = between(asked.sides, 2, 100, 6);
    return JSON.stringify({ rolls: Array.from({ length: count }, () => 1 + Math.floor(Math.random() * sides)) });
  }
  return JSON.stringify({ error: `there is no tool ${name}` });
}

function between(value: unknown, least: number, most: number, otherwise: number): number {
  const n = Math.round(Number(value));
  return Number.isFinite(n) ? Math.min(most, Math.max(least, n)) : otherwise;
}
