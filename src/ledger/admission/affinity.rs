//! Where each session was last served. A session is served there again while that has room, whichever replica it reaches.

use std::time::Duration;

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

/// Time since the last request after which a session may be served anywhere. Providers keep a prompt no longer.
const LIFETIME: Duration = Duration::from_mins(30);

/// A session of a coding agent that uses a model.
#[derive(Debug, Clone)]
pub struct AgentSession(Key);

impl Ledger {
    /// `model` is the requested name, `name` what the client calls the session.
    pub fn agent_session(&self, client: &str, model: &str, name: &str) -> AgentSession {
        AgentSession(self.shared.keys.affinity(&KeyDigest::of(&format!("{client}\n{model}\n{name}")).hex()))
    }

    /// The [`subject`](crate::domain::Candidate::subject) that served the session last; `None` for a new session.
    pub async fn session_subject(&self, session: &AgentSession) -> Result<Option<String>, LedgerError> {
        let reply = self.affinity(session, Bytes::new()).await?;
        let subject = reply.as_str().ok_or_else(|| LedgerError::unexpected("affinity", &reply))?;
        Ok(Some(subject.to_owned()).filter(|subject| !subject.is_empty()))
    }

    /// Notes the subject that serves the session from now on.
    pub async fn keep_session(&self, session: &AgentSession, subject: &str) -> Result<(), LedgerError> {
        self.affinity(session, encode::text(subject)).await.map(drop)
    }

    async fn affinity(&self, AgentSession(key): &AgentSession, subject: Bytes) -> Result<Reply, LedgerError> {
        let args = vec![encode::number(LIFETIME.as_millis()), subject];
        self.shared.run(&ScriptCall { script: Script::Affinity, keys: vec![key.clone()], args }).await
    }
}
