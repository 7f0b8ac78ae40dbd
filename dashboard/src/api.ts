import type { Problem, Session } from "./types";

/** What the gateway answered instead of what was asked for. `status` 0: it could not be reached. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly problem: Problem,
    readonly retryAfterMs: number | null,
  ) {
    super(problem.message);
  }
}

type Listener = () => void;

/** Says only that somebody has logged in here: without it there is no session to ask about. */
const ENTERED = "tollfree.entered";

/** Who is logged in: the cookie is the browser's, the CSRF word lives in this variable and nowhere else. */
class SessionHolder {
  private session: Session | null | undefined = localStorage.getItem(ENTERED) ? undefined : null; // undefined: not asked yet
  private readonly listeners = new Set<Listener>();

  readonly get = () => this.session;
  readonly subscribe = (listener: Listener) => {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  };

  set(session: Session | null) {
    if (session === null && this.session === null) return;
    this.session = session;
    if (session) localStorage.setItem(ENTERED, "1");
    else localStorage.removeItem(ENTERED);
    for (const listener of this.listeners) listener();
  }
}

export const session = new SessionHolder();

/** A call as the browser makes it; only refusals are turned into errors. */
export async function call(method: string, path: string, body?: unknown, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  if (body !== undefined) headers.set("content-type", "application/json");
  const csrf = session.get()?.csrf;
  if (method !== "GET" && csrf) headers.set("x-csrf-token", csrf);
  let response: Response;
  try {
    response = await fetch(path, {
      credentials: "same-origin",
      ...init,
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new Refusal(0, problem("The gateway cannot be reached."), null);
  }
  if (response.ok) return response;
  const refusal = await refusalOf(response);
  if (refusal.status === 401 && path !== "/admin/v1/session") session.set(null);
  throw refusal;
}

export async function ask<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const response = await call(method, path, body, { signal });
  return (response.status === 204 ? undefined : await response.json()) as T;
}

async function refusalOf(response: Response): Promise<Refusal> {
  const told = (await response.json().catch(() => null)) as { error?: Problem } | null;
  const seconds = Number(response.headers.get("retry-after"));
  const wait = response.headers.has("retry-after") && Number.isFinite(seconds) ? seconds * 1000 : null;
  return new Refusal(response.status, told?.error ?? problem(`The gateway answered ${response.status}.`), wait);
}

const problem = (message: string): Problem => ({ message, type: "", param: null, code: null });

/** `/path?a=1` without what is not set. */
export function withQuery(path: string, query: Record<string, string | number | null | undefined>): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") search.set(name, String(value));
  }
  const text = search.toString();
  return text ? `${path}?${text}` : path;
}
