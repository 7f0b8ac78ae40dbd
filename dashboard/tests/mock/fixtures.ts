/** An invented fleet for the mock gateway and the component tests. The same call returns the same figures. */
import type {
  Account,
  AnyModel,
  AuditEntry,
  Budget,
  BudgetModel,
  Client,
  Config,
  KnownProvider,
  Provider,
  ProviderKey,
  RequestRecord,
  Status,
  Usage,
  UsageFigures,
  UsagePoint,
  Window,
} from "../../src/types";

/** A seeded generator, so that the figures are the same in every run. */
export function seededRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const DAY = 24 * 60 * MINUTE;
const iso = (ms: number) => new Date(ms).toISOString();

export const CLIENTS: [string, string][] = [
  ["k7f3a9c2", "ann"],
  ["b81e0d44", "search-indexer"],
  ["0c92f7aa", "Joaquín (evaluation)"],
  ["e5d1136b", "ci"],
  ["91aa07de", "support-bot"],
];

type Shape = {
  id: string;
  name: string;
  accounts: string[];
  limits: Record<string, number>;
  own: boolean;
  models: [string, Record<string, number>, number][];
};
const PROVIDERS: Shape[] = [
  {
    id: "groq",
    name: "Groq",
    accounts: ["main"],
    limits: {},
    own: true,
    models: [
      ["openai/gpt-oss-120b", { rpm: 30, rpd: 1_000, tpm: 8_000, tpd: 200_000 }, 0.62],
      ["openai/gpt-oss-20b", { rpm: 30, rpd: 1_000, tpm: 8_000, tpd: 200_000 }, 0.18],
      ["qwen/qwen3.8-27b", { rpm: 30, rpd: 1_000, tpm: 8_000, tpd: 200_000 }, 1],
    ],
  },
  {
    id: "gemini",
    name: "Gemini",
    accounts: ["1f3c88d0", "9ab0c4e7"],
    limits: {},
    own: true,
    models: [
      ["gemini-3.8-flash", { rpm: 5, rpd: 20, itpm: 250_000 }, 0.95],
      ["gemini-3.5-flash-lite", { rpm: 15, rpd: 500, itpm: 250_000 }, 0.44],
      ["gemma-4-31b-it", { rpm: 30, rpd: 14_400, itpm: 15_000 }, 0.08],
    ],
  },
  {
    id: "cerebras",
    name: "Cerebras",
    accounts: ["main"],
    limits: {},
    own: true,
    models: [
      ["gpt-oss-120b", { rpm: 5, tpm: 30_000, tpd: 1_000_000 }, 0.35],
      ["zai-glm-4.7", { rpm: 5, tpm: 30_000, tpd: 1_000_000 }, 0.7],
    ],
  },
  {
    id: "mistral",
    name: "Mistral",
    accounts: ["main"],
    limits: { rps: 1 },
    own: false,
    models: [
      ["mistral-medium-2604", { tpm: 50_000, tpmonth: 4_000_000 }, 0.3],
      ["codestral-2508", { tpm: 50_000, tpmonth: 4_000_000 }, 0.02],
    ],
  },
  {
    id: "ollama",
    name: "Ollama",
    accounts: ["local"],
    limits: { concurrency: 2 },
    own: false,
    models: [["llama3.2", {}, 0.5]],
  },
];

function windowOf(limit: string, max: number, fill: number, now: number, random: () => number): Window {
  const isDay = limit.endsWith("d") || limit.endsWith("month");
  const used = fill >= 1 ? max : Math.min(max, Math.round(max * Math.min(1, fill * (0.8 + 0.4 * random()))));
  const waiting = fill >= 0.9 && !isDay && limit === "rpm" ? 3 : 0;
  const span =
    limit === "concurrency"
      ? 0
      : limit.endsWith("month")
        ? 30 * DAY
        : limit.endsWith("d")
          ? DAY
          : limit === "rps"
            ? SECOND
            : MINUTE;
  const shares = CLIENTS.slice(0, 4).map(([client, name], at) => ({
    client,
    name,
    units: Math.floor((used * [0.5, 0.3, 0.15, 0.05][at]!) / 1),
  }));
  return {
    limit,
    kind:
      limit === "concurrency"
        ? "concurrency"
        : limit === "rpd" && max === 1_000
          ? "bucket"
          : isDay
            ? "calendar"
            : "sliding",
    max,
    configured: limit === "tpm" && max === 8_000 ? 6_000 : max,
    source: limit === "tpm" && max === 8_000 ? "learned" : limit.endsWith("month") ? "file" : "catalogue",
    learned: limit === "tpm" && max === 8_000 ? { from: "answer", at: iso(now - 60 * MINUTE) } : null,
    used,
    waiting,
    left: Math.max(0, max - used - waiting),
    next_free_at: iso(used >= max ? now + (isDay ? 86 * SECOND : 4_400) : now),
    resets_at: isDay ? iso(now + 7.4 * 60 * MINUTE) : null,
    span_ms: span,
    clients: shares.filter((share) => share.units > 0),
    forecast: isDay
      ? { exhausted_at: fill > 0.6 ? iso(now + 5.2 * 60 * MINUTE) : null, pace_per_hour: Math.round((max * fill) / 12) }
      : null,
  };
}

