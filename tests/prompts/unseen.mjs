// Writes unseen.json: prompts that no constant of the estimate was fitted to, counted in the same way as those of make.mjs.
//
//   node unseen.mjs ROOT_OF_THE_REPOSITORY
import { readFileSync } from "node:fs";
import { tool, string, write } from "./layouts.mjs";

const root = process.argv[2];
const read = (path, from, to) => readFileSync(`${root}/${path}`, "utf8").slice(from, to);

const TOOLS = [
  tool("shell", "Runs a command and returns its output.", { command: { type: "array", items: { type: "string" } }, workdir: string("Working directory"), timeout_ms: { type: "number" } }, ["command"]),
  tool(
    "apply_patch",
    "Use this tool to edit files. Your patch language is a stripped-down, file-oriented diff format designed to be easy to parse and safe to apply. Each operation starts with one of three headers: *** Add File, *** Delete File and *** Update File.",
    { input: string("The entire contents of the patch") },
    ["input"],
  ),
  tool("update_plan", "Updates the plan of the task.", {
    explanation: { type: "string" },
    plan: { type: "array", items: { type: "object", properties: { step: { type: "string" }, status: { type: "string", enum: ["pending", "in_progress", "completed"] } }, required: ["step", "status"] } },
  }, ["plan"]),
  tool("query_database", "Runs a read-only SQL query against the warehouse and returns at most 500 rows as CSV.", { sql: string("One SELECT statement"), database: { type: "string", enum: ["sales", "stock", "people"] } }, ["sql", "database"]),
  tool("get_calendar", "Lists the events of a person between two dates.", { email: string("Whose", { format: "email" }), from: string("ISO 8601"), to: string("ISO 8601"), limit: { type: "integer", minimum: 1, maximum: 100 } }, ["email"]),
];

const PIECES = {
  system: "You are a data analyst of a retail company. Answer in the language of the question. Never guess figures: query them. Round money to whole euros, and name the period of every figure. If a table is missing, say so, and stop.",
  reminder: "The quarter ended on 30 September. The warehouse is refreshed at 04:00 UTC; rows of the same day are incomplete.",
  german: "Pourquoi les ventes de la région Sud-Ouest ont-elles baissé au troisième trimestre ? Compare, s'il te plaît, avec l'année précédente, et propose trois mesures.",
  python: read("tests/agents/run.py", 2000, 5600),
  css: read("dashboard/src/theme.css", 0, 2400),
  tsx: read("dashboard/src/app.tsx", 0, 2400),
  sql: Array.from({ length: 14 }, (_, n) => `SELECT s.region_id, DATE_TRUNC('month', s.sold_at) AS month, SUM(s.amount_cents) / 100.0 AS revenue_${n}\nFROM sales s JOIN regions r ON r.id = s.region_id\nWHERE s.sold_at >= DATE '2025-0${(n % 9) + 1}-01' AND r.code IN ('SO', 'NE')\nGROUP BY 1, 2 ORDER BY revenue_${n} DESC LIMIT ${10 * n + 5};`).join("\n\n"),
  csv: "id,sku,region,sold_at,units,amount_cents\n" + Array.from({ length: 60 }, (_, n) => `${100231 + 17 * n},SKU-${(n * 7919) % 10000},${["SO", "NE", "IDF", "PACA"][n % 4]},2026-0${(n % 9) + 1}-${10 + (n % 18)}T${10 + (n % 12)}:${10 + (n % 49)}:00Z,${(n * 3) % 11},${(n * 48611) % 99991}`).join("\n"),
  trace: Array.from({ length: 16 }, (_, n) => `  File "/srv/app/warehouse/jobs/step_${n}.py", line ${37 + 13 * n}, in run_step_${n}\n    result = self.executor.submit(task, retries=${n % 4}).result(timeout=${30 + n})`).join("\n") + "\nconcurrent.futures._base.TimeoutError: 1 (of 16) futures unfinished",
  chinese: "第三季度西南地区的销售额同比下降了百分之十二。主要原因有三个：第一，两家大型门店在七月装修停业；第二，促销活动推迟到了十月；第三，竞争对手在当地开设了新的折扣店。建议尽快恢复促销预算，并重新评估库存分配方案。".repeat(6),
  russian: "Продажи в третьем квартале снизились из-за закрытия двух магазинов и переноса рекламной кампании. Мы предлагаем вернуть бюджет на рекламу, перераспределить запасы между складами и обновить прогноз до конца года. ".repeat(5),
  html: Array.from({ length: 20 }, (_, n) => `<tr class="row row--${n % 2 ? "odd" : "even"}" data-id="${9000 + n}"><td><a href="/reports/${n}?tab=summary&amp;year=2026">Report ${n}</a></td><td align="right">${(n * 1234.5).toFixed(2)}&nbsp;€</td></tr>`).join("\n"),
  minutes: "Present: Ana, Björn, Chidi, Divya. Ana explained that the drop is concentrated in two stores, both of which were closed for renovation. Björn asked whether the online channel had picked up the demand; Divya answered that it had, by about a third. We agreed to shift stock to Toulouse before the holidays, and to look again in three weeks. Chidi will write to the landlords. ".repeat(4),
};

// Other prompts than those learnt from: each has pieces that those lack.
const PROMPTS = [
  [5, ["python"]], [5, ["sql", "csv"]], [3, ["css", "tsx"]], [5, ["trace"]], [5, []], [2, ["minutes"]], [5, ["html", "sql"]], [4, ["csv"]], [5, ["python", "trace", "minutes"]], [5, ["tsx", "html"]],
  // Counted after ten answers.
  [5, ["chinese", "minutes"]], [5, ["russian", "sql"]], [1, ["csv", "csv"]], [5, ["minutes", "minutes", "minutes"]], [5, ["trace", "css"]], [2, ["html"]], [5, []], [3, ["python", "sql", "tsx", "csv", "minutes"]], [5, ["css", "css"]], [4, ["tsx", "trace", "html", "python"]],
].map(([tools, pieces]) => ({ tools, pieces }));

write("unseen.json", TOOLS, PIECES, PROMPTS);
