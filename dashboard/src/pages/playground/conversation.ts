import { Refusal, call } from "../../api";
import { events } from "../../sse";
import type { Problem } from "../../types";
import { TOOLS, run } from "./tools";

export interface ToolCall {
  id: string;
  name: string;
  arguments: string;
}

export type Message =
  | { role: "system" | "user"; content: string }
  | { role: "assistant"; content: string; tool_calls?: ToolCall[] }
  | { role: "tool"; tool_call_id: string; content: string };

/** What is known of one answer, while it comes and after. */
export interface Telling {
  content: string;
  reasoning: string;
  toolCalls: ToolCall[];
  state: "waiting" | "streaming" | "done" | "stopped" | "failed";
  problem: { status: number; message: string; code: string | null; retryAt: number | null } | null;
  requestId: string | null;
  model: string | null;
  attempts: { candidate: string; cause: string }[];
  waitedMs: number | null;
  firstMs: number | null;
  totalMs: number | null;
  tokensIn: number | null;
  tokensOut: number | null;
}

export const BLANK: Telling = {
  content: "",
  reasoning: "",
  toolCalls: [],
  state: "waiting",
  problem: null,
  requestId: null,
  model: null,
  attempts: [],
  waitedMs: null,
  firstMs: null,
  totalMs: null,
  tokensIn: null,
  tokensOut: null,
};

export interface Options {
  model: string;
  temperature: number | null;
  maxTokens: number | null;
  tools: boolean;
}

interface Chunk {
  choices?: {
    delta?: { content?: string | null; reasoning?: string; reasoning_content?: string; tool_calls?: ToolDelta[] };
  }[];
  usage?: { prompt_tokens?: number; completion_tokens?: number } | null;
  error?: Problem;
}
interface ToolDelta {
  index: number;
  id?: string;
  function?: { name?: string; arguments?: string };
}

/** Asks once and tells what comes, as often as something comes. */
export async function answer(
  messages: Message[],
  options: Options,
  tell: (telling: Telling) => void,
  signal: AbortSignal,
): Promise<Telling> {
  const started = performance.now();
  const since = () => performance.now() - started;
  let now: Telling = BLANK;
  const say = (more: Partial<Telling>) => tell((now = { ...now, ...more }));
  try {
    const response = await call("POST", "/v1/chat/completions", bodyOf(messages, options), { signal });
    say(heads(response.headers));
    if (!response.body) throw new Error("The answer has no body.");
    for await (const { data } of events(response.body, undefined, (comment) => say(commented(comment)))) {
      if (data === "[DONE]") break;
      const chunk = JSON.parse(data) as Chunk;
      if (chunk.error) throw new Refusal(response.status, chunk.error, null);
      const delta = chunk.choices?.[0]?.delta;
      const more: Partial<Telling> = {};
      if (delta?.content) more.content = now.content + delta.content;
      const thought = delta?.reasoning ?? delta?.reasoning_content;
      if (thought) more.reasoning = now.reasoning + thought;
      if (delta?.tool_calls) more.toolCalls = withDeltas(now.toolCalls, delta.tool_calls);
      if (chunk.usage)
        Object.assign(more, {
          tokensIn: chunk.usage.prompt_tokens ?? null,
          tokensOut: chunk.usage.completion_tokens ?? null,
        });
      if (Object.keys(more).length === 0) continue;
      if (now.firstMs === null && (more.content || more.reasoning || more.toolCalls))
        Object.assign(more, { firstMs: since(), state: "streaming" });
      say(more);
    }
    say({ state: "done", totalMs: since() });
  } catch (error) {
    if (signal.aborted) say({ state: "stopped", totalMs: since() });
    else say({ state: "failed", totalMs: since(), problem: problemOf(error) });
  }
  return now;
}

function bodyOf(messages: Message[], { model, temperature, maxTokens, tools }: Options) {
  return {
    model,
    messages: messages.map((message) =>
      message.role === "assistant" && message.tool_calls
        ? {
            ...message,
            tool_calls: message.tool_calls.map(({ id, ...of }) => ({ id, type: "function", function: of })),
          }
        : message,
    ),
    stream: true,
    stream_options: { include_usage: true },
    ...(temperature === null ? {} : { temperature }),
    ...(maxTokens === null ? {} : { max_tokens: maxTokens }),
    ...(tools ? { tools: TOOLS } : {}),
  };
}

function heads(headers: Headers): Partial<Telling> {
  const waited = headers.get("x-tollfree-waited-ms");
  return {
    requestId: headers.get("x-request-id"),
    model: headers.get("x-tollfree-model"),
    attempts: attemptsOf(headers.get("x-tollfree-attempts") ?? ""),
    waitedMs: waited === null ? null : Number(waited),
  };
}

/** A stream that began before its provider was known names it in a comment. */
function commented(comment: string): Partial<Telling> {
  const more: Partial<Telling> = {};
  for (const [, name, value] of comment.matchAll(/x-tollfree-(model|attempts|waited-ms)\s*[:=]\s*([^\n]+)/g)) {
    if (name === "model") more.model = value;
    if (name === "attempts") more.attempts = attemptsOf(value ?? "");
    if (name === "waited-ms") more.waitedMs = Number(value);
  }
  return more;
}

/** `gemini/gemini-3.8-flash;429_rpd, groq/openai/gpt-oss-120b;ok` */
export function attemptsOf(text: string): Telling["attempts"] {
  return text
    .split(", ")
    .filter(Boolean)
    .map((each) => {
      const at = each.lastIndexOf(";");
      return at < 0 ? { candidate: each, cause: "" } : { candidate: each.slice(0, at), cause: each.slice(at + 1) };
    });
}

function withDeltas(calls: ToolCall[], deltas: ToolDelta[]): ToolCall[] {
  const next = [...calls];
  for (const { index, id, function: of } of deltas) {
    const before = next[index] ?? { id: "", name: "", arguments: "" };
    next[index] = {
      id: id ?? before.id,
      name: before.name + (of?.name ?? ""),
      arguments: before.arguments + (of?.arguments ?? ""),
    };
  }
  return next;
}

function problemOf(error: unknown): Telling["problem"] {
  if (error instanceof Refusal) {
    return {
      status: error.status,
      message: error.message,
      code: error.problem.code,
      retryAt: error.retryAfterMs === null ? null : Date.now() + error.retryAfterMs,
    };
  }
  return {
    status: 0,
    message: "The answer broke off: the connection to the gateway was lost.",
    code: null,
    retryAt: null,
  };
}

/** The tools a model asked for, as messages for its next turn. */
export function results(calls: ToolCall[]): Message[] {
  return calls.map((call): Message => ({
    role: "tool",
    tool_call_id: call.id,
    content: run(call.name, call.arguments),
  }));
}
