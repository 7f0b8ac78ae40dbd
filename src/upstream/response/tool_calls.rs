//! Normalises the tool calls of one delta or message: `id`, `index`, `type`, `function.name` and `function.arguments`.

use std::ops::Range;

use super::{
    arguments::{ArgumentsScan, as_object},
    choice_state::ChoiceState,
};
use crate::json::{Json, JsonError, Kind, NameSet, Text};
use crate::upstream::bounds::MAX_CALLS;

/// One tool call, or a fragment of one, as the provider wrote it.
#[derive(Default)]
struct Fragment<'t> {
    id: Option<Text<'t>>,
    index: Option<u64>,
    kind: Option<Text<'t>>,
    name: Option<Text<'t>>,
    arguments: Option<Arguments<'t>>,
    /// Other members of the call and of its function, as written.
    others: Vec<Range<usize>>,
    function_others: Vec<Range<usize>>,
    /// A member is repeated or has a value of the wrong type.
    is_irregular: bool,
    has_function: bool,
    /// Belongs to a call of a custom tool, whose input is text.
    is_custom: bool,
}

enum Arguments<'t> {
    Text(Text<'t>),
    /// JSON that is not a string.
    Raw(&'t str),
}

/// What a list of tool calls contains.
pub(super) struct ToolCalls {
    /// The normalised list, or `None` where the provider's needs no change.
    pub rewritten: Option<String>,
    /// Calls and fragments that the client gets.
    pub count: usize,
    /// Characters of arguments.
    pub chars: usize,
}

/// What becomes of a call or a fragment.
enum Applied {
    Unchanged,
    Rewritten(String),
    /// The client cannot use it, or not yet.
    LeftOut,
}

/// Reads the list at the cursor. `streamed` lists hold fragments.
pub(super) fn normalise(json: &mut Json<'_>, choice: &mut ChoiceState, streamed: bool) -> Result<ToolCalls, JsonError> {
    let (text, mut items, mut changed, mut chars) = (json.text(), Vec::new(), false, 0);
    json.array(|_, json| {
        if json.peek()? != Kind::Object {
            changed = true;
            return json.skip();
        }
        let start = json.at();
        let fragment = parse(json)?;
        chars += fragment.chars();
        match apply(text, &fragment, choice, streamed) {
            Applied::Unchanged => items.push(text[start..json.at()].to_owned()),
            Applied::Rewritten(item) => {
                changed = true;
                items.push(item);
            }
            Applied::LeftOut => changed = true,
        }
        if choice.calls.len() > MAX_CALLS {
            return Err(JsonError { at: start, what: "more than 256 tool calls" });
        }
        Ok(())
    })?;
    Ok(ToolCalls { rewritten: changed.then(|| format!("[{}]", items.join(","))), count: items.len(), chars })
}

/// Reads the `function_call` at the cursor, the forerunner of tool calls, as a list of one call.
pub(super) fn of_function(
    json: &mut Json<'_>,
    choice: &mut ChoiceState,
    streamed: bool,
) -> Result<ToolCalls, JsonError> {
    let text = json.text();
    let mut fragment = Fragment { index: Some(0), has_function: true, is_irregular: true, ..Fragment::default() };
    function(json, &mut fragment)?;
    let chars = fragment.chars();
    let rewritten = match apply(text, &fragment, choice, streamed) {
        Applied::Rewritten(item) => Some(format!("[{item}]")),
        Applied::Unchanged | Applied::LeftOut => None,
    };
    Ok(ToolCalls { count: usize::from(rewritten.is_some()), rewritten, chars })
}

fn parse<'t>(json: &mut Json<'t>) -> Result<Fragment<'t>, JsonError> {
    let mut fragment = Fragment::default();
    let mut seen = NameSet::default();
    json.object(|name, json| {
        let kind = json.peek()?;
        let key = name.decode();
        if !seen.insert(key.clone()) {
            fragment.is_irregular = true;
            return json.skip();
        }
        match (&*key, kind) {
            ("id", Kind::String) => fragment.id = said(json, &mut fragment.is_irregular)?,
            ("type", Kind::String) => {
                fragment.kind = said(json, &mut fragment.is_irregular)?;
                fragment.is_custom |= fragment.kind.is_some_and(|kind| kind.raw == "custom");
            }
            ("index", Kind::Number) => fragment.index = json.number()?.parse().ok(),
            ("function", Kind::Object) => {
                fragment.has_function = true;
                function(json, &mut fragment)?;
            }
            ("custom", Kind::Object) => {
                fragment.is_custom = true;
                custom(json, &mut fragment)?;
                fragment.others.push(name.at..json.at());
            }
            ("id" | "type" | "index" | "function", _) => {
                fragment.is_irregular = true;
                json.skip()?;
            }
            _ => {
                json.skip()?;
                fragment.others.push(name.at..json.at());
            }
        }
        Ok::<_, JsonError>(())
    })?;
    Ok(fragment)
}

