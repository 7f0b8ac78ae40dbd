//! A catalogue that travels: a file whose first line signs the rest. It is laid over the built-in one, provider by provider, and
//! the operator's file over both.

use std::collections::BTreeSet;

use data_encoding::BASE64;
use ring::signature::{ED25519, UnparsedPublicKey};

use super::{
    Settings,
    builtin::{ADOPTED, BUILTIN_TEXT, Builtin, compiled_in},
};

/// What the first line begins with; the signature of everything after that line follows in Base64.
const HEAD: &str = "# tollfree-catalogue-1 ed25519 ";
/// The key of the catalogues that releases publish, as PEM. Its private half is a secret of the release job. A file that says why
/// there is no key stands for none.
const RELEASE_KEY_FILE: &str = include_str!("../catalog/signing-key.pem");
const PEM_HEAD: &str = "-----BEGIN PUBLIC KEY-----";
/// Bytes of an Ed25519 key, which stand last in its DER form.
const KEY_BYTES: usize = 32;
/// A larger file is no catalogue.
pub(crate) const MAX_CATALOGUE_BYTES: usize = 4 << 20;

/// Why a catalogue is not trusted, or not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CatalogueError {
    #[error("it is not signed: its first line does not begin with `{HEAD}`")]
    Unsigned,
    #[error("its signature is wrong: it was changed, or signed by another key")]
    WrongSignature,
    #[error("the key of the catalogue is no Ed25519 public key (PEM, or 32 bytes in Base64)")]
    BadKey,
    #[error(
        "no key is known that could have signed it: this program was built without one. Set `catalog.public_key` to the public key \
         of whoever publishes it"
    )]
    NoKey,
    #[error("{0}")]
    Invalid(String),
}

/// A catalogue whose signature is right.
#[derive(Debug)]
pub(crate) struct Verified<'t> {
    pub catalogue: Builtin,
    /// The part that is signed.
    pub text: &'t str,
}

/// The key that this program was built with.
fn release_key() -> Option<&'static str> {
    Some(RELEASE_KEY_FILE).filter(|file| file.contains(PEM_HEAD))
}

/// The key to check a signature by.
fn raw_key(configured: Option<&str>) -> Result<Vec<u8>, CatalogueError> {
    let text = match configured {
        Some(key) => key,
        None => release_key().ok_or(CatalogueError::NoKey)?,
    };
    public_key(text).ok_or(CatalogueError::BadKey)
}

/// Fails if there is no key to check a signature by. `key`: of `catalog.public_key`; `None`: that of the releases.
pub(crate) fn check_key(key: Option<&str>) -> Result<(), CatalogueError> {
    raw_key(key).map(drop)
}

/// Checks the signature and the content of a file. `key`: of `catalog.public_key`; `None`: that of the releases.
pub(crate) fn verify<'t>(file: &'t str, key: Option<&str>) -> Result<Verified<'t>, CatalogueError> {
    let key = raw_key(key)?;
    let signed = file.strip_prefix(HEAD).and_then(|rest| rest.split_once('\n'));
    let (signature, text) = signed.ok_or(CatalogueError::Unsigned)?;
    let signature = BASE64.decode(signature.trim_end().as_bytes()).map_err(|_| CatalogueError::Unsigned)?;
    let verified = UnparsedPublicKey::new(&ED25519, key).verify(text.as_bytes(), &signature);
    verified.map_err(|_| CatalogueError::WrongSignature)?;
    Ok(Verified { catalogue: parse(text)?, text })
}

