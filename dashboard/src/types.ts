import type { components } from "./openapi";

/** The gateway's words, by short names. `npm run types` makes them anew from its OpenAPI document. */
type Schemas = components["schemas"];

export type Problem = Schemas["ErrorBody"];
export type Session = Schemas["Session"];

// The document leaves out here what an answer always has: the limits may be left out of a change only.
export type ClientLimits = Required<Schemas["ClientLimits"]>;
export type Client = Omit<Schemas["Client"], "limits"> & { limits: ClientLimits };
/** The answer that makes a key, the only one that tells it. */
export type ClientWithKey = Omit<Client, "key"> & { key: string };
export type ClientChange = Schemas["ClientChange"];
export type NewClient = Schemas["NewClient"];
export type ClientList = Omit<Schemas["List_Client"], "data"> & { data: Client[] };

// The document does not say of what kind they are.
type Facts = Record<string, unknown> | null;
export type AuditEntry = Omit<Schemas["AuditEntry"], "before" | "after"> & { before: Facts; after: Facts };
export type AuditList = Omit<Schemas["List_AuditEntry"], "data"> & { data: AuditEntry[] };

export type RequestRecord = Schemas["Request"];
export type PassedOver = Schemas["PassedOver"];
export type RequestList = Schemas["RequestList"];

// The document has any string.
export type Usage = Omit<Schemas["Usage"], "step"> & { step: "minute" | "day" };
export type UsageFigures = Schemas["UsageFigures"];
export type UsagePoint = Schemas["UsagePoint"];
export type Series = Schemas["UsageSeries"];

export type Budget = Schemas["Budget"];
export type Breaker = Schemas["BudgetBreaker"];
export type Window = Schemas["BudgetWindow"];
export type BudgetModel = Schemas["ModelBudget"];
export type Account = Schemas["AccountBudget"];
export type Provider = Schemas["ProviderBudget"];

export type AnyModel = Schemas["ModelFacts"];
export type MetaModel = Extract<AnyModel, { kind: "meta" }>;
export type Model = Extract<AnyModel, { kind: "model" }>;
export type ModelList = Schemas["ModelFactsList"];

export type Config = Schemas["Config"];
export type Status = Schemas["Status"];
