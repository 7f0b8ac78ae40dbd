import { fireEvent, screen, waitFor, within } from "@testing-library/react";
import { expect, test, vi } from "vitest";
import * as fixtures from "../../../tests/mock/fixtures";
import { PENDING, gateway, list, errorResponse, show } from "../../../tests/render";
import Clients from "./clients";
import { EMPTY_DRAFT, changes } from "./client-form";

vi.mock("./daily-chart", () => ({ default: () => <div data-testid="chart" /> }));

const page = (url = "/clients") => show(Clients, url, "/clients/:id?");

test("loading, error and empty states are shown", async () => {
  gateway({ "GET /admin/v1/clients": PENDING });
  const loading = page();
  expect(screen.getByRole("status", { name: "Loading" })).toBeTruthy();
  loading.unmount();
  gateway({ "GET /admin/v1/clients": () => errorResponse(503, "ledger_unavailable", "unavailable") });
  const failed = page();
  expect((await screen.findByRole("alert")).textContent).toContain("unavailable");
  failed.unmount();
  gateway({ "GET /admin/v1/clients": () => list([]) });
  page();
  expect(await screen.findByText("No client has a key yet")).toBeTruthy();
});

test("a new key is shown once, with snippets to paste", async () => {
  const sent = gateway({
    "GET /admin/v1/config": () => ({ ...fixtures.config(), public_url: "https://gateway.example" }),
    "POST /admin/v1/clients": ({ body }) => ({
      ...fixtures.client(9),
      ...(body as object),
      key: "sk-tf-n1-secret",
      notice: "Requests now need a key.",
    }),
  });
  page();
  fireEvent.click(await screen.findByRole("button", { name: "New client" }));
  fireEvent.change(await screen.findByLabelText(/^Name/), { target: { value: " ben " } });
  fireEvent.change(screen.getByLabelText("requests / day"), { target: { value: "500" } });
  fireEvent.click(screen.getByRole("button", { name: "Create key" }));
  expect((await screen.findByTestId("secret")).textContent).toBe("sk-tf-n1-secret");
  expect(screen.getByRole("status").textContent).toBe("Requests now need a key.");
  expect(sent.find((each) => each.method === "POST")?.body).toEqual({ name: "ben", limits: { rpd: 500 } });
  expect(screen.getByLabelText("curl", { selector: "pre" }).textContent).toContain("Bearer sk-tf-n1-secret");
  expect(screen.getByLabelText("curl", { selector: "pre" }).textContent).toContain("https://gateway.example/v1/");
  const line = screen.getByLabelText("Claude Code", { selector: "pre" }).textContent;
  expect(line).toContain("tollfree setup claude-code --url https://gateway.example\n");
  expect(line).not.toContain("sk-tf-");
  fireEvent.click(screen.getByRole("tab", { name: "Codex" }));
  expect(screen.getByLabelText("Codex", { selector: "pre" }).textContent).toContain(
    "https://gateway.example/setup/codex.sh",
  );
  fireEvent.click(screen.getByRole("button", { name: "Done" }));
  await waitFor(() => expect(screen.queryByText(/sk-tf-n1-secret/)).toBeNull());
});

test("an error response is shown beside the button", async () => {
  gateway({ "POST /admin/v1/clients": () => errorResponse(400, "invalid_value", "`name` is taken.") });
  page();
  fireEvent.click(await screen.findByRole("button", { name: "New client" }));
  fireEvent.change(await screen.findByLabelText(/^Name/), { target: { value: "ann" } });
  fireEvent.click(screen.getByRole("button", { name: "Create key" }));
  expect((await screen.findByRole("alert")).textContent).toBe("`name` is taken.");
});

test("only changed fields are sent", () => {
  expect(changes(EMPTY_DRAFT, EMPTY_DRAFT)).toEqual({});
  const to = { ...EMPTY_DRAFT, note: "n", limits: { ...EMPTY_DRAFT.limits, rpm: 5 } };
  expect(changes(EMPTY_DRAFT, to)).toEqual({ note: "n", limits: { rpm: 5 } });
  expect(changes(to, EMPTY_DRAFT)).toEqual({ note: "", limits: { rpm: null } });
});

test("revoking requires the name to be typed", async () => {
  const sent = gateway({
    "GET /admin/v1/clients/k7f3a9c2": () => fixtures.client(0),
    "POST /admin/v1/clients/k7f3a9c2/revoke": () => fixtures.client(0, { revoked_at: new Date().toISOString() }),
  });
  page("/clients/k7f3a9c2");
  fireEvent.click(await screen.findByRole("button", { name: "Revoke…" }));
  const dialog = await screen.findByRole("dialog", { name: "Revoke ann?" });
  const button = within(dialog).getByRole("button", { name: "Revoke" });
  expect(button).toHaveProperty("disabled", true);
  fireEvent.change(within(dialog).getByLabelText("Type the name to confirm"), { target: { value: "ann" } });
  fireEvent.click(button);
  await waitFor(() => expect(sent.some((each) => each.path.endsWith("/revoke"))).toBe(true));
});

test("a client of the clients file cannot be changed here", async () => {
  gateway({ "GET /admin/v1/clients/k7f3a9c2": () => fixtures.client(0, { source: "file" }) });
  page("/clients/k7f3a9c2");
  expect(await screen.findByText(/defined in the clients file/)).toBeTruthy();
  expect(screen.queryByRole("button", { name: "Revoke…" })).toBeNull();
});

test("very long names and very large numbers fit", async () => {
  const huge = fixtures.client(0, { name: "x".repeat(200), note: "y".repeat(900) });
  const usage = fixtures.usage("client", "day", Date.now() - 5 * 86_400_000, Date.now());
  Object.assign(usage.series[0]!.points.at(-1)!, { requests: 123_456_789, tokens_in: 9e12, tokens_out: 1 });
  gateway({ "GET /admin/v1/clients": () => list([huge]), "GET /admin/v1/usage": () => usage });
  page();
  expect(await screen.findByText("x".repeat(200))).toBeTruthy();
  expect(await screen.findByText("123M")).toBeTruthy();
});
