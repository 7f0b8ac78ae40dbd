//! Seals secrets with AES-256-GCM: a data key of its own for each secret, which a master key wraps.
//!
//! A sealed secret is the text `1.MASTER.WRAPPED.SEALED`: the version of this form, the id of the master key, the wrapped
//! data key and the sealed secret, both as Base64 of a nonce, the ciphertext and its tag.

use data_encoding::BASE64URL_NOPAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};

use super::master_keys::{MasterKey, MasterKeys};
use crate::domain::key::{NoRandomness, random_bytes};

const FORM: &str = "1";
const KEY_BYTES: usize = 32;

/// What a sealed secret belongs to. It cannot be opened as that of another pool, provider or id.
#[derive(Debug, Clone, Copy)]
pub(super) struct SealedFor<'a> {
    pub pool: &'a str,
    pub provider: &'a str,
    pub id: &'a str,
}

impl SealedFor<'_> {
    /// None of the names contains a line feed.
    fn associated_data(&self) -> Aad<String> {
        Aad::from(format!("tollfree provider key {FORM}\n{}\n{}\n{}", self.pool, self.provider, self.id))
    }
}

/// Why a sealed secret cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("none of the master keys opens it: it is sealed under the master key `{0}`")]
    UnknownMasterKey(String),
    #[error("its sealed form is damaged or belongs to another key")]
    Damaged,
}

/// The parts of a sealed text.
struct Sealed<'a> {
    master: &'a str,
    wrapped: Vec<u8>,
    secret: &'a str,
}

fn parse(text: &str) -> Result<Sealed<'_>, OpenError> {
    let mut parts = text.split('.');
    match [parts.next(), parts.next(), parts.next(), parts.next(), parts.next()] {
        [Some(FORM), Some(master), Some(wrapped), Some(secret), None] => {
            let wrapped = BASE64URL_NOPAD.decode(wrapped.as_bytes()).map_err(|_| OpenError::Damaged)?;
            Ok(Sealed { master, wrapped, secret })
        }
        _ => Err(OpenError::Damaged),
    }
}

/// The id of the master key that a sealed text needs.
pub(super) fn master_key_of(text: &str) -> Option<&str> {
    text.split('.').nth(1)
}

pub(super) fn seal(master: &MasterKey, belongs: SealedFor<'_>, secret: &SecretString) -> Result<String, NoRandomness> {
    let data_key = Zeroizing::new(random_bytes::<KEY_BYTES>()?);
    let wrapped = encrypt(&master.wrapping, belongs, data_key.as_slice())?;
    let sealed = encrypt(&data_cipher(&data_key), belongs, secret.expose_secret().as_bytes())?;
    Ok(format!("{FORM}.{}.{}.{}", master.id, BASE64URL_NOPAD.encode(&wrapped), BASE64URL_NOPAD.encode(&sealed)))
}

pub(super) fn open(masters: &MasterKeys, belongs: SealedFor<'_>, text: &str) -> Result<SecretString, OpenError> {
    let parts = parse(text)?;
    let data_key = unwrap_key(masters, belongs, &parts)?;
    let sealed = BASE64URL_NOPAD.decode(parts.secret.as_bytes()).map_err(|_| OpenError::Damaged)?;
    let secret = decrypt(&data_cipher(&data_key), belongs, sealed)?;
    Ok(std::str::from_utf8(&secret).map_err(|_| OpenError::Damaged)?.into())
}

/// Wraps the data key by the first master key; the sealed secret stays as it is.
pub(super) fn rewrap(
    masters: &MasterKeys,
    belongs: SealedFor<'_>,
    text: &str,
) -> Result<Result<String, NoRandomness>, OpenError> {
    let parts = parse(text)?;
    let data_key = unwrap_key(masters, belongs, &parts)?;
    let first = masters.first().ok_or_else(|| OpenError::UnknownMasterKey(parts.master.to_owned()))?;
    let wrapped = encrypt(&first.wrapping, belongs, data_key.as_slice());
    Ok(wrapped.map(|wrapped| format!("{FORM}.{}.{}.{}", first.id, BASE64URL_NOPAD.encode(&wrapped), parts.secret)))
}

