/** A mock gateway for `npm run mock`, to work on the pages without a server. Its admin key is `admin`. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Connect, Plugin } from "vite";
import type { Usage } from "../../src/types.ts";
import * as fixtures from "./fixtures.ts";

const PAGE = 200;
const TAIL_MS = 1_700;

export function mockGateway(): Plugin {
  const gateway = new Gateway();
  return {
    name: "mock-gateway",
    configureServer: (server) => void server.middlewares.use(gateway.serve),
    configurePreviewServer: (server) => void server.middlewares.use(gateway.serve),
  };
}

class Gateway {
  private clients = fixtures.clients();
  private strategy = "headroom";
  private tick = 0;

  readonly serve: Connect.NextHandleFunction = (request, response, next) => {
    const url = new URL(request.url ?? "/", "http://mock");
    if (!/^\/(admin\/)?v1\//.test(url.pathname)) {
      next();
      return;
    }
    void bodyOf(request).then((body) => this.answer(request, response, url, body));
  };

  private answer(request: IncomingMessage, response: ServerResponse, url: URL, body: Record<string, unknown>) {
    const [, root, ...rest] = url.pathname.split("/");
    const path = (root === "admin" ? rest.slice(1) : ["v1", ...rest.slice(0)]).join("/");
    const send = (status: number, value?: unknown, headers: Record<string, string> = {}) => {
      response.writeHead(status, { "content-type": "application/json", ...headers });
      response.end(value === undefined ? "" : JSON.stringify(value));
    };
    const sendError = (status: number, code: string, message: string) =>
      send(status, { error: { message, type: "", param: null, code } });
    const list = (data: unknown[], next_cursor: string | null = null) =>
      send(200, { object: "list", data, next_cursor });
    const endpoint = `${request.method} ${path}`;
    const ok = { csrf: "c5f", expires_at: new Date(Date.now() + 8 * 3_600_000).toISOString() };

    if (endpoint === "POST session") {
      if (body.key !== "admin") return sendError(401, "invalid_api_key", "This is not the admin key.");
      return send(200, ok, { "set-cookie": "tf_session=mock; HttpOnly; SameSite=Strict; Path=/" });
    }
    if (endpoint === "DELETE session") return send(204, undefined, { "set-cookie": "tf_session=; Max-Age=0; Path=/" });
    if (!request.headers.cookie?.includes("tf_session=mock"))
      return sendError(401, "invalid_api_key", "The admin key is required.");
    if (endpoint === "GET session") return send(200, ok);
    if (endpoint === "GET budget") return send(200, fixtures.budget(Date.now(), this.tick));
    if (endpoint === "GET events") return this.events(response);
    if (endpoint === "GET config") return send(200, fixtures.config());
    if (endpoint === "GET audit") return list(fixtures.audit());
    if (endpoint === "GET models") return list(fixtures.models());
    if (endpoint === "GET v1/v1/status" || endpoint === "GET v1/status")
      return send(200, { ...fixtures.status(), routingStrategy: this.strategy });
    if (endpoint === "GET usage") {
      const query = url.searchParams;
      const from = Date.parse(query.get("from") ?? "") || Date.now() - 3_600_000;
      return send(
        200,
        fixtures.usage(
          (query.get("by") ?? "provider") as Usage["by"],
          (query.get("step") ?? "minute") as Usage["step"],
          from,
          Date.now(),
          query.get("client") ?? undefined,
        ),
      );
    }
    if (endpoint === "POST providers/refresh") return list(fixtures.providers());
    if (endpoint === "GET providers") return list(fixtures.providers());
    if (endpoint === "GET provider-keys") return list(fixtures.providerKeys());
    if (path.startsWith("provider-keys")) return send(200, fixtures.providerKeys()[1]);
    if (endpoint === "GET requests") return this.requests(url, list);
    if (path === "clients" || path.startsWith("clients/"))
      return this.client(request.method ?? "GET", path.split("/").slice(1), body, url, { send, sendError, list });
    if (path.endsWith("status/routing")) {
      this.strategy = String(body.strategy);
      return send(200, { ...fixtures.status(), routingStrategy: this.strategy });
    }
    if (path.includes("status/")) return send(200, {});
    if (path.endsWith("chat/completions")) return chat(response);
    return sendError(404, "not_found", `No endpoint ${url.pathname}.`);
  }

  private requests(url: URL, list: (data: unknown[], next: string | null) => void) {
    const start = Number(url.searchParams.get("cursor") ?? 0);
    const limit = Math.min(PAGE, Number(url.searchParams.get("limit") ?? 50));
    const is = (name: string, value: string | null) =>
      !url.searchParams.get(name) || url.searchParams.get(name) === value;
    const status = url.searchParams.get("status");
    const search = url.searchParams.get("search") ?? "";
    const found = [];
    let at = start;
    for (; at < 12_000 && found.length < limit; at += 1) {
      const record = fixtures.record(at);
      const kind = record.status === 200 ? "ok" : record.status === 429 ? "429" : "error";
      const matches =
        is("client", record.client) &&
        is("provider", record.provider) &&
        is("model", record.model) &&
        (!status || status === kind || status === String(record.status));
      if (
        matches &&
        `${record.id} ${record.client} ${record.client_name} ${record.model_requested} ${record.model}`.includes(search)
      )
        found.push(record);
    }
    list(found, at < 12_000 ? String(at) : null);
  }

  private client(
    method: string,
    [id, verb]: string[],
    body: Record<string, unknown>,
    url: URL,
    { send, sendError, list }: Replies,
  ) {
    const secret = (of: string) => `sk-tf-${of}-Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MGFi`;
    if (!id && method === "GET") {
      const search = (url.searchParams.get("search") ?? "").toLowerCase();
      return list(this.clients.filter((client) => client.name.toLowerCase().includes(search)));
    }
    if (!id) {
      const made = fixtures.client(9, {
        id: `n${Date.now().toString(16).slice(-7)}`,
        last_used_at: null,
        created_at: new Date().toISOString(),
        models: [],
      });
      const { limits, ...rest } = body;
      Object.assign(made, rest, { prefix: `sk-tf-${made.id}-` });
      Object.assign(made.limits, limits);
      this.clients = [made, ...this.clients];
      return send(201, { ...made, key: secret(made.id) });
    }
    const found = this.clients.find((client) => client.id === id);
    if (!found) return sendError(404, "not_found", `No client \`${id}\`.`);
    if (method === "DELETE") {
      this.clients = this.clients.filter((client) => client !== found);
      return send(200, { id, object: "client", deleted: true });
    }
    if (verb === "rotate") return send(200, { ...found, key: secret(id) });
    if (verb === "revoke") found.revoked_at = new Date().toISOString();
    if (method === "PATCH") {
      const { limits, ...rest } = body;
      Object.assign(found, rest);
      Object.assign(found.limits, limits);
    }
    return send(200, found);
  }

  private events(response: ServerResponse) {
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
    const sendEvent = (event: string, data: unknown) =>
      response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
    sendEvent("budget", fixtures.budget(Date.now(), this.tick));
    const timers = [
      setInterval(() => sendEvent("budget", fixtures.budget(Date.now(), (this.tick += 1))), 1_000),
      setInterval(
        () =>
          sendEvent("request", {
            ...fixtures.record(20_000 + (Math.floor(Date.now() / TAIL_MS) % 1_000_000)),
            time: new Date().toISOString(),
          }),
        TAIL_MS,
      ),
    ];
    response.on("close", () => timers.forEach(clearInterval));
  }
}

interface Replies {
  send: (status: number, value?: unknown) => void;
  sendError: (status: number, code: string, message: string) => void;
  list: (data: unknown[]) => void;
}

function chat(response: ServerResponse) {
  const words =
    "The pool has capacity for about nine hundred more requests today, most of it at Groq. The next minute window opens in four seconds.".split(
      " ",
    );
  response.writeHead(200, {
    "content-type": "text/event-stream",
    "x-tollfree-provider": "groq",
    "x-tollfree-model": "groq/openai/gpt-oss-120b",
    "x-tollfree-attempts": "gemini/gemini-3.8-flash;429_rpd, groq/openai/gpt-oss-120b;ok",
    "x-tollfree-waited-ms": "0",
  });
  const sendEvent = (chunk: unknown) => response.write(`data: ${JSON.stringify(chunk)}\n\n`);
  let at = 0;
  const timer = setInterval(() => {
    if (at < words.length) sendEvent({ choices: [{ index: 0, delta: { content: `${words[at]} ` } }] });
    else {
      sendEvent({ choices: [{ index: 0, delta: {}, finish_reason: "stop" }] });
      sendEvent({
        choices: [],
        usage: { prompt_tokens: 31, completion_tokens: words.length, total_tokens: 31 + words.length },
      });
      response.end("data: [DONE]\n\n");
      clearInterval(timer);
    }
    at += 1;
  }, 40);
  response.on("close", () => clearInterval(timer));
}

async function bodyOf(request: IncomingMessage): Promise<Record<string, unknown>> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  try {
    return JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>;
  } catch {
    return {};
  }
}
