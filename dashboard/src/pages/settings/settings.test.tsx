import { fireEvent, screen, waitFor } from "@testing-library/react";
import { expect, test } from "vitest";
import { PENDING, gateway, list, errorResponse, show } from "../../../tests/render";
import Settings from "./settings";

const ALL = ["GET /v1/status", "GET /admin/v1/config", "GET /admin/v1/audit"];
const all = (answer: () => unknown) => Object.fromEntries(ALL.map((path) => [path, answer]));

test("each card shows its own loading and error state", async () => {
  gateway(all(PENDING));
  const loading = show(Settings);
  expect(screen.getAllByRole("status", { name: "Loading" })).toHaveLength(4);
  loading.unmount();
  gateway(all(() => errorResponse(503, "ledger_unavailable", "unavailable")));
  show(Settings);
  await waitFor(() => expect(screen.getAllByRole("alert")).toHaveLength(4));
});

test("empty states are shown", async () => {
  gateway({
    "GET /admin/v1/audit": () => list([]),
    "GET /v1/status": () => ({ routingStrategy: "fast", providers: [] }),
  });
  show(Settings);
  expect(await screen.findByText("No changes yet")).toBeTruthy();
  expect(await screen.findByText("No provider is configured.")).toBeTruthy();
});

test("settings show their source, and the audit log the fields that differ", async () => {
  gateway();
  show(Settings);
  expect(await screen.findByText("tollfree.toml:14:1")).toBeTruthy();
  expect(await screen.findByText("rpd: 1000 → 2000")).toBeTruthy();
  fireEvent.click(screen.getByLabelText("Only changed from default"));
  expect(screen.queryByText("server.port")).toBeNull();
  fireEvent.change(screen.getByLabelText("Filter settings"), { target: { value: "nothing like it" } });
  expect(screen.getByText("No setting matches")).toBeTruthy();
});

test("a provider can be switched off and reset", async () => {
  const sent = gateway({
    "PATCH /v1/status/providers/groq": () => ({}),
    "POST /v1/status/providers/groq/reset": () => ({}),
  });
  show(Settings);
  fireEvent.click(await screen.findByLabelText("Groq"));
  fireEvent.click(screen.getByRole("button", { name: "Reset Groq" }));
  await waitFor(() =>
    expect(sent.filter((each) => each.method !== "GET").map((each) => [each.method, each.body])).toEqual([
      ["PATCH", { enabled: false }],
      ["POST", undefined],
    ]),
  );
});

test("very long values fit", async () => {
  gateway({
    "GET /admin/v1/config": () => ({
      settings: [{ name: "a".repeat(200), value: "b".repeat(2_000), source: "environment" }],
      trace_link: null,
      public_url: null,
    }),
  });
  show(Settings);
  expect(await screen.findByText("b".repeat(2_000))).toBeTruthy();
});
