//! Values of a request body with their positions, from which the path of a mistake is found.

use std::fmt::Write as _;

use crate::{
    json::{Json, JsonError, Kind, Text},
    protocol::{BadRequest, chat::malformed, json_view::EACH_NAME_ONCE},
};

/// One value of a body. The body was checked as a whole, so reading a value again cannot meet malformed JSON.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node<'a> {
    text: &'a str,
    start: usize,
    end: usize,
    kind: Kind,
}

/// The members of an object, in the order in which they are written.
#[derive(Debug)]
pub(super) struct Members<'a> {
    object: Node<'a>,
    list: Vec<(Text<'a>, Node<'a>)>,
}

impl<'a> Node<'a> {
    /// Checks the whole text, which must be one value.
    pub(super) fn root(text: &'a str) -> Result<Self, BadRequest> {
        let mut json = Json::unambiguous(text, &EACH_NAME_ONCE);
        let read = Self::next(&mut json).and_then(|node| json.end().map(|()| node));
        read.map_err(|e| malformed(&e, text))
    }

    /// Reads the value at the cursor.
    fn next(json: &mut Json<'a>) -> Result<Self, JsonError> {
        let kind = json.peek()?;
        let start = json.at();
        json.skip()?;
        Ok(Self { text: json.text(), start, end: json.at(), kind })
    }

    pub(super) fn kind(self) -> Kind {
        self.kind
    }

    /// The value as it is written.
    pub(super) fn raw(self) -> &'a str {
        &self.text[self.start..self.end]
    }

    pub(super) fn members(self) -> Result<Members<'a>, BadRequest> {
        if self.kind != Kind::Object {
            return Err(self.wrong("an object"));
        }
        let mut list = Vec::with_capacity(8);
        let mut json = Json::at_byte(self.text, self.start);
        json.object(|name, json| {
            list.push((name, Self::next(json)?));
            Ok::<_, JsonError>(())
        })
        .map_err(|e| malformed(&e, self.text))?;
        Ok(Members { object: self, list })
    }

    pub(super) fn items(self) -> Result<Vec<Self>, BadRequest> {
        if self.kind != Kind::Array {
            return Err(self.wrong("an array"));
        }
        let mut items = Vec::new();
        let mut json = Json::at_byte(self.text, self.start);
        json.array(|_, json| {
            items.push(Self::next(json)?);
            Ok::<_, JsonError>(())
        })
        .map_err(|e| malformed(&e, self.text))?;
        Ok(items)
    }

    pub(super) fn string(self) -> Result<Text<'a>, BadRequest> {
        if self.kind != Kind::String {
            return Err(self.wrong("a string"));
        }
        Json::at_byte(self.text, self.start).string().map_err(|e| malformed(&e, self.text))
    }

    pub(super) fn boolean(self) -> Result<bool, BadRequest> {
        match self.raw() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.wrong("a boolean")),
        }
    }

    /// The error for a value of another kind than expected.
    #[cold]
    pub(super) fn wrong(self, expected: &str) -> BadRequest {
        let found = match self.kind {
            Kind::String if self.raw().len() <= 42 => format!("`{}`", self.raw().trim_matches('"')),
            Kind::Number => self.raw().chars().take(40).collect(),
            kind => kind.named().to_owned(),
        };
        let path = self.path();
        self.invalid(format!("Invalid value for `{path}`: expected {expected}, found {found}."))
    }

    /// An error about this value.
    #[cold]
    pub(super) fn invalid(self, message: String) -> BadRequest {
        BadRequest { code: "invalid_value", param: Some(self.path()), message }
    }

    /// The error for a member that this object lacks.
    #[cold]
    pub(super) fn missing(self, name: &str) -> BadRequest {
        let path = self.path();
        let param = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let message = format!("Missing required parameter: `{param}`.");
        BadRequest { code: "invalid_value", param: Some(param), message }
    }

    /// Where the value stands in its body: `input[2].content[0].type`.
    fn path(self) -> String {
        let (mut path, mut at) = (String::new(), 0);
        while let Some((step, inner)) = step_towards(self.text, at, self.start) {
            match step {
                Step::Name(name) if path.is_empty() => path.push_str(&name),
                Step::Name(name) => {
                    path.push('.');
                    path.push_str(&name);
                }
                Step::Index(index) => {
                    // Writing to a `String` cannot fail.
                    let _ = write!(path, "[{index}]");
                }
            }
            at = inner;
        }
        path
    }
}

