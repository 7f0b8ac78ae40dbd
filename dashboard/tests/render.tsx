import { MantineProvider } from "@mantine/core";
import { QueryClientProvider } from "@tanstack/react-query";
import { render } from "@testing-library/react";
import { Suspense, type ComponentType } from "react";
import { vi } from "vitest";
import { Route, Router } from "wouter";
import { queries } from "../src/queries";
import { theme } from "../src/theme";
import * as fixtures from "./mock/fixtures";
import type { Usage } from "../src/types";

export interface Sent {
  method: string;
  path: string;
  query: URLSearchParams;
  body: unknown;
  headers: Headers;
}
type Answer = (sent: Sent) => unknown;

/** Never answers. */
export const PENDING = () => new Promise<never>(() => {});
export const list = (data: unknown[], next_cursor: string | null = null) => ({ object: "list", data, next_cursor });
export const refused = (status: number, code: string, message: string, headers: Record<string, string> = {}) =>
  new Response(JSON.stringify({ error: { message, type: "", param: null, code } }), { status, headers });

const USUAL: Record<string, Answer> = {
  "GET /admin/v1/budget": () => fixtures.budget(),
  "GET /admin/v1/usage": ({ query }) =>
    fixtures.usage(
      (query.get("by") ?? "provider") as Usage["by"],
      query.get("step") === "day" ? "day" : "minute",
      Date.parse(query.get("from") ?? ""),
      Date.now(),
    ),
  "GET /admin/v1/requests": () => list(Array.from({ length: 60 }, (_, at) => fixtures.record(at))),
  "GET /admin/v1/clients": () => list(fixtures.clients()),
  "GET /admin/v1/models": () => list(fixtures.models()),
  "GET /admin/v1/config": () => fixtures.config(),
  "GET /admin/v1/audit": () => list(fixtures.audit()),
  "GET /v1/status": () => fixtures.status(),
};

/** A gateway that answers as the fixtures do, but for what is said here. Returns what it was asked. */
export function gateway(answers: Record<string, Answer> = {}): Sent[] {
  const all: Sent[] = [];
  vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
    const url = new URL(input as string, "http://test");
    const method = init?.method ?? "GET";
    const body: unknown = typeof init?.body === "string" ? JSON.parse(init.body) : undefined;
    const sent = { method, path: url.pathname, query: url.searchParams, body, headers: new Headers(init?.headers) };
    all.push(sent);
    const answer = { ...USUAL, ...answers }[`${method} ${url.pathname}`];
    if (!answer) return refused(404, "not_found", `Nothing is served at ${method} ${url.pathname}.`);
    const value = await answer(sent);
    return value instanceof Response ? value : new Response(JSON.stringify(value), { status: 200 });
  });
  return all;
}

/** A page at its URL, within what surrounds it. */
export function show(Page: ComponentType, url = "/", route = "*") {
  window.history.replaceState(null, "", `/dashboard${url}`);
  return render(
    <MantineProvider theme={theme} env="test" withCssVariables={false} withGlobalClasses={false}>
      <QueryClientProvider client={queries}>
        <Router base="/dashboard">
          <Suspense fallback={null}>{route === "*" ? <Page /> : <Route path={route} component={Page} />}</Suspense>
        </Router>
      </QueryClientProvider>
    </MantineProvider>,
  );
}
