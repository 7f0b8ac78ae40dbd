//! Reads a request and writes it as a chat completion.

use std::{fmt::Write as _, sync::Arc};

use bytes::Bytes;

use super::{
    answer::Answer,
    compaction::{Compaction, SUMMARY_REQUEST},
    conversation::Conversation,
    echo,
    encoder::{Manners, OnEnd, ResponseEncoder},
    node::{Members, Node},
    object::{ResponseObject, quoted},
    reasoning::ReasoningForm,
    seal::Sealer,
    stored::{self, References},
    tools::{Choice, Tools},
};
use crate::{
    json::Kind,
    protocol::{BadRequest, Decoded, chat},
};

/// Serves requests that name no model: Codex sends some.
const DEFAULT_MODEL: &str = "free-smart";
/// Members of `include` that ask for something no provider here returns.
const LOGPROBS: &str = "message.output_text.logprobs";
/// Windows tools put it before a text.
const BYTE_ORDER_MARK: char = '\u{FEFF}';
/// Parameters that mean the same in a chat completion.
const SAME_PARAMETERS: [&str; 6] =
    ["temperature", "top_p", "presence_penalty", "frequency_penalty", "user", "parallel_tool_calls"];

/// The endpoint that a request was sent to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Purpose {
    /// `/v1/responses`
    #[default]
    Respond,
    /// `/v1/responses/compact`
    Compact,
    /// `/v1/responses/input_tokens`
    Count,
}

/// Everything beside the body that decides how a request is read and answered.
#[derive(Default)]
pub struct Options {
    pub purpose: Purpose,
    pub manners: Manners,
    /// Opens and seals. `None`: no key is set.
    pub sealer: Option<Arc<Sealer>>,
    /// The stored conversation that `previous_response_id` names, as a JSON array of items.
    pub history: Option<String>,
    /// The share of the conversation to keep, if its beginning is to be left out.
    pub kept_share: Option<f64>,
    /// Items of the store that the request or its history names, by their ids, as JSON.
    pub references: Vec<(String, String)>,
    /// Receives the finished response. `None`: it is not stored.
    pub on_end: Option<OnEnd>,
}

/// The body of a request, which is one JSON object. It is read once, however often it is decoded.
pub struct RequestBody<'b>(Members<'b>);

impl<'b> RequestBody<'b> {
    /// The error is where it is no JSON object.
    pub fn read(body: &'b Bytes) -> Result<Self, BadRequest> {
        let text = chat::utf8(body)?;
        Ok(Self(Node::root(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text))?.members()?))
    }

    /// What of the request needs the store.
    pub fn references(&self) -> Result<References, BadRequest> {
        stored::references(&self.0)
    }

    /// Whether the beginning of a conversation that is too long may be left out.
    pub fn truncates(&self) -> bool {
        self.0.raw_or_null("truncation") == "\"auto\""
    }

    /// Writes the request as a chat completion; the error is the first mistake in it.
    pub fn decode(&self, options: Options) -> Result<Decoded, BadRequest> {
        decode(&self.0, options)
    }
}

fn decode(members: &Members<'_>, options: Options) -> Result<Decoded, BadRequest> {
    refuse_unsupported(members, &options)?;

    let history = options.history.as_deref().map(Node::root).transpose()?;
    let mut tools = Tools::default();
    if let Some(list) = members.get("tools") {
        tools.declare(list)?;
    }
    let references = options.references.iter().map(|(id, item)| Ok((id.as_str(), Node::root(item)?)));
    let references = references.collect::<Result<Vec<_>, BadRequest>>()?;
    let mut conversation = Conversation::new(options.sealer.as_deref(), references);
    conversation.lenient = options.purpose != Purpose::Respond;
    read_input(members, history, &mut conversation, &mut tools, options.purpose)?;
    if let Some(share) = options.kept_share {
        conversation.truncate(share);
    }
    let compacts = options.purpose == Purpose::Compact || conversation.compacts;
    if compacts {
        conversation.lenient = true;
        conversation.push_message("user", SUMMARY_REQUEST);
    }
    let choice = members.get("tool_choice").map_or_else(|| Ok(Choice::default()), |choice| tools.choice(choice))?;

    let mut dropped = std::mem::take(&mut conversation.dropped);
    dropped.extend(std::mem::take(&mut tools.hosted));
    let reasoning = read_reasoning(members, &options, &mut dropped)?;
    let mut chat_body = begin_body(members, options.purpose)?;
    conversation.write(&mut chat_body)?;
    if !compacts {
        write_tools(&tools, &choice, &mut chat_body)?;
        write_format(members, &mut chat_body)?;
    }
    write_parameters(members, &mut chat_body)?;
    chat_body.push('}');
    let mut request = chat::decode(Bytes::from(chat_body)).map_err(renamed)?;
    request.session = members.text("prompt_cache_key")?.map(|key| key.decode().into_owned());

    let compaction = match (compacts, &options.sealer) {
        (false, _) => None,
        (true, Some(sealer)) => {
            let is_endpoint = options.purpose == Purpose::Compact;
            Some(Compaction { sealer: sealer.clone(), is_endpoint, summary: String::new() })
        }
        (true, None) => return Err(no_key(members.object())),
    };
    let echo = echo::write(members, options.on_end.is_some())?;
    let object = ResponseObject::new(request.model.clone(), echo);
    let input = if options.on_end.is_some() { stored::own_items(members, &object.key)? } else { String::new() };
    let answer = Answer::new(object.key.clone(), tools.into_table(), reasoning);
    let encoder = ResponseEncoder {
        object,
        answer,
        manners: options.manners,
        compaction,
        has_begun: false,
        input,
        on_end: options.on_end,
    };
    Ok(Decoded { request, encoder: Some(Box::new(encoder)), dropped })
}

