import { fireEvent, screen, waitFor } from "@testing-library/react";
import { expect, test } from "vitest";
import * as fixtures from "../../../tests/mock/fixtures";
import { PENDING, errorResponse, gateway, list, show } from "../../../tests/render";
import Providers from "./providers";

const SECRET = "gsk_a-secret-that-must-not-stay";

const sentChanges = (sent: ReturnType<typeof gateway>) =>
  sent.filter((each) => each.method !== "GET").map((each) => [each.method, each.path, each.body]);

test("the loading, error and empty states are shown", async () => {
  const all = (answer: () => unknown) => ({
    "GET /admin/v1/provider-keys": answer,
    "GET /admin/v1/providers": answer,
  });
  gateway(all(PENDING));
  const loading = show(Providers);
  expect(screen.getAllByRole("status", { name: "Loading" })).toHaveLength(2);
  loading.unmount();
  gateway(all(() => errorResponse(503, "ledger_unavailable", "unavailable")));
  const failed = show(Providers);
  await waitFor(() => expect(screen.getAllByRole("alert")).toHaveLength(2));
  failed.unmount();
  gateway({ "GET /admin/v1/provider-keys": () => list([]) });
  show(Providers);
  expect(await screen.findByText("No provider has a key yet")).toBeTruthy();
});

test("keys show where they come from and why they are not used", async () => {
  gateway();
  show(Providers);
  expect(await screen.findByText("in the environment")).toBeTruthy();
  expect(screen.getByText("…wxyz")).toBeTruthy();
  expect(screen.getByText("unreadable")).toBeTruthy();
  expect(screen.getByText(/none of the master keys opens it/)).toBeTruthy();
  expect(screen.getByText("refused: 401")).toBeTruthy();
  // A key of the environment can be tried, and is changed there.
  expect(screen.getByRole("button", { name: "Test groq-11111111" })).toBeTruthy();
  expect(screen.queryByRole("button", { name: "Delete groq-11111111" })).toBeNull();
});

test("a key is pasted, refused, and then added", async () => {
  let accepts = false;
  const sent = gateway({
    "POST /admin/v1/provider-keys": () =>
      accepts ? {} : errorResponse(400, "provider_key_refused", "groq refuses this key: Invalid API Key"),
  });
  show(Providers);
  fireEvent.click(await screen.findByRole("button", { name: "Add key of Groq" }));
  fireEvent.change(await screen.findByLabelText(/^Key/), { target: { value: ` ${SECRET} ` } });
  fireEvent.change(screen.getByLabelText(/^Label/), { target: { value: "made by ann" } });
  const submit = () => fireEvent.submit(screen.getByLabelText(/^Label/).closest("form")!);
  submit();
  expect(await screen.findByText("groq refuses this key: Invalid API Key")).toBeTruthy();
  accepts = true;
  submit();
  await waitFor(() => expect(screen.queryByLabelText(/^Label/)).toBeNull());
  const body = { provider: "groq", key: SECRET, account: null, label: "made by ann", try: true };
  expect(sentChanges(sent)).toEqual([
    ["POST", "/admin/v1/provider-keys", body],
    ["POST", "/admin/v1/provider-keys", body],
  ]);
  expect(document.body.innerHTML).not.toContain(SECRET);
});

test("a key of which nothing is proven is stored and says so", async () => {
  gateway({ "POST /admin/v1/provider-keys": () => ({ id: "groq-33333333", test: "unverified" }) });
  show(Providers);
  fireEvent.click(await screen.findByRole("button", { name: "Add key of Groq" }));
  fireEvent.change(await screen.findByLabelText(/^Key/), { target: { value: SECRET } });
  fireEvent.submit(screen.getByLabelText(/^Label/).closest("form")!);
  expect(await screen.findByText("The key is stored, and may still be wrong.")).toBeTruthy();
  expect(screen.getByText(/Nothing is proven/)).toBeTruthy();
  expect(document.body.innerHTML).not.toContain(SECRET);
  fireEvent.click(screen.getAllByRole("button", { name: "Close" }).at(-1)!);
  await waitFor(() => expect(screen.queryByText(/Nothing is proven/)).toBeNull());
});

