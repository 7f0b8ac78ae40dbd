import { gatewayUrl } from "../gateway-url";
import { useConfig } from "../queries";
import table from "./tools.json";

/** An example of how to use the gateway from one tool. */
export interface Snippet {
  id: string;
  name: string;
  language: string;
  text: string;
  /** What a person should know of it. */
  note?: string | undefined;
}

/** The address that the gateway was given (`server.public_url`), or else the one by which the browser reached it. */
export const useRoot = () => useConfig().data?.public_url ?? gatewayUrl;

export function basics(key: string, root = gatewayUrl): Snippet[] {
  const url = `${root}/v1`;
  return [
    {
      id: "curl",
      name: "curl",
      language: "sh",
      text: `curl ${url}/chat/completions \\
  -H 'authorization: Bearer ${key}' \\
  -H 'content-type: application/json' \\
  -d '{"model": "free", "messages": [{"role": "user", "content": "Hello"}]}'`,
    },
    {
      id: "python",
      name: "Python",
      language: "python",
      text: `from openai import OpenAI

client = OpenAI(base_url="${url}", api_key="${key}")
answer = client.chat.completions.create(
    model="free",
    messages=[{"role": "user", "content": "Hello"}],
)
print(answer.choices[0].message.content)`,
    },
    {
      id: "node",
      name: "Node",
      language: "js",
      text: `import OpenAI from "openai";

const client = new OpenAI({ baseURL: "${url}", apiKey: "${key}" });
const stream = await client.chat.completions.create({
  model: "free-fast",
  stream: true,
  messages: [{ role: "user", content: "Hello" }],
});
for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta.content ?? "");`,
    },
    {
      id: "environment",
      name: "Environment",
      language: "sh",
      text: `export OPENAI_BASE_URL=${url}
export OPENAI_API_KEY=${key}`,
    },
  ];
}

export const NOT_TRIED = "Not tried for real: these settings follow the documentation of the tool.";

const filled = (text: string, key: string, root: string) =>
  text.replaceAll("{root}", root).replaceAll("{v1}", `${root}/v1`).replaceAll("{key}", key);

/** The lines that configure a tool, with the program and without it. They read the key from the terminal. */
export function setupLines(root = gatewayUrl): Snippet[] {
  return table.tools.map(({ id, name, tried, program, shell, powershell }) => ({
    id,
    name,
    language: "sh",
    note: tried ? undefined : NOT_TRIED,
    text: filled(`${program}\n\n# without the program\n${shell}\n\n# in PowerShell\n${powershell}`, "", root),
  }));
}

/** Code, and tools that are configured by hand. */
export function others(key: string, root = gatewayUrl): Snippet[] {
  const byHand = table.others.map(({ id, name, text, tried }) => ({
    id,
    name,
    language: "text",
    note: tried ? undefined : NOT_TRIED,
    text: filled(text, key, root),
  }));
  return [...basics(key, root), ...byHand.filter(({ id }) => id !== "environment")];
}
