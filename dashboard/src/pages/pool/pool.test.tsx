import { fireEvent, screen, waitFor, within } from "@testing-library/react";
import { expect, test, vi } from "vitest";
import * as fixtures from "../../../tests/mock/fixtures";
import { PENDING, gateway, refused, show } from "../../../tests/render";
import { Stale } from "../../components/freshness";
import { narrowed } from "./filter";
import Pool from "./pool";

// Charts measure the page, which has no size here; the walk in a real browser looks at them.
vi.mock("./charts", () => ({ default: () => <div data-testid="charts" /> }));

test("loading shows where things will stand", () => {
  gateway({ "GET /admin/v1/budget": PENDING, "GET /admin/v1/usage": PENDING });
  show(Pool);
  expect(screen.getAllByRole("status", { name: "Loading" }).length).toBeGreaterThan(0);
});

test("empty says how to get a provider", async () => {
  gateway({ "GET /admin/v1/budget": () => ({ ...fixtures.budget(), providers: [] }) });
  show(Pool);
  expect(await screen.findByText("No provider is configured")).toBeTruthy();
});

test("an error is told in the gateway's words, and can be tried again", async () => {
  let away = true;
  gateway({
    "GET /admin/v1/budget": () =>
      away
        ? refused(503, "ledger_unavailable", "The shared budget cannot be reached.", { "retry-after": "2" })
        : fixtures.budget(),
  });
  show(Pool);
  const alert = await screen.findByRole("alert");
  expect(alert.textContent).toContain("The shared budget cannot be reached. Try again in 2.0 s.");
  away = false;
  fireEvent.click(within(alert).getByRole("button", { name: "Try again" }));
  expect(await screen.findByRole("region", { name: "Groq" })).toBeTruthy();
});

test("stale says since when", () => {
  show(() => <Stale since={Date.now() - 42_000} />);
  expect(screen.getByRole("alert").textContent).toContain("has not answered for 42 s");
});

test("a bar tells what is used, by whom, and when it comes back", async () => {
  gateway();
  show(Pool);
  const bar = await screen.findByRole("button", {
    name: /^groq\/qwen\/qwen3.8-27b,\s*requests\s*\/\s*min\s*30\s*\/\s*30/,
  });
  expect(bar.textContent).toMatch(/free (in \d+ s|now) · 3 waiting/);
  fireEvent.click(bar);
  const details = await waitFor(() => {
    const found = document.querySelector<HTMLElement>("[role=dialog][aria-label*='of qwen']");
    if (!found) throw new Error("it is not open");
    return found;
  });
  expect(details.textContent).toContain("ann15");
  expect(details.textContent).toContain("from the built-in catalogue");
  expect(screen.getAllByText("learned").length).toBeGreaterThan(0);
});

test("an open breaker counts down and can be reset", async () => {
  const sent = gateway({ "POST /v1/status/providers/cerebras/reset": () => ({}) });
  show(Pool);
  const cerebras = await screen.findByRole("region", { name: "Cerebras" });
  expect(cerebras.textContent).toMatch(/breaker open · probe in \d+ s/);
  fireEvent.click(within(cerebras).getByRole("button", { name: /Reset Cerebras/ }));
  await waitFor(() => expect(sent.find((each) => each.method === "POST")?.headers.get("x-csrf-token")).toBe("c5f"));
});

test("very long names and very large numbers have room", async () => {
  const wide = fixtures.wideBudget(3);
  const window = wide.providers[0]!.accounts[0]!.models[0]!.windows[0]!;
  Object.assign(window, { used: 987_654_321_012, max: 1_234_567_890_123 });
  gateway({ "GET /admin/v1/budget": () => wide });
  show(Pool);
  expect(await screen.findAllByTitle("987,654,321,012 of 1,234,567,890,123")).toHaveLength(3);
  expect(screen.getAllByText("988G")).toHaveLength(3);
  expect(screen.getAllByText(/a-model-with-a-very-long-name-2/).length).toBeGreaterThan(0);
});

test("what is tight or shut can be seen alone", () => {
  const { providers } = fixtures.budget();
  const tight = narrowed(providers, "", true);
  const names = tight.flatMap((provider) =>
    provider.accounts.flatMap((account) => account.models.map((model) => model.name)),
  );
  expect(names).toContain("groq/qwen/qwen3.8-27b");
  expect(names).not.toContain("mistral/codestral-2508");
  expect(narrowed(providers, "codestral", false).map((provider) => provider.id)).toEqual(["mistral"]);
  expect(narrowed(providers, "no such", false)).toEqual([]);
});
