import { act, screen } from "@testing-library/react";
import { expect, test } from "vitest";
import * as fixtures from "../tests/mock/fixtures";
import { PENDING, gateway, errorResponse, show } from "../tests/render";
import { App } from "./app";
import { session } from "./api";

test("a 401 leads to the login page, and the login back to the page", async () => {
  gateway({
    "GET /admin/v1/events": PENDING,
    "GET /admin/v1/models": () => errorResponse(401, "invalid_api_key", "expired"),
    "POST /admin/v1/session": () => ({ csrf: "c", expires_at: "" }),
  });
  show(App, "/models");
  expect(await screen.findByLabelText("Admin key")).toBeTruthy();
  expect(window.location.pathname + window.location.search).toBe("/dashboard/login?next=%2Fmodels");
  gateway({ "GET /admin/v1/events": PENDING });
  act(() => session.set({ csrf: "c", expires_at: "" }));
  expect(await screen.findByRole("heading", { name: "Models" })).toBeTruthy();
});

test("the login does not redirect to another origin", async () => {
  gateway({ "GET /admin/v1/events": PENDING });
  show(App, "/login?next=https://evil.example/");
  await screen.findByRole("link", { name: "Tollfree" });
  expect(window.location.origin).toBe("http://localhost:3000");
});

test("an outage of the ledger is shown with its cause and those that wait", async () => {
  const ledger = { reachable: false, awaySince: new Date().toISOString(), awayCause: "connection refused", waiting: 3 };
  gateway({ "GET /admin/v1/events": PENDING, "GET /v1/status": () => ({ ...fixtures.status(), ledger }) });
  act(() => session.set({ csrf: "c", expires_at: "" }));
  show(App, "/models");
  const banner = await screen.findByRole("alert");
  expect(banner.textContent).toMatch(/away since .*: 3 requests wait .*connection refused/);
});
