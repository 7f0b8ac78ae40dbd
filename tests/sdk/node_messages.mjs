// The official Anthropic SDK for Node against a running gateway. Usage: node node_messages.mjs BASE_URL MODELS_JSON
// (see python_messages.py). Prints a line per check; the first failure ends it with a stack trace.

import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";

const [baseURL, models] = [process.argv[2].replace(/\/v1$/, ""), JSON.parse(process.argv[3])];
const client = new Anthropic({ baseURL, apiKey: "anything", maxRetries: 0 });
const pixel =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const weather = {
  name: "get_weather",
  description: "The weather of a city",
  input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};
const user = (content) => [{ role: "user", content }];
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** The call's answer; a limit is slept off as the gateway says, which must be enough. */
async function answered(call) {
  try {
    return await call();
  } catch (error) {
    if (!(error instanceof Anthropic.RateLimitError)) throw error;
    await sleep(Number(error.headers.get("retry-after-ms")));
    return await call();
  }
}

const create = (body) => answered(() => client.messages.create({ max_tokens: 500, ...body }));
const stream = (body) => answered(() => client.messages.stream({ max_tokens: 500, ...body }).finalMessage());

async function raises(kind, status, words, call) {
  const error = await call().then(() => assert.fail(`no ${kind.name}`), (error) => error);
  assert.equal(error.constructor, kind, String(error));
  assert.equal(error.status, status, String(error));
  assert.ok(error.requestID, "request-id is read by the SDK");
  assert.ok(error.error.error.message.includes(words), String(error));
}

const checks = {
  async message() {
    const ask = { model: models.any, max_tokens: 300, messages: user("hello") };
    const { data, response } = await answered(() => client.messages.create(ask).withResponse());
    assert.ok(data.content[0].text);
    assert.equal(data.model, response.headers.get("x-tollfree-model"));
    assert.ok(data.usage.input_tokens > 0 && data.usage.output_tokens > 0);
  },

  async textOfEveryDialect() {
    for (const model of models.dialects) {
      const ask = { model, messages: user("hello [[tokens=12]]") };
      const [whole, final] = [await create(ask), await stream(ask)];
      assert.ok(final.content[0].text, model);
      assert.deepEqual([final.usage, final.stop_reason], [whole.usage, "end_turn"], model);
    }
  },

  async toolsOverSeveralTurns() {
    for (const model of models.dialects) {
      for (const answer of [create, stream]) {
        const messages = user("Weather in Bonn and Köln? [[calls=2]]");
        const called = await answer({ model, messages, tools: [weather] });
        const calls = called.content.filter((block) => block.type === "tool_use");
        assert.equal(calls.length, 2, `${model}: ${JSON.stringify(called)}`);
        assert.ok(calls.every((call) => call.input.city));
        const results = calls.map(({ id }) => ({ type: "tool_result", tool_use_id: id, content: "20 degrees" }));
        messages.push({ role: "assistant", content: called.content }, ...user(results));
        const reply = await answer({ model, messages, tools: [weather] });
        assert.match(reply.content.at(-1).text, /degrees/, model);
      }
    }
  },

  async aRunnerOfTools() {
    const tool = { ...weather, run: async ({ city }) => `20 degrees in ${city}` };
    const runner = client.beta.messages.toolRunner({
      model: models.any, max_tokens: 500, messages: user("Weather in Bonn?"), tools: [tool],
    });
    assert.match((await runner.runUntilDone()).content.at(-1).text, /degrees/);
  },

  async thinking() {
    const ask = { model: models.thinks, max_tokens: 4000, messages: user("why? [[reasoning=40 tokens=10]]") };
    const final = await stream({ ...ask, thinking: { type: "enabled", budget_tokens: 1024 } });
    assert.deepEqual(final.content.map((block) => block.type), ["thinking", "text"]);
    assert.ok(final.content[0].thinking && final.content[0].signature);
  },

  async images() {
    const image = { type: "image", source: { type: "base64", media_type: "image/png", data: pixel } };
    const parts = [{ type: "text", text: "what is it?" }, image];
    assert.match((await create({ model: models.vision, messages: user(parts) })).content[0].text, /1 image/);
  },

  async errorClasses() {
    const unknown = new Anthropic({ baseURL, apiKey: "sk-tf-0000-unknown", maxRetries: 0 });
    const ask = { max_tokens: 9, messages: user("hello") };
    await raises(Anthropic.AuthenticationError, 401, "key", () => unknown.messages.create({ model: "free", ...ask }));
    await raises(Anthropic.NotFoundError, 404, "nope", () => client.messages.create({ model: "nope", ...ask }));
    const wrong = user([{ type: "hologram" }]);
    const ill = () => client.messages.create({ model: "free", max_tokens: 9, messages: wrong });
    await raises(Anthropic.BadRequestError, 400, "messages[0].content[0].type", ill);
  },

  async aCallerMayLosePatience() {
    const ask = { model: models.dialects.at(-1), max_tokens: 50 };
    const call = client.messages.create({ messages: user("hello [[ttft=5000]]"), ...ask }, { timeout: 500 });
    assert.ok((await call.catch((error) => error)) instanceof Anthropic.APIConnectionTimeoutError);
    assert.ok((await create({ messages: user("hello"), ...ask })).content[0].text);
  },

  async aCutStreamIsNeverComplete() {
    const ask = { model: models.cut, max_tokens: 50, messages: user("hello") };
    const error = await client.messages.stream(ask).finalMessage().catch((error) => error);
    assert.ok(error instanceof Anthropic.APIError, String(error));
  },

  async counting() {
    const { input_tokens } = await client.messages.countTokens({ model: models.any, messages: user("hello") });
    assert.ok(input_tokens > 0);
  },

  async theListOfModels() {
    const ids = [];
    for await (const model of client.models.list({ limit: 3 })) ids.push(model.id);
    assert.ok(ids.includes("anthropic/free-smart") && new Set(ids).size === ids.length, String(ids));
  },
};

for (const [name, check] of Object.entries(checks)) {
  const start = performance.now();
  await check();
  console.log(`node: ${name} ok (${((performance.now() - start) / 1000).toFixed(1)} s)`);
}
console.log("all checks passed");
