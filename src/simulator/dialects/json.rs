//! JSON values whose objects keep the order of their fields, since the recorded bodies are compared as text.

use serde::{Serialize, Serializer};
use serde_json::Value;

#[derive(Debug, Clone)]
pub(crate) enum Json {
    Leaf(Value),
    List(Vec<Json>),
    Object(Vec<(&'static str, Json)>),
}

/// JSON null.
pub(crate) const NULL: Json = Json::Leaf(Value::Null);

/// An object with its fields in the order written. A field marked `if_some` takes an `Option` and is left out for `None`.
macro_rules! object {
    (@field $name:literal, , $value:expr) => { Some(($name, Json::from($value))) };
    (@field $name:literal, if_some, $value:expr) => { $value.map(|value| ($name, Json::from(value))) };
    ($($name:literal $($marker:ident)? : $value:expr),* $(,)?) => {
        Json::Object(Vec::<Option<_>>::from([$(object!(@field $name, $($marker)?, $value)),*]).into_iter().flatten().collect())
    };
}
pub(super) use object;

impl Json {
    pub(crate) fn list<T: Into<Json>>(items: impl IntoIterator<Item = T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }

    pub(crate) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(crate) fn indented(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Leaf(value) => value.serialize(serializer),
            Self::List(items) => serializer.collect_seq(items),
            Self::Object(fields) => serializer.collect_map(fields.iter().map(|(name, value)| (name, value))),
        }
    }
}

macro_rules! leaves {
    ($($leaf:ty),*) => { $(impl From<$leaf> for Json {
        fn from(value: $leaf) -> Self {
            Self::Leaf(serde_json::json!(value))
        }
    })* };
}
leaves!(&str, &String, String, i32, i64, u64, u16, f64, bool);

impl From<&Value> for Json {
    fn from(value: &Value) -> Self {
        Self::Leaf(value.clone())
    }
}

impl From<Vec<Json>> for Json {
    fn from(items: Vec<Json>) -> Self {
        Self::List(items)
    }
}
