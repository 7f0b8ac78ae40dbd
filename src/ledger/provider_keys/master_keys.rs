//! Master keys: they wrap the data keys of sealed provider keys. The first one wraps, all of them open.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use ring::{
    aead::{AES_256_GCM, LessSafeKey, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
};
use secrecy::{ExposeSecret, SecretString};

/// Separates what is derived from a master key from any other use of the same text.
const SALT: &[u8] = b"tollfree master key";

/// The key that is derived from one text of `TOLLFREE_MASTER_KEY`.
#[derive(Debug)]
pub(super) struct MasterKey {
    /// Identifies the key without revealing it.
    pub id: String,
    pub wrapping: LessSafeKey,
}

impl MasterKey {
    /// `None` only if the algorithms refuse their own key length.
    fn derive(text: &SecretString) -> Option<Self> {
        let secret = Salt::new(HKDF_SHA256, SALT).extract(text.expose_secret().as_bytes());
        let mut id = [0; 32];
        secret.expand(&[b"id"], HKDF_SHA256).ok()?.fill(&mut id).ok()?;
        let wrapping = secret.expand(&[b"wrap"], &AES_256_GCM).ok()?;
        Some(Self { id: HEXLOWER.encode(&id[..4]), wrapping: LessSafeKey::new(UnboundKey::from(wrapping)) })
    }
}

/// The master keys of this replica. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct MasterKeys(Arc<[MasterKey]>);

impl MasterKeys {
    /// Derives a key from each text. The texts are random, so no slow derivation is needed.
    pub fn new(texts: &[SecretString]) -> Self {
        Self(texts.iter().filter_map(MasterKey::derive).collect())
    }

    /// The key that wraps.
    pub(super) fn first(&self) -> Option<&MasterKey> {
        self.0.first()
    }

    pub(super) fn find(&self, id: &str) -> Option<&MasterKey> {
        self.0.iter().find(|key| key.id == id)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