/// Reads a catalogue, and checks what a broken one could do harm by.
fn parse(text: &str) -> Result<Builtin, CatalogueError> {
    let invalid = |what: String| CatalogueError::Invalid(what);
    let catalogue: Builtin = toml::from_str(text).map_err(|error| invalid(format!("it cannot be read: {error}")))?;
    let schema = compiled_in().schema;
    if catalogue.schema != schema {
        let found = catalogue.schema;
        return Err(invalid(format!("its layout is version {found}, and this program reads version {schema}")));
    }
    for (id, provider) in &catalogue.providers {
        let is_safe = |url: &str| url.starts_with("https://") || provider.local == Some(true);
        if !provider.base_url.as_deref().is_some_and(is_safe) {
            return Err(invalid(format!("providers.{id}: its address is missing or not https://")));
        }
        let dialect = provider.headers.as_deref().unwrap_or("retry_after");
        if catalogue.headers(dialect).or_else(|| compiled_in().headers(dialect)).is_none() {
            return Err(invalid(format!("providers.{id}: there are no headers `{dialect}`")));
        }
        let mut names = BTreeSet::new();
        let all = provider.models.iter().flat_map(|(id, model)| std::iter::once(id).chain(&model.aliases));
        if let Some(twice) = all.into_iter().find(|name| !names.insert(*name)) {
            return Err(invalid(format!("providers.{id}: `{twice}` names two models")));
        }
    }
    Ok(catalogue)
}

/// The raw key in a PEM file, or in Base64 alone.
fn public_key(text: &str) -> Option<Vec<u8>> {
    let text = text.find(PEM_HEAD).map_or(text, |start| &text[start..]);
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("-----"));
    let bytes = BASE64.decode(lines.collect::<String>().as_bytes()).ok()?;
    let start = bytes.len().checked_sub(KEY_BYTES)?;
    Some(bytes[start..].to_vec())
}

/// Lays a catalogue over the built-in one from here on, if it is newer than the one in force. Returns whether it is.
pub(crate) fn adopt(catalogue: Builtin) -> bool {
    let mut adopted = ADOPTED.write();
    let present = adopted.unwrap_or_else(|| compiled_in());
    if catalogue.serial <= present.serial {
        return false;
    }
    *adopted = Some(Box::leak(Box::new(catalogue.over(compiled_in()))));
    true
}

/// Adopts the catalogue that an earlier fetch has kept in `catalog.file`. `Ok(false)`: there is none, or it is not newer.
pub(crate) fn adopt_kept(settings: &Settings) -> Result<bool, String> {
    let Some(path) = settings.catalog.file.as_deref().filter(|path| path.exists()) else { return Ok(false) };
    let wrong = |why: String| format!("catalog.file: `{}` is not used: {why}", path.display());
    let file = std::fs::read_to_string(path).map_err(|error| wrong(format!("it cannot be read: {error}")))?;
    let key = settings.catalog.public_key.as_deref();
    let verified = verify(&file, key).map_err(|error| wrong(error.to_string()))?;
    Ok(adopt(verified.catalogue))
}

/// The differences between two catalogues, one a line: `+ providers.x`, `- providers.x.models.y`, `providers.x.limits.rpm: 3 → 5`.
pub(crate) fn differences(before: &str, after: &str) -> Result<Vec<String>, toml::de::Error> {
    let (before, after): (toml::Table, toml::Table) = (toml::from_str(before)?, toml::from_str(after)?);
    let mut lines = Vec::new();
    compare(&before, &after, "", &mut lines);
    Ok(lines)
}

fn compare(before: &toml::Table, after: &toml::Table, path: &str, lines: &mut Vec<String>) {
    let at = |name: &str| {
        let is_bare = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        let name = if is_bare { name.to_owned() } else { format!("\"{name}\"") };
        if path.is_empty() { name } else { format!("{path}.{name}") }
    };
    for (name, value) in after {
        match (before.get(name), value) {
            (None, toml::Value::Table(_)) => lines.push(format!("+ {}", at(name))),
            (None, value) => lines.push(format!("+ {}: {value}", at(name))),
            (Some(toml::Value::Table(before)), toml::Value::Table(after)) => compare(before, after, &at(name), lines),
            (Some(before), after) if before != after => lines.push(format!("  {}: {before} → {after}", at(name))),
            _ => {}
        }
    }
    lines.extend(before.keys().filter(|name| !after.contains_key(*name)).map(|name| format!("- {}", at(name))));
}

