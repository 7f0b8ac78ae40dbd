//! Thought signatures by the tool calls they came with. Most clients lose them, and the provider wants them back, whichever replica
//! sends the next request.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;

use crate::{
    domain::KeyDigest,
    ledger::{
        error::LedgerError,
        script::{
            encode,
            engine::{Reply, ScriptCall},
            keys::Key,
            scripts::Script,
        },
        shared::Ledger,
    },
};

/// A dialogue with tools goes on within a day.
const LIFETIME: Duration = Duration::from_hours(24);
/// A longer signature is not kept.
const MAX_BYTES: usize = 65_536;
/// Calls of one request that are looked up, the newest first.
const MAX_CALLS: usize = 128;

impl Ledger {
    /// Keeps the signatures of a client's calls, each by the id of its call.
    pub async fn keep_signatures(&self, client: &str, signatures: &[(String, String)]) -> Result<(), LedgerError> {
        let kept: Vec<&(String, String)> = signatures.iter().filter(|(_, text)| text.len() <= MAX_BYTES).collect();
        if kept.is_empty() {
            return Ok(());
        }
        let keys = kept.iter().map(|(id, _)| self.signature_key(client, id)).collect();
        let mut args = vec![encode::number(LIFETIME.as_millis())];
        args.extend(kept.iter().map(|(_, signature)| Bytes::from(signature.clone())));
        self.shared.run(&ScriptCall { script: Script::ThoughtSignatures, keys, args }).await.map(drop)
    }

    /// The signatures that were kept for a client's calls, by the id of the call.
    pub async fn find_signatures(
        &self,
        client: &str,
        calls: &[String],
    ) -> Result<HashMap<String, String>, LedgerError> {
        let newest = &calls[calls.len().saturating_sub(MAX_CALLS)..];
        if newest.is_empty() {
            return Ok(HashMap::new());
        }
        let keys = newest.iter().map(|id| self.signature_key(client, id)).collect();
        let call = ScriptCall { script: Script::ThoughtSignatures, keys, args: Vec::new() };
        match self.shared.run(&call).await? {
            Reply::List(found) => {
                let found = newest.iter().zip(found).filter_map(|(id, signature)| {
                    let signature = signature.as_str().filter(|text| !text.is_empty())?;
                    Some((id.clone(), signature.to_owned()))
                });
                Ok(found.collect())
            }
            other => Err(LedgerError::unexpected("thought_signatures", &other)),
        }
    }

    fn signature_key(&self, client: &str, call: &str) -> Key {
        self.shared.keys.signature(&KeyDigest::of(&format!("{client}\n{call}")).hex())
    }
}
