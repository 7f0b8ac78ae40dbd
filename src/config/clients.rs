//! The file of hashes (`clients.file`): clients that a team keeps in Git. It contains SHA-256 digests instead of keys.

use std::{path::Path, sync::Arc};

use jiff::Timestamp;
use serde_json::{Map, Value};
use toml::{
    Spanned,
    de::{DeString, DeValue},
};

use super::document::{Document, unknown_key};
use crate::domain::{BadField, ClientRecord, ClientSettings, ClientSource, KeyDigest, client_record::Secret, key};

/// The fields of a `[[client]]` that are not settings of a client.
const OWN_FIELDS: [&str; 2] = ["id", "sha256"];
/// Every request with a client key searches the whole list.
const MAX_CLIENTS: usize = 1_000;

/// Reads the file. The errors name every mistake that can be found, each with its line and the name of its client.
pub(super) fn read(name: &str, cwd: &Path) -> Result<Arc<[ClientRecord]>, Vec<String>> {
    let text = std::fs::read_to_string(cwd.join(name))
        .map_err(|error| vec![format!("clients.file: `{name}` cannot be read: {error}")])?;
    parse(name, &text)
}

fn parse(name: &str, text: &str) -> Result<Arc<[ClientRecord]>, Vec<String>> {
    let document = Document::parse(name, text).map_err(|error| vec![error])?;
    let (mut clients, mut errors) = (Vec::<ClientRecord>::new(), Vec::new());
    for (key, value) in document.root() {
        let tables = match (key.get_ref().as_ref(), value.get_ref()) {
            ("client", DeValue::Array(tables)) => tables,
            ("client", _) => {
                errors.push(document.error_at(&key.span(), "client: expected a list of tables, [[client]]"));
                continue;
            }
            (other, _) => {
                errors.push(document.error_at(&key.span(), &unknown_key(other, &["client"])));
                continue;
            }
        };
        if tables.len() > MAX_CLIENTS {
            errors.push(document.error_at(&key.span(), &format!("client: expected at most {MAX_CLIENTS} tables")));
        }
        for table in tables {
            match client(&document, table) {
                Ok(client) if clients.iter().any(|other| other.id == client.id) => {
                    let message = format!(
                        "client `{}`: the id `{}` belongs to an earlier client",
                        client.settings.name, client.id
                    );
                    errors.push(document.error_at(&table.span(), &message));
                }
                Ok(client) => clients.push(client),
                Err(error) => errors.push(error),
            }
        }
    }
    if errors.is_empty() { Ok(clients.into()) } else { Err(errors) }
}

fn client(document: &Document<'_>, table: &Spanned<DeValue<'_>>) -> Result<ClientRecord, String> {
    let fields = table.get_ref().as_table().ok_or_else(|| {
        document.error_at(&table.span(), "client: expected a table with `name`, `id`, `sha256` and settings")
    })?;
    let field = |name: &str| fields.get(name).map(Spanned::get_ref);
    let title =
        field("name").and_then(DeValue::as_str).map_or_else(|| "client".to_owned(), |name| format!("client `{name}`"));
    let mistake = |field: &str, message: &str| {
        let span = fields.get_key_value(field).map_or_else(|| table.span(), |(key, _)| key.span());
        document.error_at(&span, &format!("{title}: {message}"))
    };
    let settings = fields.iter().filter(|(key, _)| !OWN_FIELDS.contains(&key.get_ref().as_ref()));
    // A key that has expired in the meantime is not a mistake.
    let settings = ClientSettings::new(&json_object(settings), Timestamp::MIN)
        .map_err(|BadField { param, message }| mistake(param.split(['.', '[']).next().unwrap_or_default(), &message))?;
    let id = field("id").and_then(DeValue::as_str).filter(|id| key::is_id(id));
    let id = id.ok_or_else(|| mistake("id", "`id`: expected the part of the key between `sk-tf-` and its secret"))?;
    let digests = match field("sha256") {
        Some(DeValue::Array(several)) => several.iter().map(|digest| digest.get_ref().as_str()).collect(),
        one => vec![one.and_then(DeValue::as_str)],
    };
    let digests: Option<Vec<KeyDigest>> =
        digests.into_iter().map(|digest| digest.and_then(KeyDigest::from_hex)).collect();
    let digests = digests.filter(|digests| !digests.is_empty()).ok_or_else(|| {
        mistake("sha256", "`sha256`: expected the 64 hex digits that `tollfree keys hash` prints, or a list of them")
    })?;
    Ok(ClientRecord {
        id: id.into(),
        source: ClientSource::File,
        settings,
        version: 0,
        secrets: digests.into_iter().map(|digest| Secret { digest, until_ms: None }).collect(),
        created_ms: None,
        rotated_ms: None,
        revoked_ms: None,
        used_ms: None,
    })
}

