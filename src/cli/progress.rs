//! One line on the terminal while something takes longer than a second.

use std::{
    io::{IsTerminal, Write, stderr},
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::Duration,
};

const INTERVAL: Duration = Duration::from_secs(1);

/// Shows the text with the seconds that have passed until it is dropped. Shows nothing where the error output is no terminal.
pub(super) struct Progress {
    shown: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// A thread of its own shows the line, so that the work may block.
    pub(super) fn start(text: String) -> Self {
        let show = |text: String| {
            let (end, ended) = channel();
            let thread = std::thread::spawn(move || {
                let mut seconds = 0;
                while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    seconds += 1;
                    // A terminal that went away is no reason to stop the work.
                    let _ = write!(stderr(), "\r\x1b[K{text} {seconds} s");
                    let _ = stderr().flush();
                }
                if seconds > 0 {
                    let _ = write!(stderr(), "\r\x1b[K");
                }
            });
            (end, thread)
        };
        Self { shown: stderr().is_terminal().then(|| show(text)) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.shown.take() {
            drop(end);
            // It only writes; the line must be gone before other text comes.
            let _ = thread.join();
        }
    }
}
