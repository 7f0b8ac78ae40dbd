//! Reads one choice of a response: its index, its message or delta, and how it ends.

use std::{borrow::Cow, ops::Range};

use super::{
    delta_reader::DeltaReader,
    finish_reason,
    response_reader::{ResponseReader, ResponseShape, TOO_MANY_CHOICES},
    usage,
};
use crate::{
    json::{Json, JsonError, Kind, NameSet, Text},
    upstream::request_edit::body_patch::ObjectMembers,
};

/// A member of an object: its name, and the kind and the position of its value.
struct Member<'t> {
    name: Text<'t>,
    /// The name without escapes.
    key: Cow<'t, str>,
    kind: Kind,
    value: Range<usize>,
}

/// The members of the object at the cursor.
fn members<'t>(json: &mut Json<'t>) -> Result<Vec<Member<'t>>, JsonError> {
    let mut members = Vec::with_capacity(8);
    json.object(|name, json| {
        let kind = json.peek()?;
        let start = json.at();
        json.skip()?;
        members.push(Member { name, key: name.decode(), kind, value: start..json.at() });
        Ok::<_, JsonError>(())
    })?;
    Ok(members)
}

impl Member<'_> {
    fn range(&self) -> Range<usize> {
        self.name.at..self.value.end
    }
}

impl ResponseReader<'_> {
    pub(super) fn choice(&mut self, json: &mut Json<'_>, position: u64) -> Result<(), JsonError> {
        if json.peek()? != Kind::Object {
            return json.skip();
        }
        let start = json.at();
        let all = members(json)?;
        let text = json.text();
        let whole = self.shape == ResponseShape::Whole;
        let wanted = if whole { "message" } else { "delta" };
        let find = |name: &str| all.iter().position(|member| member.key == name && member.kind == Kind::Object);
        let body = find(wanted).or_else(|| find(if whole { "delta" } else { "message" }));
        let provider_index = all
            .iter()
            .find(|member| member.key == "index")
            .filter(|member| member.kind == Kind::Number)
            .and_then(|member| text[member.value.clone()].parse().ok());

        let news_before = self.has_news;
        self.has_news = false;
        // Items of a whole response are choices of their own, even where they share an index.
        let slot = if whole {
            self.states.begin(provider_index, position)
        } else {
            self.states.slot(provider_index, position)
        };
        let slot = slot.ok_or(JsonError { at: start, what: TOO_MANY_CHOICES })?;
        let keeps_function_call = self.states.expects_functions();
        let choice = self.states.at(slot);
        let (index, was_finished, had_content) = (choice.index, choice.finish_reason.is_some(), choice.has_content);
        if let Some(body) = body.map(|at| &all[at]) {
            self.parsed.choices += 1;
            let chars_before = self.parsed.facts.chars;
            let (facts, patch) = (&mut self.parsed.facts, &mut self.parsed.patch);
            let mut delta = DeltaReader { whole, keeps_function_call, choice, facts, patch };
            delta.read(&mut Json::at_byte(text, body.value.start))?;
            self.states.relays(self.parsed.facts.chars - chars_before);
            if !self.states.keeps_within_bounds(slot) {
                return Err(JsonError { at: start, what: "the ids and names of its tool calls are too long" });
            }
        }
        let choice = self.states.at(slot);
        self.has_news |= choice.has_content && !had_content || !was_finished;
        self.has_news |= self.parsed.facts.content;

        let mut kept = ObjectMembers::default();
        let (mut seen, mut added) = (NameSet::default(), Vec::new());
        let mut ended = false;
        for (at, member) in all.iter().enumerate() {
            let name = &*member.key;
            let mut keep = seen.insert(name);
            match (name, member.kind) {
                ("message" | "delta", _) => {
                    keep = body == Some(at);
                    if keep && name != wanted {
                        self.parsed.patch.replace(member.name.at..member.name.end(), format!("\"{wanted}\""));
                    }
                }
                _ if !keep => {}
                ("index", _) if provider_index != Some(index) => {
                    self.parsed.patch.replace(member.value.clone(), index.to_string());
                }
                ("finish_reason", kind) => {
                    let written = (kind == Kind::String).then(|| &text[member.value.start + 1..member.value.end - 1]);
                    ended = self.finish(written, member, slot, was_finished);
                }
                // Moonshot's place of the usage.
                ("usage", Kind::Object) => {
                    let usage = usage::read(&mut Json::at_byte(text, member.value.start), self.states.tokens_max())?;
                    keep = usage.is_none();
                    if let Some(usage) = usage {
                        self.choice_usage = Some((usage, member.value.clone()));
                    }
                }
                _ => {}
            }
            if keep {
                kept.keep(member.range(), &mut self.parsed.patch);
            } else {
                kept.cut(member.range());
            }
        }
        if !seen.contains("index") {
            added.push(format!("\"index\":{index}"));
        }
        if body.is_none() {
            added.push(if whole {
                "\"message\":{\"role\":\"assistant\",\"content\":null}".to_owned()
            } else {
                let has_role = std::mem::replace(&mut self.states.at(slot).has_role, true);
                if has_role { "\"delta\":{}" } else { "\"delta\":{\"role\":\"assistant\"}" }.to_owned()
            });
        }
        if whole && !ended && !seen.contains("finish_reason") {
            let reason = self.end_whole(slot);
            added.push(format!("\"finish_reason\":\"{reason}\""));
        }
        kept.close(&added.join(","), start, &mut self.parsed.patch);
        self.has_news |= news_before || ended;
        Ok(())
    }

    /// Normalises the finish reason of a choice. Returns whether the choice ends here.
    fn finish(&mut self, written: Option<&str>, member: &Member<'_>, slot: usize, was_finished: bool) -> bool {
        let choice = self.states.at(slot);
        // A server that gave up before any content has reached neither a length limit nor a filter.
        let gave_up = written.is_some_and(finish_reason::gave_up) && !choice.has_content;
        let word = if gave_up { Some("stop") } else { written };
        let reason = word.and_then(|word| finish_reason::normalised(word, choice.has_calls()));
        if written.is_some_and(finish_reason::is_failure) {
            self.parsed.ended_with_error = true;
        }
        let Some(reason) = reason.filter(|_| !was_finished) else {
            if self.shape == ResponseShape::Whole {
                let reason = self.end_whole(slot);
                self.parsed.patch.replace(member.value.clone(), format!("\"{reason}\""));
                return true;
            }
            if member.kind != Kind::Null {
                self.parsed.patch.replace(member.value.clone(), "null");
            }
            return false;
        };
        choice.finish_reason = Some(reason);
        let delta = if self.shape == ResponseShape::Chunk { choice.missing_arguments() } else { "{}".to_owned() };
        // The end comes behind the arguments, and those behind the calls that this chunk may begin.
        if delta != "{}" {
            self.parsed.late_ends.push((choice.index, delta, reason));
            self.parsed.patch.replace(member.value.clone(), "null");
            return false;
        }
        if written != Some(reason) {
            self.parsed.patch.replace(member.value.clone(), format!("\"{reason}\""));
        }
        self.parsed.facts.finish_reason = Some(reason.to_owned());
        self.parsed.finish_reasons.push(reason.to_owned());
        true
    }

    /// Ends a choice of a whole response that has no finish reason.
    fn end_whole(&mut self, slot: usize) -> &'static str {
        let choice = self.states.at(slot);
        let reason = finish_reason::normalised("stop", choice.has_calls()).unwrap_or("stop");
        choice.finish_reason = Some(reason);
        self.parsed.finish_reasons.push(reason.to_owned());
        reason
    }
}
