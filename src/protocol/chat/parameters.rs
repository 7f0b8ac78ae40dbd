//! The known top-level parameters.

use super::reader::{Mistake, Reader, missing, short, skip_null, string_or_null, wrong};
use crate::{
    domain::{Capabilities, Tier},
    json::{Json, JsonError, Kind, Text},
};

/// All known names, the most frequent first.
pub const KNOWN_PARAMETERS: [&str; 32] = [
    "model",
    "messages",
    "stream",
    "temperature",
    "max_tokens",
    "max_completion_tokens",
    "top_p",
    "tools",
    "tool_choice",
    "stream_options",
    "response_format",
    "stop",
    "n",
    "reasoning_effort",
    "parallel_tool_calls",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "user",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "functions",
    "function_call",
    "modalities",
    "audio",
    "prediction",
    "web_search_options",
    "store",
    "metadata",
    "service_tier",
    "prompt_cache_key",
];

/// OpenAI's maximum; no provider accepts more.
const N_MAX: i64 = 128;

/// Parameters of one request that are not OpenAI's.
const MAX_OTHER_PARAMETERS: usize = 64;
/// No parameter of a provider has a longer name.
const MAX_OTHER_NAME_CHARS: usize = 64;

impl Reader {
    pub(super) fn parameter(&mut self, name: &str, json: &mut Json<'_>) -> Result<(), Mistake> {
        if name != "model" && name != "messages" && skip_null(json)? {
            return Ok(());
        }
        match name {
            "model" => self.model(json)?,
            "messages" => self.messages(json)?,
            "stream" => self.found.stream = boolean(json, name)?,
            "stream_options" => self.stream_options(json)?,
            "temperature" => self.found.sampling.temperature = Some(number(json, name, 0.0, 2.0)?),
            "top_p" => self.found.sampling.top_p = Some(number(json, name, 0.0, 1.0)?),
            "presence_penalty" => self.found.sampling.presence_penalty = Some(number(json, name, -2.0, 2.0)?),
            "frequency_penalty" => self.found.sampling.frequency_penalty = Some(number(json, name, -2.0, 2.0)?),
            "max_tokens" => self.found.max_tokens = Some(integer(json, name, 1, i64::from(i32::MAX))?),
            "max_completion_tokens" => {
                self.max_completion_tokens = Some(integer(json, name, 1, i64::from(i32::MAX))?);
            }
            "n" => {
                self.found.n = u32::try_from(integer(json, name, 1, N_MAX)?).unwrap_or(1);
                self.require(name, self.found.n > 1);
            }
            "seed" => self.found.sampling.seed = Some(integer(json, name, i64::MIN, i64::MAX)?),
            "stop" => self.stop(json)?,
            "tools" => self.tools(json)?,
            "functions" => self.functions(json)?,
            "tool_choice" | "function_call" => self.tool_choice(json, name)?,
            "response_format" => self.response_format(json)?,
            "reasoning_effort" => {
                self.found.reasoning_effort = Some(text(json, name)?.decode().into_owned());
            }
            "logprobs" => {
                let enabled = boolean(json, name)?;
                self.require(name, enabled);
            }
            "top_logprobs" => {
                let count = integer(json, name, 0, 20)?;
                self.require(name, count > 0);
            }
            "parallel_tool_calls" => {
                let parallel = boolean(json, name)?;
                self.require(name, !parallel);
            }
            "prompt_cache_key" => self.found.session = Some(text(json, name)?.decode().into_owned()),
            "store" => drop(boolean(json, name)?),
            "user" => drop(text(json, name)?),
            "service_tier" => {
                // Other values are specific to providers and pass unchanged.
                self.found.tier = match &*text(json, name)?.decode() {
                    "flex" => Tier::Flex,
                    "priority" => Tier::Priority,
                    _ => Tier::Standard,
                };
            }
            // A prediction only saves time.
            "metadata" | "prediction" => of_kind(json, name, Kind::Object)?,
            "logit_bias" => {
                let mut is_used = false;
                expect(json, name, Kind::Object)?;
                json.object(|_, json| {
                    is_used = true;
                    Ok::<_, Mistake>(json.skip()?)
                })?;
                self.require(name, is_used);
            }
            "audio" | "web_search_options" => {
                of_kind(json, name, Kind::Object)?;
                self.require(name, true);
            }
            "modalities" => self.modalities(json)?,
            _ => json.skip()?,
        }
        Ok(())
    }

