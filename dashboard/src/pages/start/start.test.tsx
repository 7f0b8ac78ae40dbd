import { fireEvent, screen } from "@testing-library/react";
import { expect, test } from "vitest";
import { show } from "../../../tests/render";
import Start from "./start";

test("each agent has its line, without a key", () => {
  show(Start);
  const line = screen.getByLabelText("Claude Code", { selector: "pre" }).textContent;
  expect(line).toContain("tollfree setup claude-code --url http");
  expect(line).toContain("/setup/claude-code.sh | sh");
});

test("a pasted key appears in the snippets and is not stored", () => {
  show(Start);
  expect(screen.getByLabelText("curl", { selector: "pre" }).textContent).toContain("Bearer YOUR_KEY");
  const key = `sk-tf-${"k".repeat(200)}`;
  fireEvent.change(screen.getByLabelText("Key for the snippets"), { target: { value: key } });
  expect(screen.getByLabelText("curl", { selector: "pre" }).textContent).toContain(`Bearer ${key}`);
  expect(JSON.stringify({ ...localStorage, ...sessionStorage })).not.toContain(key);
});
