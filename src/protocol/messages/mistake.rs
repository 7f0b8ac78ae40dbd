//! Wrong values, with the path at which they stand.

use std::fmt;

use crate::{
    json::Kind,
    protocol::{
        chat::BadRequest,
        json_view::{Members, View},
    },
};

/// A wrong value. Its path grows from the inside out while the error passes up.
#[derive(Debug)]
pub(super) struct Mistake {
    path: String,
    /// The path begins at the request, whatever object is being read.
    is_absolute: bool,
    what: What,
}

#[derive(Debug)]
enum What {
    Missing,
    Wrong { expected: String, found: String },
    Unsupported(String),
}

impl Mistake {
    pub(super) fn missing(path: impl Into<String>) -> Self {
        Self { path: path.into(), is_absolute: false, what: What::Missing }
    }

    /// Something that is valid, but that no provider can do.
    pub(super) fn unsupported(path: impl Into<String>, why: impl Into<String>) -> Self {
        Self { path: path.into(), is_absolute: false, what: What::Unsupported(why.into()) }
    }

    /// Something whose whole path is known.
    pub(super) fn at(path: String, why: String) -> Self {
        Self { path, is_absolute: true, what: What::Unsupported(why) }
    }

    /// Puts the path of the object around the value before its path.
    #[must_use]
    pub(super) fn below(mut self, outer: impl fmt::Display) -> Self {
        if self.is_absolute {
            return self;
        }
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{outer}{dot}{}", self.path);
        self
    }
}

impl From<Mistake> for BadRequest {
    fn from(mistake: Mistake) -> Self {
        let Mistake { path, what, .. } = mistake;
        let message = match what {
            What::Missing => format!("{path}: Field required."),
            What::Wrong { expected, found } => format!("{path}: Expected {expected}, found {found}."),
            What::Unsupported(why) => format!("{path}: {why}"),
        };
        Self::invalid(path, message)
    }
}

/// A value that is something else than `expected`.
#[cold]
pub(super) fn wrong(path: impl Into<String>, expected: impl Into<String>, found: impl Found) -> Mistake {
    let what = What::Wrong { expected: expected.into(), found: found.found() };
    Mistake { path: path.into(), is_absolute: false, what }
}

/// What a message says was found.
pub(super) trait Found {
    fn found(self) -> String;
}

impl Found for &str {
    fn found(self) -> String {
        self.to_owned()
    }
}

/// Strings and numbers are shown, as far as they are short.
impl Found for View<'_> {
    fn found(self) -> String {
        match self.kind {
            Kind::String | Kind::Number => {
                let shown: String = self.raw.trim_matches('"').chars().take(40).collect();
                format!("`{shown}`")
            }
            kind => kind.named().to_owned(),
        }
    }
}

/// A required member of a kind.
pub(super) fn expect<'a>(members: &Members<'a>, name: &str, kind: Kind) -> Result<View<'a>, Mistake> {
    optional(members, name, kind)?.ok_or_else(|| Mistake::missing(name))
}

/// A member of a kind, if it is there.
pub(super) fn optional<'a>(members: &Members<'a>, name: &str, kind: Kind) -> Result<Option<View<'a>>, Mistake> {
    match members.get(name) {
        Some(view) if view.kind != kind => Err(wrong(name, kind.named(), view)),
        found => Ok(found),
    }
}
