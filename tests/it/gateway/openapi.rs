//! `/openapi.json` against the running gateway: URLs, access, errors, and the responses to every example request.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use serde_json::{Value, json};
use tollfree::{api::routes, protocol::chat};

use crate::support::{
    app::TestApp,
    fake_upstream::{FakeUpstream, whole},
    http::{Answer, Stream},
    simulator::Simulator,
};

/// The admin key of the example requests.
const ADMIN_KEY: &str = "my-admin-key";
const SHARED_KEY: &str = "our-shared-key";
const METHODS: [&str; 6] = ["get", "head", "post", "put", "patch", "delete"];

/// Prefixes of headers that the document must describe.
const OUR_HEADERS: [&str; 6] =
    ["x-tollfree-", "x-ratelimit-", "x-request-id", "retry-after", "x-should-retry", "preference-applied"];

struct Document(Value);

/// One method of one path.
struct Operation<'a> {
    method: &'a str,
    path: &'a str,
    item: &'a Value,
    own: &'a Value,
}

impl Document {
    async fn of(app: &TestApp) -> Self {
        let answer = app.get("/openapi.json").await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
        Self(answer.json())
    }

    fn operations(&self) -> Vec<Operation<'_>> {
        let paths = self.0["paths"].as_object().unwrap();
        let of = |(path, item)| METHODS.iter().map(move |method| (path, item, *method));
        let all = paths.iter().flat_map(of);
        all.filter_map(|(path, item, method): (&String, &Value, _)| {
            Some(Operation { method, path, item, own: item.get(method)? })
        })
        .collect()
    }

    /// Follows a reference.
    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        let Some(place) = value["$ref"].as_str() else { return value };
        self.0.pointer(&place[1..]).unwrap_or_else(|| panic!("{place} does not exist"))
    }

    fn response<'a>(&'a self, operation: &Operation<'a>, status: u16) -> &'a Value {
        let found = operation.own["responses"].get(status.to_string());
        self.resolved(found.unwrap_or_else(|| panic!("{} does not describe {status}", operation.name())))
    }
}

impl Operation<'_> {
    fn name(&self) -> String {
        format!("{} {}", self.method.to_uppercase(), self.path)
    }

    /// The URLs of this operation on all servers of the document.
    fn urls(&self) -> Vec<String> {
        let servers = self.item["servers"].as_array().map_or(&[][..], Vec::as_slice);
        let roots = servers.iter().map(|server| server["url"].as_str().unwrap().trim_end_matches('/'));
        let roots: Vec<_> = if servers.is_empty() { vec![""] } else { roots.collect() };
        roots.into_iter().map(|root| format!("{root}{}", self.path)).collect()
    }

    fn accepts(&self, scheme: &str) -> bool {
        self.own["security"].as_array().unwrap().iter().any(|one| one.get(scheme).is_some())
    }

    /// The path with the example values of its parameters.
    fn example_path(&self) -> String {
        let parameters = self.own["parameters"].as_array().map_or(&[][..], Vec::as_slice);
        parameters.iter().filter(|p| p["in"] == "path").fold(self.path.to_owned(), |path, parameter| {
            let example =
                parameter["example"].as_str().unwrap_or_else(|| panic!("{}: no example: {parameter}", self.name()));
            path.replace(&format!("{{{}}}", parameter["name"].as_str().unwrap()), example)
        })
    }

    /// The query parameters that have an example.
    fn example_query(&self) -> String {
        let parameters = self.own["parameters"].as_array().map_or(&[][..], Vec::as_slice);
        let in_query = parameters.iter().filter(|p| p["in"] == "query");
        let given = in_query.filter_map(|p| Some((p["name"].as_str()?, p["example"].as_str()?)));
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish();
        if query.is_empty() { query } else { format!("?{query}") }
    }

    /// The example bodies, or `None` once if there is no body.
    fn example_bodies(&self) -> Vec<Option<Value>> {
        let Some(body) = self.own.get("requestBody") else { return vec![None] };
        let bodies = examples(&body["content"]["application/json"]);
        assert!(!bodies.is_empty(), "{} has no example request", self.name());
        bodies.into_iter().map(Some).collect()
    }
}

fn examples(media: &Value) -> Vec<Value> {
    let many = media["examples"].as_object().into_iter().flatten().map(|(_, example)| example["value"].clone());
    media.get("example").cloned().into_iter().chain(many).collect()
}