/// Features that need a server that keeps state. The message says what to do instead.
fn refuse_unsupported(members: &Members<'_>, options: &Options) -> Result<(), BadRequest> {
    if let Some(background) = members.get("background")
        && background.boolean()?
    {
        return Err(
            background.invalid("Background responses are not supported; send `\"background\": false`.".to_owned())
        );
    }
    for (name, instead) in [
        ("conversation", "Conversations are not stored; send the whole conversation as `input`."),
        ("prompt", "Prompt templates are not stored; send the text as `instructions` and `input`."),
    ] {
        if let Some(node) = members.get(name) {
            return Err(node.invalid(instead.to_owned()));
        }
    }
    if let Some(previous) = members.get("previous_response_id")
        && options.history.is_none()
    {
        let id = previous.string()?.decode();
        return Err(BadRequest { code: "previous_response_not_found", ..previous.invalid(not_found(&id)) });
    }
    Ok(())
}

/// The message about a response that is not stored.
pub fn not_found(id: &str) -> String {
    let id: String = id.chars().take(100).collect();
    format!(
        "No stored response has the id `{id}`. Responses are stored only where the operator sets `[responses] store` (such as \
         \"7d\"), and only for the key that created them; without it, send the whole conversation as `input`."
    )
}

fn no_key(body: Node<'_>) -> BadRequest {
    let message =
        "Compaction needs a key that seals the summary, and none is set: set TOLLFREE_SEAL_KEY or TOLLFREE_ADMIN_KEY.";
    BadRequest { param: None, ..body.invalid(message.to_owned()) }
}

fn read_input<'a>(
    members: &Members<'a>,
    history: Option<Node<'a>>,
    conversation: &mut Conversation<'a>,
    tools: &mut Tools<'a>,
    purpose: Purpose,
) -> Result<(), BadRequest> {
    if let Some(instructions) = members.get("instructions") {
        instructions.string()?;
        conversation.push_message("system", instructions.raw());
    }
    if let Some(history) = history {
        history.items()?.into_iter().try_for_each(|item| conversation.item(item, tools))?;
    }
    match members.get("input") {
        Some(input) if input.kind() == Kind::String => conversation.push_message("user", input.raw()),
        Some(input) if input.kind() == Kind::Array => {
            input.items()?.into_iter().try_for_each(|item| conversation.item(item, tools))?;
        }
        Some(input) => return Err(input.wrong("a string or an array of items")),
        None if history.is_none() && purpose != Purpose::Count => return Err(members.object().missing("input")),
        None => {}
    }
    if conversation.is_empty() {
        // An empty list has nothing to answer.
        let input = members.get("input").unwrap_or_else(|| members.object());
        return Err(input.wrong("at least one item"));
    }
    Ok(())
}

fn read_reasoning(
    members: &Members<'_>,
    options: &Options,
    dropped: &mut Vec<String>,
) -> Result<ReasoningForm, BadRequest> {
    let mut form = ReasoningForm::default();
    if let Some(reasoning) = members.get("reasoning") {
        let reasoning = reasoning.members()?;
        form.is_summary = reasoning.text("summary")?.is_some_and(|summary| summary.raw != "none");
    }
    if let Some(include) = members.get("include") {
        for item in include.items()? {
            match item.string()?.raw {
                "reasoning.encrypted_content" => form.sealer.clone_from(&options.sealer),
                LOGPROBS => dropped.push(LOGPROBS.to_owned()),
                _ => {}
            }
        }
    }
    Ok(form)
}

