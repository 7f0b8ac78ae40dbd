//! Reports: the journal of finished requests, roll-ups, the pool snapshot, and the state and forecast of the budget.

pub mod budget;
pub mod forecast;
pub(super) mod journal;
pub(super) mod record;
pub mod rollup;
pub(super) mod rollup_key;
pub(super) mod snapshot;
pub(super) mod subject;
