//! What windows belong to: an account (`provider/account`), or an account and model (`provider/account/model`).

use crate::domain::{Candidate, Scope};

/// The subject of a candidate's windows of this scope.
pub fn subject(candidate: &Candidate, scope: Scope) -> &str {
    match scope {
        Scope::Account => account_of(&candidate.subject),
        Scope::Model => &candidate.subject,
    }
}

/// `provider/account` of `provider/account/model`. Neither a provider id nor an account id contains a slash.
pub(super) fn account_of(subject: &str) -> &str {
    subject.match_indices('/').nth(1).map_or(subject, |(at, _)| &subject[..at])
}
