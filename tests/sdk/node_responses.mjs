// The official OpenAI SDK's Responses for Node against a running gateway. Usage: node node_responses.mjs BASE_URL MODELS_JSON
// (see python_responses.py). Prints a line per check; the first failure ends it with a stack trace.

import assert from "node:assert/strict";
import OpenAI from "openai";

const [baseURL, models] = [process.argv[2], JSON.parse(process.argv[3])];
const client = new OpenAI({ baseURL, apiKey: "anything", maxRetries: 2 });
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
    for (const model of models.schema) {
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
    const plain = await client.responses.stream({ model: models.reasoning, input: "hello" }).finalResponse();
    assert.ok(plain.output[0].content[0].text);
    const ask = { model: models.reasoning, input: "hello", reasoning: { summary: "auto" } };
    const summary = await client.responses.stream(ask).finalResponse();
    assert.ok(summary.output[0].summary[0].text);
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
    const [model, create] = [models.each[0], (body) => client.responses.create(body)];
    await raises(OpenAI.AuthenticationError, 401, "invalid_api_key", () => unknown.responses.create({ model, input: "x" }));
    await raises(OpenAI.NotFoundError, 404, "model_not_found", () => create({ model: "no-such-model", input: "x" }));
    const wrong = { model, input: [{ role: "robot", content: "x" }] };
    assert.equal((await raises(OpenAI.BadRequestError, 400, "invalid_value", () => create(wrong))).param, "input[0].role");
  },

  async aCutStreamIsNeverComplete() {
    const kinds = [];
    for await (const event of await client.responses.create({ model: models.cut, input: "hello", stream: true })) {
      kinds.push(event.type);
    }
    assert.equal(kinds.at(-1), "response.failed");
    assert.ok(!kinds.includes("response.completed"));
  },

  async aCallerMayLosePatience() {
    const ask = { model: models.loose, input: "hello [[ttft=5000]]" };
    const call = client.responses.create(ask, { timeout: 500, maxRetries: 0 });
    assert.ok((await call.catch((error) => error)) instanceof OpenAI.APIConnectionTimeoutError);
    assert.ok((await client.responses.create({ ...ask, input: "hello" })).output_text);
  },

  async leavingAStreamEarly() {
    const ask = { model: models.loose, input: "go on [[tokens=2000 chunk=20]]" };
    for await (const event of client.responses.stream(ask)) {
      if (event.type === "response.output_text.delta") break;
    }
  },
};

for (const [name, check] of Object.entries(checks)) {
  const start = performance.now();
  await check();
  console.log(`node: ${name} ok (${((performance.now() - start) / 1000).toFixed(1)} s)`);
}
console.log("all checks passed");