    /// Notes a parameter that is not OpenAI's. Its provider may charge for it.
    pub(super) fn other(&mut self, name: &str, at: usize) -> Result<(), Mistake> {
        if self.found.others.len() >= MAX_OTHER_PARAMETERS {
            return Err(Mistake::Json(JsonError { at, what: "more than 64 unknown parameters" }));
        }
        self.found.others.push(name.chars().take(MAX_OTHER_NAME_CHARS).collect());
        Ok(())
    }

    /// Notes a parameter that must not be dropped, if `is_used`.
    pub(super) fn require(&mut self, name: &str, is_used: bool) {
        if is_used {
            self.found.parameters.push(name.to_owned());
        }
    }

    fn model(&mut self, json: &mut Json<'_>) -> Result<(), Mistake> {
        let model = string_or_null(json, || "model".into())?.ok_or_else(|| missing("model"))?.decode().into_owned();
        if model.is_empty() {
            return Err(wrong("model", "a model's name", "an empty string"));
        }
        self.found.model = model;
        self.has_model = true;
        Ok(())
    }

    fn stream_options(&mut self, json: &mut Json<'_>) -> Result<(), Mistake> {
        expect(json, "stream_options", Kind::Object)?;
        json.object(|name, json| {
            if name.raw == "include_usage" && !skip_null(json)? {
                self.found.include_usage = boolean(json, "stream_options.include_usage")?;
                return Ok(());
            }
            Ok(json.skip()?)
        })
    }

    fn stop(&mut self, json: &mut Json<'_>) -> Result<(), Mistake> {
        match json.peek()? {
            Kind::String => {
                json.string()?;
                self.found.stops = 1;
                Ok(())
            }
            Kind::Array => json.array(|i, json| match json.peek()? {
                Kind::String => {
                    json.string()?;
                    self.found.stops += 1;
                    Ok(())
                }
                other => Err(wrong(format!("stop[{i}]"), "a string", other.named())),
            }),
            other => Err(wrong("stop", "a string or an array of strings", other.named())),
        }
    }

    fn tools(&mut self, json: &mut Json<'_>) -> Result<(), Mistake> {
        expect(json, "tools", Kind::Array)?;
        let (start, mut has_custom) = (json.at(), false);
        json.array(|i, json| {
            self.found.tools += 1;
            match tool(i, json)? {
                ToolKind::Function => {}
                ToolKind::Custom => has_custom = true,
                ToolKind::BuiltIn => self.found.built_in_tools = true,
            }
            Ok::<_, Mistake>(())
        })?;
        self.require("tools[].custom", has_custom);
        if self.found.tools > 0 {
            self.schema(json.at() - start);
            self.found.needs = self.found.needs.with(Capabilities::TOOLS);
        }
        Ok(())
    }

    /// The forerunner of `tools`.
    fn functions(&mut self, json: &mut Json<'_>) -> Result<(), Mistake> {
        expect(json, "functions", Kind::Array)?;
        let start = json.at();
        let mut any = false;
        json.array(|i, json| {
            any = true;
            function(json, &format!("functions[{i}]"))
        })?;
        if any {
            self.schema(json.at() - start);
            self.found.needs = self.found.needs.with(Capabilities::TOOLS);
            self.require("functions", true);
        }
        Ok(())
    }

    fn schema(&mut self, bytes: usize) {
        self.found.size.schema_chars += bytes as u64;
    }

    fn tool_choice(&mut self, json: &mut Json<'_>, name: &str) -> Result<(), Mistake> {
        match json.peek()? {
            Kind::String => {
                let choice = json.string()?;
                self.require(name, choice.raw != "auto");
                Ok(())
            }
            Kind::Object => {
                json.skip()?;
                self.require(name, true);
                Ok(())
            }
            other => Err(wrong(name, "a string or an object", other.named())),
        }
    }

    fn response_format(&mut self, json: &mut Json<'_>) -> Result<(), Mistake> {
        expect(json, "response_format", Kind::Object)?;
        let start = json.at();
        let mut kind = None;
        json.object(|name, json| match name.raw {
            "type" => {
                kind = Some(text(json, "response_format.type")?.decode());
                Ok(())
            }
            "json_schema" if !skip_null(json)? => of_kind(json, "response_format.json_schema", Kind::Object),
            "json_schema" => Ok(()),
            _ => Ok(json.skip()?),
        })?;
        let need = match kind.as_deref() {
            Some("text") => return Ok(()),
            Some("json_object") => Capabilities::JSON_OBJECT,
            Some("json_schema") => Capabilities::JSON_SCHEMA,
            Some(other) => {
                let expected = "`text`, `json_object` or `json_schema`";
                return Err(wrong("response_format.type", expected, format_args!("`{}`", short(other))));
            }
            None => return Err(missing("response_format.type")),
        };
        self.schema(json.at() - start);
        self.found.needs = self.found.needs.with(need);
        self.require("response_format", true);
        Ok(())
    }

