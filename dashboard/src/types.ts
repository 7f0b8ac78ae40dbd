/** The gateway's words, as `/openapi.json` has them. */
export type Problem = { message: string; type: string; param: string | null; code: string | null };
export type List<T> = { object: "list"; data: T[]; next_cursor: string | null };

export type LimitName = string;
export type ClientLimits = Record<"rpm" | "rpd" | "tpm" | "tpd" | "concurrency", number | null>;

export interface Client {
  object: "client";
  id: string;
  name: string;
  prefix: string;
  source: "store" | "file";
  limits: ClientLimits;
  weight: number;
  models: string[];
  priority: boolean;
  wait_ms: number | null;
  expires_at: string | null;
  note: string;
  disabled: boolean;
  revoked_at: string | null;
  created_at: string | null;
  last_used_at: string | null;
  rotated_at: string | null;
  old_secret_until: string | null;
  version: number;
}
export type ClientWithKey = Client & { key: string };
export type ClientChange = Partial<
  Pick<Client, "name" | "weight" | "models" | "priority" | "wait_ms" | "expires_at" | "note" | "disabled">
> & { limits?: Partial<ClientLimits> };

export interface Session {
  csrf: string;
  expires_at: string;
}

export interface AuditEntry {
  id: string;
  time: string;
  actor: string;
  action: string;
  subject: string;
  before: Record<string, unknown> | null;
  after: Record<string, unknown> | null;
  address: string | null;
}

export interface Attempt {
  candidate: string;
  cause: string;
  at_ms: number;
  duration_ms: number;
}
export interface PassedOver {
  candidate: string;
  why: string;
  opens_in_ms: number | null;
}
export interface RequestRecord {
  object: "request";
  id: string;
  cursor: string;
  time: string;
  client: string;
  client_name: string | null;
  model_asked: string;
  provider: string | null;
  model: string | null;
  account: string | null;
  status: number;
  stream: boolean;
  attempts: Attempt[];
  passed_over: PassedOver[];
  waited_ms: number;
  first_content_ms: number | null;
  duration_ms: number;
  tokens_in: number | null;
  tokens_out: number | null;
  error_code: string | null;
  trace_id: string | null;
}

export interface UsageFigures {
  requests: number;
  ok: number;
  failed: number;
  limited: number;
  tokens_in: number;
  tokens_out: number;
  waited_ms: number;
  first_content_p50_ms: number | null;
  first_content_p95_ms: number | null;
}
export type UsagePoint = UsageFigures & { time: string };
export interface Series {
  name: string;
  points: UsagePoint[];
  total: UsageFigures;
}
export interface Usage {
  object: "usage";
  by: string;
  step: "minute" | "day";
  from: string;
  to: string;
  series: Series[];
}

export interface Breaker {
  state: "closed" | "open" | "half_open";
  until: string | null;
}
export interface Window {
  limit: LimitName;
  kind: "sliding" | "bucket" | "calendar" | "concurrency";
  max: number;
  configured: number;
  source: "catalogue" | "file" | "learned";
  used: number;
  waiting: number | null;
  left: number;
  next_free_at: string | null;
  resets_at: string | null;
  span_ms: number;
  users: { client: string; name: string | null; units: number }[];
  forecast: { exhausted_at: string | null; pace_per_hour: number } | null;
}
export interface Shut {
  until: string;
  cause: string;
}
export interface BudgetModel {
  id: string;
  name: string;
  enabled: boolean;
  breaker: Breaker;
  shut: Shut | null;
  first_content_ms: number | null;
  windows: Window[];
}
export interface ProviderKey {
  id: string;
  shut_until: string | null;
  cause: string | null;
}
export interface Account {
  id: string;
  keys: ProviderKey[];
  windows: Window[];
  models: BudgetModel[];
}
export interface Provider {
  id: string;
  name: string;
  enabled: boolean;
  breaker: Breaker;
  accounts: Account[];
}
export interface Budget {
  object: "budget";
  taken_at: string;
  replicas: number;
  waiting: number | null;
  totals: { requests: number; successes: number; failures: number };
  providers: Provider[];
}

export interface MetaModel {
  id: string;
  kind: "meta";
  order: string;
  members: { name: string; rank: number; why: string }[];
}
export interface Model {
  id: string;
  kind: "model";
  context_length: number | null;
  max_output: number | null;
  capabilities: string[];
  quality: number | null;
  limits: { limit: LimitName; max: number; kind: string; source: string }[];
  status: string;
  successor: string | null;
}
export type AnyModel = MetaModel | Model;

export interface Config {
  settings: { name: string; value: string; source: string }[];
  trace_link: string | null;
}

/** `GET /v1/status`, of which only the order and the switches are used here. */
export interface Status {
  routingStrategy: string;
  providers: { id: string; name: string; enabled: boolean; circuitBreakerState: string; models: string[]; disabledModels: string[] }[];
}