export function budget(now = Date.now(), tick = 0): Budget {
  const random = seededRandom(7);
  const windows = (limits: Record<string, number>, fill: number) =>
    Object.entries(limits).map(([limit, max]) =>
      windowOf(limit, max, Math.min(1, fill + (tick ? 0.06 * Math.sin(tick / 4 + max) : 0)), now, random),
    );
  const closed = { state: "closed" as const, until: null };
  const providers = PROVIDERS.map((shape): Provider => ({
    id: shape.id,
    name: shape.name,
    enabled: true,
    breaker: shape.id === "cerebras" ? { state: "open", until: iso(now + 21 * SECOND) } : closed,
    accounts: shape.accounts.map((id): Account => ({
      id,
      keys: [
        {
          id: "3fd0c1aa",
          cooldown_until: id === "9ab0c4e7" ? iso(now + 8 * MINUTE) : null,
          cause: id === "9ab0c4e7" ? "401_bad_key" : null,
        },
      ],
      windows: windows(shape.limits, 0.4),
      models: shape.models.map(([model, limits, fill]): BudgetModel => ({
        id: model,
        name: `${shape.id}/${model}`,
        enabled: model !== "gemma-4-31b-it",
        breaker: closed,
        cooldown: model === "qwen/qwen3.8-27b" ? { until: iso(now + 48 * SECOND), cause: "429_tpm" } : null,
        first_token_ms: Math.round(120 + 900 * random()),
        windows: windows(limits, fill),
      })),
    })),
  }));
  const requests = 18_432 + tick * 3;
  return {
    object: "budget",
    taken_at: iso(now),
    replicas: 3,
    waiting: 3,
    totals: { requests, successes: requests - 213, failures: 213 },
    providers,
  };
}

/** A budget with `models` models, whose names are very long. */
export function wideBudget(models: number): Budget {
  const wide = budget();
  const account = wide.providers[0]!.accounts[0]!;
  const [first] = account.models;
  account.models = Array.from({ length: models }, (_, at) => ({
    ...first!,
    id: `an-organisation-with-a-long-name/a-model-with-a-very-long-name-${at}-instruct-preview-2026-05-04`,
    name: `groq/an-organisation-with-a-long-name/a-model-with-a-very-long-name-${at}-instruct-preview-2026-05-04`,
  }));
  wide.providers = [wide.providers[0]!];
  return wide;
}

const REQUESTED = [
  "free",
  "free",
  "free",
  "free-fast",
  "free-smart",
  "groq/openai/gpt-oss-120b",
  "gemini-3.5-flash-lite",
];
const SERVED = [
  "groq/openai/gpt-oss-120b",
  "gemini/gemini-3.5-flash-lite",
  "cerebras/zai-glm-4.7",
  "mistral/mistral-medium-2604",
  "ollama/llama3.2",
];

