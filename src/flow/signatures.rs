//! Thought signatures of tool calls: Gemini sends one with a call and wants it back with the call's result, but most clients lose
//! it. It is kept in the ledger by the call's id, and put back where a client has lost it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::{
    domain::{Candidate, ChatRequest, RoutePlan, provider::DialectName},
    ledger::Ledger,
    protocol::chat::{Chunk, StreamEvent, sign, unsigned_calls},
    relay::ChatBody,
};

/// A signature is not worth a longer wait for the ledger: the provider takes a placeholder instead.
const PATIENCE: Duration = Duration::from_millis(500);

/// Whether calls of this candidate have signatures.
fn signs(candidate: &Candidate) -> bool {
    candidate.provider.wire.dialect == DialectName::Gemini
}

/// A request, and its form for candidates that want signatures back.
pub(super) struct SignedRequest<'r> {
    request: &'r ChatRequest,
    /// `None` where the client has lost no signature that is known.
    signed: Option<Box<ChatRequest>>,
}

impl<'r> SignedRequest<'r> {
    pub(super) async fn of(request: &'r ChatRequest, plan: &RoutePlan, ledger: &Ledger, client: &str) -> Self {
        let is_wanted = request.calls > 0 && plan.choices.iter().any(|choice| signs(&choice.candidate));
        let signed = if is_wanted { Box::pin(signed(request, ledger, client)).await } else { None };
        Self { request, signed }
    }

    pub(super) fn request(&self, candidate: &Candidate) -> &ChatRequest {
        self.signed.as_deref().filter(|_| signs(candidate)).unwrap_or(self.request)
    }
}

/// The request with the signatures that its client has lost.
async fn signed(request: &ChatRequest, ledger: &Ledger, client: &str) -> Option<Box<ChatRequest>> {
    let calls = unsigned_calls(&request.body);
    let ids: Vec<String> = calls.iter().map(|call| call.id.clone()).collect();
    let found = timeout(PATIENCE, ledger.find_signatures(client, &ids)).await.ok()?.ok()?;
    if found.is_empty() {
        return None;
    }
    let signatures = calls.iter().filter_map(|call| Some((call, found.get(&call.id)?.as_str())));
    let body = sign(&request.body, signatures);
    Some(Box::new(ChatRequest { body, ..request.clone() }))
}

/// The body of an answer, whose signatures are kept before the client can send them back.
pub(super) async fn kept(ledger: &Ledger, client: Arc<str>, candidate: &Candidate, body: ChatBody) -> ChatBody {
    if !signs(candidate) {
        return body;
    }
    let keeper = Keeper { ledger: ledger.clone(), client, ids: Arc::default() };
    match body {
        ChatBody::Whole(json) => {
            if has_signature(&json)
                && let Ok(completion) = Chunk::read(&json)
            {
                keeper.keep(completion).await;
            }
            ChatBody::Whole(json)
        }
        ChatBody::Stream(events) => ChatBody::Stream(Box::pin(events.then(move |event: Bytes| {
            let keeper = has_signature(&event).then(|| keeper.clone());
            async move {
                if let Some(keeper) = keeper
                    && let StreamEvent::Chunk(chunk) = StreamEvent::read(&event)
                {
                    keeper.keep(*chunk).await;
                }
                event
            }
        }))),
    }
}

fn has_signature(json: &[u8]) -> bool {
    memchr::memmem::find(json, b"\"thought_signature\"").is_some()
}

#[derive(Clone)]
struct Keeper {
    ledger: Ledger,
    client: Arc<str>,
    /// Ids of calls by choice and index, for fragments without an id.
    ids: Arc<Mutex<HashMap<(u32, usize), String>>>,
}

impl Keeper {
    async fn keep(&self, chunk: Chunk) {
        let mut signatures = Vec::new();
        for choice in chunk.choices {
            for (at, call) in choice.delta.tool_calls.into_iter().enumerate() {
                let place = (choice.index, call.index.unwrap_or(at));
                let mut ids = self.ids.lock();
                if let Some(id) = &call.id {
                    ids.insert(place, id.clone());
                }
                if let (Some(id), Some(signature)) = (ids.get(&place), call.thought_signature()) {
                    signatures.push((id.clone(), signature.to_owned()));
                }
            }
        }
        // Without the ledger the client has to bring the signature back by itself.
        let _ = timeout(PATIENCE, self.ledger.keep_signatures(&self.client, &signatures)).await;
    }
}
