//! Checks JSON against the schema of responses and their events. Only the keywords that the schema uses are known.

use serde_json::Value;

const SCHEMA: &str = include_str!("../../../../tests/sdk/responses.schema.json");

pub(super) struct Schema(Value);

impl Schema {
    pub(super) fn read() -> Self {
        Self(serde_json::from_str(SCHEMA).unwrap())
    }

    /// Checks a value against one definition.
    pub(super) fn check(&self, definition: &str, value: &Value) -> Result<(), String> {
        self.check_against(&self.0["$defs"][definition], value, definition)
    }

    fn check_against(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        assert!(schema.is_object(), "{at}: there is no such definition");
        for (keyword, rule) in schema.as_object().unwrap() {
            let fits = match keyword.as_str() {
                "$ref" => return self.check(rule.as_str().unwrap().strip_prefix("#/$defs/").unwrap(), value),
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
                "anyOf" => {
                    let each = rule.as_array().unwrap().iter();
                    let all: Vec<_> = each.map(|schema| self.check_against(schema, value, at)).collect();
                    if all.iter().all(Result::is_err) {
                        let reasons: Vec<String> = all.into_iter().filter_map(Result::err).collect();
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
