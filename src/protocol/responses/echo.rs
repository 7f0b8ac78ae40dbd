//! The members of a response that repeat its request.

use std::fmt::Write as _;

use super::{
    node::{Members, Node},
    object::quoted,
};
use crate::{json::Kind, protocol::BadRequest};

/// Members that are repeated as they are, with what stands for an absent one.
const REPEATED: [(&str, &str); 15] = [
    ("instructions", "null"),
    ("tool_choice", "\"auto\""),
    ("parallel_tool_calls", "true"),
    ("temperature", "1.0"),
    ("top_p", "1.0"),
    ("presence_penalty", "0.0"),
    ("frequency_penalty", "0.0"),
    ("top_logprobs", "0"),
    ("truncation", "\"disabled\""),
    ("metadata", "{}"),
    ("previous_response_id", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("safety_identifier", "null"),
    ("prompt_cache_key", "null"),
];

/// `"instructions":null,"tools":[],…`
pub(super) fn write(members: &Members<'_>, stores: bool) -> Result<String, BadRequest> {
    let mut echo = String::with_capacity(1_024);
    for (name, absent) in REPEATED {
        // Writing to a `String` cannot fail.
        let _ = write!(echo, "\"{name}\":{},", members.get(name).map_or(absent, Node::raw));
    }
    if let Some(truncation) = members.text("truncation")?
        && !matches!(truncation.raw, "auto" | "disabled")
    {
        return Err(members.need("truncation")?.wrong("`auto` or `disabled`"));
    }
    if let Some(metadata) = members.get("metadata") {
        metadata.members()?;
    }
    let _ = write!(echo, "\"user\":{},", members.raw_or_null("user"));
    echo.push_str("\"tools\":[");
    let tools = members.get("tools").map(Node::items).transpose()?.unwrap_or_default();
    for (at, tool) in tools.into_iter().enumerate() {
        echo.push_str(if at == 0 { "" } else { "," });
        write_tool(tool, &mut echo)?;
    }
    echo.push_str("],\"text\":");
    write_text(members, &mut echo)?;
    let reasoning = members.get("reasoning").map(Node::members).transpose()?;
    let of = |name: &str| reasoning.as_ref().map_or("null", |reasoning| reasoning.raw_or_null(name));
    let _ = write!(echo, ",\"reasoning\":{{\"effort\":{},\"summary\":{}}}", of("effort"), of("summary"));
    let tier = members.text("service_tier")?.map_or("default", |tier| match tier.raw {
        "flex" => "flex",
        "priority" | "fast" => "priority",
        _ => "default",
    });
    let _ = write!(echo, ",\"store\":{stores},\"background\":false,\"service_tier\":\"{tier}\"");
    Ok(echo)
}

/// A function with all its members; other tools as they are.
fn write_tool(tool: Node<'_>, echo: &mut String) -> Result<(), BadRequest> {
    let members = tool.members()?;
    if members.text("type")?.is_none_or(|kind| kind.raw != "function") {
        echo.push_str(tool.raw());
        return Ok(());
    }
    echo.push_str("{\"type\":\"function\"");
    for name in ["name", "description", "parameters", "strict"] {
        let _ = write!(echo, ",\"{name}\":{}", members.raw_or_null(name));
    }
    echo.push('}');
    Ok(())
}

fn write_text(members: &Members<'_>, echo: &mut String) -> Result<(), BadRequest> {
    let text = members.get("text").map(Node::members).transpose()?;
    let format = text.as_ref().and_then(|text| text.get("format")).map(Node::members).transpose()?;
    echo.push_str("{\"format\":");
    match format {
        Some(format) if format.text("type")?.is_some_and(|kind| kind.raw == "json_schema") => {
            echo.push_str("{\"type\":\"json_schema\"");
            for name in ["name", "description", "schema"] {
                let _ = write!(echo, ",\"{name}\":{}", format.raw_or_null(name));
            }
            let _ = write!(echo, ",\"strict\":{}}}", format.get("strict").map_or("false", Node::raw));
        }
        Some(format) => echo.push_str(format.object().raw()),
        None => echo.push_str("{\"type\":\"text\"}"),
    }
    if let Some(verbosity) = text.as_ref().and_then(|text| text.get("verbosity")).filter(|v| v.kind() == Kind::String) {
        let _ = write!(echo, ",\"verbosity\":{}", quoted(&verbosity.string()?.decode()));
    }
    echo.push('}');
    Ok(())
}