    fn modalities(&mut self, json: &mut Json<'_>) -> Result<(), Mistake> {
        expect(json, "modalities", Kind::Array)?;
        let mut beyond_text = false;
        json.array(|i, json| {
            beyond_text |= text(json, &format!("modalities[{i}]"))?.raw != "text";
            Ok::<_, Mistake>(())
        })?;
        self.require("modalities", beyond_text);
        Ok(())
    }
}

enum ToolKind {
    Function,
    /// The model writes free text in the place of arguments.
    Custom,
    /// The provider runs it.
    BuiltIn,
}

fn tool(i: usize, json: &mut Json<'_>) -> Result<ToolKind, Mistake> {
    let (mut kind, mut has_function) = (None, false);
    if json.peek()? != Kind::Object {
        return Err(wrong(format!("tools[{i}]"), "an object", json.peek()?.named()));
    }
    json.object(|name, json| match name.raw {
        "type" => {
            kind = Some(text(json, &format!("tools[{i}].type"))?);
            Ok(())
        }
        "function" if !skip_null(json)? => {
            has_function = true;
            function(json, &format!("tools[{i}].function"))
        }
        "function" => Ok(()),
        _ => Ok::<_, Mistake>(json.skip()?),
    })?;
    match kind {
        None => Err(missing(&format!("tools[{i}].type"))),
        Some(kind) if kind.raw == "function" && !has_function => Err(missing(&format!("tools[{i}].function"))),
        Some(kind) => Ok(match kind.raw {
            "function" => ToolKind::Function,
            "custom" => ToolKind::Custom,
            _ => ToolKind::BuiltIn,
        }),
    }
}

fn function(json: &mut Json<'_>, path: &str) -> Result<(), Mistake> {
    expect(json, path, Kind::Object)?;
    let mut named = false;
    json.object(|name, json| {
        match name.raw {
            "name" => {
                let name = text(json, &format!("{path}.name"))?;
                if name.raw.is_empty() {
                    return Err(wrong(format!("{path}.name"), "a function's name", "an empty string"));
                }
                named = true;
            }
            "parameters" if !skip_null(json)? => of_kind(json, &format!("{path}.parameters"), Kind::Object)?,
            "parameters" => {}
            _ => json.skip()?,
        }
        Ok(())
    })?;
    if named { Ok(()) } else { Err(missing(&format!("{path}.name"))) }
}

fn expect(json: &mut Json<'_>, param: &str, kind: Kind) -> Result<(), Mistake> {
    let found = json.peek()?;
    if found == kind { Ok(()) } else { Err(wrong(param, kind.named(), found.named())) }
}

fn of_kind(json: &mut Json<'_>, param: &str, kind: Kind) -> Result<(), Mistake> {
    expect(json, param, kind)?;
    Ok(json.skip()?)
}

fn boolean(json: &mut Json<'_>, param: &str) -> Result<bool, Mistake> {
    expect(json, param, Kind::Bool)?;
    Ok(json.literal()?.unwrap_or_default())
}

fn text<'a>(json: &mut Json<'a>, param: &str) -> Result<Text<'a>, Mistake> {
    expect(json, param, Kind::String)?;
    Ok(json.string()?)
}

fn number(json: &mut Json<'_>, param: &str, least: f64, most: f64) -> Result<f64, Mistake> {
    expect(json, param, Kind::Number)?;
    let written = json.number()?;
    match written.parse::<f64>() {
        Ok(value) if (least..=most).contains(&value) => Ok(value),
        _ => Err(wrong(param, &format!("a number from {least} to {most}"), short(written))),
    }
}

fn integer(json: &mut Json<'_>, param: &str, least: i64, most: i64) -> Result<i64, Mistake> {
    let expected = || match (least, most) {
        (1, m) if m > N_MAX => "a positive integer".to_owned(),
        (i64::MIN, _) => "an integer".to_owned(),
        _ => format!("an integer from {least} to {most}"),
    };
    let found = json.peek()?;
    if found != Kind::Number {
        return Err(wrong(param, &expected(), found.named()));
    }
    let written = json.number()?;
    match written.parse::<i64>() {
        Ok(value) if (least..=most).contains(&value) => Ok(value),
        _ => Err(wrong(param, &expected(), short(written))),
    }
}