/** The nth most recent request. */
export function record(nth: number, now = Date.now()): RequestRecord {
  const random = seededRandom(nth * 7919 + 13);
  const [client, client_name] = CLIENTS[Math.floor(random() * CLIENTS.length)]!;
  const model = SERVED[Math.floor(random() * SERVED.length)]!;
  const roll = random();
  const status = roll > 0.97 ? 502 : roll > 0.93 ? 429 : 200;
  const waited = random() > 0.85 ? Math.round(400 + 5_000 * random()) : 0;
  const first = Math.round(90 + 700 * random());
  const answer = Math.round(200 + 3_000 * random());
  const attempts: RequestRecord["attempts"] = [];
  let at = waited + 2;
  if (random() > 0.75 && status !== 429) {
    const failed = Math.round(60 + 300 * random());
    attempts.push({
      candidate: "gemini/gemini-3.8-flash",
      cause: random() > 0.5 ? "429_rpd" : "503_busy",
      at_ms: at,
      duration_ms: failed,
    });
    at += failed + 1;
  }
  if (status === 200) attempts.push({ candidate: model, cause: "ok", at_ms: at, duration_ms: first + answer });
  if (status === 502) attempts.push({ candidate: model, cause: "timeout", at_ms: at, duration_ms: 2_000 });
  const last = attempts.at(-1);
  return {
    object: "request",
    id: `0199${(4_000_000 - nth).toString(16).padStart(8, "0")}-7c1e-8d02-${Math.floor(random() * 2 ** 44)
      .toString(16)
      .padStart(12, "0")}`,
    cursor: `${now - nth * 2_300}-0`,
    time: iso(now - nth * 2_300),
    client,
    client_name,
    model_requested: REQUESTED[Math.floor(random() * REQUESTED.length)]!,
    provider: status === 429 ? null : model.split("/")[0]!,
    model: status === 429 ? null : model,
    account: status === 429 ? null : "main",
    status,
    protocol: "chat",
    session: null,
    stream: random() > 0.4,
    attempts,
    passed_over:
      random() > 0.4
        ? [
            { candidate: "groq/qwen/qwen3.8-27b", why: "tpm", retry_in_ms: 48_000 },
            { candidate: "cerebras/gpt-oss-120b", why: "breaker", retry_in_ms: 21_000 },
          ]
        : [],
    waited_ms: waited,
    first_token_ms: status === 200 ? at + first : null,
    duration_ms: last ? last.at_ms + last.duration_ms : 3,
    tokens_in: status === 200 ? Math.round(40 + 2_500 * random()) : null,
    tokens_out: status === 200 ? Math.round(10 + 900 * random()) : null,
    tokens_cached: status === 200 ? 0 : null,
    error_code: status === 429 ? "budget_exhausted" : status === 502 ? "upstream_error" : null,
    trace_id: random() > 0.3 ? "4bf92f3577b34da6a3ce929d0e0e4736" : null,
  };
}

export function client(nth: number, over: Partial<Client> = {}, now = Date.now()): Client {
  const [id, name] = CLIENTS[nth] ?? [`c${nth.toString(16).padStart(7, "0")}`, `client ${nth}`];
  const busy = [412, 1_903, 77, 0, 58][nth] ?? 0;
  return {
    object: "client",
    id,
    name,
    prefix: `sk-tf-${id}-`,
    source: "store",
    limits: {
      rpm: [10, 60, null, 20, 30][nth] ?? null,
      rpd: [500, 2_000, null, null, 1_000][nth] ?? null,
      tpm: null,
      tpd: nth === 1 ? 2_000_000 : null,
      concurrency: null,
    },
    weight: nth === 4 ? 3 : 1,
    models: nth === 2 ? ["free", "groq/*"] : [],
    priority: nth === 4,
    paid: false,
    wait_ms: nth === 1 ? 30_000 : null,
    expires_at: nth === 2 ? iso(now + 12 * DAY) : null,
    note: nth === 1 ? "Nightly job; owner: platform team" : "",
    disabled: nth === 3,
    revoked_at: null,
    created_at: iso(now - (nth + 3) * 9 * DAY),
    last_used_at: busy ? iso(now - (nth + 1) * 40 * SECOND) : null,
    rotated_at: null,
    old_secret_until: null,
    version: 1,
    usage_today: { requests: busy, failed: Math.floor(busy / 25), tokens_in: busy * 800, tokens_out: busy * 240 },
    ...over,
  };
}

export const clients = (now = Date.now()): Client[] => [
  ...CLIENTS.map((_, nth) => client(nth, {}, now)),
  client(5, { id: "77d0e2f1", name: "kiosk", prefix: "sk-tf-77d0e2f1-", source: "file" }, now),
  client(6, { id: "2ce9b014", name: "old laptop", prefix: "sk-tf-2ce9b014-", revoked_at: iso(now - 2 * DAY) }, now),
];

