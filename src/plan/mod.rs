//! ② Request, client and catalogue → route plan: the candidates that can serve the request, their order and their charges.
//!
//! Pure. A plan uses the pool snapshot, which is up to a second old; `admit` decides.

pub(crate) mod candidates;
pub(crate) mod estimate;
pub(crate) mod ranking;
pub(crate) mod strategy;
#[cfg(test)]
pub(crate) mod test_support;

pub(crate) use estimate::Estimates;

use std::{borrow::Cow, sync::Arc};

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
pub(crate) fn route(
    catalog: &Catalog,
    snapshot: &PoolSnapshot,
    learned: &Estimates,
    client: &Client,
    request: &ChatRequest,
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
    let members = allowed(&resolved, members, client, &request.model)?;
    let eligible = candidates::eligible(&members, snapshot, learned, request)?;
    let choices = strategy::arrange(eligible, strategy, quality_floor, snapshot, learned.next_seed(), request);
    Ok(RoutePlan { requested: request.model.clone(), choices })
}

/// The candidate that would be tried first. A request that is too large for every one of them still has a first.
pub(crate) fn first(
    catalog: &Catalog,
    snapshot: &PoolSnapshot,
    learned: &Estimates,
    client: &Client,
    request: &ChatRequest,
) -> Result<Arc<Candidate>, PlanError> {
    let first = match route(catalog, snapshot, learned, client, request) {
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
