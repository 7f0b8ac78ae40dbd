import { fireEvent, screen } from "@testing-library/react";
import { expect, test } from "vitest";
import * as fixtures from "../../../tests/mock/fixtures";
import { PENDING, gateway, list, errorResponse, show } from "../../../tests/render";
import type { Model } from "../../types";
import Models from "./models";

test("loading, error and empty states are shown", async () => {
  gateway({ "GET /admin/v1/models": PENDING });
  const loading = show(Models);
  expect(screen.getByRole("status", { name: "Loading" })).toBeTruthy();
  loading.unmount();
  gateway({ "GET /admin/v1/models": () => errorResponse(500, "internal", "broken") });
  const failed = show(Models);
  expect((await screen.findByRole("alert")).textContent).toContain("broken");
  failed.unmount();
  gateway({ "GET /admin/v1/models": () => list([]) });
  show(Models);
  expect(await screen.findByText("No model is available")).toBeTruthy();
});

test("a meta-model shows its members in their current order, with the reason", async () => {
  gateway();
  show(Models);
  const items = (await screen.findAllByRole("listitem")).map((item) => item.textContent);
  expect(items[0]).toBe("1groq/openai/gpt-oss-120bmost headroom left (93 %)");
});

test("retired models are listed separately, with their successors and dates", async () => {
  gateway();
  show(Models);
  expect(await screen.findByText("openai/gpt-oss-20b")).toBeTruthy();
  expect(screen.queryByText("moonshotai/kimi-k2-instruct-0905")).toBeNull();
  fireEvent.click(screen.getByLabelText("Retired 1"));
  expect(await screen.findByText("moonshotai/kimi-k2-instruct-0905")).toBeTruthy();
  const cells = screen.getAllByRole("cell").map((cell) => cell.textContent);
  expect(cells.at(-1)).toBe("groq/openai/gpt-oss-120b (retired 2026-04)");
});

test("very long names and very large numbers fit", async () => {
  const [, , , model] = fixtures.models();
  gateway({
    "GET /admin/v1/models": () =>
      list([
        {
          ...(model as Model),
          id: `lab/${"m".repeat(250)}`,
          context_length: 10_000_000,
          limits: [{ limit: "tpd", max: 5e12, kind: "sliding", source: "learned" }],
        },
      ]),
  });
  show(Models);
  expect(await screen.findByText("m".repeat(250))).toBeTruthy();
  expect(screen.getByText("10M")).toBeTruthy();
  expect(screen.getByText("5T")).toBeTruthy();
});

test("models of one kind can be shown alone", async () => {
  const models = fixtures.models();
  const model = models.find((each) => each.kind === "model") as Model;
  gateway({
    "GET /admin/v1/models": () =>
      list([model, { ...model, id: "gemini/gemini-embedding-001", model_kind: "embedding" }]),
  });
  show(Models);
  expect(await screen.findByText("gemini-embedding-001")).toBeTruthy();
  expect(screen.getAllByRole("row")).toHaveLength(3);
  fireEvent.click(screen.getByLabelText("Kind of model", { selector: "input" }));
  fireEvent.click(await screen.findByRole("option", { name: "embedding" }));
  expect(screen.getByText("gemini-embedding-001")).toBeTruthy();
  expect(screen.getAllByRole("row")).toHaveLength(2);
});
