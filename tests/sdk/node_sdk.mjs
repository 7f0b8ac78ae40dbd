// The official OpenAI SDK for Node against a running gateway. Usage: node node_sdk.mjs BASE_URL MODELS_JSON
// (see python_sdk.py). Prints a line per check; the first failure ends it with a stack trace.

import assert from "node:assert/strict";
import { Mistral } from "@mistralai/mistralai";
import OpenAI from "openai";

const [baseURL, models] = [process.argv[2], JSON.parse(process.argv[3])];
const client = new OpenAI({ baseURL, apiKey: "anything", maxRetries: 0 });
const pixel =
  "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const weather = {
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather of a city",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};
const user = (content) => [{ role: "user", content }];
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** The call's answer; a limit is slept off as the gateway says, which must be enough. */
async function answered(call) {
  try {
    return await call();
  } catch (error) {
    if (!(error instanceof OpenAI.RateLimitError)) throw error;
    await sleep(Number(error.headers.get("retry-after-ms")));
    return await call();
  }
}

async function raises(kind, status, code, call) {
  const error = await call().then(() => assert.fail(`no ${kind.name}`), (error) => error);
  assert.equal(error.constructor, kind, String(error));
  assert.deepEqual([error.status, error.code], [status, code], String(error));
  assert.ok(error.requestID, "x-request-id is read by the SDK");
  return error;
}

const checks = {
  async chat() {
    const create = () => client.chat.completions.create({ model: models.any, messages: user("hello") }).withResponse();
    const { data, response } = await answered(create);
    assert.ok(data.choices[0].message.content);
    assert.ok(data.usage.total_tokens > 0);
    assert.ok(response.headers.get("x-tollfree-provider"));
  },

  async streaming() {
    let [text, reason] = ["", null];
    const create = () => client.chat.completions.create({ model: models.any, messages: user("hello"), stream: true });
    for await (const chunk of await answered(create)) {
      assert.ok(chunk.choices.length, "the usage chunk was not requested");
      text += chunk.choices[0].delta.content ?? "";
      reason = chunk.choices[0].finish_reason ?? reason;
    }
    assert.ok(text);
    assert.equal(reason, "stop");
  },

  async usageInAStreamWhenAsked() {
    const options = { stream: true, stream_options: { include_usage: true } };
    const create = () => client.chat.completions.create({ model: models.any, messages: user("hello"), ...options });
    let last;
    for await (const chunk of await answered(create)) last = chunk.usage ?? last;
    assert.ok(last.total_tokens > 0);
  },

  async toolsOverSeveralTurns() {
    for (const model of models.tools) {
      const messages = user("What is the weather in Paris?");
      for (const turn of [0, 1]) {
        const create = () => client.chat.completions.create({ model, messages, tools: [weather], max_tokens: 300 });
        const called = (await answered(create)).choices[0].message;
        assert.ok(called.tool_calls?.length, `${model}: ${JSON.stringify(called)}`);
        messages.push(called);
        for (const call of called.tool_calls) {
          assert.ok("city" in JSON.parse(call.function.arguments));
          messages.push({ role: "tool", tool_call_id: call.id, content: `${20 + turn} degrees` });
        }
        const reply = (await answered(create)).choices[0].message;
        assert.match(reply.content, /degrees/, model);
        messages.push({ role: "assistant", content: reply.content }, ...user("And tomorrow?"));
      }
    }
  },

  async toolsInAStream() {
    for (const model of models.tools) {
      const body = { model, messages: user("Weather in Paris?"), tools: [weather], max_tokens: 300 };
      const runner = () => client.chat.completions.stream(body).finalMessage();
      const message = await answered(runner);
      assert.ok("city" in JSON.parse(message.tool_calls[0].function.arguments), model);
    }
  },

  async structuredOutput() {
    const schema = {
      type: "object",
      properties: { name: { type: "string" }, rivers: { type: "array", items: { type: "string" } } },
      required: ["name", "rivers"],
      additionalProperties: false,
    };
    const response_format = { type: "json_schema", json_schema: { name: "city", strict: true, schema } };
    const create = () => client.chat.completions.create({ model: models.schema, messages: user("Paris"), response_format });
    const city = JSON.parse((await answered(create)).choices[0].message.content);
    assert.equal(typeof city.name, "string");
    assert.ok(Array.isArray(city.rivers));
  },

  async images() {
    const parts = [{ type: "text", text: "what is it?" }, { type: "image_url", image_url: { url: pixel } }];
    const answer = await answered(() => client.chat.completions.create({ model: models.vision, messages: user(parts) }));
    assert.match(answer.choices[0].message.content, /1 image/);
  },

  async severalAnswers() {
    const create = () => client.chat.completions.create({ model: models.several, messages: user("hello"), n: 2 });
    assert.deepEqual((await answered(create)).choices.map((choice) => choice.index), [0, 1]);
  },

  async unknownFields() {
    const create = () =>
      client.chat.completions.create({ model: models.loose, messages: user("hello"), x_unknown: { deep: [1.5, null] } });
    assert.ok((await answered(create)).choices[0].message.content);
  },

  async models() {
    const ids = (await client.models.list()).data.map((model) => model.id);
    assert.ok(ids.includes("free") && ids.includes(models.metered));
  },

  async errorClasses() {
    const unknown = new OpenAI({ baseURL, apiKey: "sk-tf-0000-unknown", maxRetries: 0 });
    const create = (body) => client.chat.completions.create(body);
    await raises(OpenAI.AuthenticationError, 401, "invalid_api_key", () => unknown.models.list());
    const ask = { messages: user("hello") };
    await raises(OpenAI.NotFoundError, 404, "model_not_found", () => create({ model: "no-such-model", ...ask }));
    const wrong = { model: models.any, messages: [] };
    assert.equal((await raises(OpenAI.BadRequestError, 400, "invalid_value", () => create(wrong))).param, "messages");
  },

  async aRateLimitNamesATrueWait() {
    const ask = { model: models.metered, messages: user("hello [[tokens=1 ttft=0]]"), max_tokens: 1000 };
    let limit;
    for (let tries = 0; tries < 40 && !limit; tries++) {
      await client.chat.completions.create(ask).catch((error) => (limit = error));
    }
    assert.equal(limit?.constructor, OpenAI.RateLimitError, String(limit));
    assert.equal(limit.code, "budget_exhausted");
    await sleep(Number(limit.headers.get("retry-after-ms")));
    assert.ok((await client.chat.completions.create(ask)).choices.length);
  },

  async theSdksOwnRetriesAreEnough() {
    const patient = new OpenAI({ baseURL, apiKey: "anything", maxRetries: 2 });
    const ask = { model: models.metered, messages: user("hello [[tokens=1 ttft=0]]"), max_tokens: 1000 };
    for (let turn = 0; turn < 3; turn++) assert.ok((await patient.chat.completions.create(ask)).choices.length);
  },

  async embeddings() {
    // The SDK asks for base64 unless told otherwise, and decodes it.
    const create = (more) => client.embeddings.create({ model: models.embedding, input: "one", ...more });
    const [decoded, floats, short] = [await create(), await create({ encoding_format: "float" }), await create({ dimensions: 256 })];
    assert.deepEqual([decoded, short].map(({ data }) => data[0].embedding.length), [3072, 256]);
    const close = decoded.data[0].embedding.every((number, at) => Math.abs(number - floats.data[0].embedding[at]) < 1e-6);
    assert.ok(close, "the same numbers");
    await raises(OpenAI.BadRequestError, 400, "unsupported_by_models", () => create({ dimensions: 5 }));
    await raises(OpenAI.BadRequestError, 400, "invalid_value", () => create({ input: [[1, 2]] }));
  },

  async threeHundredTexts() {
    const input = Array.from({ length: 300 }, (_, number) => `text number ${number}`);
    const { data, response } = await client.embeddings.create({ model: models.many, input }).withResponse();
    assert.deepEqual(data.data.map(({ index }) => index), [...input.keys()]);
    const calls = response.headers.get("x-tollfree-attempts").split(";ok").length - 1;
    assert.equal(calls, Math.ceil(300 / models.takes));
  },
};

