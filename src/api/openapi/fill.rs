//! What no annotation should have to repeat: whole errors from their codes, headers, who may, the alias, long examples.

use std::collections::BTreeMap;

use actix_web::ResponseError;
use serde_json::{Map, Value, json};

use crate::api::{edge::error::ApiError, openapi::errors};

/// Schemas that no type of ours has, and long examples by `operation_id`: one file for each tag that needs one. And which
/// words a field can hold, where its type is any text.
const SHAPES: [&str; 7] = [
    include_str!("shapes/admin.json"),
    include_str!("shapes/chat.json"),
    include_str!("shapes/clients.json"),
    include_str!("shapes/models.json"),
    include_str!("shapes/status.json"),
    include_str!("shapes/usage.json"),
    include_str!("shapes/words.json"),
];

const METHODS: [&str; 6] = ["get", "head", "post", "put", "patch", "delete"];

/// What a handler has by asking who it is, by taking a body or a query.
const BY_ANY: [&str; 4] = ["invalid_api_key", "cross_site_request", "ledger_unavailable", "internal_error"];
const BY_KEY: [&str; 1] = ["too_many_attempts"];
const BY_ADMIN: [&str; 2] = ["admin_required", "admin_key_not_set"];
const BY_BODY: [&str; 3] = ["invalid_json", "invalid_value", "request_too_large"];
const BY_QUERY: [&str; 1] = ["invalid_value"];

/// Of answers that went through the flow.
const FLOW_HEADERS: [(&str, &str, &str); 9] = [
    ("x-tollfree-attempts", "string", "Whom we asked: `gemini/gemini-3.8-flash;429_rpd, groq/openai/gpt-oss-120b;ok`"),
    ("x-tollfree-waited-ms", "integer", "How long the caller waited for a slot"),
    ("preference-applied", "string", "The `Prefer: wait` that counted, where it is another than asked for"),
    ("x-ratelimit-limit-requests", "integer", "Of the caller's tightest window, where it has limits"),
    ("x-ratelimit-remaining-requests", "integer", "What is left in it"),
    ("x-ratelimit-reset-requests", "string", "When it is whole again: `6m0s`"),
    ("x-ratelimit-limit-tokens", "integer", "The same in tokens"),
    ("x-ratelimit-remaining-tokens", "integer", "What is left in it"),
    ("x-ratelimit-reset-tokens", "string", "When it is whole again: `6m0s`"),
];
const ANSWER_HEADERS: [(&str, &str, &str); 2] = [
    ("x-tollfree-provider", "string", "Who answered: `groq`"),
    ("x-tollfree-model", "string", "Which of its models: `groq/openai/gpt-oss-120b`"),
];
const RETRY_HEADERS: [(&str, &str, &str); 3] = [
    ("retry-after", "integer", "When to come back: whole seconds, rounded up"),
    ("retry-after-ms", "integer", "The same in milliseconds"),
    ("x-should-retry", "string", "`false` where an SDK would guess rather than sleep so long"),
];
const EVERY_HEADER: [(&str, &str, &str); 1] = [("x-request-id", "string", "The caller's own, or one of ours")];

/// The document, complete.
pub fn filled(mut document: Value) -> Value {
    let known: BTreeMap<String, ApiError> =
        errors::examples().into_iter().filter_map(|e| Some((e.code()?.to_owned(), e))).collect();
    let mut shared = Map::new();
    let shapes: Vec<Value> =
        SHAPES.iter().map(|text| serde_json::from_str(text).expect("each file of shapes is tested to parse")).collect();
    for (path, item) in members(&mut document["paths"]) {
        if path.starts_with("/v1/") {
            item["servers"] = json!([{ "url": "/" }, { "url": "/api" }]);
        }
        for method in METHODS {
            let Some(operation) = item.get_mut(method) else { continue };
            let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
            for shape in &shapes {
                add_examples(operation, &shape["examples"][&id]);
            }
            if method == "head" {
                // One handler, two operations: their names must differ.
                operation["operationId"] = format!("{id}_head").into();
            }
            add_errors(operation, &known, &mut shared);
            add_headers(operation);
            say_who_may(operation);
        }
    }
    let components = &mut document["components"];
    for mut shape in shapes {
        for (name, schema) in members(&mut shape["schemas"]) {
            components["schemas"][name] = schema.take();
        }
        for (name, fields) in members(&mut shape["words"]) {
            for (field, words) in members(fields) {
                components["schemas"][name]["properties"][field]["enum"] = words.take();
            }
        }
    }
    for (name, schema) in members(&mut components["schemas"]) {
        // The derive writes the item of a generic list out instead of naming it.
        if let Some(item) = name.strip_prefix("List_") {
            schema["properties"]["data"]["items"] = json!({ "$ref": format!("#/components/schemas/{item}") });
        }
    }
    components["responses"] = shared.into();
    components["headers"] = header_components();
    components["securitySchemes"] = json!({
        "client_key": {
            "type": "http", "scheme": "bearer",
            "description": "A member's `sk-tf-…` or the shared key. An open gateway takes callers without one.",
        },
        "admin_key": { "type": "http", "scheme": "bearer", "description": "`TOLLFREE_ADMIN_KEY`" },
        "session": {
            "type": "apiKey", "in": "cookie", "name": "tf_session",
            "description": "An admin in a browser. What is no GET needs `x-csrf-token` and our own origin.",
        },
    });
    document["info"]["license"] = json!({ "name": "Apache-2.0", "identifier": "Apache-2.0" });
    document
}

