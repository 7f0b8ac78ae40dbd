//! Adds to the OpenAPI document what annotations would repeat: error responses by their codes, headers, access, the server
//! `/api`, and schemas derived from others.

use std::collections::BTreeMap;

use actix_web::ResponseError;
use serde_json::{Map, Value, json};

use crate::{
    api::{edge::error::ApiError, openapi::error_examples},
    protocol::{Protocol, messages},
};

/// Example requests by the operation.
const EXAMPLES: [(&str, &str); 9] = [
    ("create_chat_completion", include_str!("chat_examples.json")),
    ("create_message", include_str!("messages_examples.json")),
    ("count_message_tokens", include_str!("messages_examples.json")),
    ("create_response", include_str!("responses_examples.json")),
    ("create_embeddings", include_str!("embeddings_examples.json")),
    ("create_completion", include_str!("completions_examples.json")),
    ("create_fim_completion", include_str!("completions_examples.json")),
    ("rerank_documents", include_str!("rerank_examples.json")),
    ("create_moderation", include_str!("moderations_examples.json")),
];
/// Operations that go through the flow to a provider.
const FLOW_OPERATIONS: [&str; 11] = [
    "create_chat_completion",
    "create_message",
    "create_response",
    "compact_response",
    "create_embeddings",
    "create_completion",
    "create_fim_completion",
    "rerank_documents",
    "create_moderation",
    "create_transcription",
    "create_translation",
];
const METHODS: [&str; 6] = ["get", "head", "post", "put", "patch", "delete"];

/// Error codes that follow from an endpoint requiring a key, accepting a body or having a query.
const BY_ANY: [&str; 4] = ["invalid_api_key", "cross_site_request", "ledger_unavailable", "internal_error"];
const BY_KEY: [&str; 1] = ["too_many_attempts"];
const BY_ADMIN: [&str; 2] = ["admin_required", "admin_key_not_set"];
const BY_BODY: [&str; 4] = ["invalid_json", "invalid_value", "unsupported_encoding", "request_too_large"];
const BY_QUERY: [&str; 1] = ["invalid_value"];

/// Headers of responses from the flow.
const FLOW_HEADERS: [(&str, &str, &str); 10] = [
    ("x-tollfree-attempts", "string", "The attempts: `gemini/gemini-3.8-flash;429_rpd, groq/openai/gpt-oss-120b;ok`"),
    ("x-tollfree-waited-ms", "integer", "Time waited for a slot"),
    ("x-tollfree-dropped", "string", "Parts of the request that were left out: `web_search_20250305`"),
    ("preference-applied", "string", "The `Prefer: wait` applied, if shorter than requested"),
    ("x-ratelimit-limit-requests", "integer", "The caller's tightest request limit, if it has any"),
    ("x-ratelimit-remaining-requests", "integer", "Requests left in that window"),
    ("x-ratelimit-reset-requests", "string", "Time until the window is free again: `6m0s`"),
    ("x-ratelimit-limit-tokens", "integer", "The caller's tightest token limit, if it has any"),
    ("x-ratelimit-remaining-tokens", "integer", "Tokens left in that window"),
    ("x-ratelimit-reset-tokens", "string", "Time until the window is free again: `6m0s`"),
];
const SUCCESS_HEADERS: [(&str, &str, &str); 3] = [
    ("x-tollfree-dropped", "string", "Parts of the request that were left out: `web_search`"),
    ("x-tollfree-provider", "string", "The provider that served the request: `groq`"),
    ("x-tollfree-model", "string", "The model that served the request: `groq/openai/gpt-oss-120b`"),
];
const RETRY_HEADERS: [(&str, &str, &str); 3] = [
    ("retry-after", "integer", "When to retry, in whole seconds, rounded up"),
    ("retry-after-ms", "integer", "When to retry, in milliseconds"),
    ("x-should-retry", "string", "`false` if the wait is longer than SDKs sleep"),
];
const EVERY_HEADER: [(&str, &str, &str); 1] = [("x-request-id", "string", "The caller's id, or a generated one")];

