//! Sampling, stop sequences, thinking and the form of the output.

use super::{
    mistake::{Mistake, expect, optional, wrong},
    parts::push_escaped,
    wire::Thinking,
};
use crate::{
    domain::KeyDigest,
    json::Kind,
    protocol::json_view::{Members, View},
};

/// Efforts of Anthropic's API. All of them are words that the catalogue ranks.
const EFFORTS: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];
/// Budgets below which thinking is a low or a medium effort.
const LOW_BUDGET: i64 = 4_096;
const MEDIUM_BUDGET: i64 = 16_384;

#[derive(Default)]
pub(super) struct Options {
    /// Top-level members of the chat completion.
    pub members: Vec<(&'static str, String)>,
    pub thinking: Thinking,
    pub stops: Vec<String>,
}

pub(super) fn read(top: &Members<'_>) -> Result<Options, Mistake> {
    let mut options = Options::default();
    for name in ["temperature", "top_p"] {
        if let Some(value) = optional(top, name, Kind::Number)? {
            if !value.raw.parse::<f64>().is_ok_and(|value| (0.0..=1.0).contains(&value)) {
                return Err(wrong(name, "a number from 0 to 1", value));
            }
            options.members.push((name, value.raw.to_owned()));
        }
    }
    if let Some(value) = optional(top, "top_k", Kind::Number)? {
        if value.integer().is_none_or(|k| k < 0) {
            return Err(wrong("top_k", "a whole number", value));
        }
        options.members.push(("top_k", value.raw.to_owned()));
    }
    options.stop_sequences(top)?;
    if let Some(metadata) = optional(top, "metadata", Kind::Object)?
        && let Some(user) =
            optional(&metadata.members(), "user_id", Kind::String).map_err(|mistake| mistake.below("metadata"))?
    {
        options.members.push(("user", user_id(user)));
    }
    let output = optional(top, "output_config", Kind::Object)?.map(View::members).unwrap_or_default();
    options.effort(top, &output)?;
    options.format(top, &output)?;
    Ok(options)
}

/// The longest name of a user that every provider takes.
const USER_MAX: usize = 64;

/// Claude Code names device, account and session here. Providers refuse so long a name, and need not know them.
fn user_id(user: View<'_>) -> String {
    let id = user.string().unwrap_or_default();
    let is_plain = id.len() <= USER_MAX && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if is_plain { user.raw.to_owned() } else { format!("\"{}\"", &KeyDigest::of(&id).hex()[..USER_MAX / 2]) }
}

impl Options {
    fn stop_sequences(&mut self, top: &Members<'_>) -> Result<(), Mistake> {
        let Some(list) = optional(top, "stop_sequences", Kind::Array)? else { return Ok(()) };
        for (i, stop) in list.items().into_iter().enumerate() {
            let text = stop.string().ok_or_else(|| wrong(format!("stop_sequences[{i}]"), "a string", stop))?;
            self.stops.push(text.into_owned());
        }
        if !self.stops.is_empty() {
            self.members.push(("stop", list.raw.to_owned()));
        }
        Ok(())
    }

    /// `output_config.effort`, else what the thinking budget amounts to.
    fn effort(&mut self, top: &Members<'_>, output: &Members<'_>) -> Result<(), Mistake> {
        let mut effort = None;
        if let Some(thinking) = optional(top, "thinking", Kind::Object)? {
            let members = thinking.members();
            let within = |mistake: Mistake| mistake.below("thinking");
            let kind = expect(&members, "type", Kind::String).map_err(within)?;
            self.thinking = match members.string("display").as_deref() {
                Some("omitted") => Thinking::Omitted,
                _ => Thinking::Shown,
            };
            match kind.raw {
                "\"enabled\"" => {
                    let budget = expect(&members, "budget_tokens", Kind::Number).map_err(within)?;
                    effort = Some(match budget.integer().unwrap_or(MEDIUM_BUDGET) {
                        ..LOW_BUDGET => "low",
                        LOW_BUDGET..MEDIUM_BUDGET => "medium",
                        _ => "high",
                    });
                }
                "\"adaptive\"" => {}
                "\"disabled\"" => {
                    self.thinking = Thinking::Hidden;
                    effort = Some("none");
                }
                _ => return Err(within(wrong("type", "`enabled`, `adaptive` or `disabled`", kind))),
            }
        }
        let within = |mistake: Mistake| mistake.below("output_config");
        if let Some(written) = optional(output, "effort", Kind::String).map_err(within)? {
            let Some(known) = EFFORTS.iter().find(|known| written.escaped() == Some(known)) else {
                return Err(within(wrong("effort", "`low`, `medium`, `high`, `xhigh` or `max`", written)));
            };
            if effort != Some("none") {
                effort = Some(known);
            }
        }
        self.members.extend(effort.map(|effort| ("reasoning_effort", format!("\"{effort}\""))));
        Ok(())
    }

    /// `output_config.format`, or `output_format` as its beta named it.
    fn format(&mut self, top: &Members<'_>, output: &Members<'_>) -> Result<(), Mistake> {
        let named = |mistake: Mistake| mistake.below("output_config");
        let (format, path) = match optional(output, "format", Kind::Object).map_err(named)? {
            Some(format) => (format, "output_config.format"),
            None => match optional(top, "output_format", Kind::Object)? {
                Some(format) => (format, "output_format"),
                None => return Ok(()),
            },
        };
        let within = |mistake: Mistake| mistake.below(path);
        let members = format.members();
        let kind = expect(&members, "type", Kind::String).map_err(within)?;
        if kind.raw != "\"json_schema\"" {
            return Err(within(wrong("type", "`json_schema`", kind)));
        }
        let schema = expect(&members, "schema", Kind::Object).map_err(within)?;
        let mut name = String::new();
        push_escaped(&mut name, members.string("name").as_deref().unwrap_or("output"));
        let json =
            format!("{{\"type\":\"json_schema\",\"json_schema\":{{\"name\":\"{name}\",\"schema\":{}}}}}", schema.raw);
        self.members.push(("response_format", json));
        Ok(())
    }
}
