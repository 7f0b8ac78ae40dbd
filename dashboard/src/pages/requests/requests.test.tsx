import { act, fireEvent, screen, waitFor } from "@testing-library/react";
import { expect, test } from "vitest";
import * as fixtures from "../../../tests/mock/fixtures";
import { PENDING, gateway, list, refused, show } from "../../../tests/render";
import Requests from "./requests";
import { fits } from "./tail";
import { stepsOf } from "./timeline";

const ROUTE = "/requests/:id?";
const page = (url = "/requests") => show(Requests, url, ROUTE);

test("loading shows where things will stand", () => {
  gateway({ "GET /admin/v1/requests": PENDING });
  page();
  expect(screen.getByRole("status", { name: "Loading" })).toBeTruthy();
});

test("an empty journal and a filter that matches nothing say different things", async () => {
  gateway({ "GET /admin/v1/requests": () => list([]) });
  const first = page();
  expect(await screen.findByText("No request yet")).toBeTruthy();
  first.unmount();
  page("/requests?status=429");
  expect(await screen.findByText("No request matches")).toBeTruthy();
  fireEvent.click(screen.getByRole("button", { name: "Clear the filters" }));
  expect(await screen.findByText("No request yet")).toBeTruthy();
});

test("an error is told and can be tried again", async () => {
  gateway({
    "GET /admin/v1/requests": () => refused(503, "ledger_unavailable", "The shared budget cannot be reached."),
  });
  page();
  expect((await screen.findByRole("alert")).textContent).toContain("The gateway answered 503");
});

test("filters of the URL are what is asked", async () => {
  const sent = gateway();
  page("/requests?client=k7f3a9c2&status=error&search=x");
  await screen.findByRole("table");
  const { query } = sent.find((each) => each.path === "/admin/v1/requests")!;
  expect(Object.fromEntries(query)).toMatchObject({ client: "k7f3a9c2", status: "error", search: "x" });
  expect(screen.getByRole("button", { name: /Client k7f3a9c2/ })).toBeTruthy();
});

test("only the rows in sight exist", async () => {
  gateway({ "GET /admin/v1/requests": () => list(Array.from({ length: 10_000 }, (_, at) => fixtures.record(at))) });
  page();
  const table = await screen.findByRole("table");
  expect(table.getAttribute("aria-rowcount")).toBe("10001");
  await waitFor(() => expect(screen.getAllByRole("row").length).toBeGreaterThan(5));
  expect(screen.getAllByRole("row").length).toBeLessThan(120);
});

test("a request's own URL shows how it went", async () => {
  const record = {
    ...fixtures.record(3),
    id: "the-id",
    status: 200,
    client_name: "n".repeat(300),
    waited_ms: 1_500,
    tokens_in: 123_456_789,
    tokens_out: 5,
    first_content_ms: 2_000,
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
    expect(dialog.textContent).toContain("Answered in 3.0 s after waiting 1.5 s for room; 1 other failed first."),
  );
  expect(dialog.textContent).toContain("123,456,789 in");
  expect(dialog.textContent).toContain("out of requests / min, opens in 1.2 s");
  expect(dialog.textContent).toContain("n".repeat(300));
  const link = await screen.findByRole("link", { name: /Open the trace/ });
  expect(link.getAttribute("href")).toBe(`https://grafana.example/explore?trace=${record.trace_id}`);
});

test("an id that is not in the journal is said to be so", async () => {
  gateway({ "GET /admin/v1/requests": () => list([]) });
  page("/requests/gone");
  expect(await screen.findByText("Not in the journal")).toBeTruthy();
});

test("while it is paused, nothing moves", async () => {
  gateway();
  page();
  await screen.findByRole("table");
  fireEvent.click(screen.getByRole("button", { name: "Pause" }));
  await act(() => Promise.resolve());
  expect(screen.getByRole("button", { name: "Follow" })).toBeTruthy();
});

test("what is told live is filtered as the gateway would", () => {
  const record = {
    ...fixtures.record(1),
    status: 429,
    client: "k1",
    client_name: "ann",
    model_asked: "free",
    model: null,
    provider: null,
  };
  expect(fits(record, {})).toBe(true);
  expect(fits(record, { status: "429" })).toBe(true);
  expect(fits(record, { status: "ok" })).toBe(false);
  expect(fits(record, { client: "k2" })).toBe(false);
  expect(fits(record, { search: "FREE" })).toBe(true);
});

test("the time in line stands before the attempts", () => {
  const steps = stepsOf({
    ...fixtures.record(1),
    waited_ms: 500,
    attempts: [{ candidate: "groq/b", cause: "timeout", at_ms: 500, duration_ms: 20 }],
  });
  expect(steps.map(({ name, from, to, kind }) => [name, from, to, kind])).toEqual([
    ["In line", 0, 500, "waited"],
    ["groq/b", 500, 520, "failed"],
  ]);
});
