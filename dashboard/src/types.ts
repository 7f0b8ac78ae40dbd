import type { components } from "./openapi";

/** The gateway's words, by short names. `npm run types` makes them anew from its OpenAPI document. */
type Schemas = components["schemas"];

export type Problem = Schemas["ErrorBody"];
export type Session = Schemas["Session"];

export type ClientLimits = Schemas["ClientLimitsInForce"];
export type Client = Schemas["Client"];
/** The answer that makes a key, the only one that tells it. */
export type ClientWithKey = Schemas["ClientWithKey"];
export type ClientChange = Schemas["ClientChange"];
export type NewClient = Schemas["NewClient"];
export type ClientList = Schemas["List_Client"];

export type AuditEntry = Schemas["AuditEntry"];
export type AuditList = Schemas["List_AuditEntry"];

export type RequestRecord = Schemas["Request"];
export type PassedOver = Schemas["PassedOver"];
export type RequestList = Schemas["RequestList"];

export type Usage = Schemas["Usage"];
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