/// Completes the document made from the annotations.
pub(super) fn enriched(mut document: Value) -> Value {
    let known: BTreeMap<String, ApiError> =
        error_examples::all().into_iter().filter_map(|e| Some((e.code()?.to_owned(), e))).collect();
    let mut shared = Map::new();
    for (path, item) in members(&mut document["paths"]) {
        if path.starts_with("/v1/") {
            item["servers"] = json!([{ "url": "/" }, { "url": "/api" }]);
        }
        for method in METHODS {
            let Some(operation) = item.get_mut(method) else { continue };
            if method == "head" {
                // GET and HEAD share a handler, but operation ids must differ.
                operation["operationId"] =
                    format!("{}_head", operation["operationId"].as_str().unwrap_or_default()).into();
            }
            if let Some((_, examples)) = EXAMPLES.iter().find(|(id, _)| operation["operationId"] == *id) {
                let examples: Value = serde_json::from_str(examples).expect("the file is tested to parse");
                operation["requestBody"]["content"]["application/json"]["examples"] = examples;
            }
            add_errors(operation, &known, &mut shared);
            add_headers(operation);
            add_access(operation);
        }
    }
    let components = &mut document["components"];
    derive_schemas(&mut components["schemas"]);
    components["responses"] = shared.into();
    components["headers"] = header_components();
    components["securitySchemes"] = json!({
        "client_key": {
            "type": "http", "scheme": "bearer",
            "description": "A client key (`sk-tf-…`) or the shared key. An open gateway also serves callers without one.",
        },
        "admin_key": { "type": "http", "scheme": "bearer", "description": "`TOLLFREE_ADMIN_KEY`" },
        "session": {
            "type": "apiKey", "in": "cookie", "name": "tf_session",
            "description": "An admin in a browser. Requests other than GET need `x-csrf-token` and our own origin.",
        },
    });
    document["info"]["license"] = json!({ "name": "Apache-2.0", "identifier": "Apache-2.0" });
    document
}

/// Schemas that differ from another one only in which fields are required.
fn derive_schemas(schemas: &mut Value) {
    let mut new_client = schemas["ClientChange"].clone();
    new_client["required"] = json!(["name"]);
    let mut settings = schemas["ClientChange"].clone();
    let fields: Vec<&String> =
        schemas["ClientChange"]["properties"].as_object().into_iter().flatten().map(|f| f.0).collect();
    settings["required"] = json!(fields);
    settings["properties"]["limits"] = json!({ "$ref": "#/components/schemas/ClientLimitsInForce" });
    if let Some(settings) = settings.as_object_mut() {
        settings.remove("additionalProperties"); // the client's other fields stand beside these
    }
    let client = schemas["Client"].take();
    schemas["Client"] = json!({ "allOf": [{ "$ref": "#/components/schemas/ClientSettings" }, client] });
    schemas["ClientSettings"] = settings;
    schemas["NewClient"] = new_client;
    schemas["ClientLimitsInForce"] = json!({
        "allOf": [{ "$ref": "#/components/schemas/ClientLimits" }],
        "required": ["rpm", "rpd", "tpm", "tpd", "concurrency"],
    });
    schemas["ClientWithKey"] = json!({ "allOf": [
        { "$ref": "#/components/schemas/Client" },
        {
            "type": "object", "required": ["key"],
            "properties": {
                "key": { "type": "string", "description": "The whole key, returned only here" },
                "notice": {
                    "type": "string",
                    "description": "What the first client key changes: a gateway that was open for want of one needs keys from now on",
                },
            },
        },
    ] });
    for (name, schema) in members(schemas) {
        // Providers and clients may add fields of their own to their protocols.
        let is_of_protocol =
            ["Chat", "Message", "Responses", "Transcription"].iter().any(|prefix| name.starts_with(prefix));
        if is_of_protocol && schema["type"] == "object" {
            schema["additionalProperties"] = true.into();
        }
        // utoipa inlines the item of a generic list instead of referring to it.
        if let Some(item) = name.strip_prefix("List_") {
            schema["properties"]["data"]["items"] = json!({ "$ref": format!("#/components/schemas/{item}") });
        }
    }
}

fn members(object: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    object.as_object_mut().into_iter().flatten()
}

/// Turns `(status = 404, description = "model_not_found")` into a complete error response with an example. Operations with
/// the same codes share it.
fn add_errors(operation: &mut Value, known: &BTreeMap<String, ApiError>, shared: &mut Map<String, Value>) {
    let mut codes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let own = members(&mut operation["responses"])
        .filter(|(status, response)| status.starts_with(['4', '5']) && response.get("content").is_none());
    for (status, response) in own {
        let listed = response["description"].as_str().unwrap_or_default();
        codes.entry(status.clone()).or_default().extend(listed.split(", ").map(str::to_owned));
    }
    let by_flow: Vec<String> = if is_of_flow(operation) { codes.keys().cloned().collect() } else { Vec::new() };
    let protocol = if operation["tags"][0] == "messages" { Protocol::Messages } else { Protocol::Chat };
    let requires =
        |scheme: &str| operation["security"].as_array().into_iter().flatten().any(|s| s.get(scheme).is_some());
    let mut common: Vec<&str> = Vec::new();
    let in_query = |parameter: &Value| parameter["in"] == "query";
    for (applies, codes) in [
        (operation["security"].is_array(), &BY_ANY[..]),
        (requires("client_key") || requires("admin_key"), &BY_KEY),
        (requires("admin_key"), &BY_ADMIN),
        (operation.get("requestBody").is_some(), &BY_BODY),
        (operation["parameters"].as_array().is_some_and(|all| all.iter().any(in_query)), &BY_QUERY),
    ] {
        common.extend(codes.iter().filter(|_| applies));
    }
    for code in common {
        let Some(error) = known.get(code) else { continue };
        let at = codes.entry(error.status_code().as_str().to_owned()).or_default();
        if !at.iter().any(|c| c == code) {
            at.push(code.to_owned());
        }
    }
    for (status, codes) in codes {
        let flow = by_flow.contains(&status);
        let (of_flow, of_protocol) = match protocol {
            Protocol::Messages => ("_of_message", "_in_messages"),
            _ => ("_of_chat", ""),
        };
        let name = format!("{status}_{}{}{of_protocol}", codes.join("_or_"), if flow { of_flow } else { "" });
        shared.entry(name.clone()).or_insert_with(|| error_response(&status, &codes, known, flow, protocol));
        if let Some(responses) = operation["responses"].as_object_mut() {
            responses.remove(&status);
        }
        let sent = if protocol == Protocol::Messages && status == "503" { "529" } else { &status };
        operation["responses"][sent] = json!({ "$ref": format!("#/components/responses/{name}") });
    }
}

