//! The findings of `doctor`: each is good, or says what is wrong and how to mend it.

use serde_json::{Value, json};

use crate::cli::style::Style;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Good,
    /// It works, but not as well as it could.
    Warning,
    Bad,
    /// An earlier finding makes it pointless, or it was not wanted.
    Skipped,
}

#[derive(Debug)]
pub(super) struct Finding {
    /// What was looked at: `dns`, `key`, `streaming` …
    pub check: &'static str,
    pub state: State,
    pub message: String,
    pub mend: Option<String>,
}

impl Finding {
    pub(super) fn good(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, state: State::Good, message: message.into(), mend: None }
    }

    pub(super) fn warning(check: &'static str, message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, state: State::Warning, message: message.into(), mend: Some(mend.into()) }
    }

    pub(super) fn bad(check: &'static str, message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, state: State::Bad, message: message.into(), mend: Some(mend.into()) }
    }

    pub(super) fn skipped(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, state: State::Skipped, message: message.into(), mend: None }
    }

    pub(super) fn line(&self, style: Style) -> String {
        let (word, colour) = match self.state {
            State::Good => ("good", Style::GREEN),
            State::Warning => ("fair", Style::YELLOW),
            State::Bad => ("BAD", Style::RED),
            State::Skipped => ("-", Style::DIM),
        };
        let line = format!("{} {:<10} {}", style.paint(colour, &format!("{word:<5}")), self.check, self.message);
        match &self.mend {
            Some(mend) => format!("{line}\n{:17}→ {mend}", ""),
            None => line,
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let state = match self.state {
            State::Good => "good",
            State::Warning => "warning",
            State::Bad => "bad",
            State::Skipped => "skipped",
        };
        json!({ "check": self.check, "state": state, "message": self.message, "mend": self.mend })
    }
}
