//! Text that a client keeps for the gateway and cannot read: summaries of compacted conversations, and reasoning. Sealed with
//! AES-256-GCM under a key that all replicas share, so that any of them opens it.

use data_encoding::BASE64URL_NOPAD;
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf,
};

/// Marks what this gateway sealed, and the version of the form.
const MARK: &str = "tf1.";

/// The use of a sealed text. One that was sealed for another use does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealedFor {
    Compaction,
    Reasoning,
}

impl SealedFor {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Compaction => b"compaction",
            Self::Reasoning => b"reasoning",
        }
    }
}

/// The key that seals and opens.
pub struct Sealer(LessSafeKey);

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    /// Derives the key from a secret of any length. `None` where the system offers no such cipher, which does not happen.
    pub fn new(secret: &[u8]) -> Option<Self> {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"tollfree seal");
        let key = salt.extract(secret);
        let key = UnboundKey::from(key.expand(&[b"aes-256-gcm"], &AES_256_GCM).ok()?);
        Some(Self(LessSafeKey::new(key)))
    }

    /// Seals a text. `None` if the system has no random numbers.
    pub fn seal(&self, text: &str, purpose: SealedFor) -> Option<String> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).ok()?;
        let mut sealed = text.as_bytes().to_vec();
        let aad = Aad::from(purpose.label());
        self.0.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed).ok()?;
        let mut whole = nonce.to_vec();
        whole.append(&mut sealed);
        Some(format!("{MARK}{}", BASE64URL_NOPAD.encode(&whole)))
    }

    /// Opens what any replica with the same secret sealed for the same use.
    pub fn open(&self, sealed: &str, purpose: SealedFor) -> Option<String> {
        let mut whole = BASE64URL_NOPAD.decode(sealed.strip_prefix(MARK)?.as_bytes()).ok()?;
        let (nonce, text) = whole.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let opened = self.0.open_in_place(nonce, Aad::from(purpose.label()), text).ok()?;
        String::from_utf8(opened.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_text_opens_with_the_same_secret_and_for_the_same_use_only() {
        let [ours, replica, other] = [&b"secret"[..], b"secret", b"another"].map(|secret| Sealer::new(secret).unwrap());
        let sealed = ours.seal("the summary", SealedFor::Compaction).unwrap();
        assert!(!sealed.contains("summary"));
        assert_eq!(replica.open(&sealed, SealedFor::Compaction).as_deref(), Some("the summary"));
        assert_eq!(replica.open(&sealed, SealedFor::Reasoning), None);
        assert_eq!(other.open(&sealed, SealedFor::Compaction), None);
        let again = ours.seal("the summary", SealedFor::Compaction).unwrap();
        assert_ne!(sealed, again, "two seals of one text cannot be compared");
    }

    #[test]
    fn what_was_changed_or_sealed_elsewhere_does_not_open() {
        let ours = Sealer::new(b"secret").unwrap();
        let sealed = ours.seal("text", SealedFor::Compaction).unwrap();
        let mut changed = sealed.clone().into_bytes();
        let last = changed.len() - 4;
        changed[last] = if changed[last] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        for foreign in ["", "tf1.", "tf1.AAAA", "gAAAAABpM0Yj", &changed, &sealed[..sealed.len() - 1]] {
            assert_eq!(ours.open(foreign, SealedFor::Compaction), None, "{foreign}");
        }
    }
}
