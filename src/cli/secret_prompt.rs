//! Reads a secret from the terminal without showing it.

use std::{
    fs::File,
    io::{BufRead, BufReader, IsTerminal, Write},
};

use anyhow::Context;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// Whether there is a person to ask.
pub(super) fn is_possible() -> bool {
    std::io::stderr().is_terminal() && File::options().read(true).write(true).open(TERMINAL).is_ok()
}

const TERMINAL: &str = "/dev/tty";

/// Shows the prompt on the terminal itself, so that the standard input and output may be redirected.
pub(super) fn read(prompt: &str) -> anyhow::Result<String> {
    let mut terminal =
        File::options().read(true).write(true).open(TERMINAL).context("there is no terminal to read from")?;
    write!(terminal, "{prompt}")?;
    terminal.flush()?;
    let hidden = Hidden::start(&terminal)?;
    let mut line = String::new();
    let read = BufReader::new(&terminal).read_line(&mut line);
    drop(hidden);
    writeln!(terminal)?;
    read.context("the terminal cannot be read")?;
    Ok(line.trim().to_owned())
}

/// Echo is off while this exists.
struct Hidden<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Hidden<'a> {
    fn start(terminal: &'a File) -> anyhow::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // Nothing can be done where this fails; the shell resets the terminal.
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}
