//! A session stays at the candidate that served it last, while that has room: its provider has cached the prompt, and at some
//! providers what is cached counts less or nothing. Fairness comes first, because `admit` decides as ever.

use std::time::Duration;

use tokio::time::timeout;

use crate::{
    catalog::{Catalog, Resolved},
    domain::{Candidate, ChatRequest},
    ledger::{AgentSession, Ledger},
    shutdown::Tasks,
};

/// A session is not worth a longer wait for the ledger.
const PATIENCE: Duration = Duration::from_millis(100);

/// Where a request's session is served. Requests without a session have nothing to look up.
#[derive(Default)]
pub(super) struct Affinity {
    /// `None` where there is nothing to choose, or the ledger did not answer.
    session: Option<AgentSession>,
    stays_at: Option<String>,
}

impl Affinity {
    /// Reads it for a request, where the model has several candidates.
    pub(super) async fn of(request: &ChatRequest, client: &str, catalog: &Catalog, ledger: &Ledger) -> Self {
        let Some(name) = request.session.as_deref().filter(|_| has_choice(catalog, &request.model)) else {
            return Self::default();
        };
        let session = ledger.agent_session(client, &request.model, name);
        match timeout(PATIENCE, ledger.session_subject(&session)).await {
            Ok(Ok(stays_at)) => Self { session: Some(session), stays_at },
            Ok(Err(_)) | Err(_) => Self::default(),
        }
    }

    /// The subject to try first.
    pub(super) fn stays_at(&self) -> Option<&str> {
        self.stays_at.as_deref()
    }

    /// Notes which candidate serves the session from now on, off the caller's path.
    pub(super) fn served_by(self, candidate: &Candidate, ledger: &Ledger, tasks: &Tasks) {
        let Some(session) = self.session.filter(|_| self.stays_at.as_deref() != Some(&*candidate.subject)) else {
            return;
        };
        let (ledger, subject) = (ledger.clone(), candidate.subject.clone());
        // If it fails, the next request may be served elsewhere.
        tasks.spawn(async move { drop(ledger.keep_session(&session, &subject).await) });
    }
}

fn has_choice(catalog: &Catalog, model: &str) -> bool {
    let members = match catalog.resolve(model) {
        Ok(Resolved::Meta(meta)) => meta.members.len(),
        Ok(Resolved::Models(candidates)) => candidates.len(),
        Err(_) => 0,
    };
    members > 1
}