enum Step {
    Name(String),
    Index(usize),
}

/// The child of the value at `at` that contains the position `wanted`, with the child's own position.
fn step_towards(text: &str, at: usize, wanted: usize) -> Option<(Step, usize)> {
    let mut json = Json::at_byte(text, at);
    let kind = json.peek().ok()?;
    if json.at() >= wanted {
        return None;
    }
    let mut found = None;
    let mut visit = |step: Step, json: &mut Json<'_>| {
        let child = Node::next(json)?;
        if (child.start..child.end).contains(&wanted) {
            found = Some((step, child.start));
        }
        Ok::<_, JsonError>(())
    };
    match kind {
        Kind::Object => json.object(|name, json| visit(Step::Name(name.decode().into_owned()), json)),
        Kind::Array => json.array(|index, json| visit(Step::Index(index), json)),
        _ => return None,
    }
    .ok()?;
    found
}

impl<'a> Members<'a> {
    /// A member that is present and not null, which OpenAI's SDKs send for an absent one.
    pub(super) fn get(&self, name: &str) -> Option<Node<'a>> {
        self.list.iter().find(|(known, _)| known.raw == name).map(|(_, node)| *node).filter(|n| n.kind != Kind::Null)
    }

    pub(super) fn need(&self, name: &str) -> Result<Node<'a>, BadRequest> {
        self.get(name).ok_or_else(|| self.object.missing(name))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<Text<'a>>, BadRequest> {
        self.get(name).map(Node::string).transpose()
    }

    /// The value of a member as it is written, or `null`.
    pub(super) fn raw_or_null(&self, name: &str) -> &'a str {
        self.get(name).map_or("null", Node::raw)
    }

    /// All members, by their names as they are written.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, Node<'a>)> {
        self.list.iter().map(|(name, node)| (name.raw, *node))
    }

    pub(super) fn object(&self) -> Node<'a> {
        self.object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_reported_with_the_path_of_its_value() {
        let text = r#" {"a": [{"b": 1}, {"b": "x", "c": {}}], "d\u0065": null}"#;
        let root = Node::root(text).unwrap().members().unwrap();
        let items = root.need("a").unwrap().items().unwrap();
        let second = items[1].members().unwrap();
        assert_eq!(second.need("c").unwrap().string().unwrap_err().param.unwrap(), "a[1].c");
        assert_eq!(second.need("z").unwrap_err().param.unwrap(), "a[1].z");
        assert_eq!(root.need("z").unwrap_err().param.unwrap(), "z");
        let wrong = second.need("b").unwrap().members().unwrap_err();
        assert_eq!(wrong.message, "Invalid value for `a[1].b`: expected an object, found `x`.");
        assert!(root.get("d\\u0065").is_none(), "null counts as absent");
    }

    #[test]
    fn malformed_json_is_reported_with_line_and_column() {
        let bad = Node::root("{\"a\":\n [1,}").unwrap_err();
        assert_eq!((bad.code, bad.param), ("invalid_json", None));
        assert!(bad.message.ends_with("at line 2 column 5."), "{}", bad.message);
        let twice = Node::root(r#"{"a": [{"b": 1, "b": 2}]}"#).unwrap_err();
        assert_eq!((twice.code, twice.param.as_deref()), ("invalid_json", Some("a[0].b")), "{}", twice.message);
    }
}
