//! Gemini's OpenAI-compatible face: no rate-limit headers, quotas told in error details, cumulative usage, deltas without `index`.

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
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "n",
    "tools",
    "tool_choice",
    "response_format",
    "reasoning_effort",
    "extra_body",
    "modalities",
    "audio",
];
const SIGNATURE: &str = "EpwCCpkCAb4+9vsSimulated==";

pub(crate) struct Gemini;

impl Dialect for Gemini {
    fn prefix(&self) -> &'static str {
        "/v1beta/openai"
    }

    fn check(&self, _: &Provider, model: &Model, request: &SimulatedRequest) -> Option<RequestError> {
        let foreign =
            request.field("extra_body").and_then(Value::as_object).filter(|extra| !extra.contains_key("google"));
        request_checks::unknown_field(request, FIELDS)
            .or_else(|| {
                foreign.map(|extra| RequestError::Unknown {
                    path: vec!["extra_body".into()],
                    value: Value::from(extra.clone()),
                })
            })
            .or_else(|| request_checks::stops(request, 5))
            .or_else(|| effort(request, model))
            .or_else(|| {
                let message =
                    format!("Unable to generate {} candidates. The supported range is from 1 to 8.", request.n);
                (request.n > 8).then_some(RequestError::Value { param: "n", message })
            })
            .or_else(|| request_checks::context(request, model, 0))
            .or_else(|| unsigned(request, model).then_some(RequestError::Signature))
    }

    fn request_error(&self, provider: &Provider, request_error: &RequestError) -> ErrorReply {
        let invalid = |message: &str| error(provider, 400, "INVALID_ARGUMENT", message, None);
        match request_error {
            RequestError::Key | RequestError::Bot => {
                let text = "API key not valid. Please pass a valid API key.";
                let details = format!(
                    r#"[{{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com","metadata":{{"service":"generativelanguage.googleapis.com"}}}},{{"@type":"type.googleapis.com/google.rpc.LocalizedMessage","locale":"en-US","message":"{text}"}}]"#
                );
                error(provider, 400, "INVALID_ARGUMENT", text, Some(details))
            }
            RequestError::Malformed(why) => invalid(&format!("Invalid JSON payload received. {why}")),
            RequestError::NoSuchModel(name) => error(
                provider,
                404,
                "NOT_FOUND",
                &format!(
                    "models/{name} is not found for API version v1main, or is not supported for generateContent. Call ListModels to see the list of available models and their supported methods."
                ),
                None,
            ),
            RequestError::Retired(name) | RequestError::NotOnPlan(name) => error(
                provider,
                404,
                "NOT_FOUND",
                &format!(
                    "This model models/{name} is no longer available to new users. Please update your code to use a newer model for the latest features and improvements."
                ),
                None,
            ),
            RequestError::Unknown { path, .. } => {
                let text =
                    format!("Invalid JSON payload received. Unknown name \"{}\": Cannot find field.", path.join("."));
                let details = format!(
                    r#"[{{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{{"description":{}}}]}}]"#,
                    quoted(&text)
                );
                error(provider, 400, "INVALID_ARGUMENT", &text, Some(details))
            }
            RequestError::InMessage { field, .. } => invalid(&format!("Unknown name \"{field}\": Cannot find field.")),
            RequestError::Value { message, .. } | RequestError::Order(message) | RequestError::ToolId(message) => {
                invalid(message)
            }
            RequestError::MaxTokens { most } => {
                invalid(&format!("The supported range of max_tokens is from 1 to {most}."))
            }
            RequestError::Context { tokens, most } => invalid(&format!(
                "The input token count ({tokens}) exceeds the maximum number of tokens allowed ({most})."
            )),
            RequestError::Signature => invalid(
                "Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly, and missing thought_signature may lead to degraded model performance.",
            ),
        }
    }

    fn limit_error(&self, provider: &Provider, model: &Model, hit: &LimitHit, _: &[LimitStatus]) -> ErrorReply {
        let name = hit.limit.name;
        let day = name.period() == "day";
        let minute =
            60_000_000 - (jiff::Timestamp::now().as_microsecond() + provider.clock_offset_us).rem_euclid(60_000_000);
        let wait_us = if day && !provider.switches.true_day_delay || hit.reason != HitReason::Full {
            minute
        } else {
            hit.wait_us
        };
        let (metric, quota) = quota(name);
        let max = hit.limit.max;
        let bucket = &model.bucket;
        let message = format!(
            "You exceeded your current quota, please check your plan and billing details. For more information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits. To monitor your current usage, head to: https://ai.dev/rate-limit. \n* Quota exceeded for metric: {metric}, limit: {max}, model: {bucket}\nPlease retry in {}.",
            plain_duration(wait_us)
        );
        let value = if hit.reason == HitReason::Zero { String::new() } else { format!(r#","quotaValue":"{max}""#) };
        let details = format!(
            r#"[{{"@type":"type.googleapis.com/google.rpc.Help","links":[{{"description":"Learn more about Gemini API quotas","url":"https://ai.google.dev/gemini-api/docs/rate-limits"}}]}},{{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{{"quotaMetric":"{metric}","quotaId":"{quota}","quotaDimensions":{{"location":"global","model":"{bucket}"}}{value}}}]}},{{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"{}s"}}]"#,
            wait_us / 1_000_000
        );
        error(provider, 429, "RESOURCE_EXHAUSTED", &message, Some(details))
    }

    fn headers(&self, _: &[LimitStatus], _: &Completion) -> Headers {
        server()
    }

    fn whole(&self, provider: &Provider, answer: &Completion) -> String {
        let choices = (0..answer.n).map(|index| {
            let content = quoted(&answer.content.concat());
            let content = if answer.content.is_empty() { String::new() } else { format!(r#""content":{content},"#) };
            let calls = (0..answer.calls.len()).map(|at| call(answer, at)).collect::<Vec<_>>().join(",");
            let called = if calls.is_empty() { calls } else { format!(r#","tool_calls":[{calls}]"#) };
            let finish = finish(provider, answer, false);
            format!(
                r#"{{"finish_reason":"{finish}","index":{index},"message":{{{content}"role":"assistant"{called}}}}}"#
            )
        });
        format!(
            r#"{{"choices":[{}],"created":{},"id":"{}","model":{},"object":"chat.completion","usage":{}}}"#,
            choices.collect::<Vec<_>>().join(","),
            answer.created,
            ids::letters(answer.seed, 0, 23),
            quoted(model(answer)),
            usage(answer, visible(answer)),
        )
    }

    fn events(&self, provider: &Provider, answer: &Completion) -> Vec<Event> {
        let rest = format!(
            r#""created":{},"id":"{}","model":{},"object":"chat.completion.chunk""#,
            answer.created,
            ids::letters(answer.seed, 0, 23),
            quoted(model(answer)),
        );
        let mut so_far = 0;
        let mut events = Vec::new();
        let mut chunk = |delta: &str, index: i64, finish: &str, tokens: i64, paced: bool| {
            so_far += tokens;
            let usage =
                if answer.include_usage { format!(r#","usage":{}"#, usage(answer, so_far)) } else { String::new() };
            let data = format!(r#"{{"choices":[{{"delta":{delta},"index":{index}{finish}}}],{rest}{usage}}}"#);
            events.push(if paced { Event::paced(&data, tokens) } else { Event { tokens, ..Event::at_once(&data) } });
        };
        let end = format!(r#","finish_reason":"{}""#, finish(provider, answer, true));
        let last = answer.content.len().saturating_sub(1);
        for (at, piece) in answer.content.iter().enumerate() {
            for index in 0..answer.n {
                let delta = format!(r#"{{"content":{},"role":"assistant"}}"#, quoted(piece));
                chunk(&delta, index, if at == last { &end } else { "" }, tokens_of(piece), index == 0);
            }
        }
        for at in 0..answer.calls.len() {
            let delta = format!(r#"{{"role":"assistant","tool_calls":[{}]}}"#, call(answer, at));
            chunk(&delta, 0, "", tokens_of(&answer.calls[at].name) + tokens_of(&answer.calls[at].arguments), true);
        }
        if answer.content.is_empty() {
            chunk(r#"{"role":"assistant"}"#, 0, &end, 0, false);
        }
        events.push(Event::done());
        events
    }

    fn models(&self, provider: &Provider, _: i64) -> String {
        let names = provider.models.iter().filter(|model| model.status == Status::Active);
        let names = names.flat_map(|model| std::iter::once(&model.id).chain(&model.aliases));
        let listed = names.map(|name| {
            let display = name.split('-').map(capitalised).collect::<Vec<_>>().join(" ");
            format!(r#"{{"id":"models/{name}","object":"model","owned_by":"google","display_name":"{display}"}}"#)
        });
        format!(r#"{{"object":"list","data":[{}]}}"#, listed.collect::<Vec<_>>().join(","))
    }
}

/// Indented, and in an array unless the switch says bare.
fn error(provider: &Provider, code: u16, status: &str, message: &str, details: Option<String>) -> ErrorReply {
    let details = details.map(|details| format!(r#","details":{details}"#)).unwrap_or_default();
    let error = format!(r#"{{"error":{{"code":{code},"message":{},"status":"{status}"{details}}}}}"#, quoted(message));
    let body = if provider.switches.error_array { indented(&format!("[{error}]")) } else { indented(&error) };
    ErrorReply::json(code, body).with(server())
}

/// JSON with each member on its own line, in its order.
fn indented(json: &str) -> String {
    let mut text = String::with_capacity(json.len() * 2);
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    for letter in json.chars() {
        let structure = !quoted;
        if structure && matches!(letter, '}' | ']') {
            depth -= 1;
            text.push('\n');
            text.push_str(&"  ".repeat(depth));
        }
        text.push(letter);
        match letter {
            '{' | '[' if structure => depth += 1,
            ':' if structure => text.push(' '),
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        if structure && matches!(letter, '{' | '[' | ',') {
            text.push('\n');
            text.push_str(&"  ".repeat(depth));
        }
        escaped = quoted && letter == '\\' && !escaped;
    }
    text
}

fn server() -> Headers {
    vec![
        ("server", "scaffolding on HTTPServer2".into()),
        ("x-content-type-options", "nosniff".into()),
        ("server-timing", "gfet4t7; dur=812".into()),
    ]
}

/// Metric and quota id of a limit.
fn quota(name: LimitName) -> (&'static str, &'static str) {
    let requests = "generativelanguage.googleapis.com/generate_content_free_tier_requests";
    let tokens = "generativelanguage.googleapis.com/generate_content_free_tier_input_token_count";
    match (name.counts(), name.period()) {
        (Counts::Requests, "day") => (requests, "GenerateRequestsPerDayPerProjectPerModel-FreeTier"),
        (Counts::Requests, _) => (requests, "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"),
        (_, "day") => (tokens, "GenerateContentInputTokensPerModelPerDay-FreeTier"),
        _ => (tokens, "GenerateContentInputTokensPerModelPerMinute-FreeTier"),
    }
}

/// `38.123456s`, `800ms`, `11h8m5s`.
fn plain_duration(us: i64) -> String {
    let seconds = us / 1_000_000;
    match seconds {
        0 => format!("{}ms", us / 1_000),
        1..60 => format!("{seconds}.{:06}s", us % 1_000_000),
        60..3_600 => format!("{}m{}s", seconds / 60, seconds % 60),
        _ => format!("{}h{}m{}s", seconds / 3_600, seconds / 60 % 60, seconds % 60),
    }
}

fn model(answer: &Completion) -> &str {
    answer.model.strip_prefix("models/").unwrap_or(&answer.model)
}

/// Tokens of the answer that are told as completion: thinking is only in the total.
fn visible(answer: &Completion) -> i64 {
    answer.output_tokens - answer.reasoning_tokens
}

fn usage(answer: &Completion, completion: i64) -> String {
    format!(
        r#"{{"completion_tokens":{completion},"prompt_tokens":{},"total_tokens":{}}}"#,
        answer.prompt_tokens,
        answer.prompt_tokens + answer.reasoning_tokens + completion,
    )
}

fn finish(provider: &Provider, answer: &Completion, stream: bool) -> &'static str {
    match answer.finish {
        Finish::Length => "length",
        Finish::Safety if provider.switches.safety_mapped => "content_filter",
        Finish::Safety => "SAFETY",
        Finish::ToolCalls if !stream => "tool_calls",
        Finish::ToolCalls | Finish::Stop => "stop",
    }
}

/// One call; only the first of a group is signed, none has an index.
fn call(answer: &Completion, at: usize) -> String {
    let signed = match at {
        0 => format!(r#""extra_content":{{"google":{{"thought_signature":"{SIGNATURE}"}}}},"#),
        _ => String::new(),
    };
    let call = &answer.calls[at];
    format!(
        r#"{{{signed}"function":{{"arguments":{},"name":{}}},"id":"function-call-{}","type":"function"}}"#,
        quoted(&call.arguments),
        quoted(&call.name),
        ids::digits(answer.seed, at as u64 + 1, 19),
    )
}

/// Models from 3 on want the signature of each turn's first call back, within the present question.
fn unsigned(request: &SimulatedRequest, model: &Model) -> bool {
    if !model.id.starts_with("gemini-3") {
        return false;
    }
    let role = |message: &Value, wanted: &str| message.get("role").and_then(Value::as_str) == Some(wanted);
    let since = request.messages().iter().rposition(|message| role(message, "user")).unwrap_or(0);
    request.messages()[since..].iter().filter(|message| role(message, "assistant")).any(|message| {
        let first = message.get("tool_calls").and_then(|calls| calls.get(0));
        let signature =
            first.map(|call| call.pointer("/extra_content/google/thought_signature").and_then(Value::as_str));
        signature.is_some_and(|signature| signature.is_none_or(str::is_empty))
    })
}

fn effort(request: &SimulatedRequest, model: &Model) -> Option<RequestError> {
    let third = model.id.starts_with("gemini-3") || model.id.starts_with("gemma");
    let known: &[&str] =
        if third { &["minimal", "low", "medium", "high"] } else { &["none", "minimal", "low", "medium", "high"] };
    let effort = request_checks::effort(request, known)?;
    Some(RequestError::Value { param: "reasoning_effort", message: format!("Invalid reasoning_effort: {effort}") })
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
