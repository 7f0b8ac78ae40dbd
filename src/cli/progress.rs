//! One line on the terminal while something takes longer than a second.

use std::{
    io::{IsTerminal, Write, stderr},
    time::Duration,
};

use tokio::{task::JoinHandle, time::Instant};

const INTERVAL: Duration = Duration::from_secs(1);

/// Shows the text with the seconds that have passed until it is dropped. Shows nothing where the error output is no terminal.
pub(super) struct Progress {
    shown: Option<JoinHandle<()>>,
}

impl Progress {
    #[expect(clippy::disallowed_methods, reason = "a command of a person has no drain that could wait for it")]
    pub(super) fn start(text: String) -> Self {
        Self { shown: stderr().is_terminal().then(|| tokio::spawn(show(text))) }
    }
}

async fn show(text: String) {
    let start = Instant::now();
    loop {
        tokio::time::sleep(INTERVAL).await;
        // A terminal that went away is no reason to stop the work.
        let _ = write!(stderr(), "\r\x1b[K{text} {} s", start.elapsed().as_secs());
        let _ = stderr().flush();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(shown) = &self.shown {
            shown.abort();
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
