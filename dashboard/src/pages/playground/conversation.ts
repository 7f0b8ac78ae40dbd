import { ApiError, sendRequest } from "../../api";
import { gatewayUrl } from "../../gateway-url";
import { readEvents } from "../../sse";
import type { Problem } from "../../types";
import { TOOLS, runTool } from "./tools";

export interface ToolCall {
  id: string;
  name: string;
  arguments: string;
}

export type Message =
  | { role: "system" | "user"; content: string }
  | { role: "assistant"; content: string; tool_calls?: ToolCall[] }
  | { role: "tool"; tool_call_id: string; content: string };

/** One reply of a model, while it streams and after its end. */
export interface Reply {
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

export const EMPTY_REPLY: Reply = {
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

/** Sends the messages once. `onUpdate` receives the reply after every event. */
export async function streamReply(
  messages: Message[],
  options: Options,
  onUpdate: (reply: Reply) => void,
  signal: AbortSignal,
): Promise<Reply> {
  const started = performance.now();
  const since = () => performance.now() - started;
  let current: Reply = EMPTY_REPLY;
  const update = (changes: Partial<Reply>) => onUpdate((current = { ...current, ...changes }));
  try {
    const response = await sendRequest(
      new Request(`${gatewayUrl}/v1/chat/completions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(requestBody(messages, options)),
        signal,
      }),
    );
    update(fromHeaders(response.headers));
    if (!response.body) throw new Error("The response has no body.");
    for await (const { data } of readEvents(response.body, { onComment: (comment) => update(fromComment(comment)) })) {
      if (data === "[DONE]") break;
      const chunk = JSON.parse(data) as Chunk;
      if (chunk.error) throw new ApiError(response.status, chunk.error, null);
      const delta = chunk.choices?.[0]?.delta;
      const changes: Partial<Reply> = {};
      if (delta?.content) changes.content = current.content + delta.content;
      const thought = delta?.reasoning ?? delta?.reasoning_content;
      if (thought) changes.reasoning = current.reasoning + thought;
      if (delta?.tool_calls) changes.toolCalls = applyDeltas(current.toolCalls, delta.tool_calls);
      if (chunk.usage)
        Object.assign(changes, {
          tokensIn: chunk.usage.prompt_tokens ?? null,
          tokensOut: chunk.usage.completion_tokens ?? null,
        });
      if (Object.keys(changes).length === 0) continue;
      if (current.firstMs === null && (changes.content || changes.reasoning || changes.toolCalls))
        Object.assign(changes, { firstMs: since(), state: "streaming" });
      update(changes);
    }
    update({ state: "done", totalMs: since() });
  } catch (error) {
    if (signal.aborted) update({ state: "stopped", totalMs: since() });
    else update({ state: "failed", totalMs: since(), problem: problemOf(error) });
  }
  return current;
}

function requestBody(messages: Message[], { model, temperature, maxTokens, tools }: Options) {
  return {
    model,
    messages: messages.map((message) =>
      message.role === "assistant" && message.tool_calls
        ? {
            ...message,
            tool_calls: message.tool_calls.map(({ id, ...call }) => ({ id, type: "function", function: call })),
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

export function fromHeaders(headers: Headers): Partial<Reply> {
  const waited = headers.get("x-tollfree-waited-ms");
  return {
    requestId: headers.get("x-request-id"),
    model: headers.get("x-tollfree-model"),
    attempts: attemptsOf(headers.get("x-tollfree-attempts") ?? ""),
    waitedMs: waited === null ? null : Number(waited),
  };
}

/** A stream that started before its provider was chosen names it in a comment. */
function fromComment(comment: string): Partial<Reply> {
  const changes: Partial<Reply> = {};
  for (const [, name, value] of comment.matchAll(/x-tollfree-(model|attempts|waited-ms)\s*[:=]\s*([^\n]+)/g)) {
    if (name === "model") changes.model = value;
    if (name === "attempts") changes.attempts = attemptsOf(value ?? "");
    if (name === "waited-ms") changes.waitedMs = Number(value);
  }
  return changes;
}

/** `gemini/gemini-3.8-flash;429_rpd, groq/openai/gpt-oss-120b;ok` */
export function attemptsOf(text: string): Reply["attempts"] {
  return text
    .split(", ")
    .filter(Boolean)
    .map((each) => {
      const at = each.lastIndexOf(";");
      return at < 0 ? { candidate: each, cause: "" } : { candidate: each.slice(0, at), cause: each.slice(at + 1) };
    });
}

function applyDeltas(calls: ToolCall[], deltas: ToolDelta[]): ToolCall[] {
  const next = [...calls];
  for (const { index, id, function: call } of deltas) {
    const before = next[index] ?? { id: "", name: "", arguments: "" };
    next[index] = {
      id: id ?? before.id,
      name: before.name + (call?.name ?? ""),
      arguments: before.arguments + (call?.arguments ?? ""),
    };
  }
  return next;
}

export function problemOf(error: unknown): Reply["problem"] {
  if (error instanceof ApiError) {
    return {
      status: error.status,
      message: error.message,
      code: error.problem.code,
      retryAt: error.retryAfterMs === null ? null : Date.now() + error.retryAfterMs,
    };
  }
  return {
    status: 0,
    message: "The reply was cut off: the connection to the gateway was lost.",
    code: null,
    retryAt: null,
  };
}

/** Runs the tools that the model called. The results are messages for its next turn. */
export function runTools(calls: ToolCall[]): Message[] {
  return calls.map((call): Message => ({
    role: "tool",
    tool_call_id: call.id,
    content: runTool(call.name, call.arguments),
  }));
}
