//! The state of a response over the chunks of its stream: its identity, its choices and their tool calls.

use jiff::Timestamp;
use serde_json::json;

use super::{
    arguments::{ArgumentsScan, as_object},
    finish_reason,
};
use crate::upstream::bounds::{MAX_CALLS, MAX_CHOICES, MAX_IDENTITY_CHARS, MAX_KEPT_BYTES};

/// What the request lets one expect of its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Number of requested choices; 0 counts as one.
    pub n: u64,
    /// Larger counts of tokens, of the prompt or of one choice, are damage.
    pub tokens_max: i64,
    /// Choices have a text in the place of a message.
    pub has_texts: bool,
    /// Events are those of a transcript.
    pub has_transcripts: bool,
    /// The request has `functions`, and expects a `function_call` in the place of tool calls.
    pub has_functions: bool,
}

impl Default for Expected {
    fn default() -> Self {
        Self { n: 1, tokens_max: i64::MAX, has_texts: false, has_transcripts: false, has_functions: false }
    }
}

/// The provider's names of a response, as far as it has sent them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ResponseIdentity {
    pub id: Option<String>,
    pub model: Option<String>,
}

/// What earlier chunks of a stream contained. A whole response has one chunk.
#[derive(Debug, Default)]
pub(crate) struct ChoiceStates {
    choices: Vec<ChoiceState>,
    identity: ResponseIdentity,
    created: Option<u64>,
    /// Completes a response that names no model.
    fallback_model: String,
    expected: Expected,
    /// Characters of content so far.
    chars: i64,
    /// Bytes of ids and names that are kept.
    kept_bytes: usize,
}

#[derive(Debug)]
pub(crate) struct ChoiceState {
    /// The index that the client sees.
    pub index: u64,
    provider_index: Option<u64>,
    pub has_role: bool,
    pub has_content: bool,
    pub finish_reason: Option<&'static str>,
    pub calls: Vec<CallState>,
    /// Calls whose function is known. The client has no others.
    named_calls: usize,
    /// Bytes of ids and names that were added since they were last counted.
    pub kept_bytes: usize,
}

/// One tool call.
#[derive(Debug)]
pub(crate) struct CallState {
    pub id: String,
    /// Differs from `id` where the provider gave several calls one id.
    provider_id: Option<String>,
    provider_index: Option<u64>,
    /// The index that the client sees. A call has one as soon as its function is known.
    pub index: Option<usize>,
    pub name: String,
    pub arguments: ArgumentsScan,
    /// Arguments that the client does not have yet: those of a call without a name, and those that do not begin an object, since
    /// they may hold one.
    pub held: String,
    /// A call of a custom tool has free text in the place of arguments.
    pub is_custom: bool,
}

impl ChoiceStates {
    pub(crate) fn new(fallback_model: &str, expected: Expected) -> Self {
        Self { fallback_model: fallback_model.to_owned(), expected, ..Self::default() }
    }

    /// Counts characters of content.
    pub(crate) fn relays(&mut self, chars: u32) {
        self.chars = self.chars.saturating_add(i64::from(chars));
    }

    /// The most tokens that the prompt, and all choices together, can have used. A token has at least one byte.
    pub(crate) fn tokens_max(&self) -> (i64, i64) {
        let Expected { n, tokens_max, .. } = self.expected;
        let n = i64::try_from(n.max(1)).unwrap_or(i64::MAX);
        (tokens_max, tokens_max.saturating_mul(n).max(self.chars.saturating_mul(4)))
    }

    /// A choice began, and every choice that began has ended.
    pub(crate) fn are_finished(&self) -> bool {
        !self.is_empty() && self.choices.iter().all(|choice| choice.finish_reason.is_some())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.choices.is_empty()
    }

    /// Some choice has content, a tool call, or a finish reason that explains why it has none.
    pub(crate) fn are_usable(&self) -> bool {
        let explained = |choice: &ChoiceState| choice.finish_reason.is_some_and(finish_reason::explains_silence);
        self.choices.iter().any(|choice| choice.has_content || explained(choice))
    }

    /// The names that the provider has sent so far.
    pub(crate) fn identity(&self) -> &ResponseIdentity {
        &self.identity
    }

    pub(crate) fn expects_functions(&self) -> bool {
        self.expected.has_functions
    }

