//! A request's body as one provider takes it. Only what must differ is changed; everything else (unknown fields, number
//! formats, order, white space) stays byte for byte.

pub(crate) mod body_patch;
mod messages;
mod prune;
#[cfg(test)]
mod tests;

use std::ops::Range;

use bytes::Bytes;

use crate::{
    domain::{Candidate, ChatRequest, Tier, provider::DialectName},
    json::{Json, JsonError, Kind},
};
use body_patch::{BodyPatch, ObjectMembers};

/// What differs from one attempt to the next, beyond the provider's own ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EditContext {
    /// Sent as the output maximum when the caller named none; what the plan charged.
    pub max_tokens: Option<i64>,
    /// The caller's output maximum is lowered to this.
    pub max_tokens_cap: Option<i64>,
    /// Take schema keywords out that this model has refused.
    pub sanitise_schema: bool,
}

/// A lower output maximum would be of little use: the request goes as it is.
const MIN_OUTPUT_CAP: i64 = 256;

impl EditContext {
    pub fn new(candidate: &Candidate, request: &ChatRequest, sanitise_schema: bool) -> Self {
        Self {
            max_tokens: candidate.default_max_tokens(),
            max_tokens_cap: output_cap(candidate, request),
            sanitise_schema,
        }
    }
}

/// The output that fits a context that is only assumed: servers with a context of this size refuse a larger maximum, which
/// agents usually send. `None`: the caller's maximum fits, or the context is known and the plan has checked it.
fn output_cap(candidate: &Candidate, request: &ChatRequest) -> Option<i64> {
    let model = &candidate.model;
    #[expect(clippy::cast_possible_truncation, reason = "saturates; a prompt has far less than 2^53 tokens")]
    let prompt = (request.size.raw_tokens() * 1.15).ceil() as i64;
    let fits = model.context - prompt;
    let is_over = request.max_tokens.is_some_and(|tokens| tokens > fits);
    (model.context_assumed && fits >= MIN_OUTPUT_CAP && is_over).then_some(fits)
}

/// The body for this candidate.
pub fn edit_request(request: &ChatRequest, candidate: &Candidate, context: EditContext) -> Bytes {
    // `protocol::chat::decode` has checked the text and its grammar; were a body built otherwise, it would go as it is.
    let Ok(text) = std::str::from_utf8(&request.body) else { return request.body.clone() };
    let Ok(patch) = (Edit { text, request, candidate, context }).run() else { return request.body.clone() };
    if patch.is_empty() { request.body.clone() } else { patch.apply(text) }
}

/// A top-level member.
struct Field<'a> {
    name: std::borrow::Cow<'a, str>,
    name_at: Range<usize>,
    value: Range<usize>,
    kind: Kind,
}

struct Edit<'a> {
    text: &'a str,
    request: &'a ChatRequest,
    candidate: &'a Candidate,
    context: EditContext,
}

/// What happens to a top-level member.
enum FieldAction {
    Keep,
    Cut,
    Rename(String),
}

impl<'a> Edit<'a> {
    fn run(self) -> Result<BodyPatch, JsonError> {
        let mut json = Json::new(self.text);
        json.peek()?;
        let start = json.at();
        let mut members = Vec::with_capacity(12);
        json.object(|name, json| {
            let kind = json.peek()?;
            let value_at = json.at();
            json.skip()?;
            let value = value_at..json.at();
            members.push(Field { name: name.decode(), name_at: name.at..name.end(), value, kind });
            Ok::<_, JsonError>(())
        })?;

        let rules = self.inner_rules();
        let mut patch = BodyPatch::default();
        let mut kept = ObjectMembers::default();
        for member in &members {
            let whole = member.name_at.start..member.value.end;
            match self.action(member, &members) {
                FieldAction::Cut => {
                    kept.cut(whole);
                    continue;
                }
                FieldAction::Rename(to) => patch.replace(member.name_at.clone(), quoted(&to)),
                FieldAction::Keep => {}
            }
            kept.keep(whole, &mut patch);
            self.value(member, &rules, &mut patch)?;
        }
        kept.close(&self.added(&members), start, &mut patch);
        Ok(patch)
    }