/// The chat completion up to its messages.
fn begin_body(members: &Members<'_>, purpose: Purpose) -> Result<String, BadRequest> {
    let model = match members.get("model") {
        Some(model) => {
            model.string()?;
            model.raw().to_owned()
        }
        None if purpose == Purpose::Compact => return Err(members.object().missing("model")),
        None => quoted(DEFAULT_MODEL),
    };
    let mut body = format!("{{\"model\":{model}");
    if purpose == Purpose::Respond
        && let Some(stream) = members.get("stream")
        && stream.boolean()?
    {
        body.push_str(",\"stream\":true,\"stream_options\":{\"include_usage\":true}");
    }
    body.push_str(",\"messages\":");
    Ok(body)
}

fn write_tools(tools: &Tools<'_>, choice: &Choice, body: &mut String) -> Result<(), BadRequest> {
    if tools.is_empty() {
        return Ok(());
    }
    let before = body.len();
    body.push_str(",\"tools\":");
    if !tools.write(choice.allowed.as_deref(), body)? {
        body.truncate(before);
        return Ok(());
    }
    if let Some(choice) = &choice.json {
        body.push_str(",\"tool_choice\":");
        body.push_str(choice);
    }
    Ok(())
}

/// `text.format` as `response_format`.
fn write_format(members: &Members<'_>, body: &mut String) -> Result<(), BadRequest> {
    let Some(format) = members.get("text").map(Node::members).transpose()?.and_then(|text| text.get("format")) else {
        return Ok(());
    };
    let format = format.members()?;
    let kind = format.need("type")?;
    match kind.string()?.raw {
        "text" => {}
        "json_object" => body.push_str(",\"response_format\":{\"type\":\"json_object\"}"),
        "json_schema" => {
            let (name, schema) = (format.need("name")?, format.need("schema")?);
            name.string()?;
            schema.members()?;
            body.push_str(",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":");
            body.push_str(name.raw());
            if let Some(description) = format.get("description") {
                description.string()?;
                body.push_str(",\"description\":");
                body.push_str(description.raw());
            }
            body.push_str(",\"schema\":");
            body.push_str(schema.raw());
            if let Some(strict) = format.get("strict") {
                body.push_str(if strict.boolean()? { ",\"strict\":true" } else { ",\"strict\":false" });
            }
            body.push_str("}}");
        }
        _ => return Err(kind.wrong("`text`, `json_object` or `json_schema`")),
    }
    Ok(())
}

fn write_parameters(members: &Members<'_>, body: &mut String) -> Result<(), BadRequest> {
    for name in SAME_PARAMETERS {
        // Providers call in parallel by default.
        if let Some(value) = members.get(name).filter(|value| !(name == "parallel_tool_calls" && value.raw() == "true"))
        {
            // Writing to a `String` cannot fail.
            let _ = write!(body, ",\"{name}\":{}", value.raw());
        }
    }
    if let Some(most) = members.get("max_output_tokens") {
        let _ = write!(body, ",\"max_tokens\":{}", most.raw());
    }
    if let Some(effort) = members.get("reasoning").map(Node::members).transpose()?.and_then(|r| r.get("effort")) {
        let _ = write!(body, ",\"reasoning_effort\":{}", effort.raw());
    }
    if let Some(tier) = members.text("service_tier")?
        && matches!(tier.raw, "flex" | "priority")
    {
        let _ = write!(body, ",\"service_tier\":\"{}\"", tier.raw);
    }
    Ok(())
}

/// A mistake in a parameter that has another name in a chat completion.
fn renamed(mut bad: BadRequest) -> BadRequest {
    let Some(param) = &bad.param else { return bad };
    if let Some(name) = parameter_name(param) {
        bad.message = bad.message.replace(&format!("`{param}`"), &format!("`{name}`"));
        bad.param = Some(name.to_owned());
    }
    bad
}

/// The name of a chat completion's parameter in a request of this protocol, if it is another one.
pub fn parameter_name(chat_name: &str) -> Option<&'static str> {
    match chat_name.split(['.', '[']).next()? {
        "messages" => Some("input"),
        "max_tokens" | "max_completion_tokens" => Some("max_output_tokens"),
        "reasoning_effort" => Some("reasoning.effort"),
        "response_format" => Some("text.format"),
        _ => None,
    }
}
