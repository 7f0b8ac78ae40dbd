//! Windows: limit, kind, scope, and source of the figure.

use std::{fmt, str::FromStr, sync::Arc};

use jiff::{Timestamp, tz::TimeZone};
use serde::Deserialize;

use super::time::{DAY_MS, HOUR_MS, MINUTE_MS};

/// Name of a limit (`rpm`, `tpd`, …).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
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
    /// Seconds of sound per hour.
    Ash,
    /// Seconds of sound per day.
    Asd,
    Concurrency,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Request,
    /// Tokens, charged as [`TokenCharge`] says.
    Token,
    InputToken,
    /// A second of sound.
    AudioSecond,
    /// One call in flight.
    Slot,
}

impl Limit {
    pub const ALL: [Limit; 14] = [
        Limit::Rps,
        Limit::Rpm,
        Limit::Rph,
        Limit::Rpd,
        Limit::Rpmonth,
        Limit::Tps,
        Limit::Tpm,
        Limit::Tph,
        Limit::Tpd,
        Limit::Tpmonth,
        Limit::Itpm,
        Limit::Ash,
        Limit::Asd,
        Limit::Concurrency,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Limit::Rps => "rps",
            Limit::Rpm => "rpm",
            Limit::Rph => "rph",
            Limit::Rpd => "rpd",
            Limit::Rpmonth => "rpmonth",
            Limit::Tps => "tps",
            Limit::Tpm => "tpm",
            Limit::Tph => "tph",
            Limit::Tpd => "tpd",
            Limit::Tpmonth => "tpmonth",
            Limit::Itpm => "itpm",
            Limit::Ash => "ash",
            Limit::Asd => "asd",
            Limit::Concurrency => "concurrency",
        }
    }

    pub fn unit(self) -> Unit {
        match self {
            Limit::Rps | Limit::Rpm | Limit::Rph | Limit::Rpd | Limit::Rpmonth => Unit::Request,
            Limit::Tps | Limit::Tpm | Limit::Tph | Limit::Tpd | Limit::Tpmonth => Unit::Token,
            Limit::Itpm => Unit::InputToken,
            Limit::Ash | Limit::Asd => Unit::AudioSecond,
            Limit::Concurrency => Unit::Slot,
        }
    }

    /// Nominal span. A month counts as 30 days (calendar windows use the real length); `concurrency` has 0.
    pub fn span_ms(self) -> i64 {
        match self {
            Limit::Rps | Limit::Tps => 1_000,
            Limit::Rpm | Limit::Tpm | Limit::Itpm => MINUTE_MS,
            Limit::Rph | Limit::Tph | Limit::Ash => HOUR_MS,
            Limit::Rpd | Limit::Tpd | Limit::Asd => DAY_MS,
            Limit::Rpmonth | Limit::Tpmonth => 30 * DAY_MS,
            Limit::Concurrency => 0,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Limit {
    type Err = ();
    fn from_str(name: &str) -> Result<Self, ()> {
        Limit::ALL.into_iter().find(|l| l.as_str() == name).ok_or(())
    }
}

/// How a window releases units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WindowKind {
    /// At most `max` units in any interval of `span_ms`.
    Sliding,
    /// Capacity `max`, refilled continuously by `max / span_ms`.
    Bucket,
    /// Reset at an instant of a time zone's calendar.
    Calendar,
    /// Slots with deadlines.
    Concurrency,
}

impl WindowKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sliding => "sliding",
            Self::Bucket => "bucket",
            Self::Calendar => "calendar",
            Self::Concurrency => "concurrency",
        }
    }
}

/// Tokens that a provider debits, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenCharge {
    /// Prompt estimate plus `max_tokens`, before the call.
    Reserve,
    /// The actual total, at the end of the reply.
    Actual,
    /// Prompt tokens only.
    Input,
    /// Tokens are not counted. Also for costs that only refusals show (`opaque`).
    #[serde(alias = "opaque")]
    None,
}

impl TokenCharge {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reserve => "reserve",
            Self::Actual => "actual",
            Self::Input => "input",
            Self::None => "none",
        }
    }
}

/// Scope of a window at its provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// One account with all its models.
    Account,
    /// One account and one model.
    Model,
}

/// Source of a limit's figure. A provider's report may raise only the catalogue's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    Catalogue,
    File,
}

impl Source {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Catalogue => "catalogue",
            Self::File => "file",
        }
    }
}

/// One limit of one account, or of one account and model.
#[derive(Debug, Clone)]
pub struct Window {
    pub limit: Limit,
    pub kind: WindowKind,
    /// Maximum units, never 0: a model with a limit of 0 is not offered.
    pub max: i64,
    pub span_ms: i64,
    pub scope: Scope,
    pub charge: TokenCharge,
    /// Only for [`WindowKind::Calendar`].
    pub zone: Option<Arc<Zone>>,
    pub source: Source,
}

/// Time zone of a calendar window.
#[derive(Debug, Clone)]
pub struct Zone {
    /// The name as configured: an IANA name, `UTC`, or a POSIX TZ string.
    pub name: String,
    tz: TimeZone,
}

/// Three instants (ms since the epoch) around now: `last ≤ now < next < after`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boundaries {
    pub last: i64,
    pub next: i64,
    pub after: i64,
}

impl Zone {
    /// Parses an IANA name, `UTC` or a POSIX TZ string (`XYZ3:30`).
    pub fn parse(name: &str) -> Result<Self, String> {
        let tz = if name.eq_ignore_ascii_case("utc") {
            TimeZone::UTC
        } else {
            TimeZone::get(name).or_else(|_| TimeZone::posix(name)).map_err(|_| {
                format!("`{name}` is neither an IANA time zone (America/Los_Angeles) nor a POSIX TZ string (PST8PDT,M3.2.0,M11.1.0)")
            })?
        };
        Ok(Self { name: name.to_owned(), tz })
    }

    /// The period of `limit` that contains `now_ms`: a day from midnight to midnight, or a month.
    pub fn boundaries(&self, limit: Limit, now_ms: i64) -> Boundaries {
        let now = Timestamp::from_millisecond(now_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        let here = now.to_zoned(self.tz.clone()).date();
        let monthly = matches!(limit, Limit::Rpmonth | Limit::Tpmonth);
        let start = if monthly { here.first_of_month() } else { here };
        let step = |date: jiff::civil::Date, n: i64| {
            let span = if monthly { jiff::Span::new().months(n) } else { jiff::Span::new().days(n) };
            let moved = date.saturating_add(span);
            moved.to_zoned(self.tz.clone()).map_or(i64::MAX / 4, |z| z.timestamp().as_millisecond())
        };
        Boundaries { last: step(start, 0), next: step(start, 1), after: step(start, 2) }
    }

    /// Local civil time of an instant.
    pub fn local(&self, ms: i64) -> jiff::Zoned {
        Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(self.tz.clone())
    }
}

/// `6m0s`, `1h4m48s`, `850ms`: the form of OpenAI's `x-ratelimit-reset-*`.
pub fn go_duration(ms: i64) -> String {
    let ms = ms.max(0);
    if ms < 1_000 {
        return format!("{ms}ms");
    }
    let total = ms / 1_000;
    let (h, m, s) = (total / 3_600, total / 60 % 60, total % 60);
    let fraction = ms % 1_000;
    let s = if fraction == 0 {
        format!("{s}s")
    } else {
        format!("{s}.{}s", format!("{fraction:03}").trim_end_matches('0'))
    };
    match (h, m) {
        (0, 0) => s,
        (0, m) => format!("{m}m{s}"),
        (h, m) => format!("{h}h{m}m{s}"),
    }
}
