//! Colours, for people at a terminal only.

use std::io::{IsTerminal, stdout};

/// Whether text is coloured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    is_on: bool,
}

impl Style {
    pub(super) const GREEN: &'static str = "32";
    pub(super) const YELLOW: &'static str = "33";
    pub(super) const RED: &'static str = "31;1";
    pub(super) const DIM: &'static str = "2";

    /// Coloured on a terminal, unless `NO_COLOR` is set or the terminal has none.
    pub(super) fn of_stdout() -> Self {
        let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            is_on: stdout().is_terminal() && var("NO_COLOR").is_none() && var("TERM").is_none_or(|term| term != "dumb"),
        }
    }

    pub(super) fn paint(self, colour: &str, text: &str) -> String {
        if self.is_on { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
