//! The file of hashes (`clients.file`): members of a team that keeps everything in Git. It holds no key, only SHA-256s.

use std::{path::Path, sync::Arc};

use jiff::Timestamp;
use serde_json::{Map, Value};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::document::{Document, unknown_key};
use crate::domain::{BadField, ClientRecord, ClientSettings, ClientSource, KeyDigest, client_record::Secret, key};

/// What a `[[client]]` has beside what can be said of any member.
const OWN: [&str; 2] = ["id", "sha256"];
/// All of them are looked through for every request of a member.
const MEMBERS_MOST: usize = 1_000;

/// Reads the file; an error names every mistake it can find, each with its line and the client's name.
pub(super) fn read(name: &str, cwd: &Path) -> Result<Arc<[ClientRecord]>, Vec<String>> {
    let text = std::fs::read_to_string(cwd.join(name))
        .map_err(|error| vec![format!("clients.file: `{name}` cannot be read: {error}")])?;
    members(name, &text)
}

fn members(name: &str, text: &str) -> Result<Arc<[ClientRecord]>, Vec<String>> {
    let document = Document::parse(name, text).map_err(|error| vec![error])?;
    let (mut members, mut errors) = (Vec::<ClientRecord>::new(), Vec::new());
    for (key, span, value) in document.sections() {
        let tables = match (key, value) {
            ("client", DeValue::Array(tables)) => tables,
            ("client", _) => {
                errors.push(document.error_at(&span, "client: expected a list of tables, [[client]]"));
                continue;
            }
            (other, _) => {
                errors.push(document.error_at(&span, &unknown_key(other, &["client"])));
                continue;
            }
        };
        if tables.len() > MEMBERS_MOST {
            errors.push(document.error_at(&span, &format!("client: at most {MEMBERS_MOST} are taken from a file")));
        }
        for table in tables {
            match member(&document, table) {
                Ok(member) if members.iter().any(|other| other.id == member.id) => {
                    let what = format!("client `{}`: the id `{}` stands there twice", member.settings.name, member.id);
                    errors.push(document.error_at(&table.span(), &what));
                }
                Ok(member) => members.push(member),
                Err(error) => errors.push(error),
            }
        }
    }
    if errors.is_empty() { Ok(members.into()) } else { Err(errors) }
}

fn member(document: &Document<'_>, table: &Spanned<DeValue<'_>>) -> Result<ClientRecord, String> {
    let fields = table.get_ref().as_table().ok_or_else(|| {
        document.error_at(&table.span(), "client: expected a table with name, id, sha256 and what it may do")
    })?;
    let named = fields.iter().find(|(key, _)| key.get_ref().as_ref() == "name").and_then(|(_, v)| v.get_ref().as_str());
    let who = named.map_or_else(|| "client".to_owned(), |name| format!("client `{name}`"));
    let mistake = |field: &str, what: &str| {
        let at = fields.iter().find(|(key, _)| key.get_ref().as_ref() == field);
        let span = at.map_or_else(|| table.span(), |(key, _)| key.span());
        document.error_at(&span, &format!("{who}: {what}"))
    };
    let said: Map<String, Value> = fields
        .iter()
        .filter(|(key, _)| !OWN.contains(&key.get_ref().as_ref()))
        .map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref())))
        .collect();
    // A key that has expired since it was written down is no mistake: it opens nothing.
    let settings = ClientSettings::new(&said, Timestamp::MIN).map_err(|BadField { param, message }| {
        let field = param.split(['.', '[']).next().unwrap_or_default();
        mistake(field, &message)
    })?;
    let id = own(fields, "id").and_then(DeValue::as_str).filter(|id| key::is_id(id));
    let id = id.ok_or_else(|| mistake("id", "`id`: expected the part of the key between `sk-tf-` and its secret"))?;
    let wrong = || {
        mistake("sha256", "`sha256`: expected the 64 hex digits that `tollfree keys hash` prints, or a list of such")
    };
    let digest = |text: Option<&str>| text.and_then(KeyDigest::from_hex).ok_or_else(wrong);
    let digests = match own(fields, "sha256") {
        Some(DeValue::Array(several)) if !several.is_empty() => {
            several.iter().map(|one| digest(one.get_ref().as_str())).collect::<Result<Vec<_>, _>>()?
        }
        one => vec![digest(one.and_then(DeValue::as_str))?],
    };
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

fn own<'t, 'i>(fields: &'t DeTable<'i>, name: &str) -> Option<&'t DeValue<'i>> {
    fields.iter().find(|(key, _)| key.get_ref().as_ref() == name).map(|(_, value)| value.get_ref())
}

/// The same value as JSON; an instant as its text.
fn json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(n) => n.to_string().parse::<i64>().map_or(Value::Null, Value::from),
        DeValue::Float(x) => x.to_string().parse::<f64>().map_or(Value::Null, Value::from),
        DeValue::Boolean(flag) => Value::from(*flag),
        DeValue::Datetime(at) => Value::from(at.to_string()),
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(table) => {
            table.iter().map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref()))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Limit;

    const HASH: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

    #[test]
    fn a_member_of_the_file_is_read_whole() {
        let file = format!(
            "[[client]]\nname = \"ann\"\nid = \"ann\"\nsha256 = \"{HASH}\"\nlimits = {{ rpm = 10 }}\nmodels = [\"free\"]\n\
             expires_at = 2020-01-01T00:00:00Z\n[[client]]\nname = \"bob\"\nid = \"bob\"\nsha256 = [\"{HASH}\", \"{HASH}\"]\n"
        );
        let members = members("clients.toml", &file).unwrap();
        let [ann, bob] = &*members else { panic!("{members:?}") };
        assert_eq!(ann.settings.limits.in_force().collect::<Vec<_>>(), [(Limit::Rpm, 10)]);
        assert_eq!((&*ann.id, ann.source, ann.version, ann.secrets.len()), ("ann", ClientSource::File, 0, 1));
        assert!(ann.secrets[0].digest.is(&KeyDigest::of("foo")));
        assert!(ann.settings.expires_at.is_some() && bob.secrets.len() == 2);
        assert!(super::members("clients.toml", "").unwrap().is_empty());
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
            (client("").repeat(2), "client `ann`: the id `ann` stands there twice"),
        ] {
            let errors = members("clients.toml", &file).unwrap_err();
            assert!(errors[0].contains(expected), "{file}\n{errors:?}");
        }
    }
}
