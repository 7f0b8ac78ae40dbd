// The AI SDK of Vercel. Usage: node vercel.mjs BASE_URL MODELS_JSON

import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { baseURL, checkAnswer, questions, run, weather } from "./loop.mjs";

const provider = createOpenAICompatible({ name: "tollfree", baseURL, apiKey: "anything", includeUsage: true });

await run(async (model, stream) => {
  const [messages, usages] = [[], []];
  let [turn, called] = [0, 0];
  const tools = {
    get_weather: tool({
      description: "The weather of a city",
      inputSchema: z.object({ city: z.string() }),
      execute: async ({ city }) => (assert.ok(city), called++, weather(turn)),
    }),
  };
  for (; turn < questions.length; turn++) {
    messages.push({ role: "user", content: questions[turn] });
    const call = { model: provider(model), messages, tools, stopWhen: stepCountIs(4), maxRetries: 0 };
    const result = stream ? streamText({ ...call, onError: ({ error }) => assert.fail(String(error)) }) : await generateText(call);
    checkAnswer(await result.text, turn);
    assert.equal(called, turn + 1);
    const { inputTokens, outputTokens } = await result.totalUsage;
    usages.push({ input: inputTokens, output: outputTokens });
    messages.push(...(await result.response).messages);
  }
  return usages;
});
