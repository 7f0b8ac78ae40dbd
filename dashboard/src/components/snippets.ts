import { gatewayUrl } from "../gateway-url";

/** An example of how to use the gateway from one tool. */
export interface Snippet {
  id: string;
  name: string;
  language: string;
  text: string;
}

export const baseUrl = () => `${gatewayUrl}/v1`;

export function basics(key: string, url = baseUrl()): Snippet[] {
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

export function tools(key: string, url = baseUrl()): Snippet[] {
  return [
    ...basics(key, url),
    {
      id: "claude-code",
      name: "Claude Code",
      language: "sh",
      text: `export ANTHROPIC_BASE_URL=${url.replace(/\/v1$/, "")}
export ANTHROPIC_AUTH_TOKEN=${key}
export ANTHROPIC_MODEL=anthropic/free-smart
export ANTHROPIC_DEFAULT_HAIKU_MODEL=anthropic/free-fast
claude`,
    },
    {
      id: "codex",
      name: "Codex",
      language: "toml",
      text: `# ~/.codex/config.toml; the key is in TOLLFREE_CLIENT_KEY
model = "free-smart"
model_provider = "tollfree"

[model_providers.tollfree]
name = "Tollfree"
base_url = "${url}"
env_key = "TOLLFREE_CLIENT_KEY"
wire_api = "responses"
requires_openai_auth = false`,
    },
    {
      id: "langchain",
      name: "LangChain",
      language: "python",
      text: `from langchain_openai import ChatOpenAI

model = ChatOpenAI(model="free-smart", base_url="${url}", api_key="${key}")
print(model.invoke("Hello").content)`,
    },
    {
      id: "ai-sdk",
      name: "Vercel AI SDK",
      language: "js",
      text: `import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { streamText } from "ai";

const tollfree = createOpenAICompatible({ name: "tollfree", baseURL: "${url}", apiKey: "${key}" });
const { textStream } = streamText({ model: tollfree("free"), prompt: "Hello" });
for await (const text of textStream) process.stdout.write(text);`,
    },
    {
      id: "open-webui",
      name: "Open WebUI",
      language: "sh",
      text: `docker run -d -p 8080:8080 \\
  -e OPENAI_API_BASE_URL=${url} \\
  -e OPENAI_API_KEY=${key} \\
  ghcr.io/open-webui/open-webui:main`,
    },
    {
      id: "continue",
      name: "Continue",
      language: "yaml",
      text: `# ~/.continue/config.yaml
models:
  - name: Tollfree
    provider: openai
    model: free-smart
    apiBase: ${url}
    apiKey: ${key}`,
    },
    {
      id: "aider",
      name: "aider",
      language: "sh",
      text: `OPENAI_API_BASE=${url} OPENAI_API_KEY=${key} \\
  aider --model openai/free-smart`,
    },
  ];
}
