// What the loops of the JavaScript libraries share; see loop.py.

import assert from "node:assert/strict";

export const [baseURL, models, form] = [process.argv[2], JSON.parse(process.argv[3]), process.argv[4]];
const turns = Number(process.env.TURNS ?? 2);
export const questions = ["What is the weather in Paris?", ...Array(turns - 1).fill("And tomorrow?")];
// The only form to try, where one is set: `whole` or `streamed`.
const formWanted = process.env.FORM;
export const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
export const weather = (turn) => `${20 + turn} degrees`;
export const checkAnswer = (text, turn) => assert.match(text ?? "", new RegExp(weather(turn)));

/** `loop` returns the input and output tokens of each request, or their sums. */
export async function run(loop, forms = [false, true]) {
  for (const model of models) {
    for (const stream of forms) {
      if (formWanted && formWanted !== (stream ? "streamed" : "whole")) continue;
      try {
        const usages = await loop(model, stream);
        const sum = (name) => usages.reduce((total, usage) => total + usage[name], 0);
        console.log(JSON.stringify({ model, stream, input: sum("input"), output: sum("output") }));
      } catch (error) {
        console.log(`${model}, ${stream ? "streamed" : "whole"}: ${error}`);
        throw error;
      }
    }
  }
  console.log("all loops passed");
}