/// The text at the cursor. A blank one says nothing, and must not reach clients, which would take it for a value.
fn said<'t>(json: &mut Json<'t>, is_irregular: &mut bool) -> Result<Option<Text<'t>>, JsonError> {
    let text = Some(json.string()?).filter(|text| !text.raw.trim().is_empty());
    *is_irregular |= text.is_none();
    Ok(text)
}

fn function<'t>(json: &mut Json<'t>, fragment: &mut Fragment<'t>) -> Result<(), JsonError> {
    let mut seen = NameSet::default();
    json.object(|name, json| {
        let kind = json.peek()?;
        let value_at = json.at();
        let key = name.decode();
        if !seen.insert(key.clone()) {
            fragment.is_irregular = true;
            return json.skip();
        }
        match (&*key, kind) {
            ("name", Kind::String) => fragment.name = said(json, &mut fragment.is_irregular)?,
            ("arguments", Kind::String) => fragment.arguments = Some(Arguments::Text(json.string()?)),
            ("name" | "arguments", Kind::Null) | ("name", _) => {
                fragment.is_irregular = true;
                json.skip()?;
            }
            ("arguments", _) => {
                fragment.is_irregular = true;
                json.skip()?;
                fragment.arguments = Some(Arguments::Raw(&json.text()[value_at..json.at()]));
            }
            _ => {
                json.skip()?;
                fragment.function_others.push(name.at..json.at());
            }
        }
        Ok::<_, JsonError>(())
    })
}

/// The name and the input of a custom tool's call. They are relayed as written.
fn custom<'t>(json: &mut Json<'t>, fragment: &mut Fragment<'t>) -> Result<(), JsonError> {
    json.object(|name, json| match (&*name.decode(), json.peek()?) {
        ("name", Kind::String) => {
            fragment.name = Some(json.string()?).filter(|name| !name.raw.is_empty());
            Ok(())
        }
        ("input", Kind::String) => {
            fragment.arguments = Some(Arguments::Text(json.string()?));
            Ok(())
        }
        _ => json.skip(),
    })
}

