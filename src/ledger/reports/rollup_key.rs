//! The roll-ups that exist: their time steps, what they group by, and their bounds.

use crate::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS};

/// The span of time that one roll-up covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    Minute,
    Hour,
    Day,
}

impl Step {
    pub fn ms(self) -> i64 {
        match self {
            Step::Minute => MINUTE_MS,
            Step::Hour => HOUR_MS,
            Step::Day => DAY_MS,
        }
    }

    /// Start of the step that contains an instant. Days are days of UTC.
    pub fn start(self, ms: i64) -> i64 {
        ms - ms.rem_euclid(self.ms())
    }

    pub(crate) fn letter(self) -> char {
        match self {
            Step::Minute => 'm',
            Step::Hour => 'h',
            Step::Day => 'd',
        }
    }

    /// How long the roll-ups of this step are kept.
    pub fn keep_ms(self, by: GroupBy) -> i64 {
        match (self, by) {
            (Step::Minute, GroupBy::Window) => 3 * HOUR_MS,
            (Step::Minute, _) => 26 * HOUR_MS,
            (Step::Hour, _) => 50 * HOUR_MS,
            (Step::Day, GroupBy::Window) => 70 * DAY_MS,
            (Step::Day, _) => 400 * DAY_MS,
        }
    }
}

/// What the names of a roll-up stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupBy {
    Client,
    Provider,
    /// `provider/model`
    Model,
    /// Client and `provider/model`.
    ClientModel,
    /// Client and `provider/account/model`: all attempts, with the units they took of the windows.
    Window,
}

impl GroupBy {
    pub(crate) fn letter(self) -> char {
        match self {
            GroupBy::Client => 'c',
            GroupBy::Provider => 'p',
            GroupBy::Model => 'o',
            GroupBy::ClientModel => 'x',
            GroupBy::Window => 'w',
        }
    }

    /// The steps that are recorded.
    pub(crate) fn steps(self) -> &'static [Step] {
        match self {
            GroupBy::Window => &[Step::Minute, Step::Hour, Step::Day],
            _ => &[Step::Minute, Step::Day],
        }
    }

    /// The most names in one roll-up. Everything past them is counted as [`super::rollup::OTHER`].
    pub fn max_names(self, step: Step) -> usize {
        match (self, step) {
            (GroupBy::Provider, _) => 64,
            (GroupBy::Client | GroupBy::Model, Step::Minute) => 128,
            (GroupBy::Client | GroupBy::Model, _) => 512,
            (GroupBy::ClientModel | GroupBy::Window, Step::Minute) => 256,
            (GroupBy::ClientModel | GroupBy::Window, _) => 1_024,
        }
    }
}
