//! Groq: token buckets told in headers and messages, strict parameters, usage in `x_groq`.

use std::fmt::Write as _;

use serde_json::Value;

use crate::simulator::{
    accounting::limit::{Counts, LimitName},
    accounting::window::{HitReason, LimitHit, LimitStatus},
    completion::{Completion, Finish},
    dialects::request_checks::{self, RequestError},
    dialects::{Dialect, ErrorReply, Event, Headers, go_duration, quoted, seconds_up},
    ids,
    provider::{Model, Provider},
    request::SimulatedRequest,
    settings::Status,
};

const FIELDS: &[&str] = &[
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "stop",
    "seed",
    "n",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "functions",
    "function_call",
    "response_format",
    "reasoning_effort",
    "reasoning_format",
    "include_reasoning",
    "frequency_penalty",
    "presence_penalty",
    "service_tier",
    "user",
    "documents",
    "citation_options",
    "compound_custom",
    "search_settings",
    "disable_tool_validation",
];
const ORGANISATION: &str = "org_01simulatedsimulated000000";
const FINGERPRINT: &str = "fp_a28a1d1b0f";

pub(crate) struct Groq;

impl Dialect for Groq {
    fn prefix(&self) -> &'static str {
        "/openai/v1"
    }

    fn check(&self, _: &Provider, model: &Model, request: &SimulatedRequest) -> Option<RequestError> {
        let unsupported = |role: &str, field: &str| match field {
            "role" | "content" | "tool_calls" | "tool_call_id" => true,
            "name" => role == "tool",
            "reasoning" => model.can.reasoning,
            _ => false,
        };
        let wrong =
            |param: &'static str, message: &str| Some(RequestError::Value { param, message: message.to_owned() });
        request_checks::unknown_field(request, FIELDS)
            .or_else(|| request_checks::message_field(request, unsupported))
            .or_else(|| if request.n > 1 { wrong("n", "'n' : number must be at most 1") } else { None })
            .or_else(|| request_checks::stops(request, 4))
            .or_else(|| {
                if request.tools().len() > 128 {
                    wrong("tools", "'tools' : maximum number of items is 128")
                } else {
                    None
                }
            })
            .or_else(|| reasoning(request, model))
            .or_else(|| formats(request))
            .or_else(|| images(request, model))
            .or_else(|| {
                let above = request.max_tokens.is_some_and(|max| max > model.max_output);
                above.then_some(RequestError::MaxTokens { most: model.max_output })
            })
            .or_else(|| request_checks::context(request, model, 0))
    }

    fn request_error(&self, _: &Provider, request_error: &RequestError) -> ErrorReply {
        let invalid = |message: &str, rest: &str| error(400, message, "invalid_request_error", rest);
        match request_error {
            RequestError::Bot => ErrorReply {
                status: 403,
                headers: vec![("server", "cloudflare".into())],
                body: "error code: 1010\n".into(),
                content_type: "text/plain; charset=UTF-8",
            },
            RequestError::Key => error(401, "Invalid API Key", "invalid_request_error", r#","code":"invalid_api_key""#),
            RequestError::Malformed(why) => invalid(why, ""),
            RequestError::NoSuchModel(name) | RequestError::NotOnPlan(name) => error(
                404,
                &format!("The model `{name}` does not exist or you do not have access to it."),
                "invalid_request_error",
                r#","code":"model_not_found""#,
            ),
            RequestError::Retired(name) => invalid(
                &format!(
                    "The model `{name}` has been decommissioned and is no longer supported. Please refer to \
                     https://console.groq.com/docs/deprecations for a recommendation on which model to use instead."
                ),
                r#","code":"model_decommissioned""#,
            ),
            RequestError::Unknown { path, .. } => {
                let name = path.join(".");
                let close = FIELDS.iter().find(|known| strsim::levenshtein(known, &name) <= 2);
                let hint = close.map(|known| format!(", did you mean '{known}'?")).unwrap_or_default();
                invalid(&format!("property '{name}' is unsupported{hint}"), "")
            }
            RequestError::InMessage { at, role, field } => invalid(
                &format!(
                    "'messages.{at}' : for 'role:{role}' the following must be satisfied[('messages.{at}' : property '{field}' is unsupported)]"
                ),
                "",
            ),
            RequestError::Value { message, .. } | RequestError::Order(message) | RequestError::ToolId(message) => {
                invalid(message, "")
            }
            RequestError::Signature => invalid("failed to parse tool call", ""),
            RequestError::MaxTokens { most } => invalid(
                &format!(
                    "`max_tokens` must be less than or equal to `{most}`, the maximum value for `max_tokens` is less than the `context_window` for this model"
                ),
                r#","param":"max_tokens""#,
            ),
            RequestError::Context { .. } => invalid(
                "Please reduce the length of the messages or completion.",
                r#","code":"context_length_exceeded","param":"messages""#,
            ),
        }
    }

    fn limit_error(&self, _: &Provider, model: &Model, hit: &LimitHit, statuses: &[LimitStatus]) -> ErrorReply {
        let (long, short) = (spelled(hit.limit.name), hit.limit.name.as_str().to_uppercase());
        let kind = if hit.limit.name.counts() == Counts::Requests { "requests" } else { "tokens" };
        let (id, max, used, requested) = (&model.id, hit.limit.max, hit.used, hit.requested);
        let upgrade = "Need more tokens? Upgrade to Dev Tier today at https://console.groq.com/settings/billing";
        let place =
            format!("model `{id}` in organization `{ORGANISATION}` service tier `on_demand` on {long} ({short})");
        let rest = r#","code":"rate_limit_exceeded""#;
        if hit.reason == HitReason::Full {
            // The message goes by whole tokens, as the provider's own does.
            let wait = go_duration(hit.wait_us);
            let message = format!(
                "Rate limit reached for {place}: Limit {max}, Used {used}, Requested {requested}. Please try again in {wait}. {upgrade}"
            );
            let retry = vec![("retry-after", seconds_up(hit.wait_us).to_string())];
            return error(429, &message, kind, rest).with(rate_limit_headers(statuses)).with(retry);
        }
        let message = format!(
            "Request too large for {place}: Limit {max}, Requested {requested}, please reduce your message size and try again. {upgrade}"
        );
        error(413, &message, kind, rest).with(rate_limit_headers(statuses)).with(vec![("retry-after", "65".into())])
    }

    fn headers(&self, statuses: &[LimitStatus], answer: &Completion) -> Headers {
        let mut headers = vec![("x-request-id", request_id(answer))];
        headers.extend(rate_limit_headers(statuses));
        headers
    }

    fn whole(&self, _: &Provider, answer: &Completion) -> String {
        let text = answer.content.concat();
        let mut message = String::from(r#"{"role":"assistant""#);
        if answer.calls.is_empty() {
            let _ = write!(message, r#","content":{}"#, quoted(&text));
        }
        if !answer.reasoning.is_empty() {
            let _ = write!(message, r#","reasoning":{}"#, quoted(&answer.reasoning.concat()));
        }
        if !answer.calls.is_empty() {
            let _ = write!(message, r#","tool_calls":[{}]"#, calls(answer, false));
        }
        let reasoned = match answer.reasoning_tokens {
            0 => String::new(),
            tokens => format!(r#","completion_tokens_details":{{"reasoning_tokens":{tokens}}}"#),
        };
        format!(
            r#"{{"id":"chatcmpl-{}","object":"chat.completion","created":{},"model":{},"choices":[{{"index":0,"message":{message}}},"logprobs":null,"finish_reason":"{}"}}],"usage":{{{}{reasoned}}},"usage_breakdown":null,"system_fingerprint":"{FINGERPRINT}","x_groq":{{"id":"{}","seed":{}}},"service_tier":"on_demand"}}"#,
            ids::uuid(answer.seed, 0),
            answer.created,
            quoted(&answer.model),
            finish(answer.finish),
            usage(answer),
            request_id(answer),
            answer.seed >> 33,
        )
    }

    fn events(&self, _: &Provider, answer: &Completion) -> Vec<Event> {
        let head = format!(
            r#"{{"id":"chatcmpl-{}","object":"chat.completion.chunk","created":{},"model":{},"system_fingerprint":"{FINGERPRINT}","choices":["#,
            ids::uuid(answer.seed, 0),
            answer.created,
            quoted(&answer.model),
        );
        let chunk = |delta: &str, finish: &str| {
            format!(r#"{head}{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}]"#)
        };
        let id = request_id(answer);
        let first = if answer.calls.is_empty() {
            r#"{"role":"assistant","content":""}"#
        } else {
            r#"{"role":"assistant","content":null}"#
        };
        let mut events = vec![Event::at_once(&format!(r#"{},"x_groq":{{"id":"{id}"}}}}"#, chunk(first, "null")))];
        let channel = if answer.model.contains("gpt-oss") { r#","channel":"analysis""# } else { "" };
        for piece in &answer.reasoning {
            let delta = format!(r#"{{"reasoning":{}{channel}}}"#, quoted(piece));
            events.push(Event::paced(
                &format!("{}}}", chunk(&delta, "null")),
                crate::simulator::request::tokens_of(piece),
            ));
        }
        for piece in &answer.content {
            let delta = format!(r#"{{"content":{}}}"#, quoted(piece));
            events.push(Event::paced(
                &format!("{}}}", chunk(&delta, "null")),
                crate::simulator::request::tokens_of(piece),
            ));
        }
        if !answer.calls.is_empty() {
            let delta = format!(r#"{{"tool_calls":[{}]}}"#, calls(answer, true));
            events.push(Event::paced(
                &format!("{}}}", chunk(&delta, "null")),
                answer.output_tokens - answer.reasoning_tokens,
            ));
        }
        let last = chunk("{}", &format!(r#""{}""#, finish(answer.finish)));
        let usage = usage(answer);
        events.push(Event::at_once(&format!(r#"{last},"x_groq":{{"id":"{id}","usage":{{{usage}}}}}}}"#)));
        if answer.include_usage {
            events.push(Event::at_once(&format!(r#"{head}],"usage":{{{usage}}},"service_tier":"on_demand"}}"#)));
        }
        events.push(Event::done());
        events
    }

    fn models(&self, provider: &Provider, created: i64) -> String {
        let listed = provider.models.iter().filter(|model| model.status == Status::Active).map(|model| {
            format!(
                r#"{{"id":{},"object":"model","created":{created},"owned_by":"{}","active":true,"context_window":{},"public_apps":null,"max_completion_tokens":{}}}"#,
                quoted(&model.id),
                model.id.split_once('/').map_or("Groq", |(owner, _)| owner),
                model.context,
                model.max_output,
            )
        });
        format!(r#"{{"object":"list","data":[{}]}}"#, listed.collect::<Vec<_>>().join(","))
    }
}

fn error(status: u16, message: &str, kind: &str, rest: &str) -> ErrorReply {
    let body = format!(r#"{{"error":{{"message":{},"type":"{kind}"{rest}}}}}"#, quoted(message));
    ErrorReply::json(status, body).with(vec![("x-request-id", "req_01kb0simulatedsimulated0".into())])
}

/// Only the day's requests and the minute's tokens stand in headers.
fn rate_limit_headers(statuses: &[LimitStatus]) -> Headers {
    let find = |name: LimitName| statuses.iter().rev().find(|status_of| status_of.name == name);
    let (requests, tokens) = (find(LimitName::Rpd), find(LimitName::Tpm));
    let mut headers = vec![("x-groq-region", "fra".to_owned())];
    let pairs = [
        ("x-ratelimit-limit-requests", requests.map(|status_of| status_of.max.to_string())),
        ("x-ratelimit-limit-tokens", tokens.map(|status_of| status_of.max.to_string())),
        ("x-ratelimit-remaining-requests", requests.map(|status_of| status_of.remaining.to_string())),
        ("x-ratelimit-remaining-tokens", tokens.map(|status_of| status_of.remaining.to_string())),
        ("x-ratelimit-reset-requests", requests.map(|status_of| go_duration(status_of.until_full_us))),
        ("x-ratelimit-reset-tokens", tokens.map(|status_of| go_duration(status_of.until_full_us))),
    ];
    headers.extend(pairs.into_iter().filter_map(|(name, value)| Some((name, value?))));
    headers.extend([("server", "cloudflare".to_owned()), ("via", "1.1 google".to_owned())]);
    headers
}

fn spelled(name: LimitName) -> String {
    let what = match name.counts() {
        Counts::Requests => "requests",
        Counts::Input => "input tokens",
        Counts::Tokens | Counts::Calls => "tokens",
    };
    format!("{what} per {}", name.period())
}

fn request_id(answer: &Completion) -> String {
    format!("req_01kb0{}", ids::small(answer.seed, 9, 21))
}

fn usage(answer: &Completion) -> String {
    let seconds = answer.whole_ms() / 1_000.0;
    format!(
        r#""queue_time":0.0431,"prompt_tokens":{},"prompt_time":0.0036,"completion_tokens":{},"completion_time":{seconds:.4},"total_tokens":{},"total_time":{:.4}"#,
        answer.prompt_tokens,
        answer.output_tokens,
        answer.total_tokens(),
        seconds + 0.0036,
    )
}

fn calls(answer: &Completion, indexed: bool) -> String {
    let written = answer.calls.iter().zip(0_u64..).map(|(call, at)| {
        let index = if indexed { format!(r#","index":{at}"#) } else { String::new() };
        format!(
            r#"{{"id":"fc_{}","type":"function","function":{{"name":{},"arguments":{}}}{index}}}"#,
            ids::uuid(answer.seed, at + 1),
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
        Finish::Safety => "content_filter",
    }
}

fn reasoning(request: &SimulatedRequest, model: &Model) -> Option<RequestError> {
    let wrong = |param: &'static str, message: String| Some(RequestError::Value { param, message });
    if let Some(effort) = request.text("reasoning_effort") {
        let known: &[&str] = match model.id.as_str() {
            id if id.contains("gpt-oss") => &["low", "medium", "high"],
            _ => &["none", "default", "low", "medium", "high"],
        };
        if !model.can.reasoning {
            return wrong("reasoning_effort", "reasoning_effort is not supported with this model".into());
        }
        if !known.contains(&effort) {
            return wrong("reasoning_effort", format!("`reasoning_effort` must be one of `{}`", known.join("`, `")));
        }
    }
    match (request.text("reasoning_format"), request.field("include_reasoning")) {
        (Some(_), Some(_)) => {
            wrong("reasoning_format", "cannot specify both reasoning_format and include_reasoning".into())
        }
        (Some("raw"), None) if !request.tools().is_empty() || request.field("response_format").is_some() => wrong(
            "reasoning_format",
            "reasoning_format must be one of `hidden`, `parsed` with tools or JSON mode".into(),
        ),
        _ => None,
    }
}

fn formats(request: &SimulatedRequest) -> Option<RequestError> {
    let wrong = |message: String| Some(RequestError::Value { param: "response_format", message });
    let format = request.field("response_format")?;
    if format["type"] == "json_object"
        && !request.messages().iter().any(|message| message.to_string().to_lowercase().contains("json"))
    {
        return wrong(
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
                .into(),
        );
    }
    let schema = format.pointer("/json_schema/schema")?;
    let name = format.pointer("/json_schema/name").and_then(Value::as_str).unwrap_or("schema");
    let refused =
        ["minItems", "maxItems"].into_iter().find(|word| schema.to_string().contains(&format!("\"{word}\"")))?;
    wrong(format!("invalid schema for response format: response_format/json_schema/{name}: {refused} is not supported"))
}

fn images(request: &SimulatedRequest, model: &Model) -> Option<RequestError> {
    let message = match request.images {
        0 => return None,
        _ if !model.can.vision => "messages[0].content must be a string".to_owned(),
        1..=3 => return None,
        _ => "Too many images provided. This model supports up to 3 images".to_owned(),
    };
    Some(RequestError::Value { param: "messages", message })
}