test("a list that was not read still shows what an earlier look has found", async () => {
  const providers = fixtures.providers().map((provider) => ({
    ...provider,
    list: provider.list && { ...provider.list, problem: "status 500" },
  }));
  gateway({ "GET /admin/v1/providers": () => list(providers) });
  show(Providers);
  expect(await screen.findByText("2 new, 1 gone")).toBeTruthy();
  expect(screen.getAllByTitle("status 500").length).toBeGreaterThan(0);
});

test("a key is tried, disabled and deleted", async () => {
  const sent = gateway({
    "POST /admin/v1/provider-keys/groq-22222222/test": () => ({ test: "refused", test_detail: "Invalid API Key" }),
    "PATCH /admin/v1/provider-keys/groq-22222222": () => ({}),
    "DELETE /admin/v1/provider-keys/groq-22222222": () => ({}),
  });
  show(Providers);
  fireEvent.click(await screen.findByRole("button", { name: "Test groq-22222222" }));
  expect(await screen.findByText("The provider refuses it: Invalid API Key")).toBeTruthy();
  fireEvent.click(screen.getByRole("button", { name: "Disable groq-22222222" }));
  await waitFor(() => expect(sentChanges(sent)).toHaveLength(2));
  fireEvent.click(screen.getByRole("button", { name: "Delete groq-22222222" }));
  fireEvent.click(await screen.findByRole("button", { name: "Delete" }));
  await waitFor(() =>
    expect(sentChanges(sent).slice(1)).toEqual([
      ["PATCH", "/admin/v1/provider-keys/groq-22222222", { disabled: true }],
      ["DELETE", "/admin/v1/provider-keys/groq-22222222", undefined],
    ]),
  );
});

test("keys of the environment are grouped by a click, too", async () => {
  const sent = gateway({ "PATCH /admin/v1/provider-keys/groq-11111111": () => ({}) });
  show(Providers);
  fireEvent.click(await screen.findByRole("combobox", { name: "Account of groq-11111111" }));
  const options = await screen.findAllByRole("option");
  fireEvent.click(options.at(-1)!);
  await waitFor(() =>
    expect(sentChanges(sent)[0]?.slice(0, 2)).toEqual(["PATCH", "/admin/v1/provider-keys/groq-11111111"]),
  );
});

test("a provider that answers without a key is switched on", async () => {
  const { id, name } = fixtures.providers()[2]!;
  const sent = gateway({ [`PATCH /admin/v1/providers/${id}`]: () => ({}) });
  show(Providers);
  fireEvent.click(await screen.findByRole("switch", { name: `Call ${name} without a key` }));
  await waitFor(() => expect(sentChanges(sent)).toEqual([["PATCH", `/admin/v1/providers/${id}`, { keyless: true }]]));
});

test("a key joins the account of another one by a click", async () => {
  const sent = gateway({ "PATCH /admin/v1/provider-keys/groq-22222222": () => ({}) });
  show(Providers);
  fireEvent.click(await screen.findByRole("combobox", { name: "Account of groq-22222222" }));
  fireEvent.click(await screen.findByRole("option", { name: "acme" }));
  await waitFor(() =>
    expect(sentChanges(sent)).toEqual([["PATCH", "/admin/v1/provider-keys/groq-22222222", { account: "acme" }]]),
  );
});

test("what is new and gone in the list of a provider is shown with its reason", async () => {
  const sent = gateway({ "POST /admin/v1/providers/refresh": () => list([]) });
  show(Providers);
  expect(await screen.findByText("2 new, 1 gone")).toBeTruthy();
  expect(screen.getByText("new: acme/costly (not served: it has a price)")).toBeTruthy();
  expect(screen.getByText("new: acme/brand-new (on trial until it has answered)")).toBeTruthy();
  expect(screen.getByText(/^gone: openai\/gpt-oss-20b .*: a request was refused: 404\)$/)).toBeTruthy();
  expect(screen.getByText(/answers without a key/)).toBeTruthy();
  fireEvent.click(screen.getByRole("button", { name: "Look now" }));
  await waitFor(() => expect(sentChanges(sent)).toEqual([["POST", "/admin/v1/providers/refresh", {}]]));
});
