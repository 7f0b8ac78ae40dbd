//! Generates a small plausible value of a JSON schema, always the same one.

use serde_json::{Map, Value, json};

/// Deeper schemas end in null.
const MAX_DEPTH: usize = 12;
const CITIES: [&str; 4] = ["Paris", "Rome", "Oslo", "Lima"];

/// A value of the schema. `about` fills free text.
pub(crate) fn example(schema: &Value, about: &str) -> Value {
    example_at(schema, about, 0)
}

/// The `at`-th value of the schema, since parallel tool calls differ.
pub(crate) fn example_at(schema: &Value, about: &str, at: usize) -> Value {
    ExampleBuilder { root: schema, about, at }.make(schema, "", MAX_DEPTH)
}

struct ExampleBuilder<'a> {
    root: &'a Value,
    about: &'a str,
    at: usize,
}

impl ExampleBuilder<'_> {
    fn make(&self, schema: &Value, name: &str, depth: usize) -> Value {
        if depth == 0 {
            return Value::Null;
        }
        if let Some(constant) = schema.get("const") {
            return constant.clone();
        }
        if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
            return choices.first().cloned().unwrap_or(Value::Null);
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let target = target.strip_prefix('#').and_then(|path| self.root.pointer(path));
            return target.map_or(Value::Null, |target| self.make(target, name, depth - 1));
        }
        for choice in ["anyOf", "oneOf", "allOf"] {
            if let Some(first) = schema.get(choice).and_then(|choices| choices.get(0)) {
                return self.make(first, name, depth - 1);
            }
        }
        match kind(schema) {
            "object" => {
                let properties = schema.get("properties").and_then(Value::as_object);
                let made =
                    properties.into_iter().flatten().map(|(key, part)| (key.clone(), self.make(part, key, depth - 1)));
                Value::Object(made.collect::<Map<_, _>>())
            }
            "array" => {
                let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1).clamp(1, 16);
                let item = schema.get("items").unwrap_or(&Value::Null);
                (0..least).map(|_| self.make(item, name, depth - 1)).collect()
            }
            "integer" | "number" => {
                let least = schema.get("minimum").or_else(|| schema.get("maximum"));
                least.cloned().unwrap_or_else(|| json!(self.at + 1))
            }
            "boolean" => Value::Bool(true),
            "null" => Value::Null,
            _ => self.text(schema, name),
        }
    }

    fn text(&self, schema: &Value, name: &str) -> Value {
        let name = name.to_ascii_lowercase();
        let is = |words: &[&str]| words.iter().any(|word| name.contains(word));
        let text = match schema.get("format").and_then(Value::as_str) {
            Some("date") => "2026-10-01".to_owned(),
            Some("date-time") => "2026-10-01T12:00:00Z".to_owned(),
            Some("email") => "someone@example.com".to_owned(),
            Some("uri") => "https://example.com/".to_owned(),
            Some("uuid") => "00000000-0000-4000-8000-000000000000".to_owned(),
            _ if is(&["city", "location", "place", "town"]) => CITIES[self.at % CITIES.len()].to_owned(),
            _ if is(&["date", "day"]) => "2026-10-01".to_owned(),
            _ if is(&["query", "question", "text", "answer", "prompt"]) && !self.about.is_empty() => {
                self.about.chars().take(80).collect()
            }
            _ => "example".to_owned(),
        };
        let least = schema.get("minLength").and_then(Value::as_u64).and_then(|least| usize::try_from(least).ok());
        let most = schema.get("maxLength").and_then(Value::as_u64).and_then(|most| usize::try_from(most).ok());
        let short = least.unwrap_or(0).min(10_000).saturating_sub(text.chars().count());
        let text: String =
            text.chars().chain(std::iter::repeat_n('x', short)).take(most.unwrap_or(usize::MAX)).collect();
        text.into()
    }
}

fn kind(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => {
            kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or("null")
        }
        _ if schema.get("properties").is_some() => "object",
        _ if schema.get("items").is_some() => "array",
        _ => "string",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_fits_its_schema() {
        let schema = json!({"type":"object","$defs":{"step":{"type":"object","properties":{"n":{"type":"integer","minimum":3}}}},
            "properties":{"city":{"type":"string"},"unit":{"enum":["C","F"]},"steps":{"type":"array","minItems":2,"items":{"$ref":"#/$defs/step"}},
            "note":{"type":["null","string"],"maxLength":3},"ok":{"type":"boolean"},"one":{"anyOf":[{"type":"number"},{"type":"null"}]}}});
        assert_eq!(
            example(&schema, "?"),
            json!({"city":"Paris","unit":"C","steps":[{"n":3},{"n":3}],"note":"exa","ok":true,"one":1})
        );
        assert_eq!(example_at(&schema, "?", 1)["city"], "Rome");
    }

    #[test]
    fn a_recursive_schema_is_cut() {
        let schema = json!({"type":"object","properties":{"next":{"$ref":"#"}}});
        assert!(example(&schema, "").is_object());
    }
}
