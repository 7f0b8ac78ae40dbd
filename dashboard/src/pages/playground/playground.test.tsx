import { fireEvent, screen, waitFor } from "@testing-library/react";
import { expect, test } from "vitest";
import { PENDING, gateway, errorResponse, show } from "../../../tests/render";
import { attemptsOf } from "./conversation";
import Playground from "./playground";
import { runTool } from "./tools";

const HEADS = {
  "x-tollfree-model": "groq/b",
  "x-tollfree-attempts": "gemini/a;429_rpd, groq/b;ok",
  "x-tollfree-waited-ms": "1200",
  "x-request-id": "r1",
};
const sse = (...chunks: unknown[]) =>
  new Response([...chunks.map((chunk) => `data: ${JSON.stringify(chunk)}\n\n`), "data: [DONE]\n\n"].join(""), {
    headers: HEADS,
  });
const content = (text: string) => ({ choices: [{ index: 0, delta: { content: text } }] });

function ask(text: string) {
  fireEvent.change(screen.getByLabelText("Message"), { target: { value: text } });
  fireEvent.click(screen.getByRole("button", { name: "Send" }));
}

test("the empty page says what a message costs", () => {
  gateway();
  show(Playground);
  expect(screen.getByText("Send a message")).toBeTruthy();
});

test("a reply shows the model, its attempts, times and tokens", async () => {
  const sent = gateway({
    "POST /v1/chat/completions": () =>
      sse(content("Hello"), content(" there"), {
        choices: [],
        usage: { prompt_tokens: 1_234_567, completion_tokens: 2 },
      }),
  });
  show(Playground);
  ask("hi");
  expect(await screen.findByText("Hello there")).toBeTruthy();
  const replyDetails = await screen.findByTestId("reply-details");
  await waitFor(() => expect(replyDetails.textContent).toContain("1,234,567 → 2 tokens"));
  expect(replyDetails.textContent).toContain("groq/b");
  expect(replyDetails.textContent).toContain("2 attempts (gemini/a: 429, out of requests / day)");
  expect(replyDetails.textContent).toContain("waited 1.2 s");
  expect(sent.find((each) => each.method === "POST")?.body).toEqual({
    model: "free",
    messages: [{ role: "user", content: "hi" }],
    stream: true,
    stream_options: { include_usage: true },
  });
});

test("a reply can be stopped while it waits", async () => {
  gateway({ "POST /v1/chat/completions": PENDING });
  show(Playground);
  ask("hi");
  expect(await screen.findByText("Waiting for the first token…")).toBeTruthy();
  expect(screen.getByRole("button", { name: "Stop" })).toBeTruthy();
});

test("a 429 shows its reason and when to retry", async () => {
  gateway({
    "POST /v1/chat/completions": () =>
      errorResponse(429, "budget_exhausted", "Every candidate is at its limit.", { "retry-after": "9" }),
  });
  show(Playground);
  ask("hi");
  const alert = await screen.findByRole("alert");
  expect(alert.textContent).toContain("429 Every candidate is at its limit.");
  expect(alert.textContent).toMatch(/Try again in (8|9) s/);
});

test("an error in the middle of a stream is shown", async () => {
  gateway({
    "POST /v1/chat/completions": () =>
      sse(content("Hel"), {
        error: { message: "groq broke off", type: "server_error", param: null, code: "upstream_error" },
      }),
  });
  show(Playground);
  ask("hi");
  expect((await screen.findByRole("alert")).textContent).toContain("groq broke off");
  expect(screen.getByText("Hel")).toBeTruthy();
});

test("a tool runs in the page and its result is sent back", async () => {
  const call = {
    choices: [
      {
        index: 0,
        delta: { tool_calls: [{ index: 0, id: "c1", function: { name: "roll_dice", arguments: '{"count":2}' } }] },
      },
    ],
  };
  const sent = gateway({
    "POST /v1/chat/completions": ({ body }) =>
      JSON.stringify(body).includes('"tool"') ? sse(content("You rolled.")) : sse(call),
  });
  show(Playground);
  fireEvent.click(screen.getByRole("switch", { name: /^Tools/ }));
  ask("roll");
  expect(await screen.findByText("You rolled.")).toBeTruthy();
  const second = sent.filter((each) => each.method === "POST")[1]!.body as {
    messages: { role: string; tool_call_id?: string }[];
  };
  expect(second.messages.map((message) => message.role)).toEqual(["user", "assistant", "tool"]);
  expect(second.messages[2]!.tool_call_id).toBe("c1");
});