    pub(crate) fn lacks_identity(&self) -> bool {
        self.identity.id.is_none() || self.identity.model.is_none()
    }

    /// Whether a chunk has the id of the stream, which is the first one that was sent to the client.
    pub(crate) fn accepts_id(&mut self, id: &str) -> bool {
        self.set_id(id);
        self.identity.id.as_deref() == Some(id)
    }

    pub(crate) fn set_id(&mut self, id: &str) {
        self.identity.id.get_or_insert_with(|| safe(id));
    }

    pub(crate) fn set_model(&mut self, model: &str) {
        self.identity.model.get_or_insert_with(|| safe(model));
    }

    pub(crate) fn set_created(&mut self, created: u64) {
        self.created.get_or_insert(created);
    }

    /// The provider's id, or one of ours that stays the same over the stream.
    pub(crate) fn id(&mut self) -> &str {
        self.identity.id.get_or_insert_with(|| format!("chatcmpl-{}", uuid::Uuid::new_v4().simple()))
    }

    pub(crate) fn model(&self) -> &str {
        self.identity.model.as_deref().unwrap_or(&self.fallback_model)
    }

    pub(crate) fn created(&mut self) -> u64 {
        *self.created.get_or_insert_with(|| u64::try_from(Timestamp::now().as_second()).unwrap_or(0))
    }

    /// The slot of the choice with the provider's index, or at a position in the list of choices where it sends no usable
    /// index. `None`: there are too many choices.
    pub(crate) fn slot(&mut self, provider_index: Option<u64>, position: u64) -> Option<usize> {
        let key = provider_index.or(Some(position));
        self.choices
            .iter()
            .position(|choice| choice.provider_index == key)
            .or_else(|| self.begin(provider_index, position))
    }

    /// The slot of a new choice. `None`: there are too many choices.
    pub(crate) fn begin(&mut self, provider_index: Option<u64>, position: u64) -> Option<usize> {
        if self.choices.len() >= MAX_CHOICES {
            return None;
        }
        let key = provider_index.or(Some(position));
        let taken = |index: u64| self.choices.iter().any(|choice| choice.index == index);
        let wanted = key.filter(|index| *index < self.expected.n.max(1) && !taken(*index));
        let index = wanted.or_else(|| (0..=self.choices.len() as u64).find(|index| !taken(*index))).unwrap_or(0);
        self.choices.push(ChoiceState {
            index,
            provider_index: key,
            has_role: false,
            has_content: false,
            finish_reason: None,
            calls: Vec::new(),
            named_calls: 0,
            kept_bytes: 0,
        });
        Some(self.choices.len() - 1)
    }

    pub(crate) fn at(&mut self, slot: usize) -> &mut ChoiceState {
        &mut self.choices[slot]
    }

    /// Counts the ids and names that a choice has added. Returns whether the response keeps within its bounds.
    pub(crate) fn keeps_within_bounds(&mut self, slot: usize) -> bool {
        self.kept_bytes += std::mem::take(&mut self.choices[slot].kept_bytes);
        self.kept_bytes <= MAX_KEPT_BYTES && self.choices[slot].calls.len() <= MAX_CALLS
    }

    /// Ends every choice that has no finish reason, as `[DONE]` does. Returns the missing chunks.
    pub(crate) fn finish(&mut self) -> Vec<String> {
        let mut ends = Vec::new();
        for choice in self.choices.iter_mut().filter(|choice| choice.finish_reason.is_none()) {
            let reason = finish_reason::normalised("stop", choice.has_calls());
            choice.finish_reason = reason;
            ends.push((choice.index, choice.missing_arguments(), reason));
        }
        ends.into_iter().map(|(index, delta, reason)| self.chunk(index, &delta, reason)).collect()
    }

    /// A chunk of ours with one choice. `delta` is the JSON of its delta.
    pub(crate) fn chunk(&mut self, index: u64, delta: &str, reason: Option<&str>) -> String {
        let reason = json!(reason);
        let choice = format!("{{\"index\":{index},\"delta\":{delta},\"finish_reason\":{reason}}}");
        format!("{{{},\"choices\":[{choice}]}}", self.head())
    }

    /// The usage chunk. `usage` is the JSON of the usage.
    pub(crate) fn usage_chunk(&mut self, usage: &str) -> String {
        format!("{{{},\"choices\":[],\"usage\":{usage}}}", self.head())
    }

