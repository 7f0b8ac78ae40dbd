//! ② Request, client and catalogue → route plan: the candidates that can serve the request, their order and their charges.
//!
//! Pure. A plan uses the pool snapshot, which is up to a second old; `admit` decides.

pub(crate) mod candidates;
pub(crate) mod estimate;
mod kinds;
pub(crate) mod ranking;
pub(crate) mod strategy;
#[cfg(test)]
pub(crate) mod test_support;

pub(crate) use estimate::Estimates;

use std::{borrow::Cow, sync::Arc};

use self::candidates::Eligible;
use crate::{
    catalog::{Catalog, NotFound, Resolved},
    domain::{Candidate, ChatRequest, Client, PoolSnapshot, RoutePlan, RoutingStrategy},
};

/// Why no candidate can serve the request. Nothing was charged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlanError {
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// Tokens that the request needs, and the most that any candidate's context or token window holds.
    #[error(
        "The request needs about {needed} tokens; the largest available context or token window holds {largest}. \
         Shorten the messages or lower max_tokens."
    )]
    ContextTooLong { needed: i64, largest: i64 },
    /// `param` is the part of the request that no candidate supports.
    #[error("{message}")]
    Unsupported { param: String, message: String },
    #[error("This key may not use the model `{model}`.")]
    NotAllowed { model: String },
}

/// The meta-model whose strategy can be set at run time for all replicas.
pub(crate) const FREE: &str = "free";

/// The candidates of a name that this client may use: all of them if its list has the meta-model itself.
fn allowed<'a>(
    resolved: &Resolved<'_>,
    members: &'a [Arc<Candidate>],
    client: &Client,
    requested: &str,
) -> Result<Cow<'a, [Arc<Candidate>]>, PlanError> {
    if client.models.is_empty() || matches!(resolved, Resolved::Meta(meta) if client.allows(&meta.name)) {
        return Ok(Cow::Borrowed(members));
    }
    let some: Vec<_> = members.iter().filter(|candidate| client.may_use(candidate)).cloned().collect();
    if some.is_empty() { Err(PlanError::NotAllowed { model: requested.to_owned() }) } else { Ok(Cow::Owned(some)) }
}

/// Resolves the name, drops candidates that cannot serve the request, and orders the rest. A plan is never empty.
/// `stays_at`: the subject at which the request's session is served while that has room.
pub(crate) fn route(
    catalog: &Catalog,
    snapshot: &PoolSnapshot,
    learned: &Estimates,
    client: &Client,
    request: &ChatRequest,
    stays_at: Option<&str>,
) -> Result<RoutePlan, PlanError> {
    let resolved = catalog.resolve(&request.model)?;
    let (members, strategy, quality_floor) = match &resolved {
        Resolved::Meta(meta) if meta.name == FREE => {
            (&meta.members, snapshot.strategy.unwrap_or(meta.strategy), meta.quality_floor)
        }
        Resolved::Meta(meta) => (&meta.members, meta.strategy, meta.quality_floor),
        // The caller named the model, whatever its quality.
        Resolved::Models(candidates) => (candidates, RoutingStrategy::Headroom, 0),
    };
    let members = kinds::serving(allowed(&resolved, members, client, &request.model)?, request)?;
    let eligible = candidates::eligible(&members, snapshot, learned, request)?;
    let choices =
        strategy::arrange(eligible, strategy, quality_floor, snapshot, learned.next_seed(), request, stays_at);
    Ok(RoutePlan { requested: request.model.clone(), choices })
}

/// Share of a candidate's scarcest window below which it has little left.
const LITTLE: f64 = 0.1;

/// Whether every candidate of the request has little left or is in cooldown, as of the last second. A request that no candidate
/// can serve contends with nobody.
pub(crate) fn is_contended(
    catalog: &Catalog,
    snapshot: &PoolSnapshot,
    learned: &Estimates,
    client: &Client,
    request: &ChatRequest,
) -> bool {
    let Ok(resolved) = catalog.resolve(&request.model) else { return false };
    let members = match &resolved {
        Resolved::Meta(meta) => &meta.members,
        Resolved::Models(candidates) => candidates,
    };
    let Ok(members) = allowed(&resolved, members, client, &request.model) else { return false };
    let Ok(eligible) = candidates::eligible(&members, snapshot, learned, request) else { return false };
    eligible.iter().all(|Eligible { choice, seen }| {
        snapshot.headroom(&choice.candidate) < LITTLE || seen.is_some_and(|subject| subject.cooldown.is_some())
    })
}

/// The candidate that would be tried first. A request that is too large for every one of them still has a first.
pub(crate) fn first(
    catalog: &Catalog,
    snapshot: &PoolSnapshot,
    learned: &Estimates,
    client: &Client,
    request: &ChatRequest,
) -> Result<Arc<Candidate>, PlanError> {
    let first = match route(catalog, snapshot, learned, client, request, None) {
        Ok(plan) => plan.choices.into_iter().next().map(|choice| choice.candidate),
        Err(PlanError::ContextTooLong { .. } | PlanError::Unsupported { .. }) => None,
        Err(error) => return Err(error),
    };
    let resolved = catalog.resolve(&request.model)?;
    let members = match &resolved {
        Resolved::Meta(meta) => &meta.members,
        Resolved::Models(candidates) => candidates,
    };
    let members = allowed(&resolved, members, client, &request.model)?;
    first.or_else(|| members.first().cloned()).ok_or_else(|| PlanError::NotAllowed { model: request.model.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::MetaModel,
        domain::{Limit, client::ClientKind},
        plan::test_support::{candidate, question, set_used},
    };

    #[test]
    fn a_pool_is_contended_for_a_request_when_no_candidate_has_much_left() {
        let limits = [(Limit::Rpm, 20)];
        let members = vec![candidate("a/x").limits(&limits).build(), candidate("b/y").limits(&limits).build()];
        let meta = MetaModel {
            name: FREE.to_owned(),
            strategy: RoutingStrategy::Headroom,
            quality_floor: 0,
            members: members.clone(),
        };
        let catalog = Catalog { candidates: members.clone(), metas: vec![meta], ..Catalog::default() };
        let client = Client::new("ann", ClientKind::Registered, []);
        let is_contended = |snapshot: &PoolSnapshot, model: &str| {
            let request = ChatRequest { model: model.to_owned(), ..question() };
            is_contended(&catalog, snapshot, &Estimates::default(), &client, &request)
        };
        let mut snapshot = PoolSnapshot::default();
        assert!(!is_contended(&snapshot, "free"), "nothing is known");
        for (used, expected) in [([19, 17], false), ([19, 19], true), ([20, 20], true)] {
            set_used(&mut snapshot, &members[0], &[used[0]]);
            set_used(&mut snapshot, &members[1], &[used[1]]);
            assert_eq!(is_contended(&snapshot, "free"), expected, "{used:?}");
        }
        set_used(&mut snapshot, &members[0], &[0]);
        snapshot.subjects.get_mut(&*members[0].subject).unwrap().cooldown = Some((9_000, "429".into()));
        assert!(is_contended(&snapshot, "free"), "a cooldown leaves nothing");
        assert!(!is_contended(&snapshot, "nobody-has-this"));
    }
}
