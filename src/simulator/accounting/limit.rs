//! Limits, kinds of window and kinds of charge. The simulator defines its own, so that it shares no mistake with the ledger.

use serde::Deserialize;

/// The name of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LimitName {
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
    /// Seconds of sound.
    Ash,
    Asd,
    Concurrency,
}

/// The unit of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counts {
    Requests,
    Tokens,
    Input,
    Sound,
    Calls,
}

impl LimitName {
    pub(crate) const ALL: [Self; 14] = [
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
        Self::Ash,
        Self::Asd,
        Self::Concurrency,
    ];

    pub(crate) fn as_str(self) -> &'static str {
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
            Self::Ash => "ash",
            Self::Asd => "asd",
            Self::Concurrency => "concurrency",
        }
    }

    pub(crate) fn counts(self) -> Counts {
        match self {
            Self::Rps | Self::Rpm | Self::Rph | Self::Rpd | Self::Rpmonth => Counts::Requests,
            Self::Tps | Self::Tpm | Self::Tph | Self::Tpd | Self::Tpmonth => Counts::Tokens,
            Self::Itpm => Counts::Input,
            Self::Ash | Self::Asd => Counts::Sound,
            Self::Concurrency => Counts::Calls,
        }
    }

    /// `second`, `minute`, `hour`, `day` or `month`.
    pub(crate) fn period(self) -> &'static str {
        match self {
            Self::Rps | Self::Tps => "second",
            Self::Rpm | Self::Tpm | Self::Itpm => "minute",
            Self::Rph | Self::Tph | Self::Ash => "hour",
            Self::Rpd | Self::Tpd | Self::Asd => "day",
            Self::Rpmonth | Self::Tpmonth => "month",
            Self::Concurrency => "moment",
        }
    }

    /// Length of the period in ms; a month has 30 days.
    pub(crate) fn span_ms(self) -> i64 {
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

/// How a window frees its units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WindowKind {
    /// The last span at any time.
    Sliding,
    /// A token bucket, refilled continuously.
    Bucket,
    /// Periods aligned to the UTC clock.
    Clock,
    /// Days or months of a time zone.
    Calendar,
}

impl WindowKind {
    pub(crate) fn as_str(self) -> &'static str {
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
pub(crate) enum TokenCharge {
    /// Prompt + `max_tokens` before the call, corrected in place after it.
    Reserve,
    /// The total, when the answer ends.
    Actual,
    /// The prompt, before the call.
    Input,
    None,
}
