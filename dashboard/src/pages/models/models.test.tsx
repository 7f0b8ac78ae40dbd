import { fireEvent, screen } from "@testing-library/react";
import { expect, test } from "vitest";
import * as fixtures from "../../../tests/mock/fixtures";
import { PENDING, gateway, list, refused, show } from "../../../tests/render";
import type { Model } from "../../types";
import Models from "./models";

test("loading, empty and error each have their say", async () => {
  gateway({ "GET /admin/v1/models": PENDING });
  const loading = show(Models);
  expect(screen.getByRole("status", { name: "Loading" })).toBeTruthy();
  loading.unmount();
  gateway({ "GET /admin/v1/models": () => refused(500, "internal", "broken") });
  const failed = show(Models);
  expect((await screen.findByRole("alert")).textContent).toContain("broken");
  failed.unmount();
  gateway({ "GET /admin/v1/models": () => list([]) });
  show(Models);
  expect(await screen.findByText("No model can be asked for")).toBeTruthy();
});

test("a meta-model shows its members in today's order, and why", async () => {
  gateway();
  show(Models);
  const items = (await screen.findAllByRole("listitem")).map((item) => item.textContent);
  expect(items[0]).toBe("1groq/openai/gpt-oss-120bmost headroom left (93 %)");
});

test("retired ones stand apart, with what to ask for instead", async () => {
  gateway();
  show(Models);
  expect(await screen.findByText("openai/gpt-oss-20b")).toBeTruthy();
  expect(screen.queryByText("moonshotai/kimi-k2-instruct-0905")).toBeNull();
  fireEvent.click(screen.getByLabelText("Retired 1"));
  expect(await screen.findByText("moonshotai/kimi-k2-instruct-0905")).toBeTruthy();
});

test("very long names and very large numbers have room", async () => {
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
