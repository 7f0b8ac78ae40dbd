//! Mistral: sliding minutes, tokens debited when the answer ends, flat errors, content that may be an array, strict message rules.

use serde_json::Value;

use crate::simulator::{
    accounting::limit::{Counts, LimitName},
    accounting::window::{HitReason, LimitHit, LimitStatus},
    completion::{Completion, Finish},
    dialects::request_checks::{self, RequestError},
    dialects::{Dialect, ErrorReply, Event, Headers, quoted},
    ids,
    provider::{Model, Provider},
    request::{SimulatedRequest, tokens_of},
    settings::Status,
};

const FIELDS: &[&str] = &[
    "model",
    "messages",
    "temperature",
    "top_p",
    "max_tokens",
    "stream",
    "stop",
    "random_seed",
    "metadata",
    "response_format",
    "tools",
    "tool_choice",
    "presence_penalty",
    "frequency_penalty",
    "n",
    "prediction",
    "parallel_tool_calls",
    "reasoning_effort",
    "prompt_mode",
    "guardrails",
    "prompt_cache_key",
    "safe_prompt",
];

pub(crate) struct Mistral;

impl Dialect for Mistral {
    fn prefix(&self) -> &'static str {
        "/v1"
    }

    fn check(&self, provider: &Provider, model: &Model, request: &SimulatedRequest) -> Option<RequestError> {
        let known = |role: &str, field: &str| match field {
            "role" | "content" => true,
            "tool_calls" | "prefix" => role == "assistant",
            "tool_call_id" | "name" => role == "tool",
            _ => false,
        };
        unknown(provider, request)
            .or_else(|| request_checks::message_field(request, known))
            .or_else(|| {
                let above = request.max_tokens.is_some_and(|max| max >= model.context);
                above.then_some(RequestError::MaxTokens { most: model.context - 1 })
            })
            .or_else(|| {
                let message = format!("Image input is not enabled for {}", model.id);
                (request.images > 0 && !model.can.vision).then_some(RequestError::Value { param: "messages", message })
            })
            .or_else(|| order(request))
            .or_else(|| tool_ids(request))
            .or_else(|| request_checks::context(request, model, 0))
    }

    fn request_error(&self, provider: &Provider, request_error: &RequestError) -> ErrorReply {
        match request_error {
            RequestError::Key | RequestError::Bot if provider.switches.kong_unauthorized => ErrorReply::json(
                401,
                r#"{"message":"Unauthorized","request_id":"c61f2f15feca71626a990e3740f99245"}"#.into(),
            ),
            RequestError::Key | RequestError::Bot => ErrorReply::json(401, r#"{"detail":"Unauthorized"}"#.into()),
            RequestError::Malformed(why) => ErrorReply::json(
                422,
                format!(
                    r#"{{"detail":[{{"type":"json_invalid","loc":["body",0],"msg":{},"input":{{}}}}]}}"#,
                    quoted(why)
                ),
            ),
            RequestError::NoSuchModel(name) | RequestError::Retired(name) => {
                error(400, &format!("Invalid model: {name}"), "invalid_model", "1500")
            }
            RequestError::NotOnPlan(_) => {
                error(403, "This model is not available in your subscription tier", "tier_not_allowed", "1910")
            }
            RequestError::Unknown { path, value } => forbidden(path, value),
            RequestError::InMessage { at, role, field } => {
                let path = ["messages".to_owned(), at.to_string(), role.clone(), field.clone()];
                forbidden(&path, &Value::Null)
            }
            RequestError::MaxTokens { most } => invalid(&format!(
                r#"{{"type":"less_than_equal","loc":["body","max_tokens"],"msg":"Input should be less than or equal to {most}","input":{most}}}"#
            )),
            RequestError::Value { message, .. } => error(400, message, "invalid_request_error", "3051"),
            RequestError::Context { tokens, most } => error(
                400,
                &format!("Prompt contains {tokens} tokens, too large for model with {most} maximum context length"),
                "invalid_request_prompt",
                "3051",
            ),
            RequestError::Order(message) => error(400, message, "invalid_request_message_order", "3230"),
            RequestError::ToolId(message) => error(400, message, "invalid_function_call", "3280"),
            RequestError::Signature => error(400, "Invalid tool call", "invalid_function_call", "3280"),
        }
    }

    fn limit_error(&self, _: &Provider, _: &Model, hit: &LimitHit, statuses: &[LimitStatus]) -> ErrorReply {
        let mut headers = gateway(hit.wait_us.unsigned_abs());
        let by_requests = hit.limit.name.counts() == Counts::Requests || hit.reason == HitReason::Zero;
        headers.extend(rate_limit_headers(statuses, !by_requests, 0));
        error(429, "Rate limit exceeded", "rate_limited", "1300").with(headers)
    }

    fn headers(&self, statuses: &[LimitStatus], answer: &Completion) -> Headers {
        let mut headers = gateway(answer.seed);
        headers.extend(rate_limit_headers(statuses, true, answer.total_tokens()));
        headers
    }

    fn whole(&self, _: &Provider, answer: &Completion) -> String {
        let text = quoted(&answer.content.concat());
        let content = if answer.reasoning.is_empty() {
            text
        } else {
            format!(r#"[{},{{"type":"text","text":{text}}}]"#, thinking(&answer.reasoning.concat()))
        };
        let choices = (0..answer.n).map(|index| {
            let calls = if answer.calls.is_empty() { "null".to_owned() } else { format!("[{}]", calls(answer)) };
            format!(
                r#"{{"index":{index},"finish_reason":"{}","message":{{"role":"assistant","tool_calls":{calls},"content":{content}}}}}"#,
                finish(answer.finish)
            )
        });
        format!(
            r#"{{"id":"{}","created":{},"model":{},{},"object":"chat.completion","choices":[{}]}}"#,
            ids::hex(answer.seed, 0, 32),
            answer.created,
            quoted(&answer.model),
            usage(answer),
            choices.collect::<Vec<_>>().join(","),
        )
    }

    fn events(&self, _: &Provider, answer: &Completion) -> Vec<Event> {
        let head = format!(
            r#"{{"id":"{}","object":"chat.completion.chunk","created":{},"model":{},"choices":["#,
            ids::hex(answer.seed, 0, 32),
            answer.created,
            quoted(&answer.model),
        );
        let chunk = |delta: &str, index: i64, finish: Option<&str>, usage: &str| {
            let finish = finish.map_or("null".to_owned(), |finish| format!(r#""{finish}""#));
            format!(r#"{head}{{"index":{index},"delta":{delta},"finish_reason":{finish}}}]{usage}}}"#)
        };
        let empty = r#"{"content":""}"#;
        let start = r#"{"role":"assistant","content":""}"#;
        let mut events: Vec<Event> =
            (0..answer.n).map(|index| Event::at_once(&chunk(start, index, None, ""))).collect();
        for piece in &answer.reasoning {
            let delta = format!(r#"{{"content":[{}]}}"#, thinking(piece));
            events.push(Event::paced(&chunk(&delta, 0, None, ""), tokens_of(piece)));
        }
        let end = finish(answer.finish);
        let usage = format!(",{}", usage(answer));
        for (at, piece) in answer.content.iter().enumerate() {
            for index in 0..answer.n {
                let last = at + 1 == answer.content.len();
                let usage = if last && index + 1 == answer.n { usage.as_str() } else { "" };
                let delta = format!(r#"{{"content":{}}}"#, quoted(piece));
                let data = chunk(&delta, index, last.then_some(end), usage);
                events.push(Event { paced: index == 0, ..Event::paced(&data, tokens_of(piece)) });
            }
        }
        if !answer.calls.is_empty() {
            let delta = format!(r#"{{"tool_calls":[{}]}}"#, calls(answer));
            let tokens = answer.output_tokens - answer.reasoning_tokens;
            events.push(Event::paced(&chunk(&delta, 0, Some(end), &usage), tokens));
        } else if answer.content.is_empty() {
            events.push(Event::at_once(&chunk(empty, 0, Some(end), &usage)));
        }
        events.push(Event::done());
        events
    }

    fn models(&self, provider: &Provider, created: i64) -> String {
        // Each alias is an entry of its own that lists the other names.
        let listed = provider.models.iter().filter(|model| model.status != Status::Retired).flat_map(|model| {
            let names: Vec<&String> = std::iter::once(&model.id).chain(&model.aliases).collect();
            let entries: Vec<String> = names.iter().map(|name| entry(model, name, &names, created)).collect();
            entries
        });
        format!(r#"{{"object":"list","data":[{}]}}"#, listed.collect::<Vec<_>>().join(","))
    }
}

fn entry(model: &Model, name: &str, names: &[&String], created: i64) -> String {
    let others: Vec<String> = names.iter().filter(|other| **other != name).map(|other| quoted(other)).collect();
    format!(
        r#"{{"id":"{name}","object":"model","created":{created},"owned_by":"mistralai","capabilities":{{"completion_chat":true,"function_calling":{},"completion_fim":false,"fine_tuning":false,"vision":{},"ocr":false,"classification":false,"moderation":false,"audio":false}},"name":"{}","description":"","max_context_length":{},"aliases":[{}],"deprecation":null,"deprecation_replacement_model":null,"default_model_temperature":0.3,"type":"base"}}"#,
        model.can.tools,
        model.can.vision,
        model.id,
        model.context,
        others.join(","),
    )
}

fn error(status: u16, message: &str, kind: &str, code: &str) -> ErrorReply {
    let body = format!(
        r#"{{"object":"error","message":{},"type":"{kind}","param":null,"code":"{code}","raw_status_code":{status}}}"#,
        quoted(message)
    );
    ErrorReply::json(status, body)
}

fn invalid(detail: &str) -> ErrorReply {
    let body = format!(
        r#"{{"object":"error","message":{{"detail":[{detail}]}},"type":"invalid_request_error","param":null,"code":null}}"#
    );
    ErrorReply::json(422, body)
}

fn forbidden(path: &[String], value: &Value) -> ErrorReply {
    let place: Vec<String> =
        path.iter().map(|step| step.parse::<usize>().map_or(quoted(step), |at| at.to_string())).collect();
    invalid(&format!(
        r#"{{"type":"extra_forbidden","loc":["body",{}],"msg":"Extra inputs are not permitted","input":{value}}}"#,
        place.join(",")
    ))
}

fn gateway(seed: u64) -> Headers {
    vec![
        ("mistral-correlation-id", ids::uuid(seed, 7)),
        ("x-envoy-upstream-service-time", "412".to_owned()),
        ("x-kong-request-id", ids::hex(seed, 6, 32)),
    ]
}

/// The request pair always; the token pair and the cost not when the request counter refused. Never a reset.
fn rate_limit_headers(statuses: &[LimitStatus], tokens_too: bool, cost: i64) -> Headers {
    let find = |name: LimitName| statuses.iter().rev().find(|status_of| status_of.name == name);
    let mut headers = Headers::new();
    if let Some(status_of) = find(LimitName::Rpm) {
        headers.push(("x-ratelimit-limit-req-minute", status_of.max.to_string()));
        headers.push(("x-ratelimit-remaining-req-minute", status_of.remaining.to_string()));
    }
    if let Some(status_of) = find(LimitName::Tpm).filter(|_| tokens_too) {
        headers.push(("x-ratelimit-limit-tokens-minute", status_of.max.to_string()));
        headers.push(("x-ratelimit-remaining-tokens-minute", status_of.remaining.to_string()));
        headers.push(("x-ratelimit-tokens-query-cost", cost.to_string()));
    }
    headers
}

fn usage(answer: &Completion) -> String {
    format!(
        r#""usage":{{"prompt_tokens":{},"total_tokens":{},"completion_tokens":{},"num_cached_tokens":0,"prompt_tokens_details":{{"cached_tokens":0}}}}"#,
        answer.prompt_tokens,
        answer.total_tokens(),
        answer.output_tokens,
    )
}

fn thinking(text: &str) -> String {
    format!(r#"{{"type":"thinking","thinking":[{{"type":"text","text":{}}}]}}"#, quoted(text))
}

fn calls(answer: &Completion) -> String {
    let written = answer.calls.iter().zip(0_u64..).map(|(call, at)| {
        format!(
            r#"{{"id":"{}","function":{{"name":{},"arguments":{}}},"index":{at}}}"#,
            ids::letters(answer.seed, at + 1, 9),
            quoted(&call.name),
            quoted(&call.arguments),
        )
    });
    written.collect::<Vec<_>>().join(",")
}

fn finish(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
        Finish::Safety => "error",
    }
}

/// An unknown member; of `stream_options` the member inside is named.
fn unknown(provider: &Provider, request: &SimulatedRequest) -> Option<RequestError> {
    let options = provider.switches.stream_options;
    let (name, value) = request
        .body
        .as_object()?
        .iter()
        .find(|(name, _)| !(FIELDS.contains(&name.as_str()) || options && *name == "stream_options"))?;
    let inner = value.as_object().filter(|_| name == "stream_options").and_then(|options| options.iter().next());
    Some(match inner {
        Some((member, value)) => {
            RequestError::Unknown { path: vec![name.clone(), member.clone()], value: value.clone() }
        }
        None => RequestError::Unknown { path: vec![name.clone()], value: value.clone() },
    })
}

/// The message rules: how a dialogue may end, what may follow a tool's result, what an assistant must say.
fn order(request: &SimulatedRequest) -> Option<RequestError> {
    let role = |message: &Value| message.get("role").and_then(Value::as_str).unwrap_or("").to_owned();
    let messages = request.messages();
    let wrong = |message: String| Some(RequestError::Order(message));
    let last = messages.last()?;
    let prefixed = last.get("prefix").and_then(Value::as_bool).unwrap_or(false);
    if !(matches!(role(last).as_str(), "user" | "tool") || role(last) == "assistant" && prefixed) {
        let last = role(last);
        return wrong(format!(
            "Expected last role User or Tool (or Assistant with prefix True) for serving but got {last}"
        ));
    }
    if messages.windows(2).any(|pair| role(&pair[0]) == "tool" && role(&pair[1]) == "user") {
        return wrong("Unexpected role 'user' after role 'tool'".to_owned());
    }
    for (at, message) in messages.iter().enumerate().filter(|(_, message)| role(message) == "assistant") {
        let calls = message.get("tool_calls").and_then(Value::as_array).map_or(0, Vec::len);
        let said = message.get("content").is_some_and(|content| !content.is_null() && content != "");
        if calls == 0 && !said {
            return wrong("Assistant message must have either content or tool_calls, but not none.".to_owned());
        }
        let results = messages[at + 1..].iter().take_while(|message| role(message) == "tool").count();
        if calls != results {
            return wrong("Not the same number of function calls and responses".to_owned());
        }
    }
    None
}

/// Nine letters and digits, in calls and in results.
fn tool_ids(request: &SimulatedRequest) -> Option<RequestError> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let ids = request.messages().iter().flat_map(|message| {
        let calls = message.get("tool_calls").and_then(Value::as_array).into_iter().flatten();
        let made = calls.filter_map(|call| text(call.get("id")?));
        made.chain(message.get("tool_call_id").and_then(text)).collect::<Vec<_>>()
    });
    let odd = |id: &String| id.len() != 9 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    ids.filter(odd)
        .map(|id| RequestError::ToolId(format!("Tool call id was {id} but must be a-z, A-Z, 0-9, with a length of 9.")))
        .next()
}
