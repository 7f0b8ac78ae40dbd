import type { components } from "./openapi";

/** Short names for the schemas of the gateway's OpenAPI document. `npm run types` regenerates openapi.d.ts. */
type Schemas = components["schemas"];

export type Problem = Schemas["ErrorBody"];
export type Session = Schemas["Session"];

export type ClientLimits = Schemas["ClientLimitsInForce"];
export type Client = Schemas["Client"];
/** The only response that contains the key. */
export type ClientWithKey = Schemas["ClientWithKey"];
export type ClientChange = Schemas["ClientChange"];
export type NewClient = Schemas["NewClient"];

/** A provider of the catalogue or of the file. */
export type KnownProvider = Schemas["Provider"];
export type ModelList = Schemas["ProviderModelList"];
export type ProviderKey = Schemas["ProviderKey"];
export type NewProviderKey = Schemas["NewProviderKey"];
export type ProviderKeyChange = Schemas["ProviderKeyChange"];

export type AuditEntry = Schemas["AuditEntry"];

export type RequestRecord = Schemas["Request"];
export type PassedOver = Schemas["PassedOver"];

export type Usage = Schemas["Usage"];
export type UsageFigures = Schemas["UsageFigures"];
export type UsagePoint = Schemas["UsagePoint"];
export type Series = Schemas["UsageSeries"];

export type Budget = Schemas["Budget"];
export type Breaker = Schemas["BudgetBreaker"];
export type Window = Schemas["BudgetWindow"];
export type LimitOf = Schemas["LearnedLimitOf"];
export type BudgetModel = Schemas["ModelBudget"];
export type Account = Schemas["AccountBudget"];
export type Provider = Schemas["ProviderBudget"];

export type AnyModel = Schemas["ModelFacts"];
export type MetaModel = Extract<AnyModel, { kind: "meta" }>;
export type Model = Extract<AnyModel, { kind: "model" }>;

export type Config = Schemas["Config"];
export type Status = Schemas["Status"];
export type Strategy = Status["routingStrategy"];