fn error_response(
    status: &str,
    codes: &[String],
    known: &BTreeMap<String, ApiError>,
    flow: bool,
    protocol: Protocol,
) -> Value {
    let body = |error: &ApiError| match protocol {
        Protocol::Messages => {
            serde_json::from_str(&messages::error(&error.failure(), "job-7").body).unwrap_or_default()
        }
        _ => json!(error.envelope()),
    };
    let examples: Map<String, Value> = codes
        .iter()
        .filter_map(|code| Some((code.clone(), known.get(code)?)))
        .filter(|(_, error)| error.status_code().as_str() == status)
        .map(|(code, error)| (code, json!({ "value": body(error) })))
        .collect();
    let named: Vec<String> = codes.iter().map(|code| format!("`{code}`")).collect();
    let mut headers = refs(&EVERY_HEADER);
    if matches!(status, "429" | "503") {
        headers.extend(refs(&RETRY_HEADERS));
    }
    if flow {
        headers.extend(refs(&FLOW_HEADERS));
    }
    let schema = if protocol == Protocol::Messages { "MessagesError" } else { "Envelope" };
    let schema = json!({ "$ref": format!("#/components/schemas/{schema}") });
    let media = json!({ "schema": schema, "examples": examples });
    json!({ "description": named.join(", "), "headers": headers, "content": { "application/json": media } })
}

fn is_of_flow(operation: &Value) -> bool {
    FLOW_OPERATIONS.iter().any(|id| operation["operationId"] == *id)
}

/// Adds headers to all responses but the shared errors.
fn add_headers(operation: &mut Value) {
    let is_of_flow = is_of_flow(operation);
    for (status, response) in
        members(&mut operation["responses"]).filter(|(_, response)| response.get("$ref").is_none())
    {
        let mut headers = refs(&EVERY_HEADER);
        if status == "503" {
            headers.extend(refs(&RETRY_HEADERS));
        }
        if is_of_flow {
            headers.extend(refs(&FLOW_HEADERS));
        }
        if is_of_flow && status == "200" {
            headers.extend(refs(&SUCCESS_HEADERS));
        }
        for (name, header) in members(&mut response["headers"]) {
            headers.insert(name.clone(), header.clone());
        }
        response["headers"] = headers.into();
    }
}

/// Endpoints for clients also accept the admin, by key or session, and on an open gateway callers without a key.
fn add_access(operation: &mut Value) {
    let requires =
        |scheme: &str| operation["security"].as_array().into_iter().flatten().any(|s| s.get(scheme).is_some());
    let (admin_key, session) = (json!({ "admin_key": [] }), json!({ "session": [] }));
    operation["security"] = if requires("client_key") {
        json!([{ "client_key": [] }, admin_key, session, {}])
    } else if requires("admin_key") {
        json!([admin_key, session])
    } else if requires("session") {
        json!([session])
    } else {
        json!([])
    };
}

fn refs(headers: &[(&str, &str, &str)]) -> Map<String, Value> {
    let reference = |name: &str| json!({ "$ref": format!("#/components/headers/{name}") });
    headers.iter().map(|(name, ..)| ((*name).to_owned(), reference(name))).collect()
}

fn header_components() -> Value {
    let all = EVERY_HEADER.iter().chain(&RETRY_HEADERS).chain(&FLOW_HEADERS).chain(&SUCCESS_HEADERS);
    let header = |kind: &str, description: &str| json!({ "description": description, "schema": { "type": kind } });
    all.map(|(name, kind, description)| ((*name).to_owned(), header(kind, description))).collect::<Map<_, _>>().into()
}
