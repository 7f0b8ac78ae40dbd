//! A redis-server that a test starts, kills, stops, flushes and restarts.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use super::{
    eventually,
    process::{Process, free_port},
};

pub(crate) struct RedisServer {
    process: Process,
    folder: tempfile::TempDir,
    port: u16,
    aof: bool,
}

impl RedisServer {
    /// Keeps its state in memory only.
    pub(crate) async fn start() -> Self {
        Self::with(false).await
    }

    /// Keeps its state in an append-only file, as docs/redis.md recommends.
    pub(crate) async fn with_aof() -> Self {
        Self::with(true).await
    }

    async fn with(aof: bool) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let process = Self::launch(folder.path(), port, aof);
        let server = Self { process, folder, port, aof };
        server.until_up().await;
        server
    }

    fn launch(folder: &Path, port: u16, aof: bool) -> Process {
        let port = port.to_string();
        let aof = if aof { "yes" } else { "no" };
        let args = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", aof];
        let args = [&args[..], &["--maxmemory-policy", "noeviction"]].concat();
        let program = Path::new("redis-server");
        Process::start("redis-server", program, &args, [("LC_ALL", "C")], folder, &folder.join("redis.log"))
    }

    async fn until_up(&self) {
        eventually(Duration::from_secs(10), "redis-server replies", async || {
            self.try_command(&["PING"]).ok().filter(|reply| reply.starts_with("+PONG"))
        })
        .await;
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts a killed server on the same port, with the state in the append-only file.
    pub(crate) async fn restart(&mut self) {
        self.process = Self::launch(self.folder.path(), self.port, self.aof);
        self.until_up().await;
    }

    /// Suspends the server: the kernel still accepts connections, but no command gets a reply.
    pub(crate) fn stop(&self) {
        self.process.signal("STOP");
    }

    pub(crate) fn cont(&self) {
        self.process.signal("CONT");
    }

    pub(crate) fn flush(&self) {
        assert!(self.command(&["FLUSHALL"]).starts_with("+OK"));
    }

    /// Executes a command and returns the raw reply.
    pub(crate) fn command(&self, words: &[&str]) -> String {
        self.try_command(words).unwrap()
    }

    /// The content of the append-only file, which has every change so far.
    pub(crate) fn append_only_file(&self) -> Vec<u8> {
        assert!(self.aof);
        all_bytes(self.folder.path())
    }

    fn try_command(&self, words: &[&str]) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(stream, "{}\r\nQUIT\r\n", words.join(" "))?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        Ok(reply)
    }
}

/// The bytes of every file below a folder.
pub(crate) fn all_bytes(folder: &Path) -> Vec<u8> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { all_bytes(&path) } else { std::fs::read(path).unwrap_or_default() })
        .collect()
}
