// The official SDK for Node. Usage: node openai_node.mjs BASE_URL MODELS_JSON runTools|stream

import assert from "node:assert/strict";
import OpenAI from "openai";
import { baseURL, checkAnswer, form, models, parameters, questions, run, weather } from "./loop.mjs";

const client = new OpenAI({ baseURL, apiKey: "anything", maxRetries: 0 });
const counted = (usage) => ({ input: usage.prompt_tokens, output: usage.completion_tokens });
const described = { name: "get_weather", description: "The weather of a city", parameters };

/** The runner that calls the tools itself. */
async function runTools(model, stream) {
  const usages = [];
  let [turn, called, messages] = [0, 0, []];
  const get_weather = ({ city }) => (assert.ok(city), called++, weather(turn));
  const tools = [{ type: "function", function: { ...described, parse: JSON.parse, function: get_weather } }];
  for (; turn < questions.length; turn++) {
    messages.push({ role: "user", content: questions[turn] });
    const options = stream ? { stream, stream_options: { include_usage: true } } : {};
    const runner = client.chat.completions.runTools({ model, messages, tools, ...options });
    checkAnswer(await runner.finalContent(), turn);
    assert.equal(called, turn + 1);
    usages.push(counted(await runner.totalUsage()));
    messages = [...runner.messages];
  }
  return usages;
}

/** The helper that accumulates a stream. */
async function streamed(model) {
  const [messages, usages, tools] = [[], [], [{ type: "function", function: described }]];
  const ask = async () => {
    const stream = client.chat.completions.stream({ model, messages, tools, stream_options: { include_usage: true } });
    const message = await stream.finalMessage();
    usages.push(counted(await stream.totalUsage()));
    messages.push(message);
    return message;
  };
  for (const [turn, content] of questions.entries()) {
    messages.push({ role: "user", content });
    const { tool_calls } = await ask();
    assert.ok(tool_calls?.length, "no call");
    for (const call of tool_calls) {
      assert.ok("city" in JSON.parse(call.function.arguments));
      messages.push({ role: "tool", tool_call_id: call.id, content: weather(turn) });
    }
    checkAnswer((await ask()).content, turn);
  }
  return usages;
}

await (form === "runTools" ? run(runTools) : run(streamed, [true]));