/// The text of the catalogue in the program.
pub(crate) fn builtin_text() -> &'static str {
    BUILTIN_TEXT
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    /// A file that is signed by a key of its own, and that key in Base64.
    fn signed(text: &str) -> (String, String) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let signature = BASE64.encode(pair.sign(text.as_bytes()).as_ref());
        (format!("{HEAD}{signature}\n{text}"), BASE64.encode(pair.public_key().as_ref()))
    }

    #[test]
    fn only_a_file_that_the_key_has_signed_is_read() {
        let (file, key) = signed(BUILTIN_TEXT);
        let verified = verify(&file, Some(&key)).unwrap();
        assert_eq!((verified.catalogue.serial, verified.text), (compiled_in().serial, BUILTIN_TEXT));
        let without = if release_key().is_some() { CatalogueError::WrongSignature } else { CatalogueError::NoKey };
        assert_eq!(verify(&file, None).unwrap_err(), without, "the key of the releases, if there is one, is another");
        let changed = file.replacen("rpm = 30", "rpm = 31", 1);
        assert_eq!(verify(&changed, Some(&key)).unwrap_err(), CatalogueError::WrongSignature);
        assert_eq!(verify(BUILTIN_TEXT, Some(&key)).unwrap_err(), CatalogueError::Unsigned);
        assert_eq!(verify(&file, Some("x")).unwrap_err(), CatalogueError::BadKey);
        let pem = format!("A note of its owner.\n{PEM_HEAD}\n{key}\n-----END PUBLIC KEY-----\n");
        assert!(verify(&file, Some(&pem)).is_ok() && check_key(Some(&pem)).is_ok());
        assert!(release_key().is_none_or(|key| public_key(key).is_some_and(|key| key.len() == KEY_BYTES)));
    }

    #[test]
    fn a_signed_catalogue_that_could_do_harm_is_not_used() {
        for (from, to, words) in [
            ("schema = 1", "schema = 2", "version 2"),
            ("https://api.groq.com", "http://api.groq.com", "https://"),
            ("headers = \"groq\"", "headers = \"grok\"", "`grok`"),
            ("aliases = [\"gpt-oss-120b\"]", "aliases = [\"openai/gpt-oss-20b\"]", "names two models"),
            ("quality = 53", "qualty = 53", "cannot be read"),
        ] {
            let (file, key) = signed(&BUILTIN_TEXT.replacen(from, to, 1));
            let error = verify(&file, Some(&key)).unwrap_err().to_string();
            assert!(error.contains(words), "{to}: {error}");
        }
    }

    #[test]
    fn a_catalogue_is_laid_over_the_built_in_one_provider_by_provider() {
        let text = "schema = 1\nas_of = \"2027-01\"\nserial = 20270101\n[header_dialect]\n[template]\n\
            [providers.groq]\nbase_url = \"https://api.groq.com/openai/v1\"\n[providers.acme]\nbase_url = \"https://acme.example/v1\"\n";
        let over = parse(text).unwrap().over(compiled_in());
        assert_eq!((over.serial, over.as_of.as_str()), (20_270_101, "2027-01"));
        assert!(over.provider("groq").unwrap().models.is_empty(), "a provider is replaced as a whole");
        assert!(over.provider("gemini").is_some() && over.provider("acme").is_some());
        assert!(over.headers("groq").is_some());
    }

    #[test]
    fn differences_name_what_is_new_gone_and_changed() {
        let before = "[a]\nx = 1\ny = 2\n[a.\"m/1\"]\nz = 1\n";
        let after = "[a]\nx = 3\n[a.\"m/1\"]\nz = 1\n[a.\"m/2\"]\nz = 1\n";
        assert_eq!(differences(before, after).unwrap(), ["  a.x: 1 → 3", "+ a.\"m/2\"", "- a.y"]);
        assert!(differences(before, before).unwrap().is_empty());
    }
}
