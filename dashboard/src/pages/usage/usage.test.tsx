import { fireEvent, screen, waitFor, within } from "@testing-library/react";
import { expect, test, vi } from "vitest";
import { PENDING, errorResponse, gateway, show } from "../../../tests/render";
import * as fixtures from "../../../tests/mock/fixtures";
import { forecasts } from "./forecast";
import UsagePage from "./usage";

const textOf = (blob: Blob) =>
  new Promise<string>((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result as string);
    reader.readAsText(blob);
  });

const region = (name: string) => screen.findByRole("region", { name });

test("the loading, error and empty states are shown", async () => {
  gateway({ "GET /admin/v1/usage": PENDING, "GET /admin/v1/budget": PENDING });
  const loading = show(UsagePage);
  expect(screen.getAllByRole("status", { name: "Loading" })).toHaveLength(5);
  loading.unmount();
  gateway({ "GET /admin/v1/usage": () => errorResponse(503, "ledger_unavailable", "unavailable") });
  const failed = show(UsagePage);
  await waitFor(() => expect(screen.getAllByRole("alert")).toHaveLength(4));
  failed.unmount();
  const none = { object: "usage", by: "client", step: "hour", from: "", to: "", currency: null, series: [] };
  gateway({ "GET /admin/v1/usage": () => none });
  show(UsagePage);
  await waitFor(() => expect(screen.getAllByText("No request in this time")).toHaveLength(4));
});

test("figures are shown by client, model and provider, over hours or days", async () => {
  const sent = gateway();
  show(UsagePage);
  const clients = await region("Clients");
  expect(within(clients).getByRole("columnheader", { name: "Refused" })).toBeTruthy();
  expect(within(clients).queryByRole("columnheader", { name: /^Saved/ })).toBeNull();
  await region("Models");
  await region("Providers");
  await region("Hours");
  fireEvent.click(screen.getByRole("radio", { name: "30 days" }));
  await region("Days");
  expect(new Set(sent.map(({ query }) => query.get("step")).filter(Boolean))).toEqual(new Set(["hour", "day"]));
});

test("what was saved is shown where the operator has set prices", async () => {
  gateway({
    "GET /admin/v1/usage": ({ query }) => ({
      ...fixtures.usage("client", "hour", Date.now() - 3_600_000, Date.now(), undefined, 2.5),
      by: query.get("by"),
      currency: "EUR",
    }),
  });
  show(UsagePage);
  expect(await screen.findAllByRole("columnheader", { name: "Saved, EUR" })).toHaveLength(4);
});

test("a table is downloaded as CSV", async () => {
  gateway();
  let written: Blob | undefined;
  const create = vi.fn((blob: Blob) => ((written = blob), "blob:x"));
  Object.assign(URL, { createObjectURL: create, revokeObjectURL: vi.fn() });
  const click = vi.spyOn(HTMLAnchorElement.prototype, "click").mockImplementation(() => {});
  show(UsagePage);
  await region("Models");
  fireEvent.click(screen.getByRole("button", { name: "Download models as CSV" }));
  expect(click).toHaveBeenCalledOnce();
  const lines = (await textOf(written!)).split("\r\n");
  expect(lines[0]).toBe("model,Requests,Answered,Refused,Failed,Tokens in,Tokens out,First token p50,First token p95");
  expect(lines[1]).toMatch(/^[a-z]+\/\S+,\d+,\d+,/);
});

test("the budgets that run out first come first", () => {
  const rows = forecasts(fixtures.budget());
  expect(rows.length).toBeGreaterThan(1);
  const out = rows.map(({ window }) => Date.parse(window.forecast?.exhausted_at ?? "") || Infinity);
  expect(out).toEqual(out.toSorted((a, b) => a - b));
});
