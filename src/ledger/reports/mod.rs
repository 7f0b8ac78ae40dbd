//! Reports: the journal of finished requests, roll-ups, and the state of the budget.

pub mod budget;
pub mod forecast;
pub(super) mod journal;
pub(super) mod record;
pub mod rollup;
pub(super) mod snapshot;
