//! ② Request, client and catalogue → route plan: who can serve it, in which order, at what charge.
//!
//! Pure: it reads the snapshot of the last second and promises nothing; `admit` has the last word.

pub mod candidates;
pub mod estimate;
pub mod ranking;
pub mod strategy;
#[cfg(test)]
pub(crate) mod test_support;

pub use estimate::Estimates;

use std::{borrow::Cow, sync::Arc};

use crate::{
    catalog::{Catalog, NotFound, Resolved},
    domain::{Candidate, ChatRequest, Client, PoolSnapshot, RoutePlan, RoutingStrategy},
};

/// Why no candidate is worth asking. Nothing was charged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// Tokens: what the request needs, and the most that any reachable model or token window takes.
    #[error(
        "The request needs about {needed} tokens; the largest model or token window within reach takes {largest}. \
         Shorten the messages or lower max_tokens."
    )]
    ContextTooLong { needed: i64, largest: i64 },
    /// `param` names the part of the request that no candidate can do.
    #[error("{message}")]
    Unsupported { param: String, message: String },
    #[error("This key may not use the model `{model}`.")]
    NotAllowed { model: String },
}

/// The meta-model whose order can be set at run time for all replicas.
pub const FREE: &str = "free";

/// Those behind a name that this client may use: all of them where a meta-model itself is on its list.
fn allowed<'a>(
    resolved: &Resolved<'_>,
    members: &'a [Arc<Candidate>],
    client: &Client,
    asked: &str,
) -> Result<Cow<'a, [Arc<Candidate>]>, PlanError> {
    if client.models.is_empty() || matches!(resolved, Resolved::Meta(meta) if client.allows(&meta.name)) {
        return Ok(Cow::Borrowed(members));
    }
    let some: Vec<_> = members.iter().filter(|candidate| client.may_use(candidate)).cloned().collect();
    if some.is_empty() { Err(PlanError::NotAllowed { model: asked.to_owned() }) } else { Ok(Cow::Owned(some)) }
}

/// Resolves the name, drops what cannot serve the request, and puts the rest in order. A plan is never empty.
pub fn route(
    catalog: &Catalog,
    snapshot: &PoolSnapshot,
    learned: &Estimates,
    client: &Client,
    request: &ChatRequest,
) -> Result<RoutePlan, PlanError> {
    let resolved = catalog.resolve(&request.model)?;
    let (members, rule) = match &resolved {
        Resolved::Meta(meta) if meta.name == FREE => (&meta.members, snapshot.strategy.unwrap_or(meta.strategy)),
        Resolved::Meta(meta) => (&meta.members, meta.strategy),
        Resolved::Models(candidates) => (candidates, RoutingStrategy::Headroom),
    };
    let members = allowed(&resolved, members, client, &request.model)?;
    let able = candidates::eligible(&members, snapshot, learned, request)?;
    let choices = strategy::arrange(able, rule, snapshot, learned.next_seed(), request);
    Ok(RoutePlan { requested: request.model.clone(), choices })
}
