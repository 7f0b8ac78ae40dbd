// The official OpenAI SDK's Responses for Node against a running gateway. Usage: node node_responses.mjs BASE_URL MODELS_JSON
// (see python_messages.py). Prints a line per check; the first failure ends it with a stack trace.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { Providers } from "./providers.mjs";

const [baseURL, models] = [process.argv[2], JSON.parse(process.argv[3])];
const client = new OpenAI({ baseURL, apiKey: models.key, maxRetries: 2 });
const once = client.withOptions({ maxRetries: 0 });
const providers = new Providers(models.control);
const pixel =
  "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const weather = {
  type: "function",
  name: "get_weather",
  description: "The weather of a city",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};
const callsOf = (response, kind = "function_call") => response.output.filter((item) => item.type === kind);

async function raises(kind, status, code, call) {
  const error = await call().then(() => assert.fail(`no ${kind.name}`), (error) => error);
  assert.equal(error.constructor, kind, String(error));
  assert.deepEqual([error.status, error.code], [status, code], String(error));
  assert.ok(error.requestID, "x-request-id is read by the SDK");
  return error;
}

const checks = {
  async text() {
    for (const model of models.each) {
      const { data, response } = await client.responses.create({ model, input: "hello" }).withResponse();
      assert.ok(data.output_text, model);
      assert.ok(data.usage.total_tokens > 0, model);
      assert.equal(response.headers.get("x-tollfree-model"), data.model);
    }
  },

  async streaming() {
    for (const model of models.each) {
      let deltas = "";
      const stream = client.responses.stream({ model, input: "hello" });
      stream.on("response.output_text.delta", (event) => {
        deltas += event.delta;
        assert.equal(event.snapshot, deltas);
      });
      const response = await stream.finalResponse();
      assert.ok(deltas, model);
      assert.equal(response.output_text, deltas);
      assert.equal(response.status, "completed");
    }
  },

  async toolsOverSeveralTurns() {
    for (const model of models.each) {
      const input = [{ role: "user", content: "What is the weather in Paris?" }];
      for (const turn of [0, 1]) {
        const ask = { model, input, tools: [weather], max_output_tokens: 300 };
        const called = await client.responses.stream(ask).finalResponse();
        const calls = callsOf(called);
        assert.ok(calls.length, `${model}: ${JSON.stringify(called)}`);
        assert.ok("city" in JSON.parse(calls[0].arguments));
        input.push(...called.output);
        for (const { call_id } of calls) input.push({ type: "function_call_output", call_id, output: `${20 + turn} degrees` });
        const reply = await client.responses.create(ask);
        assert.match(reply.output_text, /degrees/, model);
        input.push(...reply.output, { role: "user", content: "And tomorrow?" });
      }
    }
  },

  async parallelAndCustomTools() {
    const custom = { type: "custom", name: "apply_patch", description: "Applies a patch" };
    for (const model of models.each) {
      const ask = { model, input: "Weather? [[calls=2]]", max_output_tokens: 300 };
      const parallel = await client.responses.stream({ ...ask, tools: [weather] }).finalResponse();
      assert.equal(new Set(callsOf(parallel).map((call) => call.call_id)).size, 2, model);
      const patched = await client.responses.stream({ ...ask, tools: [custom] }).finalResponse();
      const [call] = callsOf(patched, "custom_tool_call");
      assert.equal(call.name, "apply_patch");
      assert.ok(call.input && !call.input.startsWith("{"), model);
    }
  },

  async structuredOutput() {
    const schema = {
      type: "object",
      properties: { name: { type: "string" }, rivers: { type: "array", items: { type: "string" } } },
      required: ["name", "rivers"],
      additionalProperties: false,
    };
    const text = { format: { type: "json_schema", name: "city", strict: true, schema } };
    for (const model of models.each) {
      const city = (await client.responses.parse({ model, input: "Paris", text })).output_parsed;
      assert.equal(typeof city.name, "string");
      assert.ok(Array.isArray(city.rivers));
    }
  },

  async images() {
    const content = [{ type: "input_text", text: "what is it?" }, { type: "input_image", image_url: pixel, detail: "auto" }];
    for (const model of models.vision) {
      const response = await client.responses.create({ model, input: [{ role: "user", content }] });
      assert.match(response.output_text, /1 image/, model);
    }
  },

  async reasoning() {
    for (const model of models.thinks) {
      const ask = { model, input: "hello" };
      const plain = await client.responses.create({ ...ask, reasoning: { effort: "high" } });
      assert.ok(plain.output[0].content[0].text, model);
      const summary = await client.responses.stream({ ...ask, reasoning: { effort: "high", summary: "auto" } }).finalResponse();
      assert.ok(summary.output[0].summary[0].text, model);
    }
  },

  async compaction() {
    const model = models.each[0];
    const compacted = await client.responses.compact({ model, input: "My name is Alice." });
    const input = [...compacted.output, { role: "user", content: "go on" }];
    assert.ok((await client.responses.create({ model, input })).output_text);
    assert.ok((await client.responses.inputTokens.count({ model, input: "hello" })).input_tokens > 0);
  },

  async storedResponses() {
    const [model, create] = [models.each[0], (body) => client.responses.create(body)];
    const first = await client.responses.stream({ model, input: "hello" }).finalResponse();
    const second = await create({ model, input: "again", previous_response_id: first.id });
    assert.equal(second.previous_response_id, first.id);
    assert.equal((await client.responses.retrieve(first.id)).id, first.id);
    const items = await client.responses.inputItems.list(second.id);
    assert.equal(items.data[0].content[0].text, "again");
    await client.responses.delete(first.id);
    await raises(OpenAI.NotFoundError, 404, "not_found", () => client.responses.retrieve(first.id));
  },

  async errorClasses() {
    const unknown = new OpenAI({ baseURL, apiKey: "sk-tf-0000-unknown", maxRetries: 0 });
    const limited = new OpenAI({ baseURL, apiKey: models.limited, maxRetries: 0 });
    const [model, ask] = [models.each[0], (model, input = "x") => () => once.responses.create({ model, input })];
    await raises(OpenAI.AuthenticationError, 401, "invalid_api_key", () => unknown.responses.create({ model, input: "x" }));
    const forbidden = () => limited.responses.create({ model, input: "x" });
    await raises(OpenAI.PermissionDeniedError, 403, "model_not_allowed", forbidden);
    await raises(OpenAI.NotFoundError, 404, "model_not_found", ask("no-such-model"));
    const wrong = await raises(OpenAI.BadRequestError, 400, "invalid_value", ask(model, [{ role: "robot", content: "x" }]));
    assert.equal(wrong.param, "input[0].role");
    await raises(OpenAI.BadRequestError, 400, "context_length_exceeded", ask("free", "word ".repeat(8e5)));
    await raises(OpenAI.APIError, 413, "request_too_large", ask("free", "word ".repeat(11e5)));
    await raises(OpenAI.InternalServerError, 504, "upstream_timeout", ask(models.silent));
    for (const _ of [1, 2, 3]) await raises(OpenAI.InternalServerError, 502, "upstream_error", ask(models.down));
    const down = await raises(OpenAI.InternalServerError, 503, "no_provider_available", ask(models.down));
    assert.ok(Number(down.headers.get("retry-after")) > 0);
  },

  async aLimitSaysWhen() {
    for (let call = 0; call < 200; call += 1) {
      const ask = { model: models.metered, input: "x", max_output_tokens: 20 };
      const limit = await once.responses.create(ask).then(() => null, (error) => error);
      if (!limit) continue;
      assert.equal(limit.constructor, OpenAI.RateLimitError, String(limit));
      assert.deepEqual([limit.code, limit.type], ["budget_exhausted", "rate_limit_error"]);
      assert.ok(Number(limit.headers.get("retry-after")) > 0 && limit.message.includes("UTC"), String(limit));
      return;
    }
    assert.fail("no limit was met");
  },

  async aCutAnswerIsNeverComplete() {
    for (const model of models.each) {
      const [ask, kinds] = [{ model, input: "hello [[tokens=100 size=4 chunk=5]]" }, []];
      await providers.failing(model, "cut_after_chunks", { after: 6 }, async () => {
        for await (const event of await once.responses.create({ ...ask, stream: true })) kinds.push(event.type);
      });
      assert.equal(kinds.at(-1), "response.failed", model);
      assert.ok(kinds.includes("response.output_text.delta") && !kinds.includes("response.completed"), model);
      const whole = () => raises(OpenAI.InternalServerError, 502, "upstream_error", () => once.responses.create(ask));
      await providers.failing(model, "cut_after_chunks", {}, whole);
      assert.equal((await client.responses.create(ask)).status, "completed", model);
    }
  },

  async aCallerThatLosesPatienceIsSeenToLeave() {
    for (const model of models.each) {
      const leave = async () => {
        const call = once.responses.create({ model, input: "hello [[ttft=5000]]" }, { timeout: 500 });
        assert.ok((await call.catch((error) => error)) instanceof OpenAI.APIConnectionTimeoutError);
      };
      await providers.seeLeave(model, leave, models.departure_ms);
      assert.ok((await client.responses.create({ model, input: "hello" })).output_text, model);
    }
  },

  async anAbortInTheMiddleOfAStreamIsSeen() {
    for (const model of models.each) {
      const leave = async () => {
        for await (const event of client.responses.stream({ model, input: "go on [[tokens=800 chunk=50]]" })) {
          if (event.type === "response.output_text.delta") break;
        }
      };
      await providers.seeLeave(model, leave, models.departure_ms);
      assert.ok((await client.responses.create({ model, input: "hello" })).output_text, model);
    }
  },
};

for (const [name, check] of Object.entries(checks)) {
  const start = performance.now();
  await check();
  console.log(`node: ${name} ok (${((performance.now() - start) / 1000).toFixed(1)} s)`);
}
console.log("all checks passed");
