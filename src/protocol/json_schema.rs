//! Checks what is sent to clients against JSON schemas. Only the keywords that those schemas use are known.

use std::sync::LazyLock;

use serde_json::Value;

/// A schema whose definitions are all below `$defs`.
pub(super) struct Schema(Value);

/// Responses and their events, after the documentation of the protocol: stricter than what its clients read.
pub(super) static RESPONSES: LazyLock<Schema> =
    LazyLock::new(|| Schema::parse(include_str!("../../tests/sdk/responses.schema.json")));
/// What OpenAI's SDK reads (`tests/sdk/schemas.py`).
pub(super) static OPENAI: LazyLock<Schema> =
    LazyLock::new(|| Schema::parse(include_str!("../../tests/sdk/openai.schema.json")));
/// What Anthropic's SDK reads.
pub(super) static ANTHROPIC: LazyLock<Schema> =
    LazyLock::new(|| Schema::parse(include_str!("../../tests/sdk/anthropic.schema.json")));

impl Schema {
    fn parse(text: &str) -> Self {
        Self(serde_json::from_str(text).unwrap())
    }

    /// Checks a value against one definition.
    pub(super) fn check(&self, definition: &str, value: &Value) -> Result<(), String> {
        self.check_against(&self.0["$defs"][definition], value, definition)
    }

    fn check_against(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        assert!(schema.is_object(), "{at}: there is no such definition");
        for (keyword, rule) in schema.as_object().unwrap() {
            let fits = match keyword.as_str() {
                "$ref" => return self.check(referred(rule), value),
                "type" => type_names(rule).iter().any(|name| is_of_type(name, value)),
                "const" => rule == value,
                "enum" => rule.as_array().unwrap().contains(value),
                "minLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 >= rule.as_u64().unwrap()),
                "minimum" => value.as_i64().is_none_or(|number| number >= rule.as_i64().unwrap()),
                "minItems" => value.as_array().is_none_or(|list| list.len() as u64 >= rule.as_u64().unwrap()),
                "maxItems" => value.as_array().is_none_or(|list| list.len() as u64 <= rule.as_u64().unwrap()),
                "required" => rule.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some()),
                "properties" => {
                    for (name, rule) in rule.as_object().unwrap() {
                        if let Some(member) = value.get(name) {
                            self.check_against(rule, member, &format!("{at}.{name}"))?;
                        }
                    }
                    true
                }
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check_against(rule, item, &format!("{at}[{index}]"))?;
                    }
                    true
                }
                "additionalProperties" => {
                    let known = schema.get("properties").and_then(Value::as_object);
                    for (name, member) in value.as_object().into_iter().flatten() {
                        if rule.is_object() && !known.is_some_and(|known| known.contains_key(name)) {
                            self.check_against(rule, member, &format!("{at}.{name}"))?;
                        }
                    }
                    assert!(rule != &Value::Bool(false), "{at}: clients accept members that they do not know");
                    true
                }
                "anyOf" => {
                    let each = rule.as_array().unwrap().iter().filter(|schema| !self.is_of_another_kind(schema, value));
                    let all: Vec<_> = each.map(|schema| self.check_against(schema, value, at)).collect();
                    if all.iter().all(Result::is_err) {
                        let mut reasons: Vec<String> = all.into_iter().filter_map(Result::err).collect();
                        reasons.push(format!("{at}: {value} fits nothing"));
                        return Err(reasons.join("\n"));
                    }
                    true
                }
                other => panic!("the checker does not know `{other}`"),
            };
            if !fits {
                return Err(format!("{at}: {value} does not fit {keyword} {rule}"));
            }
        }
        Ok(())
    }

    /// Whether the value names itself as something else than the schema describes, so that its other members need no check.
    fn is_of_another_kind(&self, schema: &Value, value: &Value) -> bool {
        let schema = schema.get("$ref").map_or(schema, |rule| &self.0["$defs"][referred(rule)]);
        let named = value.get("type").zip(schema.pointer("/properties/type/const"));
        named.is_some_and(|(is, wanted)| is != wanted)
    }
}

fn referred(rule: &Value) -> &str {
    rule.as_str().unwrap().strip_prefix("#/$defs/").unwrap()
}

fn type_names(rule: &Value) -> Vec<&str> {
    rule.as_str().map_or_else(|| rule.as_array().unwrap().iter().filter_map(Value::as_str).collect(), |one| vec![one])
}

fn is_of_type(name: &str, value: &Value) -> bool {
    match name {
        "string" => value.is_string(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        other => panic!("the checker does not know the type `{other}`"),
    }
}