fn unwrap_key(
    masters: &MasterKeys,
    belongs: SealedFor<'_>,
    parts: &Sealed<'_>,
) -> Result<Zeroizing<[u8; KEY_BYTES]>, OpenError> {
    let unknown = || OpenError::UnknownMasterKey(parts.master.to_owned());
    let master = masters.find(parts.master).ok_or_else(unknown)?;
    let key = decrypt(&master.wrapping, belongs, parts.wrapped.clone())?;
    let key: [u8; KEY_BYTES] = key.as_slice().try_into().map_err(|_| OpenError::Damaged)?;
    Ok(Zeroizing::new(key))
}

fn data_cipher(key: &[u8; KEY_BYTES]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("the key has the length of the algorithm"))
}

/// A random nonce, the ciphertext, and its tag.
fn encrypt(key: &LessSafeKey, belongs: SealedFor<'_>, plain: &[u8]) -> Result<Vec<u8>, NoRandomness> {
    let nonce = random_bytes::<NONCE_LEN>()?;
    let mut cipher = plain.to_vec();
    let tag = key
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), belongs.associated_data(), &mut cipher)
        .expect("a secret is far shorter than the maximum of the algorithm");
    Ok([nonce.as_slice(), &cipher, tag.as_ref()].concat())
}

fn decrypt(key: &LessSafeKey, belongs: SealedFor<'_>, mut bytes: Vec<u8>) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let (nonce, cipher) = bytes.split_first_chunk_mut::<NONCE_LEN>().ok_or(OpenError::Damaged)?;
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let plain = key.open_in_place(nonce, belongs.associated_data(), cipher).map_err(|_| OpenError::Damaged)?;
    let plain = Zeroizing::new(plain.to_vec());
    Zeroizing::new(bytes); // clears the place in which it was opened
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "gsk_a-provider-key-of-a-usual-length-0123456789";
    const HERE: SealedFor<'_> = SealedFor { pool: "default", provider: "groq", id: "groq-1a2b3c4d" };

    fn masters(texts: &[&str]) -> MasterKeys {
        MasterKeys::new(&texts.iter().map(|text| SecretString::from(*text)).collect::<Vec<_>>())
    }

    fn sealed(masters: &MasterKeys) -> String {
        seal(masters.first().unwrap(), HERE, &SECRET.into()).unwrap()
    }

    #[test]
    fn a_sealed_secret_is_opened_by_any_of_the_master_keys_and_by_no_other() {
        let text = sealed(&masters(&["the first master key"]));
        for texts in [&["the first master key"][..], &["another", "the first master key"]] {
            assert_eq!(open(&masters(texts), HERE, &text).unwrap().expose_secret(), SECRET);
        }
        for texts in [&["another"][..], &[]] {
            assert!(matches!(open(&masters(texts), HERE, &text), Err(OpenError::UnknownMasterKey(_))));
        }
    }

    #[test]
    fn it_belongs_to_its_pool_provider_and_id() {
        let masters = masters(&["a master key"]);
        let text = sealed(&masters);
        for other in [
            SealedFor { pool: "other", ..HERE },
            SealedFor { provider: "gemini", ..HERE },
            SealedFor { id: "groq-00000000", ..HERE },
        ] {
            assert_eq!(open(&masters, other, &text).unwrap_err(), OpenError::Damaged, "{other:?}");
        }
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let masters = masters(&["a master key"]);
        let text = sealed(&masters);
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            // The last character of Base64 may have unused bits, which must be zero.
            assert!(open(&masters, HERE, &changed).is_err(), "{at}");
        }
        for cut in [0, 1, 10, text.len() - 1] {
            assert!(open(&masters, HERE, &text[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_secret_is_sealed_differently_each_time_and_never_in_clear() {
        let masters = masters(&["a master key"]);
        let (one, two) = (sealed(&masters), sealed(&masters));
        assert_ne!(one, two);
        assert!(!one.contains(&SECRET[4..]) && !one.contains(&BASE64URL_NOPAD.encode(SECRET.as_bytes())));
    }

    #[test]
    fn a_rewrapped_secret_needs_the_new_master_key_only() {
        let (old, both, new) = (masters(&["old"]), masters(&["new", "old"]), masters(&["new"]));
        let before = sealed(&old);
        let after = rewrap(&both, HERE, &before).unwrap().unwrap();
        assert_eq!(open(&new, HERE, &after).unwrap().expose_secret(), SECRET);
        assert!(open(&old, HERE, &after).is_err());
        assert_eq!(before.split('.').next_back(), after.split('.').next_back());
        assert_eq!(master_key_of(&after), Some(&*new.first().unwrap().id));
        assert!(rewrap(&new, HERE, &before).is_err());
    }
}