fn json_object<'t, 'i: 't>(
    fields: impl Iterator<Item = (&'t Spanned<DeString<'i>>, &'t Spanned<DeValue<'i>>)>,
) -> Map<String, Value> {
    fields.map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref()))).collect()
}

/// The same value as JSON, with an instant as text.
fn json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(n) => n.to_string().parse::<i64>().map_or(Value::Null, Value::from),
        DeValue::Float(x) => x.to_string().parse::<f64>().map_or(Value::Null, Value::from),
        DeValue::Boolean(flag) => Value::from(*flag),
        DeValue::Datetime(at) => Value::from(at.to_string()),
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(table) => json_object(table.iter()).into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::Limit;

    proptest! {
        /// Lines of a client, right and wrong ones, in any order.
        #[test]
        fn any_file_is_read_or_refused_with_its_name(
            lines in proptest::collection::vec(
                "(\\[\\[client\\]\\]|name|id|sha256|limits|models|weight|wait_ms|expires_at|disabled|paid)( = ([0-9a-f]{1,70}|\"[ -!#-~é]{0,70}\"|\\{ ?(rpm|tpd|x) = -?[0-9]{1,20} ?\\}|\\[.{0,9}\\]|true|[0-9]{4}-[0-9]{2}-[0-9]{2}))?",
                0..12,
            ),
        ) {
            match parse("clients.toml", &lines.join("\n")) {
                Ok(clients) => {
                    for client in clients.iter() {
                        prop_assert!(key::is_id(&client.id) && !client.secrets.is_empty());
                    }
                }
                Err(errors) => prop_assert!(errors.iter().all(|error| error.contains("clients.toml")), "{errors:?}"),
            }
        }
    }

    const HASH: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

    #[test]
    fn a_client_of_the_file_is_read_whole() {
        let file = format!(
            "[[client]]\nname = \"ann\"\nid = \"ann\"\nsha256 = \"{HASH}\"\nlimits = {{ rpm = 10 }}\nmodels = [\"free\"]\n\
             expires_at = 2020-01-01T00:00:00Z\n[[client]]\nname = \"bob\"\nid = \"bob\"\nsha256 = [\"{HASH}\", \"{HASH}\"]\n"
        );
        let clients = parse("clients.toml", &file).unwrap();
        let [ann, bob] = &*clients else { panic!("{clients:?}") };
        assert_eq!(ann.settings.limits.in_force().collect::<Vec<_>>(), [(Limit::Rpm, 10)]);
        assert_eq!((&*ann.id, ann.source, ann.version, ann.secrets.len()), ("ann", ClientSource::File, 0, 1));
        assert!(ann.secrets[0].digest.is(&KeyDigest::of("foo")));
        assert!(ann.settings.expires_at.is_some() && bob.secrets.len() == 2);
        assert!(parse("clients.toml", "").unwrap().is_empty());
    }

    #[test]
    fn a_mistake_has_its_file_line_and_name() {
        let client = |rest: &str| format!("[[client]]\nname = \"ann\"\nid = \"ann\"\nsha256 = \"{HASH}\"\n{rest}");
        for (file, expected) in [
            ("[[client]\n".to_owned(), "clients.toml:1"),
            ("client = 3\n".to_owned(), "clients.toml:1:1: client: expected a list of tables"),
            ("[[clients]]\n".to_owned(), "clients.toml:1:3: unknown key `clients`: did you mean `client`?"),
            (client("limits = { rpm = -1 }\n"), "clients.toml:5:1: client `ann`: `limits.rpm`: expected"),
            (client("limts = {}\n"), "clients.toml:5:1: client `ann`: `limts`: there is no such field"),
            (client("models = [\"a b\"]\n"), "clients.toml:5:1: client `ann`: `models[0]`"),
            (client("weight = 1.5\n"), "`weight`: expected a whole number"),
            ("[[client]]\nid = \"x1\"\n".to_owned(), "clients.toml:1:1: client: `name`: it is missing"),
            ("[[client]]\nname = \"bob\"\nid = \"Bob!\"\n".to_owned(), "clients.toml:3:1: client `bob`: `id`"),
            (
                "[[client]]\nname = \"bob\"\nid = \"bob\"\nsha256 = \"12\"\n".to_owned(),
                "clients.toml:4:1: client `bob`: `sha256`",
            ),
            (client("").repeat(2), "client `ann`: the id `ann` belongs to an earlier client"),
        ] {
            let errors = parse("clients.toml", &file).unwrap_err();
            assert!(errors[0].contains(expected), "{file}\n{errors:?}");
        }
    }
}
