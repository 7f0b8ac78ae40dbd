import createClient from "openapi-fetch";
import { gatewayUrl } from "./gateway-url";
import type { paths } from "./openapi";
import type { Problem, Session } from "./types";

/** An error response of the gateway. `status` 0: the gateway could not be reached. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly problem: Problem,
    readonly retryAfterMs: number | null,
  ) {
    super(problem.message);
  }
}

type Listener = () => void;

/** Present in the browser's storage after a login. Without it there is no session to look up. */
const LOGGED_IN = "tollfree.logged-in";

/** The session. The browser holds its cookie; the CSRF token exists in this object only. */
class SessionStore {
  /** `undefined` until the session has been looked up. */
  private session: Session | null | undefined = localStorage.getItem(LOGGED_IN) ? undefined : null;
  private readonly listeners = new Set<Listener>();

  readonly get = () => this.session;
  readonly subscribe = (listener: Listener) => {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  };

  set(session: Session | null) {
    if (session === null && this.session === null) return;
    this.session = session;
    if (session) localStorage.setItem(LOGGED_IN, "1");
    else localStorage.removeItem(LOGGED_IN);
    for (const listener of this.listeners) listener();
  }
}

export const session = new SessionStore();

/** The gateway's endpoints, typed by its OpenAPI document. Every error response is thrown as an `ApiError`. */
export const api = createClient<paths>({
  baseUrl: gatewayUrl,
  credentials: "same-origin",
  fetch: sendRequest,
  pathSerializer: fillPath,
});

/** The body of a successful response. */
export async function bodyOf<T>(response: Promise<{ data?: T }>): Promise<T> {
  return (await response).data as T; // an error response was thrown by `sendRequest`
}

/** Sends a request with the session's credentials. An error response is thrown as an `ApiError`. */
export async function sendRequest(request: Request): Promise<Response> {
  const csrf = session.get()?.csrf;
  if (request.method !== "GET" && csrf) request.headers.set("x-csrf-token", csrf);
  let response: Response;
  try {
    response = await fetch(request);
  } catch (error) {
    if (request.signal.aborted) throw error;
    throw new ApiError(0, problem("The gateway cannot be reached."), null);
  }
  if (response.ok) return response;
  const error = await errorOf(response);
  if (error.status === 401 && !request.url.endsWith("/admin/v1/session")) session.set(null);
  throw error;
}

async function errorOf(response: Response): Promise<ApiError> {
  const body = (await response.json().catch(() => null)) as { error?: Problem } | null;
  const seconds = Number(response.headers.get("retry-after"));
  const retryAfterMs = response.headers.has("retry-after") && Number.isFinite(seconds) ? seconds * 1000 : null;
  return new ApiError(
    response.status,
    body?.error ?? problem(`The gateway responded with ${response.status}.`),
    retryAfterMs,
  );
}

const problem = (message: string): Problem => ({ message, type: "", param: null, code: null });

/** Model names contain slashes, which the gateway expects as they are. */
function fillPath(path: string, params: Record<string, unknown>): string {
  return path.replace(/\{(\w+)\}/g, (_, name: string) =>
    encodeURIComponent(String(params[name])).replaceAll("%2F", "/"),
  );
}
