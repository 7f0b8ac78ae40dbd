//! ② Request, client and catalogue → route plan: who can serve it, in which order, at what charge.
//!
//! Pure: it reads the snapshot of the last second and promises nothing; `admit` has the last word.

#[cfg(test)]
pub(crate) mod bench_of;
pub mod candidates;
pub mod estimate;
pub mod order;
pub mod ranking;

pub use estimate::Estimates;

use crate::{
    catalog::{Catalog, NotFound, Resolved},
    domain::{ChatRequest, Client, Order, RoutePlan, Standing},
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
const FREE: &str = "free";

/// Resolves the name, drops what cannot serve the request, and puts the rest in order. A plan is never empty.
pub fn route(
    catalog: &Catalog,
    standing: &Standing,
    learned: &Estimates,
    _client: &Client,
    request: &ChatRequest,
) -> Result<RoutePlan, PlanError> {
    let resolved = catalog.resolve(&request.model)?;
    let (members, rule) = match &resolved {
        Resolved::Meta(meta) if meta.name == FREE => (&meta.members, standing.order.unwrap_or(meta.order)),
        Resolved::Meta(meta) => (&meta.members, meta.order),
        Resolved::Models(candidates) => (candidates, Order::Headroom),
    };
    let able = candidates::able(members, standing, learned, request)?;
    let choices = order::arrange(able, rule, standing, learned.turn(), request);
    Ok(RoutePlan { asked: request.model.clone(), choices })
}
