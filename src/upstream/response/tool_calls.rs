//! Normalises the tool calls of one delta or message: `id`, `index`, `type`, `function.name` and `function.arguments`.

use std::ops::Range;

use super::choice_state::ChoiceState;
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
    /// Characters of arguments.
    pub chars: usize,
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
        chars += fragment.arguments.as_ref().map_or(0, |arguments| arguments.decoded().chars().count());
        let rebuilt = apply(text, &fragment, choice, streamed);
        changed |= rebuilt.is_some();
        items.push(rebuilt.unwrap_or_else(|| text[start..json.at()].to_owned()));
        if choice.calls.len() > MAX_CALLS {
            return Err(JsonError { at: start, what: "more than 256 tool calls" });
        }
        Ok(())
    })?;
    Ok(ToolCalls { rewritten: changed.then(|| format!("[{}]", items.join(","))), chars })
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
            ("id", Kind::String) => fragment.id = Some(json.string()?).filter(|id| !id.raw.trim().is_empty()),
            ("type", Kind::String) => {
                fragment.kind = Some(json.string()?).filter(|kind| !kind.raw.is_empty());
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
            ("name", Kind::String) => fragment.name = Some(json.string()?).filter(|name| !name.raw.is_empty()),
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

/// Enters a fragment into the state of its choice. Returns its normalised JSON where it differs from what was written.
fn apply(text: &str, fragment: &Fragment<'_>, choice: &mut ChoiceState, streamed: bool) -> Option<String> {
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
    let named_before = !call.name.is_empty();
    if !named_before && let Some(name) = &name {
        call.name = name.clone().into_owned();
        choice.kept_bytes += name.len();
    }
    call.is_custom |= fragment.is_custom;
    if let Some(arguments) = arguments.as_ref().filter(|_| !call.is_custom) {
        call.arguments.push(arguments);
    }
    let begins = continued.is_none();
    let is_blank = !streamed && !call.is_custom && call.arguments.is_blank();
    let keeps_id = if begins { id.as_deref() == Some(&*call.id) } else { fragment.id.is_none() };
    let kind = if call.is_custom { "custom" } else { "function" };
    let keeps_kind = fragment.kind.map(|kind| kind.raw) == begins.then_some(kind);
    let keeps_name =
        call.is_custom || if begins { fragment.name.is_some() } else { fragment.name.is_none() || !named_before };
    let keeps_index = !streamed || usize::try_from(fragment.index.unwrap_or(u64::MAX)) == Ok(at);
    let keeps_arguments = kind == "custom" || matches!(fragment.arguments, Some(Arguments::Text(_))) && !is_blank;
    if !fragment.is_irregular && keeps_id && keeps_kind && keeps_name && keeps_index && keeps_arguments {
        return None;
    }

    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut members = Vec::new();
    if streamed {
        members.push(format!("\"index\":{at}"));
    }
    if begins {
        members.push(format!("\"id\":{}", quoted(&call.id)));
        members.push(format!("\"type\":\"{kind}\""));
    }
    let mut inner = Vec::new();
    match &fragment.name {
        Some(name) if begins || !named_before => inner.push(format!("\"name\":\"{}\"", name.raw)),
        None if begins && !streamed => inner.push("\"name\":\"\"".to_owned()),
        _ => {}
    }
    match &fragment.arguments {
        _ if is_blank => inner.push("\"arguments\":\"{}\"".to_owned()),
        Some(Arguments::Text(arguments)) => inner.push(format!("\"arguments\":\"{}\"", arguments.raw)),
        Some(Arguments::Raw(raw)) => inner.push(format!("\"arguments\":{}", quoted(raw))),
        None => inner.push("\"arguments\":\"\"".to_owned()),
    }
    inner.extend(fragment.function_others.iter().map(|range| text[range.clone()].to_owned()));
    // A custom tool's call has no function.
    if !call.is_custom {
        members.push(format!("\"function\":{{{}}}", inner.join(",")));
    }
    members.extend(fragment.others.iter().map(|range| text[range.clone()].to_owned()));
    Some(format!("{{{}}}", members.join(",")))
}

impl<'t> Arguments<'t> {
    fn decoded(&self) -> std::borrow::Cow<'t, str> {
        match self {
            Self::Text(text) => text.decode(),
            Self::Raw(raw) => (*raw).into(),
        }
    }
}
