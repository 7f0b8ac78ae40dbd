import { sendRequest } from "../../api";
import { gatewayUrl } from "../../gateway-url";
import { EMPTY_REPLY, fromHeaders, problemOf, type Reply } from "./conversation";

/** A request that has one whole response. */
export type SingleRequest =
  | { kind: "completion"; prompt: string; suffix: string; temperature: number | null; maxTokens: number | null }
  | { kind: "embedding"; texts: string[] };

/** Numbers of a vector that are shown. */
const SHOWN_NUMBERS = 4;

interface Usage {
  prompt_tokens?: number;
  completion_tokens?: number;
}
interface Completion {
  choices: { text: string }[];
  usage?: Usage;
}
interface Embeddings {
  data: { embedding: number[] }[];
  usage?: Usage;
}

/** Sends the request and describes its response. */
export async function sendOnce(model: string, request: SingleRequest, signal: AbortSignal): Promise<Reply> {
  const started = performance.now();
  const since = () => performance.now() - started;
  let headers: Partial<Reply> = {};
  try {
    const [path, body] = bodyOf(request);
    const response = await sendRequest(
      new Request(`${gatewayUrl}${path}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ model, ...body }),
        signal,
      }),
    );
    headers = fromHeaders(response.headers);
    const answer = (await response.json()) as Completion | Embeddings;
    const content = "choices" in answer ? (answer.choices[0]?.text ?? "") : describe(answer);
    const tokensIn = answer.usage?.prompt_tokens ?? null;
    const tokensOut = answer.usage?.completion_tokens ?? (request.kind === "embedding" ? 0 : null);
    return { ...EMPTY_REPLY, ...headers, content, tokensIn, tokensOut, state: "done", totalMs: since() };
  } catch (error) {
    const ended = { ...EMPTY_REPLY, ...headers, totalMs: since() };
    return signal.aborted ? { ...ended, state: "stopped" } : { ...ended, state: "failed", problem: problemOf(error) };
  }
}

function bodyOf(request: SingleRequest): [string, object] {
  if (request.kind === "embedding") return ["/v1/embeddings", { input: request.texts, encoding_format: "float" }];
  const { prompt, suffix, temperature, maxTokens } = request;
  return [
    "/v1/completions",
    {
      prompt,
      ...(suffix ? { suffix } : {}),
      ...(temperature === null ? {} : { temperature }),
      ...(maxTokens === null ? {} : { max_tokens: maxTokens }),
    },
  ];
}

/** The length of the vectors, their first numbers, and how close each is to the first. */
function describe({ data }: Embeddings): string {
  const first = data[0]?.embedding ?? [];
  const lines = data.map(({ embedding }, at) => {
    const numbers = embedding.slice(0, SHOWN_NUMBERS).map((number) => number.toFixed(4));
    const rest = embedding.length > SHOWN_NUMBERS ? ", …" : "";
    const closeness = at === 0 ? "" : ` – similarity to the first: ${similarity(first, embedding).toFixed(3)}`;
    return `${at + 1}. ${numbers.join(", ")}${rest}${closeness}`;
  });
  const count = data.length === 1 ? "1 vector" : `${data.length} vectors`;
  return [`${count} of ${first.length} numbers`, ...lines].join("\n");
}

/** The cosine of the angle between two vectors. */
export function similarity(a: number[], b: number[]): number {
  const product = (x: number[], y: number[]) => x.reduce((sum, number, at) => sum + number * (y[at] ?? 0), 0);
  return product(a, b) / Math.sqrt(product(a, a) * product(b, b));
}
