//! Stored responses: found by every replica, by the same client only, bounded in time and bytes.

use std::time::Duration;

use bytes::Bytes;

use super::{
    error::LedgerError,
    script::{
        engine::{Reply, ScriptCall},
        scripts::Script,
    },
    shared::Ledger,
};

/// More responses in one conversation are not continued.
const MAX_CHAIN: usize = 1_000;

/// A response to be stored.
#[derive(Debug, Clone)]
pub struct NewResponse {
    pub id: String,
    /// The response that it continues.
    pub previous: Option<String>,
    /// The items that it added to the conversation, as a JSON array.
    pub input: Bytes,
    /// Its object, as JSON.
    pub object: Bytes,
}

/// How much is stored of each client, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseBounds {
    pub lifetime: Duration,
    pub bytes_per_client: u64,
}

/// A stored response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResponse {
    pub input: Bytes,
    pub object: Bytes,
}

impl Ledger {
    /// Stores a response. `false`: it is larger than all that the client may store.
    pub async fn store_response(
        &self,
        client: &str,
        response: &NewResponse,
        bounds: ResponseBounds,
    ) -> Result<bool, LedgerError> {
        let number = |n: String| Bytes::from(n);
        let args = vec![
            Bytes::from(response.id.clone()),
            Bytes::from(response.previous.clone().unwrap_or_default()),
            response.input.clone(),
            response.object.clone(),
            number(bounds.lifetime.as_millis().to_string()),
            number(bounds.bytes_per_client.to_string()),
        ];
        let [responses, by_expiry] = self.shared.keys.stored_responses(client);
        let keys = vec![self.shared.keys.meta(), responses, by_expiry];
        match self.shared.run(&ScriptCall { script: Script::ResponsePut, keys, args }).await? {
            Reply::Int(stored) => Ok(stored == 1),
            other => Err(LedgerError::unexpected("response_put", &other)),
        }
    }

    /// A stored response of this client.
    pub async fn stored_response(&self, client: &str, id: &str) -> Result<Option<StoredResponse>, LedgerError> {
        Ok(self.read_responses(client, id, 1).await?.pop())
    }

    /// The responses of the conversation that ends with this one, the earliest first. Empty if one of them is missing.
    pub async fn stored_conversation(&self, client: &str, id: &str) -> Result<Vec<StoredResponse>, LedgerError> {
        let mut responses = self.read_responses(client, id, MAX_CHAIN).await?;
        responses.reverse();
        Ok(responses)
    }

    async fn read_responses(&self, client: &str, id: &str, most: usize) -> Result<Vec<StoredResponse>, LedgerError> {
        let [responses, _] = self.shared.keys.stored_responses(client);
        let keys = vec![self.shared.keys.meta(), responses];
        let args = vec![Bytes::copy_from_slice(id.as_bytes()), Bytes::from(most.to_string())];
        let reply = self.shared.run(&ScriptCall { script: Script::ResponseGet, keys, args }).await?;
        let Reply::List(parts) = &reply else { return Err(LedgerError::unexpected("response_get", &reply)) };
        let (pairs, rest) = parts.as_chunks::<2>();
        let stored = pairs.iter().map(|pair| match pair {
            [Reply::Bulk(input), Reply::Bulk(object)] => {
                Some(StoredResponse { input: input.clone(), object: object.clone() })
            }
            _ => None,
        });
        let stored = stored.collect::<Option<Vec<_>>>().filter(|_| rest.is_empty());
        stored.ok_or_else(|| LedgerError::unexpected("response_get", &reply))
    }

    /// Deletes a stored response. `false`: this client has none with this id.
    pub async fn delete_response(&self, client: &str, id: &str) -> Result<bool, LedgerError> {
        let keys = self.shared.keys.stored_responses(client).into();
        let args = vec![Bytes::copy_from_slice(id.as_bytes())];
        match self.shared.run(&ScriptCall { script: Script::ResponseDelete, keys, args }).await? {
            Reply::Int(deleted) => Ok(deleted == 1),
            other => Err(LedgerError::unexpected("response_delete", &other)),
        }
    }
}
