import { fireEvent, screen, waitFor, within } from "@testing-library/react";
import { expect, test, vi } from "vitest";
import * as fixtures from "../../../tests/mock/fixtures";
import { PENDING, gateway, errorResponse, show } from "../../../tests/render";
import { Stale } from "../../components/freshness";
import { filterProviders } from "./filter";
import Pool from "./pool";

// Charts need the size of the page, which jsdom does not have. The browser test covers them.
vi.mock("./charts", () => ({ default: () => <div data-testid="charts" /> }));

test("placeholders are shown while loading", () => {
  gateway({ "GET /admin/v1/budget": PENDING, "GET /admin/v1/usage": PENDING });
  show(Pool);
  expect(screen.getAllByRole("status", { name: "Loading" }).length).toBeGreaterThan(0);
});

test("without a provider the page says how to configure one", async () => {
  gateway({ "GET /admin/v1/budget": () => ({ ...fixtures.budget(), providers: [] }) });
  show(Pool);
  expect(await screen.findByText("No provider is configured")).toBeTruthy();
});

test("an error shows the gateway's message and can be retried", async () => {
  let failing = true;
  gateway({
    "GET /admin/v1/budget": () =>
      failing
        ? errorResponse(503, "ledger_unavailable", "The shared budget cannot be reached.", { "retry-after": "2" })
        : fixtures.budget(),
  });
  show(Pool);
  const alert = await screen.findByRole("alert");
  expect(alert.textContent).toContain("The shared budget cannot be reached. Try again in 2.0 s.");
  failing = false;
  fireEvent.click(within(alert).getByRole("button", { name: "Try again" }));
  expect(await screen.findByRole("region", { name: "Groq" })).toBeTruthy();
});

test("the stale banner says since when", () => {
  show(() => <Stale since={Date.now() - 42_000} />);
  expect(screen.getByRole("alert").textContent).toContain("has not responded for 42 s");
});

test("a bar shows its use, its users and when capacity returns", async () => {
  gateway();
  show(Pool);
  const bar = await screen.findByRole("button", {
    name: /^groq\/qwen\/qwen3.8-27b,\s*requests\s*\/\s*min\s*30\s*\/\s*30/,
  });
  expect(bar.textContent).toMatch(/free (in \d+ s|now) · 3 waiting/);
  fireEvent.click(bar);
  const details = await waitFor(() => {
    const found = document.querySelector<HTMLElement>("[role=dialog][aria-label*='of qwen']");
    if (!found) throw new Error("the details are not open");
    return found;
  });
  expect(details.textContent).toContain("ann15");
  expect(details.textContent).toContain("from the built-in catalogue");
  expect(screen.getAllByText("learned").length).toBeGreaterThan(0);
});

test("an allowance that was not reported is unknown, and not unused", async () => {
  const budget = fixtures.budget();
  const account = budget.providers.find((provider) => provider.id === "groq")!.accounts[0]!;
  const [window] = account.models[0]!.windows;
  account.windows = [{ ...window!, limit: "allowance", max: 1000, used: 0, left: 1000, waiting: 0, source: "unknown" }];
  gateway({ "GET /admin/v1/budget": () => budget });
  show(Pool);
  const bar = await screen.findByRole("button", { name: /‰ of the month/ });
  expect(bar.textContent).toMatch(/unknown \/ 1k$/);
  fireEvent.click(bar);
  const details = await waitFor(() => {
    const found = document.querySelector<HTMLElement>("[role=dialog][aria-label*='of all models']");
    if (!found) throw new Error("the details are not open");
    return found;
  });
  expect(details.textContent).toContain("Usedunknown");
  expect(details.textContent).toContain("not reported by the provider yet");
});

test("an open breaker counts down and can be reset", async () => {
  const sent = gateway({ "POST /v1/status/providers/cerebras/reset": () => ({}) });
  show(Pool);
  const cerebras = await screen.findByRole("region", { name: "Cerebras" });
  expect(cerebras.textContent).toMatch(/breaker open · probe in \d+ s/);
  fireEvent.click(within(cerebras).getByRole("button", { name: /Reset Cerebras/ }));
  await waitFor(() => expect(sent.find((each) => each.method === "POST")?.headers.get("x-csrf-token")).toBe("c5f"));
});

test("very long names and very large numbers fit", async () => {
  const wide = fixtures.wideBudget(3);
  const window = wide.providers[0]!.accounts[0]!.models[0]!.windows[0]!;
  Object.assign(window, { used: 987_654_321_012, max: 1_234_567_890_123 });
  gateway({ "GET /admin/v1/budget": () => wide });
  show(Pool);
  expect(await screen.findAllByTitle("987,654,321,012 of 1,234,567,890,123")).toHaveLength(3);
  expect(screen.getAllByText("988G")).toHaveLength(3);
  expect(screen.getAllByText(/a-model-with-a-very-long-name-2/).length).toBeGreaterThan(0);
});

test("providers can be filtered by name and by remaining capacity", () => {
  const { providers } = fixtures.budget();
  const constrained = filterProviders(providers, "", true);
  const names = constrained.flatMap((provider) =>
    provider.accounts.flatMap((account) => account.models.map((model) => model.name)),
  );
  expect(names).toContain("groq/qwen/qwen3.8-27b");
  expect(names).not.toContain("mistral/codestral-2508");
  expect(filterProviders(providers, "codestral", false).map((provider) => provider.id)).toEqual(["mistral"]);
  expect(filterProviders(providers, "no such", false)).toEqual([]);
});