checks.completions = async () => {
  const ask = { model: models.fim, prompt: "def f(n):", suffix: "return n", max_tokens: 40 };
  const whole = await client.completions.create(ask);
  assert.ok(whole.choices[0].text && whole.usage.total_tokens > 0);
  let text = "";
  for await (const chunk of await client.completions.create({ ...ask, stream: true })) text += chunk.choices[0]?.text ?? "";
  assert.equal(text, whole.choices[0].text);
  await raises(OpenAI.BadRequestError, 400, "unsupported_by_models", () =>
    client.completions.create({ ...ask, model: models.schema }),
  );
};

// Editors that fill in the middle, such as Continue, call Mistral's own endpoint.
checks.mistralsFim = async () => {
  const mistral = new Mistral({ apiKey: "anything", serverURL: baseURL.replace(/\/v1$/, ""), retryConfig: { strategy: "none" } });
  const ask = { model: models.fim, prompt: "def f(n):", suffix: "return n", maxTokens: 40 };
  const whole = await mistral.fim.complete(ask);
  const expected = whole.choices[0].message.content;
  assert.ok(expected && whole.usage.totalTokens > 0, JSON.stringify(whole));
  let [text, reason] = ["", null];
  for await (const { data } of await mistral.fim.stream(ask)) {
    text += data.choices[0]?.delta.content ?? "";
    reason ??= data.choices[0]?.finishReason;
  }
  assert.deepEqual([text, reason], [expected, whole.choices[0].finishReason]);
  const refused = await mistral.fim.complete({ ...ask, model: models.schema }).catch((error) => error);
  assert.equal(refused.statusCode, 400, String(refused));
  assert.match(refused.body, /"param":\s*"suffix"/);
};

checks.transcriptions = async () => {
  const bytes = Buffer.alloc(44 + 1200);
  bytes.write("RIFF", 0);
  bytes.write("WAVEfmt ", 8);
  for (const [at, value] of [[16, 16], [24, 100], [28, 100]]) bytes.writeUInt32LE(value, at);
  for (const [at, value] of [[20, 1], [22, 1], [32, 1], [34, 8]]) bytes.writeUInt16LE(value, at);
  bytes.write("data", 36);
  bytes.writeUInt32LE(1200, 40);
  const file = () => OpenAI.toFile(bytes, "talk.wav");
  const ask = async (more) =>
    client.audio.transcriptions.create({ model: models.whisper, file: await file(), ...more });
  const plain = await ask({});
  assert.ok(plain.text);
  assert.equal((await ask({ response_format: "verbose_json" })).segments.length, 3);
  assert.match(await ask({ response_format: "srt" }), /^1\n00:00:00,000 --> /);
  let text = "";
  for await (const event of await ask({ stream: true })) if (event.type === "transcript.text.delta") text += event.delta;
  assert.equal(text, plain.text);
};

for (const [name, check] of Object.entries(checks)) {
  const start = performance.now();
  await check();
  console.log(`node: ${name} ok (${((performance.now() - start) / 1000).toFixed(1)} s)`);
}
console.log("all checks passed");
