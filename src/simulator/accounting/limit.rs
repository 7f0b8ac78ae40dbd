//! Names of limits, kinds of window, kinds of charge: the simulator's own words, so that it shares no mistake with the ledger.

use serde::Deserialize;

/// A limit, as providers name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitName {
    Rps,
    Rpm,
    Rph,
    Rpd,
    Rpmonth,
    Tps,
    Tpm,
    Tph,
    Tpd,
    Tpmonth,
    /// Input tokens per minute.
    Itpm,
    Concurrency,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    Requests,
    Tokens,
    Input,
    Calls,
}

impl LimitName {
    pub const ALL: [Self; 12] = [
        Self::Rps,
        Self::Rpm,
        Self::Rph,
        Self::Rpd,
        Self::Rpmonth,
        Self::Tps,
        Self::Tpm,
        Self::Tph,
        Self::Tpd,
        Self::Tpmonth,
        Self::Itpm,
        Self::Concurrency,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rps => "rps",
            Self::Rpm => "rpm",
            Self::Rph => "rph",
            Self::Rpd => "rpd",
            Self::Rpmonth => "rpmonth",
            Self::Tps => "tps",
            Self::Tpm => "tpm",
            Self::Tph => "tph",
            Self::Tpd => "tpd",
            Self::Tpmonth => "tpmonth",
            Self::Itpm => "itpm",
            Self::Concurrency => "concurrency",
        }
    }

    pub fn counts(self) -> Counts {
        match self {
            Self::Rps | Self::Rpm | Self::Rph | Self::Rpd | Self::Rpmonth => Counts::Requests,
            Self::Tps | Self::Tpm | Self::Tph | Self::Tpd | Self::Tpmonth => Counts::Tokens,
            Self::Itpm => Counts::Input,
            Self::Concurrency => Counts::Calls,
        }
    }

    /// `second`, `minute`, `hour`, `day` or `month`.
    pub fn period(self) -> &'static str {
        match self {
            Self::Rps | Self::Tps => "second",
            Self::Rpm | Self::Tpm | Self::Itpm => "minute",
            Self::Rph | Self::Tph => "hour",
            Self::Rpd | Self::Tpd => "day",
            Self::Rpmonth | Self::Tpmonth => "month",
            Self::Concurrency => "moment",
        }
    }

    /// Length of the period in ms; a month has 30 days.
    pub fn span_ms(self) -> i64 {
        match self.period() {
            "second" => 1_000,
            "minute" => 60_000,
            "hour" => 3_600_000,
            "day" => 86_400_000,
            "month" => 30 * 86_400_000,
            _ => 0,
        }
    }
}

/// How a window forgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The last span, at any moment.
    Sliding,
    /// Refilled continuously.
    Bucket,
    /// Periods aligned to the UTC clock.
    Clock,
    /// Days or months of a zone.
    Calendar,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sliding => "sliding",
            Self::Bucket => "bucket",
            Self::Clock => "clock",
            Self::Calendar => "calendar",
        }
    }
}

/// What is debited from token windows, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Charge {
    /// Prompt + `max_tokens` before the call, corrected in place after it.
    Reserve,
    /// The total, when the answer ends.
    Actual,
    /// The prompt, before the call.
    Input,
    None,
}