    fn action(&self, member: &Field<'a>, all: &[Field<'a>]) -> FieldAction {
        let wire = &self.candidate.provider.wire;
        let name = member.name.as_ref();
        // What it asks of our waiting room is no provider's business.
        if name == "service_tier" && self.request.tier != Tier::Standard {
            return FieldAction::Cut;
        }
        let has = |wanted: &str| all.iter().any(|m| m.name == wanted && m.kind != Kind::Null);
        if wire.drop.iter().any(|rule| prune::drops(rule, name, &self.text[member.value.clone()])) {
            return FieldAction::Cut;
        }
        let unnamed = name == "max_tokens" || name == "max_completion_tokens";
        if unnamed && member.kind == Kind::Null && self.adds_maximum() {
            return FieldAction::Cut;
        }
        let target = |from: &str| wire.rename.iter().find(|(f, _)| f == from).map(|(_, to)| to);
        // Of the two names of one maximum the newer wins, wherever only one is known.
        if name == "max_tokens"
            && has("max_completion_tokens")
            && (target(name).is_some() || target("max_completion_tokens").is_some())
        {
            return FieldAction::Cut;
        }
        match target(name) {
            // Null is an absent parameter; renamed it would stand beside a true one.
            Some(_) if member.kind == Kind::Null => FieldAction::Cut,
            Some(to) if to != "max_tokens" && all.iter().any(|m| m.name == to.as_str()) => FieldAction::Cut,
            Some(to) => FieldAction::Rename(to.clone()),
            None => FieldAction::Keep,
        }
    }

    /// Edits inside a member that stays.
    fn value(&self, member: &Field<'a>, rules: &[&str], patch: &mut BodyPatch) -> Result<(), JsonError> {
        match (member.name.as_ref(), member.kind) {
            ("model", _) => patch.replace(member.value.clone(), quoted(&self.candidate.model.id)),
            ("stream_options", Kind::Object) if self.asks_usage() => self.include_usage(member, patch)?,
            ("stream_options", Kind::Null) if self.asks_usage() => {
                patch.replace(member.value.clone(), "{\"include_usage\":true}");
            }
            ("max_tokens" | "max_completion_tokens", Kind::Number) => {
                if let Some(cap) = self.context.max_tokens_cap {
                    patch.replace(member.value.clone(), cap.to_string());
                }
            }
            ("messages", Kind::Array) => messages::edit(self.text, member.value.start, self.candidate, patch)?,
            ("tools" | "response_format", _) if self.context.sanitise_schema => {
                let keywords = &self.candidate.provider.wire.schema_sanitise;
                prune::sanitise(&mut Json::at_byte(self.text, member.value.start), keywords, false, patch)?;
                return Ok(());
            }
            _ => {}
        }
        prune::inside(self.text, &member.name, member.value.start, rules, patch)
    }

    /// Paths below the top level that are taken out.
    fn inner_rules(&self) -> Vec<&'a str> {
        let wire = &self.candidate.provider.wire;
        // A signature that only Gemini knows, left from an earlier turn there.
        let strict = matches!(wire.dialect, DialectName::Groq | DialectName::Cerebras | DialectName::Mistral);
        let signature = strict.then_some("messages[].tool_calls[].extra_content");
        let listed = wire.drop.iter().map(String::as_str).filter(|rule| rule.contains('.'));
        listed.chain(signature.filter(|s| !wire.drop.iter().any(|d| d == s))).collect()
    }

    /// Usage is requested on every stream, except where the provider refuses the option or sends usage anyway.
    fn asks_usage(&self) -> bool {
        let wire = &self.candidate.provider.wire;
        self.request.stream && !wire.usage_unasked && !wire.drop.iter().any(|d| d == "stream_options")
    }

    fn adds_maximum(&self) -> bool {
        self.request.max_tokens.is_none() && self.context.max_tokens.is_some()
    }

    /// `"name":value` pairs that the provider must get and the caller did not write.
    fn added(&self, members: &[Field<'a>]) -> String {
        let mut added = Vec::new();
        if self.asks_usage() && !members.iter().any(|m| m.name == "stream_options") {
            added.push("\"stream_options\":{\"include_usage\":true}".to_owned());
        }
        if let Some(most) = self.context.max_tokens.filter(|_| self.adds_maximum()) {
            let renamed = self.candidate.provider.wire.rename.iter().find(|(from, _)| from == "max_tokens");
            let name = renamed.map_or("max_tokens", |(_, to)| to);
            added.push(format!("{}:{most}", quoted(name)));
        }
        added.join(",")
    }

    fn include_usage(&self, member: &Field<'a>, patch: &mut BodyPatch) -> Result<(), JsonError> {
        let (mut asked, mut empty) = (None, true);
        Json::at_byte(self.text, member.value.start).object(|name, json| {
            empty = false;
            json.peek()?;
            let at = json.at();
            json.skip()?;
            if name.raw == "include_usage" {
                asked = Some(at..json.at());
            }
            Ok::<_, JsonError>(())
        })?;
        match asked {
            Some(value) if &self.text[value.clone()] == "true" => {}
            Some(value) => patch.replace(value, "true"),
            None => {
                let comma = if empty { "" } else { "," };
                patch.insert(member.value.start + 1, format!("\"include_usage\":true{comma}"));
            }
        }
        Ok(())
    }
}

/// As a JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