async fn closed_gateway() -> (TestApp, FakeUpstream) {
    let upstream = FakeUpstream::start().await;
    let setup = TestApp::setup()
        .played("groq", &upstream)
        .env("TOLLFREE_ADMIN_KEY", ADMIN_KEY)
        .env("TOLLFREE_API_KEY", SHARED_KEY);
    (setup.env("TOLLFREE_AUTH", "required").start().await, upstream)
}

#[tokio::test]
async fn the_document_lists_exactly_the_served_urls() {
    let (app, _upstream) = closed_gateway().await;
    let document = Document::of(&app).await;
    let served: BTreeSet<_> = routes::served().into_iter().map(|(method, path)| format!("{method} {path}")).collect();
    let documented: BTreeSet<_> = document
        .operations()
        .iter()
        .flat_map(|o| o.urls().into_iter().map(|url| format!("{} {url}", o.method.to_uppercase())))
        .collect();
    let missing: Vec<_> = served.difference(&documented).collect();
    let invented: Vec<_> = documented.difference(&served).collect();
    assert!(missing.is_empty() && invented.is_empty(), "not in the document: {missing:?}; not served: {invented:?}");
}

#[tokio::test]
async fn every_documented_method_is_supported_and_every_other_refused() {
    let (app, _upstream) = closed_gateway().await;
    let document = Document::of(&app).await;
    let mut methods: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for operation in document.operations() {
        methods.entry(operation.example_path()).or_default().insert(operation.method);
    }
    for (path, mut documented) in methods {
        if documented.contains("get") {
            documented.insert("head");
        }
        for method in METHODS {
            let answer = Answer::of(app.request(&method.to_uppercase(), &path)).await;
            let allowed: BTreeSet<_> = answer.header("allow").unwrap_or_default().split(", ").collect();
            if documented.contains(method) {
                assert!(![404, 405].contains(&answer.status), "{method} {path}: {}", answer.text());
            } else {
                let documented: BTreeSet<_> = documented.iter().map(|method| method.to_uppercase()).collect();
                let documented = documented.iter().map(String::as_str).collect();
                assert_eq!((answer.status, allowed), (405, documented), "{method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn access_is_as_documented() {
    let (app, _upstream) = closed_gateway().await;
    let document = Document::of(&app).await;
    for operation in document.operations().iter().filter(|o| o.method != "head") {
        let call = || app.request(&operation.method.to_uppercase(), &operation.example_path());
        let may = [call(), call().bearer_auth(SHARED_KEY)];
        let unauthenticated = Some((401, "invalid_api_key"));
        let refusals = if operation.accepts("client_key") {
            [unauthenticated, None]
        } else if operation.accepts("admin_key") {
            [unauthenticated, Some((403, "admin_required"))]
        } else if operation.accepts("session") {
            [unauthenticated, unauthenticated]
        } else {
            [None, None]
        };
        for (call, refusal) in may.into_iter().zip(refusals) {
            let answer = Answer::of(call).await;
            let Some((status, code)) = refusal else {
                assert!(![401, 403].contains(&answer.status), "{}: {}", operation.name(), answer.text());
                continue;
            };
            if operation.own["tags"][0] == "messages" {
                // Anthropic's errors have a type and no code.
                assert_eq!(answer.status, status, "{}", operation.name());
                assert_eq!(answer.json()["error"]["type"], "authentication_error", "{}", operation.name());
            } else {
                assert_eq!((answer.error().0, answer.error().2.as_str()), (status, code), "{}", operation.name());
            }
            let shown = &document.response(operation, status)["content"]["application/json"]["examples"];
            assert!(shown.get(code).is_some(), "{} does not describe {status} {code}", operation.name());
        }
    }
}

#[tokio::test]
async fn every_operation_is_described_and_every_error_has_an_example() {
    let (app, _upstream) = closed_gateway().await;
    let document = Document::of(&app).await;
    let tags: Vec<_> = document.0["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    for operation in document.operations() {
        let (name, own) = (operation.name(), operation.own);
        assert!(own["summary"].as_str().is_some_and(|text| !text.is_empty()), "{name} has no summary");
        let own_tags = own["tags"].as_array().unwrap();
        assert!(own_tags.len() == 1 && tags.contains(&&own_tags[0]), "{name}: one tag of {tags:?}, not {own_tags:?}");
        for (status, documented) in own["responses"].as_object().unwrap() {
            let documented = document.resolved(documented);
            let media = documented["content"].get("application/json");
            let is_document = operation.path == "/openapi.json";
            if status.starts_with('2')
                && !is_document
                && let Some(media) = media
            {
                assert!(media.get("schema").is_some(), "{name} {status} has no schema");
            }
            if media.is_some_and(|media| media["schema"]["$ref"] == "#/components/schemas/Envelope") && status != "4XX"
            {
                let shown = media.unwrap()["examples"].as_object().unwrap().keys().map(|code| format!("`{code}`"));
                let mut named: Vec<_> = documented["description"].as_str().unwrap().split(", ").collect();
                named.sort_unstable();
                assert_eq!(
                    shown.collect::<Vec<_>>(),
                    named,
                    "{name} {status}: a code without an example of this status"
                );
            }
        }
    }
}

/// The dashboard's types are generated from this file.
#[tokio::test]
async fn the_dashboard_is_built_on_this_document() {
    let (app, _upstream) = closed_gateway().await;
    let document = Document::of(&app).await.0;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboard/openapi.json");
    if std::env::var("INSTA_UPDATE").is_ok_and(|how| how == "always") {
        std::fs::write(&path, serde_json::to_string_pretty(&document).unwrap() + "\n").unwrap();
    }
    let stored: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert!(stored == document, "dashboard/openapi.json is outdated: run `make types`");
}

#[tokio::test]
async fn every_schema_describes_its_content() {
    const HOLDS: [&str; 7] = ["properties", "oneOf", "allOf", "anyOf", "enum", "items", "$ref"];
    const SIMPLE: [&str; 4] = ["string", "integer", "number", "boolean"];
    let (app, _upstream) = closed_gateway().await;
    let document = Document::of(&app).await;
    for (name, schema) in document.0["components"]["schemas"].as_object().unwrap() {
        let is_simple = schema["type"].as_str().is_some_and(|kind| SIMPLE.contains(&kind));
        assert!(is_simple || HOLDS.iter().any(|word| schema.get(word).is_some()), "{name} accepts anything: {schema}");
        let own = schema["properties"].as_object().filter(|_| schema.get("allOf").is_none());
        for (field, documented) in own.into_iter().flatten().filter(|(_, documented)| documented.get("enum").is_some())
        {
            assert!(documented.get("type").is_some(), "{name}.{field} is no field");
        }
    }
}

#[tokio::test]
async fn the_chat_request_lists_every_field_that_is_parsed() {
    let (app, _upstream) = closed_gateway().await;
    let document = Document::of(&app).await;
    let schema = &document.0["components"]["schemas"]["ChatRequest"];
    let listed: BTreeSet<_> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(listed, BTreeSet::from(chat::KNOWN_PARAMETERS));
    assert_ne!(schema["additionalProperties"], false, "other fields are accepted too");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_is_accepted_and_its_response_matches_the_document() {
    let simulator = Simulator::start().await;
    let setup =
        ["groq", "gemini", "mistral"].iter().fold(TestApp::setup(), |app, name| app.simulated(&simulator, name));
    let cohere = FakeUpstream::start().await;
    cohere.always(whole(200, r#"{"results":[{"index":0,"relevance_score":0.9},{"index":1,"relevance_score":0.1}]}"#));
    let setup = setup.played("cohere", &cohere).env("TOLLFREE__RESPONSES__STORE", "1h");
    let app = setup.env("TOLLFREE_ADMIN_KEY", ADMIN_KEY).start().await;
    let document = Document::of(&app).await;
    let mut operations = document.operations();
    // Some operations exist only to refuse.
    operations.retain(|o| o.own["responses"].as_object().unwrap().keys().any(|status| status.starts_with('2')));
    // Forms with recordings have tests of their own.
    operations.retain(|o| o.own["requestBody"]["content"].get("multipart/form-data").is_none());
    // Operations that change state come late, deletions last.
    operations.sort_by_key(|o| ["get", "head", "post", "put", "patch", "delete"].iter().position(|m| *m == o.method));
    let mut cases = Vec::new();
    for operation in &operations {
        for body in operation.example_bodies() {
            let path = path_of_created(&app, &document, operation).await;
            let call = app.request(&operation.method.to_uppercase(), &(path + &operation.example_query()));
            let call =
                if operation.accepts("admin_key") { call.bearer_auth(ADMIN_KEY) } else { in_session(&app, call).await };
            let call = body.iter().fold(call, reqwest::RequestBuilder::json);
            cases.extend(checked_response(&document, operation, call, body.as_ref()).await);
        }
    }
    let file = |name: &str, json: &Value| {
        let path = app.folder.path().join(name);
        std::fs::write(&path, json.to_string()).unwrap();
        path
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join(".venv/bin/python"))
        .arg(root.join("tests/sdk/openapi.py"))
        .args([file("document.json", &document.0), file("cases.json", &cases.into())])
        .output()
        .expect("`make setup` makes the Python environment");
    let output_text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && output_text.contains(" 0 mistakes"), "{output_text}");
}

/// The example path. If it contains `{id}` and the path before it supports `POST`, the object is created first.
async fn path_of_created(app: &TestApp, document: &Document, operation: &Operation<'_>) -> String {
    let before = operation.path.split_once("/{id}").map(|(before, _)| before);
    let maker = document.operations().into_iter().find(|o| o.method == "post" && Some(o.path) == before);
    let Some(maker) = maker else { return operation.example_path() };
    let body = maker.example_bodies().swap_remove(0);
    let made = Answer::of(app.request("POST", maker.path).bearer_auth(ADMIN_KEY).json(&body)).await;
    if made.status == 409 {
        return operation.example_path(); // its id follows from the example body, and it is there already
    }
    assert!(made.status < 300, "{}: {}", maker.name(), made.text());
    operation.path.replace("{id}", made.json()["id"].as_str().unwrap())
}

/// The call as a logged-in page makes it.
async fn in_session(app: &TestApp, call: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
    let opened = Answer::of(app.request("POST", "/admin/v1/session").json(&json!({ "key": ADMIN_KEY }))).await;
    let cookie = opened.header("set-cookie").unwrap().split(';').next().unwrap();
    let csrf = opened.json()["csrf"].as_str().unwrap().to_owned();
    call.header("cookie", cookie).header("x-csrf-token", csrf).header("sec-fetch-site", "same-origin")
}

/// Makes a call that must succeed. Returns the values of its response with the schemas they must match.
async fn checked_response(
    document: &Document,
    operation: &Operation<'_>,
    call: reqwest::RequestBuilder,
    body: Option<&Value>,
) -> Vec<Value> {
    let what = format!("{} {}", operation.name(), body.unwrap_or(&Value::Null));
    let stream = Stream::of(call).await;
    let status = stream.status;
    assert!(status < 300, "{what}: {status} {:?}", stream.rest().await.events);
    let documented = document.response(operation, status);
    for name in stream.headers.keys().map(reqwest::header::HeaderName::as_str) {
        let ours = OUR_HEADERS.iter().any(|prefix| name.starts_with(prefix));
        assert!(!ours || documented["headers"].get(name).is_some(), "{what}: the header `{name}` is not documented");
    }
    let Some(kind) = stream.header("content-type").map(|kind| kind.split(';').next().unwrap().to_owned()) else {
        assert!(documented.get("content").is_none(), "{what}: the response has no content");
        return Vec::new();
    };
    let media = documented["content"].get(&kind).unwrap_or_else(|| panic!("{what}: `{kind}` is not documented"));
    let case = |schema: Value, value: Value| json!({ "what": what, "schema": schema, "value": value });
    match kind.as_str() {
        "application/json" if operation.method != "head" && media.get("schema").is_some() => {
            let text = stream.rest().await.events.join("\n\n");
            vec![case(media["schema"].clone(), serde_json::from_str(&text).unwrap())]
        }
        "text/event-stream" if operation.own["tags"][0] == "chat" => {
            let finished = stream.rest().await;
            assert!(finished.is_done(), "{what}: {finished:?}");
            let chunk = json!({ "$ref": "#/components/schemas/ChatChunk" });
            finished.chunks().into_iter().map(|value| case(chunk.clone(), value)).collect()
        }
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn the_document_and_its_page_are_cached_until_they_change() {
    let (app, _upstream) = closed_gateway().await;
    for path in ["/openapi.json", "/docs"] {
        let first = app.get(path).await;
        let tag = first.header("etag").unwrap();
        assert_eq!(first.header("cache-control"), Some("no-cache"));
        for known in [tag.to_owned(), format!("\"x\", W/{tag}"), "*".to_owned()] {
            let again = Answer::of(app.request("GET", path).header("if-none-match", known)).await;
            assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, Some(tag)), "{path}");
        }
        let other = Answer::of(app.request("GET", path).header("if-none-match", "\"x\"")).await;
        assert_eq!((other.status, other.body), (200, first.body), "{path}");
    }
}

#[tokio::test]
async fn the_page_loads_nothing_and_lists_every_path() {
    let (app, _upstream) = closed_gateway().await;
    let page = app.get("/docs").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").unwrap();
    for part in ["default-src 'none'", "style-src 'sha256-", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{part} in {policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("script-src"), "{policy}");
    let text = page.text();
    assert!(!text.contains("src=") && !text.contains("<script") && !text.contains(" style="), "the policy forbids it");
    for (path, _) in Document::of(&app).await.0["paths"].as_object().unwrap() {
        assert!(text.contains(path.as_str()), "{path} is missing");
    }
}
