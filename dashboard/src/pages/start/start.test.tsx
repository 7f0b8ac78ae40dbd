import { fireEvent, screen } from "@testing-library/react";
import { expect, test } from "vitest";
import { gateway, show } from "../../../tests/render";
import * as fixtures from "../../../tests/mock/fixtures";
import { NOT_TRIED } from "../../components/snippets";
import Start from "./start";

test("each agent has its line, without a key", async () => {
  gateway();
  show(Start);
  const line = screen.getByLabelText("Claude Code", { selector: "pre" }).textContent;
  expect(line).toContain("tollfree setup claude-code --url http");
  expect(line).toContain("/setup/claude-code.sh | sh");
  fireEvent.click(screen.getByRole("tab", { name: "Codex" }));
  const codex = (await screen.findByLabelText("Codex", { selector: "pre" })).textContent;
  expect(codex).toContain("tollfree setup codex --url http");
  expect(codex).toContain("/setup/codex.ps1 | Invoke-Expression");
});

test("the address is the one that the gateway was given", async () => {
  gateway({ "GET /admin/v1/config": () => ({ ...fixtures.config(), public_url: "https://gateway.example/llm" }) });
  show(Start);
  expect(await screen.findByText("https://gateway.example/llm/v1")).toBeTruthy();
  const text = (name: string) => screen.getByLabelText(name, { selector: "pre" }).textContent;
  expect(text("Claude Code")).toContain("tollfree setup claude-code --url https://gateway.example/llm\n");
  expect(text("curl")).toContain("https://gateway.example/llm/v1/chat/completions");
});

test("a tool that was not tried says so", async () => {
  gateway();
  show(Start);
  expect(screen.queryByText(NOT_TRIED)).toBeNull();
  fireEvent.click(screen.getByRole("tab", { name: "Zed" }));
  expect(await screen.findByText(NOT_TRIED)).toBeTruthy();
  fireEvent.click(screen.getByRole("tab", { name: "goose" }));
  expect(await screen.findByText(NOT_TRIED)).toBeTruthy();
  fireEvent.click(screen.getByRole("tab", { name: "Codex" }));
  expect(screen.queryByText(NOT_TRIED)).toBeNull();
  fireEvent.click(screen.getByRole("tab", { name: "Cline" }));
  expect(await screen.findByText(NOT_TRIED)).toBeTruthy();
});

test("a pasted key appears in the snippets and is not stored", () => {
  gateway();
  show(Start);
  expect(screen.getByLabelText("curl", { selector: "pre" }).textContent).toContain("Bearer YOUR_KEY");
  const key = `sk-tf-${"k".repeat(200)}`;
  fireEvent.change(screen.getByLabelText("Key for the snippets"), { target: { value: key } });
  expect(screen.getByLabelText("curl", { selector: "pre" }).textContent).toContain(`Bearer ${key}`);
  expect(JSON.stringify({ ...localStorage, ...sessionStorage })).not.toContain(key);
});