export const providers = (): KnownProvider[] =>
  ["Groq", "Gemini", "Mistral"].map((name, nth) => ({
    id: name.toLowerCase(),
    object: "provider",
    name,
    status: nth === 2 ? "trial" : "active",
    signup: `https://console.${name.toLowerCase()}.example/keys`,
    takes_keys: true,
    configured: nth < 2,
    models: nth < 2 ? 4 : 0,
    missing: null,
    can_be_keyless: nth === 2,
    keyless: false,
    keyless_configured: false,
    list:
      nth === 0
        ? {
            looked_at: iso(Date.now() - 60 * SECOND),
            listed: 9,
            new: [
              { id: "acme/brand-new", since: iso(Date.now() - DAY), not_served: null, on_trial: true },
              { id: "acme/costly", since: iso(Date.now() - DAY), not_served: "it has a price", on_trial: false },
            ],
            gone: [
              {
                id: "openai/gpt-oss-20b",
                since: iso(Date.now() - DAY / 2),
                why: "a request was refused: 404",
                until: iso(Date.now() + DAY / 2),
              },
            ],
            problem: null,
          }
        : null,
  }));

export const providerKeys = (now = Date.now()): ProviderKey[] => {
  const key = (provider: string, fingerprint: string, over: Partial<ProviderKey>): ProviderKey => ({
    id: `${provider}-${fingerprint}`,
    object: "provider_key",
    provider,
    account: fingerprint,
    label: "",
    fingerprint,
    last_four: "wxyz",
    source: "store",
    state: "active",
    problem: null,
    cooldown: null,
    created_at: iso(now - 3 * DAY),
    created_by: "admin",
    ...over,
  });
  return [
    key("groq", "11111111", {
      source: "environment",
      account: "acme",
      last_four: "1234",
      created_at: null,
      created_by: null,
    }),
    key("groq", "22222222", { label: "made by ann" }),
    key("groq", "33333333", { state: "disabled", last_four: "" }),
    key("gemini", "44444444", {
      last_four: "",
      cooldown: { cause: "401", until: iso(now + 60 * SECOND) },
    }),
    key("gemini", "55555555", {
      last_four: "",
      state: "unreadable",
      problem: "none of the master keys opens it: it is sealed under the master key `9f8e7d6c`",
    }),
  ];
};

const limits = (of: Record<string, number>) =>
  Object.entries(of).map(([limit, max]) => ({ limit, max, kind: "sliding", source: "catalogue" }) as const);

export const models = (): AnyModel[] => [
  ...(["free", "free-fast", "free-smart"] as const).map((id, at): AnyModel => ({
    id,
    kind: "meta",
    model_kind: "chat",
    strategy: (["headroom", "fast", "smart"] as const)[at]!,
    members: SERVED.map((name, rank) => ({
      name,
      rank: rank + 1,
      why: ["most headroom left (93 %)", "headroom 71 %", "headroom 64 %", "headroom 38 %", "local models come last"][
        rank
      ]!,
    })),
  })),
  ...PROVIDERS.flatMap((shape) =>
    shape.models.map(([id, of, fill]): AnyModel => ({
      id: `${shape.id}/${id}`,
      kind: "model",
      model_kind: "chat",
      context_length: shape.id === "gemini" ? 1_048_576 : 131_072,
      max_output: shape.id === "gemini" ? 65_536 : 32_768,
      capabilities:
        shape.id === "gemini"
          ? ["tools", "vision", "json_schema", "reasoning"]
          : shape.id === "ollama"
            ? ["tools"]
            : ["tools", "json_schema"],
      quality: Math.round(40 + 40 * fill),
      limits: limits({ ...shape.limits, ...of }),
      status: "active",
      successor: null,
      retired_on: null,
    })),
  ),
  {
    id: "groq/moonshotai/kimi-k2-instruct-0905",
    kind: "model",
    model_kind: "chat",
    context_length: 262_144,
    max_output: 16_384,
    capabilities: ["tools"],
    quality: null,
    limits: [],
    status: "retired",
    successor: "groq/openai/gpt-oss-120b",
    retired_on: "2026-04",
  },
];