const facts = (id: string, model_kind: string, more: object = {}) => ({
  id,
  kind: "model",
  model_kind,
  context_length: 8192,
  max_output: 0,
  capabilities: [],
  quality: 50,
  limits: [],
  status: "active",
  successor: null,
  retired_on: null,
  ...more,
});
const ALL_KINDS = [
  { id: "free", kind: "meta", model_kind: "chat", strategy: "headroom", members: [] },
  { id: "vectors", kind: "meta", model_kind: "embedding", strategy: "listed", members: [] },
  facts("groq/gpt-oss-20b", "chat"),
  facts("mistral/codestral-2508", "chat", { capabilities: ["fim"] }),
  facts("mistral/mistral-embed", "embedding"),
  facts("mistral/old-embed", "embedding", { status: "retired" }),
  facts("cohere/rerank-v3.5", "rerank"),
];
const ofKinds = (answers: Parameters<typeof gateway>[0]) =>
  gateway({ "GET /admin/v1/models": () => ({ object: "list", data: ALL_KINDS, next_cursor: null }), ...answers });

async function choose(kind: string) {
  fireEvent.click(screen.getByLabelText("Kind of model", { selector: "input" }));
  fireEvent.click(await screen.findByRole("option", { name: kind, hidden: true }));
}

/** The models that the page offers. */
async function offered() {
  fireEvent.click(screen.getByLabelText("Model", { selector: "input" }));
  fireEvent.change(screen.getByLabelText("Model", { selector: "input" }), { target: { value: "" } });
  await waitFor(() => expect(screen.getAllByRole("option", { hidden: true }).length).toBeGreaterThan(0));
  const options = screen.getAllByRole("option", { hidden: true }).map((option) => option.textContent);
  return options.filter((name) => ALL_KINDS.some(({ id }) => id === name));
}

test("only models of the chosen kind are offered", async () => {
  ofKinds({});
  show(Playground);
  await waitFor(async () => expect(await offered()).toEqual(["free", "groq/gpt-oss-20b", "mistral/codestral-2508"]));
  await choose("Completion");
  expect(await offered()).toEqual(["mistral/codestral-2508"]);
  await choose("Embedding");
  expect(await offered()).toEqual(["vectors", "mistral/mistral-embed"]);
});

test("a model fills in between a prompt and a suffix", async () => {
  const sent = ofKinds({
    "POST /v1/completions": () =>
      new Response(
        JSON.stringify({ choices: [{ text: "return 1" }], usage: { prompt_tokens: 5, completion_tokens: 3 } }),
        { headers: HEADS },
      ),
  });
  show(Playground);
  await screen.findByLabelText("Model", { selector: "input" });
  await waitFor(async () => expect(await offered()).toContain("free"));
  await choose("Completion");
  fireEvent.change(screen.getByLabelText("Prompt"), { target: { value: "def f():" } });
  fireEvent.change(screen.getByLabelText("Suffix"), { target: { value: "f()" } });
  fireEvent.click(screen.getByRole("button", { name: "Send" }));
  expect(await screen.findByText("return 1")).toBeTruthy();
  expect(screen.getByTestId("reply-details").textContent).toContain("5 → 3 tokens");
  const expected = { model: "mistral/codestral-2508", prompt: "def f():", suffix: "f()" };
  expect(sent.find((each) => each.method === "POST")?.body).toEqual(expected);
});

test("texts become vectors, one for each line", async () => {
  const data = [
    [1, 0],
    [0.6, 0.8],
  ].map((embedding) => ({ embedding }));
  const sent = ofKinds({
    "POST /v1/embeddings": () =>
      new Response(JSON.stringify({ data, usage: { prompt_tokens: 2 } }), { headers: HEADS }),
  });
  show(Playground);
  await waitFor(async () => expect(await offered()).toContain("free"));
  await choose("Embedding");
  fireEvent.change(screen.getByLabelText("Texts"), { target: { value: "one\n\ntwo" } });
  fireEvent.click(screen.getByRole("button", { name: "Send" }));
  const shown = await screen.findByText(/2 vectors of 2 numbers/);
  expect(shown.textContent).toContain("2. 0.6000, 0.8000 – similarity to the first: 0.600");
  const expected = { model: "vectors", input: ["one", "two"], encoding_format: "float" };
  expect(sent.find((each) => each.method === "POST")?.body).toEqual(expected);
});

test("an embedding that fails shows its reason", async () => {
  ofKinds({ "POST /v1/embeddings": () => errorResponse(400, "unsupported_by_models", "No such length.") });
  show(Playground);
  await waitFor(async () => expect(await offered()).toContain("free"));
  await choose("Embedding");
  fireEvent.change(screen.getByLabelText("Texts"), { target: { value: "one" } });
  fireEvent.click(screen.getByRole("button", { name: "Send" }));
  expect((await screen.findByRole("alert")).textContent).toContain("400 No such length.");
});

test("attempts are parsed from their header, and invalid tool arguments are rejected", () => {
  expect(attemptsOf("a/b;c;429_rpm, d/e;ok")).toEqual([
    { candidate: "a/b;c", cause: "429_rpm" },
    { candidate: "d/e", cause: "ok" },
  ]);
  expect(runTool("roll_dice", "{")).toContain("not valid JSON");
  expect((JSON.parse(runTool("roll_dice", '{"count":1e9}')) as { rolls: number[] }).rolls).toHaveLength(20);
  expect(runTool("format_disk", "{}")).toContain("no tool");
});