    fn head(&mut self) -> String {
        let (id, created, model) = (json!(self.id()), self.created(), json!(self.model()));
        format!("\"id\":{id},\"object\":\"chat.completion.chunk\",\"created\":{created},\"model\":{model}")
    }
}

impl ChoiceState {
    /// Some call has a function.
    pub(crate) fn has_calls(&self) -> bool {
        self.named_calls > 0
    }

    /// Gives a call its index for the client, as soon as its function is known.
    pub(crate) fn name_call(&mut self, at: usize, name: &str) {
        self.calls[at].index = Some(self.named_calls);
        name.clone_into(&mut self.calls[at].name);
        self.named_calls += 1;
        self.kept_bytes += name.len();
    }

    /// A delta with the arguments that the client does not have when the choice ends: held ones, and an empty object for every
    /// call without any. `{}` where none are missing.
    pub(crate) fn missing_arguments(&mut self) -> String {
        let mut calls = Vec::new();
        for call in self.calls.iter_mut().filter(|call| !call.is_custom) {
            let Some(index) = call.index else { continue };
            let held = std::mem::take(&mut call.held);
            if call.arguments.is_blank() {
                call.arguments.push("{}");
            } else if held.is_empty() {
                continue;
            }
            let arguments = json!(as_object(&held).unwrap_or(held));
            calls.push(format!("{{\"index\":{index},\"function\":{{\"arguments\":{arguments}}}}}"));
        }
        if calls.is_empty() { "{}".to_owned() } else { format!("{{\"tool_calls\":[{}]}}", calls.join(",")) }
    }

    /// The call that a fragment continues, if it continues one.
    ///
    /// An id decides where there is one, unless the fragment names a function at another index or behind complete arguments:
    /// some servers give all calls of a function one id. Without an id a fragment with another index, or one that names a function behind
    /// complete arguments, begins a new call: some servers send every parallel call with index 0, or with no index.
    pub(crate) fn continued(
        &self,
        id: Option<&str>,
        index: Option<u64>,
        name: Option<&str>,
        arguments: Option<&str>,
    ) -> Option<usize> {
        let restarts = arguments.is_some_and(|arguments| arguments.trim_start().starts_with('{'));
        if let Some(id) = id
            && let Some(at) = self.calls.iter().rposition(|call| {
                let is_elsewhere = name.is_some() && index.is_some() && call.provider_index != index;
                call.provider_id.as_deref() == Some(id) && !is_elsewhere
            })
        {
            return (name.is_none() || !restarts || !self.calls[at].arguments.is_complete()).then_some(at);
        }
        let at = match index {
            Some(_) => self.calls.iter().rposition(|call| call.provider_index == index)?,
            None => self.calls.len().checked_sub(1)?,
        };
        let call = &self.calls[at];
        let begins = match (id, name) {
            (Some(_), Some(_)) => call.provider_id.is_some() || index.is_none() || call.arguments.is_complete(),
            // Some servers send another id with every fragment of a call.
            (Some(_), None) => index.is_none() || call.arguments.is_complete(),
            (None, Some(name)) => {
                (!call.name.is_empty() && call.name != name) || restarts && call.arguments.is_complete()
            }
            (None, None) => false,
        };
        (!begins).then_some(at)
    }

    /// Adds a call and returns its position. An id that is missing or not unique is replaced.
    pub(crate) fn begin(&mut self, id: Option<&str>, provider_index: Option<u64>) -> usize {
        let id_sent = id.map(str::to_owned);
        let own = id.filter(|id| !self.calls.iter().any(|call| call.id == *id));
        let id = own.map_or_else(|| format!("call_{}", uuid::Uuid::new_v4().simple()), str::to_owned);
        self.kept_bytes += id.len() + id_sent.as_ref().map_or(0, String::len);
        self.calls.push(CallState {
            id,
            provider_id: id_sent,
            provider_index,
            index: None,
            name: String::new(),
            arguments: ArgumentsScan::default(),
            held: String::new(),
            is_custom: false,
        });
        self.calls.len() - 1
    }
}

/// A name for spans and for chunks of ours: printable, and of bounded length.
fn safe(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(MAX_IDENTITY_CHARS).collect()
}
