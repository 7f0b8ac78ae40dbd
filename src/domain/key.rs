//! Client keys: `sk-tf-<id>-<secret>`. Only the SHA-256 of a key is stored.

use std::fmt;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

/// Prefix of client keys. A key with this prefix must be valid, even in open mode.
pub const CLIENT_KEY_PREFIX: &str = "sk-tf-";
/// Base62 characters of a secret: 238 bits.
const SECRET_CHARS: usize = 40;
/// Minimum length of a secret that was not generated here.
pub const MIN_SECRET_CHARS: usize = 32;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters of a generated id after its first letter.
const ID_CHARS: usize = 7;

/// SHA-256 of a client key, compared in constant time.
#[derive(Clone, Copy)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Reads 64 hex digits.
    pub fn from_hex(hex: &str) -> Option<Self> {
        HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()?.try_into().ok().map(Self)
    }

    pub fn hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }

    /// First 8 hex digits, which identify a key without revealing it.
    pub fn short(&self) -> String {
        HEXLOWER.encode(&self.0[..4])
    }

    pub fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyDigest({}…)", self.short())
    }
}

/// The system's random number generator failed, so no secret can be generated.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the system's random number generator failed: {0}")]
pub struct NoRandomness(String);

/// Random characters of an alphabet, each equally likely.
fn random(length: usize, alphabet: &[u8]) -> Result<String, NoRandomness> {
    // The largest multiple of the alphabet's length: bytes above it would make the first characters likelier.
    let fair = 256 / alphabet.len() * alphabet.len();
    let mut text = String::with_capacity(length);
    let mut bytes = [0; 64];
    while text.len() < length {
        getrandom::fill(&mut bytes).map_err(|error| NoRandomness(error.to_string()))?;
        let even = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair);
        text.extend(even.take(length - text.len()).map(|byte| char::from(alphabet[byte % alphabet.len()])));
    }
    Ok(text)
}

/// Random bytes.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| NoRandomness(error.to_string()))?;
    Ok(bytes)
}

/// A secret for a session cookie.
pub fn fresh_secret() -> Result<String, NoRandomness> {
    random(SECRET_CHARS, BASE62)
}

/// A new key for a client.
pub fn fresh_key(id: &str) -> Result<String, NoRandomness> {
    Ok(format!("{}{}", prefix(id), fresh_secret()?))
}

/// A new client id.
pub fn fresh_id() -> Result<String, NoRandomness> {
    Ok(format!("k{}", random(ID_CHARS, &BASE62[36..].iter().chain(&BASE62[..10]).copied().collect::<Vec<_>>())?))
}

/// Prefix of a client's keys, which may be displayed.
pub fn prefix(id: &str) -> String {
    format!("{CLIENT_KEY_PREFIX}{id}-")
}

/// The client id that a key contains.
pub fn id_of(key: &str) -> Option<&str> {
    let (id, secret) = key.strip_prefix(CLIENT_KEY_PREFIX)?.rsplit_once('-')?;
    (is_id(id) && !secret.is_empty()).then_some(id)
}

/// Whether a client may have this id. `admin` and callers without a record have reserved ids.
pub fn is_id(id: &str) -> bool {
    (2..=40).contains(&id.len())
        && id != "admin"
        && id.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && id.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_key_contains_its_client_id_and_is_unique() {
        let ids: HashSet<String> = (0..200).map(|_| fresh_id().unwrap()).collect();
        assert_eq!(ids.len(), 200);
        for id in &ids {
            assert!(is_id(id) && id.len() == 8, "{id}");
            let (key, other) = (fresh_key(id).unwrap(), fresh_key(id).unwrap());
            assert_ne!(key, other);
            assert_eq!(id_of(&key), Some(id.as_str()));
            let secret = key.strip_prefix(&prefix(id)).unwrap();
            assert!(secret.len() >= MIN_SECRET_CHARS && secret.bytes().all(|c| c.is_ascii_alphanumeric()), "{key}");
        }
        assert_eq!(id_of("sk-tf-ann-s-laptop-SECRET"), Some("ann-s-laptop"));
        for not in ["sk-tf-", "sk-tf-x", "sk-tf-ann-", "sk-tf-Ann-x", "sk-tf-admin-x", "sk-ann-x", "sk-tf-a:b-x"] {
            assert_eq!(id_of(not), None, "{not}");
        }
    }

    #[test]
    fn all_characters_of_an_alphabet_occur() {
        let seen: HashSet<u8> = (0..100).flat_map(|_| random(64, BASE62).unwrap().into_bytes()).collect();
        assert_eq!(seen.len(), 62);
    }

    #[test]
    fn a_digest_round_trips_and_its_debug_output_is_short() {
        let digest = KeyDigest::of("sk-tf-ann-x");
        assert!(KeyDigest::from_hex(&digest.hex()).unwrap().is(&digest));
        assert!(KeyDigest::from_hex(&digest.hex().to_uppercase()).unwrap().is(&digest));
        assert!(!digest.is(&KeyDigest::of("sk-tf-ann-y")));
        for wrong in ["", "abc", &"g".repeat(64), &"é".repeat(32)] {
            assert!(KeyDigest::from_hex(wrong).is_none());
        }
        assert_eq!(format!("{digest:?}").len(), "KeyDigest(12345678…)".len());
    }
}
