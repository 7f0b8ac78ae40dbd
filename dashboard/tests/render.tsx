import { MantineProvider } from "@mantine/core";
import { QueryClientProvider } from "@tanstack/react-query";
import { render } from "@testing-library/react";
import { Suspense, type ComponentType } from "react";
import { vi } from "vitest";
import { Route, Router } from "wouter";
import { queryClient } from "../src/queries";
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

/** A response that never arrives. */
export const PENDING = () => new Promise<never>(() => {});
export const list = (data: unknown[], next_cursor: string | null = null) => ({ object: "list", data, next_cursor });
export const errorResponse = (status: number, code: string, message: string, headers: Record<string, string> = {}) =>
  new Response(JSON.stringify({ error: { message, type: "", param: null, code } }), { status, headers });

const DEFAULTS: Record<string, Answer> = {
  "GET /admin/v1/budget": () => fixtures.budget(),
  "GET /admin/v1/usage": ({ query }) =>
    fixtures.usage(
      (query.get("by") ?? "provider") as Usage["by"],
      (query.get("step") ?? "minute") as Usage["step"],
      Date.parse(query.get("from") ?? ""),
      Date.now(),
    ),
  "GET /admin/v1/requests": () => list(Array.from({ length: 60 }, (_, at) => fixtures.record(at))),
  "GET /admin/v1/clients": () => list(fixtures.clients()),
  "GET /admin/v1/models": () => list(fixtures.models()),
  "GET /admin/v1/providers": () => list(fixtures.providers()),
  "GET /admin/v1/provider-keys": () => list(fixtures.providerKeys()),
  "GET /admin/v1/config": () => fixtures.config(),
  "GET /admin/v1/audit": () => list(fixtures.audit()),
  "GET /v1/status": () => fixtures.status(),
};

/** A gateway that responds with the fixtures, except for `answers`. Returns the list of requests it receives. */
export function gateway(answers: Record<string, Answer> = {}): Sent[] {
  const received: Sent[] = [];
  vi.spyOn(globalThis, "fetch").mockImplementation(async (input) => {
    const request = input as Request;
    const url = new URL(request.url);
    const sent: Sent = {
      method: request.method,
      path: url.pathname,
      query: url.searchParams,
      body: undefined,
      headers: request.headers,
    };
    received.push(sent);
    const text = await request.text();
    if (text) sent.body = JSON.parse(text);
    const answer = { ...DEFAULTS, ...answers }[`${sent.method} ${sent.path}`];
    if (!answer) return errorResponse(404, "not_found", `No endpoint ${sent.method} ${sent.path}.`);
    const value = await answer(sent);
    return value instanceof Response ? value : new Response(JSON.stringify(value), { status: 200 });
  });
  return received;
}

/** Renders a page at its URL, inside the providers it needs. */
export function show(Page: ComponentType, url = "/", route = "*") {
  window.history.replaceState(null, "", `/dashboard${url}`);
  return render(
    <MantineProvider theme={theme} env="test" withCssVariables={false} withGlobalClasses={false}>
      <QueryClientProvider client={queryClient}>
        <Router base="/dashboard">
          <Suspense fallback={null}>{route === "*" ? <Page /> : <Route path={route} component={Page} />}</Suspense>
        </Router>
      </QueryClientProvider>
    </MantineProvider>,
  );
}
