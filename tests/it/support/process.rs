//! A child process that never outlives its test: it has its own process group and is killed on drop, or by the kernel
//! when the test process ends.

use std::{
    fs::{self, File},
    net::TcpListener,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use super::eventually;

pub(crate) struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with only `PATH` of our environment. Both outputs are appended to `log`.
    pub(crate) fn start<E, K, V>(name: &str, program: &Path, args: &[&str], env: E, folder: &Path, log: &Path) -> Self
    where
        E: IntoIterator<Item = (K, V)>,
        K: AsRef<std::ffi::OsStr>,
        V: AsRef<std::ffi::OsStr>,
    {
        let output = File::options().create(true).append(true).open(log).unwrap();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", folder)
            .envs(env)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self { child, name: name.to_owned(), log: log.to_owned() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a signal to the whole group: `KILL`, `TERM`, `STOP`, `CONT`, `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        // Without `--`, which dash does not support. The group may have ended already.
        let line = format!("kill -{name} -{} 2>/dev/null", self.child.id());
        Command::new("sh").args(["-c", &line]).status().unwrap();
    }

    /// The exit status, or `None` while the process runs.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Sends SIGKILL and waits for the end.
    pub(crate) fn kill(&mut self) {
        self.signal("CONT");
        self.signal("KILL");
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM and returns the exit code, or 128 + signal.
    pub(crate) async fn terminate(&mut self, within: Duration) -> i32 {
        self.signal("TERM");
        let status = eventually(within, &format!("{} ends after SIGTERM", self.name), async || self.ended()).await;
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.kill();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(40)..].join("\n");
            eprintln!("──── last lines of {} ────\n{tail}", self.name);
        }
    }
}

/// An unused port below the kernel's range for outgoing connections.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed);
        let start = u16::try_from(std::process::id() % 97).unwrap() * 120;
        let port = 20_000 + (start + offset) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
