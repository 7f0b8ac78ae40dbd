import { act, fireEvent, screen, waitFor } from "@testing-library/react";
import { expect, test } from "vitest";
import * as fixtures from "../../../tests/mock/fixtures";
import { PENDING, gateway, list, errorResponse, show } from "../../../tests/render";
import Requests from "./requests";
import { matchesFilters } from "./tail";
import { stepsOf } from "./timeline";

const ROUTE = "/requests/:id?";
const page = (url = "/requests") => show(Requests, url, ROUTE);

test("placeholders are shown while loading", () => {
  gateway({ "GET /admin/v1/requests": PENDING });
  page();
  expect(screen.getByRole("status", { name: "Loading" })).toBeTruthy();
});

test("an empty journal and filters without a match show different messages", async () => {
  gateway({ "GET /admin/v1/requests": () => list([]) });
  const first = page();
  expect(await screen.findByText("No requests yet")).toBeTruthy();
  first.unmount();
  page("/requests?status=429");
  expect(await screen.findByText("No request matches")).toBeTruthy();
  fireEvent.click(screen.getByRole("button", { name: "Clear the filters" }));
  expect(await screen.findByText("No requests yet")).toBeTruthy();
});

test("an error is shown and can be retried", async () => {
  gateway({
    "GET /admin/v1/requests": () => errorResponse(503, "ledger_unavailable", "The shared budget cannot be reached."),
  });
  page();
  expect((await screen.findByRole("alert")).textContent).toContain("The gateway responded with 503");
});

test("the filters of the URL are sent to the gateway", async () => {
  const sent = gateway();
  page("/requests?client=k7f3a9c2&status=error&search=x");
  await screen.findByRole("table");
  const { query } = sent.find((each) => each.path === "/admin/v1/requests")!;
  expect(Object.fromEntries(query)).toMatchObject({ client: "k7f3a9c2", status: "error", search: "x" });
  expect(screen.getByRole("button", { name: /Client k7f3a9c2/ })).toBeTruthy();
});

test("only visible rows are rendered", async () => {
  gateway({ "GET /admin/v1/requests": () => list(Array.from({ length: 10_000 }, (_, at) => fixtures.record(at))) });
  page();
  const table = await screen.findByRole("table");
  expect(table.getAttribute("aria-rowcount")).toBe("10001");
  await waitFor(() => expect(screen.getAllByRole("row").length).toBeGreaterThan(5));
  expect(screen.getAllByRole("row").length).toBeLessThan(120);
});

test("the URL of a request shows its details", async () => {
  const record = {
    ...fixtures.record(3),
    id: "the-id",
    status: 200,
    client_name: "n".repeat(300),
    waited_ms: 1_500,
    tokens_in: 123_456_789,
    tokens_out: 5,
    tokens_cached: 1_000,
    audio_seconds: 75,
    session: "opening-0123456789abcdef",
    first_token_ms: 2_000,
    duration_ms: 3_000,
    attempts: [
      { candidate: "gemini/a", cause: "429_rpd", at_ms: 1_500, duration_ms: 120 },
      { candidate: "groq/b", cause: "ok", at_ms: 1_620, duration_ms: 1_380 },
    ],
    passed_over: [{ candidate: "cerebras/c", why: "rpm", retry_in_ms: 1_200 }],
  };
  gateway({ "GET /admin/v1/requests": ({ query }) => list(query.get("search") === "the-id" ? [record] : []) });
  page("/requests/the-id");
  const dialog = await screen.findByRole("dialog");
  await waitFor(() =>
    expect(dialog.textContent).toContain("Answered in 3.0 s after waiting 1.5 s for capacity, after 1 failed attempt."),
  );
  expect(dialog.textContent).toContain("123,456,789 in (1,000 from the provider's cache)");
  expect(dialog.textContent).toContain("75 s counted");
  const session = await screen.findByRole("link", { name: "opening-0123456789abcdef" });
  expect(session.getAttribute("href")).toContain("search=opening-0123456789abcdef");
  expect(dialog.textContent).toContain("out of requests / min, available in 1.2 s");
  expect(dialog.textContent).toContain("n".repeat(300));
  const link = await screen.findByRole("link", { name: /Open the trace/ });
  expect(link.getAttribute("href")).toBe(`https://grafana.example/explore?trace=${record.trace_id}`);
});

test("an unknown id shows a message", async () => {
  gateway({ "GET /admin/v1/requests": () => list([]) });
  page("/requests/gone");
  expect(await screen.findByText("Not in the journal")).toBeTruthy();
});

test("a paused list does not follow the stream", async () => {
  gateway();
  page();
  await screen.findByRole("table");
  fireEvent.click(screen.getByRole("button", { name: "Pause" }));
  await act(() => Promise.resolve());
  expect(screen.getByRole("button", { name: "Follow" })).toBeTruthy();
});

test("records of the event stream are filtered like the list", () => {
  const record = {
    ...fixtures.record(1),
    status: 429,
    client: "k1",
    client_name: "ann",
    model_requested: "free",
    model: null,
    provider: null,
    session: "s-1",
  };
  expect(matchesFilters(record, {})).toBe(true);
  expect(matchesFilters(record, { status: "429" })).toBe(true);
  expect(matchesFilters(record, { status: "ok" })).toBe(false);
  expect(matchesFilters(record, { client: "k2" })).toBe(false);
  expect(matchesFilters(record, { search: "FREE" })).toBe(true);
  expect(matchesFilters(record, { search: "S-1" })).toBe(true);
});

test("the time in the wait queue precedes the attempts", () => {
  const steps = stepsOf({
    ...fixtures.record(1),
    waited_ms: 500,
    attempts: [{ candidate: "groq/b", cause: "timeout", at_ms: 500, duration_ms: 20 }],
  });
  expect(steps.map(({ name, from, to, kind }) => [name, from, to, kind])).toEqual([
    ["Wait queue", 0, 500, "waited"],
    ["groq/b", 500, 520, "failed"],
  ]);
});