/** `saved`: what each request would have cost elsewhere. */
export function usage(
  by: Usage["by"],
  step: Usage["step"],
  from: number,
  to: number,
  only?: string,
  saved?: number,
): Usage {
  const size = { minute: MINUTE, hour: 60 * MINUTE, day: DAY }[step];
  const names =
    by === "provider" ? PROVIDERS.map((shape) => shape.id) : by === "client" ? CLIENTS.map(([id]) => id) : SERVED;
  const series = names
    .filter((name) => !only || name === only)
    .map((name, at) => {
      const points: UsagePoint[] = [];
      for (let time = Math.floor(from / size) * size; time <= to; time += size) {
        const random = seededRandom(time / size + at * 1_000);
        const wave = 1 + 0.6 * Math.sin(time / size / (step === "minute" ? 9 : 3) + at);
        const requests = Math.round(((step === "minute" ? 9 : 700) * wave * (0.7 + 0.6 * random())) / (at + 1));
        const failed = Math.round(requests * 0.04 * random());
        const limited = Math.round(requests * 0.05 * random());
        points.push({
          time: iso(time),
          requests,
          failed,
          limited,
          ok: requests - failed - limited,
          tokens_in: requests * 800,
          tokens_out: requests * 240,
          tokens_cached: requests * 300,
          audio_seconds: 0,
          waited_ms: requests * 90,
          first_token_p50_ms: requests ? Math.round(150 + at * 90 + 60 * random()) : null,
          first_token_p95_ms: requests ? Math.round(420 + at * 240 + 300 * random()) : null,
          saved: saved === undefined ? null : requests * saved,
        });
      }
      const sum = (of: keyof UsageFigures) => points.reduce((total, point) => total + (point[of] ?? 0), 0);
      const total = {
        requests: sum("requests"),
        ok: sum("ok"),
        failed: sum("failed"),
        limited: sum("limited"),
        tokens_in: sum("tokens_in"),
        tokens_out: sum("tokens_out"),
        tokens_cached: sum("tokens_cached"),
        audio_seconds: sum("audio_seconds"),
        waited_ms: sum("waited_ms"),
        first_token_p50_ms: 210 + at * 80,
        first_token_p95_ms: 700 + at * 200,
        saved: saved === undefined ? null : sum("saved"),
      };
      return { name, label: null, points, total };
    });
  return { object: "usage", by, step, from: iso(from), to: iso(to), currency: null, series };
}

export const config = (): Config => ({
  settings: [
    { name: "server.host", value: "0.0.0.0", source: "environment" },
    { name: "server.port", value: "3000", source: "default" },
    { name: "redis.url", value: "redis://redis:6379", source: "environment" },
    { name: "queue.max_wait_ms", value: "30000", source: "tollfree.toml:14:1" },
    { name: "ledger.slack_ms", value: "250", source: "default" },
    { name: "timeouts.first_token_ms", value: "20000", source: "default" },
    { name: "providers.mistral.limits.tpmonth", value: "4000000", source: "tollfree.toml:31:1" },
    {
      name: "dashboard.trace_link",
      value: "https://grafana.example/explore?trace={trace_id}",
      source: "tollfree.toml:8:1",
    },
  ],
  public_url: null,
  trace_link: "https://grafana.example/explore?trace={trace_id}",
});

export const audit = (now = Date.now()): AuditEntry[] => [
  {
    id: "171-0",
    time: iso(now - 4 * MINUTE),
    actor: "admin",
    action: "client.create",
    subject: "k7f3a9c2",
    before: null,
    after: { name: "ann" },
    address: "10.0.4.17",
  },
  {
    id: "172-0",
    time: iso(now - 31 * MINUTE),
    actor: "admin",
    action: "provider.reset",
    subject: "gemini",
    before: null,
    after: null,
    address: "10.0.4.17",
  },
  {
    id: "173-0",
    time: iso(now - 55 * MINUTE),
    actor: "cli",
    action: "client.update",
    subject: "b81e0d44",
    before: { rpd: 1_000 },
    after: { rpd: 2_000 },
    address: null,
  },
  {
    id: "174-0",
    time: iso(now - 3 * 60 * MINUTE),
    actor: "admin",
    action: "routing.set",
    subject: "free",
    before: { strategy: "listed" },
    after: { strategy: "headroom" },
    address: "2001:db8::7",
  },
  {
    id: "175-0",
    time: iso(now - 26 * 60 * MINUTE),
    actor: "admin",
    action: "client.revoke",
    subject: "2ce9b014",
    before: null,
    after: null,
    address: "10.0.4.17",
  },
];

export const status = (): Status => ({
  routingStrategy: "headroom",
  totalRequests: 18_432,
  successRequests: 18_219,
  failedRequests: 213,
  ledger: { reachable: true, waiting: 0 },
  recentRequests: [],
  unreadableProviderKeys: 0,
  providers: PROVIDERS.map(({ id, name, models }) => ({
    id,
    name,
    enabled: true,
    circuitBreakerState: id === "cerebras" ? "open" : "closed",
    models: models.map(([model]) => model),
    disabledModels: [],
    coolingDown: [],
    limits: [],
  })),
});
