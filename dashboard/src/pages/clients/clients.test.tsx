import { fireEvent, screen, waitFor, within } from "@testing-library/react";
import { expect, test, vi } from "vitest";
import * as fixtures from "../../../tests/mock/fixtures";
import { PENDING, gateway, list, refused, show } from "../../../tests/render";
import Clients from "./clients";
import { BLANK, changes } from "./client-form";

vi.mock("./daily-chart", () => ({ default: () => <div data-testid="days" /> }));

const page = (url = "/clients") => show(Clients, url, "/clients/:id?");

test("loading, empty and error each have their say", async () => {
  gateway({ "GET /admin/v1/clients": PENDING });
  const loading = page();
  expect(screen.getByRole("status", { name: "Loading" })).toBeTruthy();
  loading.unmount();
  gateway({ "GET /admin/v1/clients": () => refused(503, "ledger_unavailable", "away") });
  const failed = page();
  expect((await screen.findByRole("alert")).textContent).toContain("away");
  failed.unmount();
  gateway({ "GET /admin/v1/clients": () => list([]) });
  page();
  expect(await screen.findByText("No client has a key yet")).toBeTruthy();
});

test("a key is shown once, with what to paste", async () => {
  const sent = gateway({
    "POST /admin/v1/clients": ({ body }) => ({ ...fixtures.client(9), ...(body as object), key: "sk-tf-n1-secret" }),
  });
  page();
  fireEvent.click(await screen.findByRole("button", { name: "New client" }));
  fireEvent.change(await screen.findByLabelText(/^Name/), { target: { value: " ben " } });
  fireEvent.change(screen.getByLabelText("requests / day"), { target: { value: "500" } });
  fireEvent.click(screen.getByRole("button", { name: "Create the key" }));
  expect((await screen.findByTestId("secret")).textContent).toBe("sk-tf-n1-secret");
  expect(sent.find((each) => each.method === "POST")?.body).toEqual({ name: "ben", limits: { rpd: 500 } });
  expect(screen.getByLabelText("curl", { selector: "pre" }).textContent).toContain("Bearer sk-tf-n1-secret");
  fireEvent.click(screen.getByRole("button", { name: "I have it" }));
  await waitFor(() => expect(screen.queryByText(/sk-tf-n1-secret/)).toBeNull());
});

test("what the gateway refuses is said beside the button", async () => {
  gateway({ "POST /admin/v1/clients": () => refused(400, "invalid_value", "`name` is taken.") });
  page();
  fireEvent.click(await screen.findByRole("button", { name: "New client" }));
  fireEvent.change(await screen.findByLabelText(/^Name/), { target: { value: "ann" } });
  fireEvent.click(screen.getByRole("button", { name: "Create the key" }));
  expect((await screen.findByRole("alert")).textContent).toBe("`name` is taken.");
});

test("only what was changed is sent", () => {
  expect(changes(BLANK, BLANK)).toEqual({});
  const to = { ...BLANK, note: "n", limits: { ...BLANK.limits, rpm: 5 } };
  expect(changes(BLANK, to)).toEqual({ note: "n", limits: { rpm: 5 } });
  expect(changes(to, BLANK)).toEqual({ note: "", limits: { rpm: null } });
});

test("revoking wants the name written", async () => {
  const sent = gateway({
    "GET /admin/v1/clients/k7f3a9c2": () => fixtures.client(0),
    "POST /admin/v1/clients/k7f3a9c2/revoke": () => fixtures.client(0, { revoked_at: new Date().toISOString() }),
  });
  page("/clients/k7f3a9c2");
  fireEvent.click(await screen.findByRole("button", { name: "Revoke…" }));
  const dialog = await screen.findByRole("dialog", { name: "Revoke ann?" });
  const button = within(dialog).getByRole("button", { name: "Revoke" });
  expect(button).toHaveProperty("disabled", true);
  fireEvent.change(within(dialog).getByLabelText("Write its name to confirm"), { target: { value: "ann" } });
  fireEvent.click(button);
  await waitFor(() => expect(sent.some((each) => each.path.endsWith("/revoke"))).toBe(true));
});

test("a client of the key file cannot be changed here", async () => {
  gateway({ "GET /admin/v1/clients/k7f3a9c2": () => fixtures.client(0, { source: "file" }) });
  page("/clients/k7f3a9c2");
  expect(await screen.findByText(/stands in the key file/)).toBeTruthy();
  expect(screen.queryByRole("button", { name: "Revoke…" })).toBeNull();
});

test("very long names and very large numbers have room", async () => {
  const huge = fixtures.client(0, { name: "x".repeat(200), note: "y".repeat(900) });
  const usage = fixtures.usage("client", "day", Date.now() - 5 * 86_400_000, Date.now());
  Object.assign(usage.series[0]!.points.at(-1)!, { requests: 123_456_789, tokens_in: 9e12, tokens_out: 1 });
  gateway({ "GET /admin/v1/clients": () => list([huge]), "GET /admin/v1/usage": () => usage });
  page();
  expect(await screen.findByText("x".repeat(200))).toBeTruthy();
  expect(await screen.findByText("123M")).toBeTruthy();
});