fn members(object: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    object.as_object_mut().into_iter().flatten()
}

fn add_examples(operation: &mut Value, examples: &Value) {
    for (place, named) in [
        ("/requestBody/content", &examples["requests"]),
        ("/responses/200/content", &examples["answers"]),
        ("/responses/201/content", &examples["answers"]),
    ] {
        for (media, contents) in operation.pointer_mut(place).into_iter().flat_map(members) {
            if let Some(examples) = named.get(media) {
                contents["examples"] = examples.clone();
            }
        }
    }
}

/// `(status = 404, description = "model_not_found")` → the envelope with an example, shared by all who tell the same.
fn add_errors(operation: &mut Value, known: &BTreeMap<String, ApiError>, shared: &mut Map<String, Value>) {
    let mut codes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let own = members(&mut operation["responses"])
        .filter(|(status, told)| status.starts_with(['4', '5']) && told.get("content").is_none());
    for (status, told) in own {
        let listed = told["description"].as_str().unwrap_or_default();
        codes.entry(status.clone()).or_default().extend(listed.split(", ").map(str::to_owned));
    }
    let by_flow: Vec<String> =
        if operation["tags"][0] == "chat" { codes.keys().cloned().collect() } else { Vec::new() };
    let asks = |scheme: &str| operation["security"].as_array().into_iter().flatten().any(|s| s.get(scheme).is_some());
    let mut common: Vec<&str> = Vec::new();
    let in_query = |parameter: &Value| parameter["in"] == "query";
    for (applies, codes) in [
        (operation["security"].is_array(), &BY_ANY[..]),
        (asks("client_key") || asks("admin_key"), &BY_KEY),
        (asks("admin_key"), &BY_ADMIN),
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
        let name = format!("{status}_{}{}", codes.join("_or_"), if flow { "_of_chat" } else { "" });
        shared.entry(name.clone()).or_insert_with(|| error_response(&status, &codes, known, flow));
        operation["responses"][&status] = json!({ "$ref": format!("#/components/responses/{name}") });
    }
}

fn error_response(status: &str, codes: &[String], known: &BTreeMap<String, ApiError>, flow: bool) -> Value {
    let examples: Map<String, Value> = codes
        .iter()
        .filter_map(|code| Some((code.clone(), known.get(code)?)))
        .filter(|(_, error)| error.status_code().as_str() == status)
        .map(|(code, error)| (code, json!({ "value": error.envelope() })))
        .collect();
    let named: Vec<String> = codes.iter().map(|code| format!("`{code}`")).collect();
    let mut headers = refs(&EVERY_HEADER);
    if matches!(status, "429" | "503") {
        headers.extend(refs(&RETRY_HEADERS));
    }
    if flow {
        headers.extend(refs(&FLOW_HEADERS));
    }
    let media = json!({ "schema": { "$ref": "#/components/schemas/Envelope" }, "examples": examples });
    json!({ "description": named.join(", "), "headers": headers, "content": { "application/json": media } })
}

/// Of the answers that are no shared errors.
fn add_headers(operation: &mut Value) {
    let is_chat = operation["tags"][0] == "chat";
    for (status, told) in members(&mut operation["responses"]).filter(|(_, told)| told.get("$ref").is_none()) {
        let mut headers = refs(&EVERY_HEADER);
        if status == "503" {
            headers.extend(refs(&RETRY_HEADERS));
        }
        if is_chat {
            headers.extend(refs(&FLOW_HEADERS));
        }
        if is_chat && status == "200" {
            headers.extend(refs(&ANSWER_HEADERS));
        }
        for (name, header) in members(&mut told["headers"]) {
            headers.insert(name.clone(), header.clone());
        }
        told["headers"] = headers.into();
    }
}

/// The admin is let in wherever a client is, by key or by cookie; an open gateway lets in anybody there.
fn say_who_may(operation: &mut Value) {
    let asks = |scheme: &str| operation["security"].as_array().into_iter().flatten().any(|s| s.get(scheme).is_some());
    let (admin_key, session) = (json!({ "admin_key": [] }), json!({ "session": [] }));
    operation["security"] = if asks("client_key") {
        json!([{ "client_key": [] }, admin_key, session, {}])
    } else if asks("admin_key") {
        json!([admin_key, session])
    } else if asks("session") {
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
    let all = EVERY_HEADER.iter().chain(&RETRY_HEADERS).chain(&FLOW_HEADERS).chain(&ANSWER_HEADERS);
    let header = |kind: &str, says: &str| json!({ "description": says, "schema": { "type": kind } });
    all.map(|(name, kind, says)| ((*name).to_owned(), header(kind, says))).collect::<Map<_, _>>().into()
}