/// Enters a fragment into the state of its choice.
fn apply(text: &str, fragment: &Fragment<'_>, choice: &mut ChoiceState, streamed: bool) -> Applied {
    let id = fragment.id.map(|id| id.decode());
    let name = fragment.name.map(|name| name.decode());
    let arguments = fragment.arguments.as_ref().map(Arguments::decoded);
    let continued = if streamed {
        choice.continued(id.as_deref(), fragment.index, name.as_deref(), arguments.as_deref())
    } else {
        None
    };
    let at = continued.unwrap_or_else(|| choice.begin(id.as_deref(), fragment.index));
    let call = &mut choice.calls[at];
    call.is_custom |= fragment.is_custom;
    let is_custom = call.is_custom;
    if let Some(arguments) = arguments.as_ref().filter(|_| !is_custom) {
        // Some servers begin every call with an empty object, and send the real one behind it.
        if is_empty_object(&call.held) && arguments.trim_start().starts_with('{') {
            (call.held, call.arguments) = (String::new(), ArgumentsScan::default());
        }
        call.arguments.push(arguments);
    }
    let named_before = call.index.is_some();
    if !named_before && (name.is_some() || is_custom) {
        choice.name_call(at, name.as_deref().unwrap_or_default());
    }
    let written = arguments.as_deref().unwrap_or_default();
    let call = &mut choice.calls[at];
    let Some(index) = call.index else {
        // A call without a function is nothing that a client could run.
        call.held.push_str(written);
        choice.kept_bytes += written.len();
        return Applied::LeftOut;
    };
    let replaced = match (streamed, is_custom) {
        (_, true) => None,
        (false, false) => as_object(written),
        (true, false) if call.arguments.is_no_object() || is_empty_object(&[&call.held, written].concat()) => {
            call.held.push_str(written);
            choice.kept_bytes += written.len();
            (!written.is_empty()).then(String::new)
        }
        (true, false) if call.held.is_empty() => None,
        (true, false) => Some(std::mem::take(&mut call.held) + written),
    };
    let call = &choice.calls[at];
    let begins = !named_before;
    let keeps_id = if begins { id.as_deref() == Some(&*call.id) } else { fragment.id.is_none() };
    let kind = if is_custom { "custom" } else { "function" };
    let keeps_kind = fragment.kind.map(|kind| kind.raw) == begins.then_some(kind);
    let keeps_name = is_custom || begins == fragment.name.is_some();
    let keeps_index = !streamed || usize::try_from(fragment.index.unwrap_or(u64::MAX)) == Ok(index);
    let keeps_arguments = is_custom || matches!(fragment.arguments, Some(Arguments::Text(_))) && replaced.is_none();
    if !fragment.is_irregular && keeps_id && keeps_kind && keeps_name && keeps_index && keeps_arguments {
        return Applied::Unchanged;
    }

    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut members = Vec::new();
    if streamed {
        members.push(format!("\"index\":{index}"));
    }
    if begins {
        members.push(format!("\"id\":{}", quoted(&call.id)));
        members.push(format!("\"type\":\"{kind}\""));
    }
    let mut inner = Vec::new();
    if begins && !call.name.is_empty() {
        inner.push(format!("\"name\":{}", quoted(&call.name)));
    }
    inner.push(match (replaced, &fragment.arguments) {
        (Some(replaced), _) => format!("\"arguments\":{}", quoted(&replaced)),
        (None, Some(Arguments::Text(arguments))) => format!("\"arguments\":\"{}\"", arguments.raw),
        (None, Some(Arguments::Raw(raw))) => format!("\"arguments\":{}", quoted(raw)),
        (None, None) => "\"arguments\":\"\"".to_owned(),
    });
    inner.extend(fragment.function_others.iter().map(|range| text[range.clone()].to_owned()));
    // A custom tool's call has no function.
    if !is_custom {
        members.push(format!("\"function\":{{{}}}", inner.join(",")));
    }
    members.extend(fragment.others.iter().map(|range| text[range.clone()].to_owned()));
    Applied::Rewritten(format!("{{{}}}", members.join(",")))
}

/// An object without members, which may be the beginning of what a server sends, or all of it.
fn is_empty_object(arguments: &str) -> bool {
    arguments
        .trim()
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .is_some_and(|inner| inner.trim().is_empty())
}

impl Fragment<'_> {
    /// Characters of its arguments.
    fn chars(&self) -> usize {
        self.arguments.as_ref().map_or(0, |arguments| arguments.decoded().chars().count())
    }
}

impl<'t> Arguments<'t> {
    fn decoded(&self) -> std::borrow::Cow<'t, str> {
        match self {
            Self::Text(text) => text.decode(),
            Self::Raw(raw) => (*raw).into(),
        }
    }
}
