// The official Anthropic SDK for Node against a running gateway. Usage: node node_messages.mjs BASE_URL MODELS_JSON
// (see python_messages.py). Prints a line per check; the first failure ends it with a stack trace.

import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { jsonSchemaOutputFormat } from "@anthropic-ai/sdk/helpers/json-schema";
import { Providers } from "./providers.mjs";

const [baseURL, models] = [process.argv[2].replace(/\/v1$/, ""), JSON.parse(process.argv[3])];
const client = new Anthropic({ baseURL, apiKey: models.key, maxRetries: 0 });
const providers = new Providers(models.control);
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
  return error;
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
    for (const model of models.each) {
      const ask = { model, messages: user("hello [[tokens=12]]") };
      const [whole, final] = [await create(ask), await stream(ask)];
      assert.ok(final.content[0].text, model);
      assert.deepEqual([final.usage, final.stop_reason], [whole.usage, "end_turn"], model);
    }
  },

  async toolsOverSeveralTurns() {
    for (const model of models.each) {
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
    for (const model of models.thinks) {
      const ask = { model, max_tokens: 4000, messages: user("why? [[reasoning=40 tokens=10]]") };
      for (const answer of [create, stream]) {
        const { content } = await answer({ ...ask, thinking: { type: "enabled", budget_tokens: 1024 } });
        assert.deepEqual(content.map((block) => block.type), ["thinking", "text"], model);
        assert.ok(content[0].thinking && content[0].signature, model);
      }
    }
  },

  async images() {
    const image = { type: "image", source: { type: "base64", media_type: "image/png", data: pixel } };
    const parts = [{ type: "text", text: "what is it?" }, image];
    for (const model of models.vision) {
      for (const answer of [create, stream]) {
        assert.match((await answer({ model, messages: user(parts) })).content[0].text, /1 image/, model);
      }
    }
  },

  async structuredOutput() {
    const schema = {
      type: "object",
      properties: { city: { type: "string" }, rivers: { type: "array", items: { type: "string" } } },
      required: ["city", "rivers"],
      additionalProperties: false,
    };
    for (const model of models.each) {
      const ask = { model, messages: user("a place"), output_config: { format: jsonSchemaOutputFormat(schema) } };
      const { parsed_output: place } = await answered(() => client.messages.parse({ max_tokens: 500, ...ask }));
      assert.ok(typeof place.city === "string" && Array.isArray(place.rivers), model);
      const streamed = JSON.parse((await stream(ask)).content.at(-1).text);
      assert.ok(typeof streamed.city === "string" && Array.isArray(streamed.rivers), model);
    }
  },

  async errorClasses() {
    const unknown = new Anthropic({ baseURL, apiKey: "sk-tf-0000-unknown", maxRetries: 0 });
    const limited = new Anthropic({ baseURL, apiKey: models.limited, maxRetries: 0 });
    const ask = { max_tokens: 9, messages: user("hello") };
    const asked = (model, more) => () => client.messages.create({ model, ...ask, ...more });
    await raises(Anthropic.AuthenticationError, 401, "key", () => unknown.messages.create({ model: "free", ...ask }));
    const forbidden = () => limited.messages.create({ model: models.each[0], ...ask });
    await raises(Anthropic.PermissionDeniedError, 403, "groq", forbidden);
    await raises(Anthropic.NotFoundError, 404, "nope", asked("nope"));
    const wrong = user([{ type: "hologram" }]);
    await raises(Anthropic.BadRequestError, 400, "messages[0].content[0].type", asked("free", { messages: wrong }));
    await raises(Anthropic.BadRequestError, 400, "prompt is too long", asked("free", { messages: user("word ".repeat(8e5)) }));
    await raises(Anthropic.ContentTooLargeError, 413, "larger than", asked("free", { messages: user("word ".repeat(11e5)) }));
    await raises(Anthropic.GatewayTimeoutError, 504, "silent", asked(models.silent));
    for (const _ of [1, 2, 3]) await raises(Anthropic.InternalServerError, 502, "down", asked(models.down));
    const overloaded = await raises(Anthropic.OverloadedError, 529, "down", asked(models.down));
    assert.equal(overloaded.error.error.type, "overloaded_error");
    assert.ok(Number(overloaded.headers.get("retry-after")) > 0);
  },

  async aLimitSaysWhen() {
    const ask = { model: models.metered, max_tokens: 20, messages: user("x") };
    for (let call = 0; call < 200; call += 1) {
      const limit = await client.messages.create(ask).then(() => null, (error) => error);
      if (!limit) continue;
      assert.equal(limit.constructor, Anthropic.RateLimitError, String(limit));
      assert.equal(limit.error.error.type, "rate_limit_error");
      assert.ok(Number(limit.headers.get("retry-after")) > 0 && limit.error.error.message.includes("UTC"), String(limit));
      return;
    }
    assert.fail("no limit was met");
  },

  async aCallerThatLosesPatienceIsSeenToLeave() {
    for (const model of models.each) {
      const ask = { model, max_tokens: 50 };
      const leave = async () => {
        const call = client.messages.create({ messages: user("hello [[ttft=5000]]"), ...ask }, { timeout: 500 });
        assert.ok((await call.catch((error) => error)) instanceof Anthropic.APIConnectionTimeoutError);
      };
      await providers.seeLeave(model, leave, models.departure_ms);
      assert.ok((await create({ messages: user("hello"), ...ask })).content[0].text, model);
    }
  },

  async anAbortInTheMiddleOfAStreamIsSeen() {
    for (const model of models.each) {
      const ask = { model, max_tokens: 900, messages: user("hello [[tokens=800 chunk=50]]") };
      const leave = async () => {
        const answer = client.messages.stream(ask);
        await new Promise((done, fail) => answer.on("text", done).on("error", fail));
        answer.abort();
        assert.ok((await answer.finalMessage().catch((error) => error)) instanceof Anthropic.APIUserAbortError);
      };
      await providers.seeLeave(model, leave, models.departure_ms);
      assert.ok((await create({ ...ask, messages: user("hello") })).content.length, model);
    }
  },

  async aCutAnswerIsNeverComplete() {
    for (const model of models.each) {
      const ask = { model, max_tokens: 300, messages: user("hello [[tokens=100 size=4 chunk=5]]") };
      const calls = [() => client.messages.create(ask), () => client.messages.stream(ask).finalMessage()];
      for (const call of calls) {
        const failed = () => call().then(() => assert.fail(`${model}: the answer counts as complete`), (error) => error);
        const error = await providers.failing(model, "cut_after_chunks", { after: 6 }, failed);
        assert.ok(error instanceof Anthropic.APIError, String(error));
        assert.match(String(error), /api_error/, model);
      }
      assert.equal((await stream(ask)).stop_reason, "end_turn", model);
    }
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
