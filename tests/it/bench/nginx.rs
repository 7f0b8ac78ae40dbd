//! nginx as the upstream that responds immediately, and as the proxy to compare with.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::support::{
    eventually,
    fake_upstream::answer,
    process::{Process, free_port},
};

pub(super) struct Nginx {
    process: Process,
    port: u16,
    stream_port: u16,
    _folder: tempfile::TempDir,
}

impl Nginx {
    /// Returns the same short completion for every request, at the lowest and steadiest cost.
    pub(super) async fn responder() -> Self {
        let answer = answer("hello");
        let server = format!("default_type application/json; location / {{ return 200 '{answer}'; }}");
        let port = free_port();
        Self::start(port, 0, &format!("server {{ listen 127.0.0.1:{port} backlog=2048; {server} }}")).await
    }

    /// Relays to `whole` on one port; on another, unbuffered, to `stream`.
    pub(super) async fn proxy(whole: u16, stream: u16) -> Self {
        let (port, stream_port) = (free_port(), free_port());
        let relay = |port: u16, to: u16, extra: &str| {
            format!(
                "upstream to_{to} {{ server 127.0.0.1:{to}; keepalive 1024; keepalive_requests 1000000000; }}\n\
                 server {{ listen 127.0.0.1:{port} backlog=2048; location / {{ proxy_pass http://to_{to};\n\
                 proxy_http_version 1.1; proxy_set_header Connection \"\"; {extra} }} }}\n"
            )
        };
        let servers = relay(port, whole, "") + &relay(stream_port, stream, "proxy_buffering off;");
        Self::start(port, stream_port, &servers).await
    }

    async fn start(port: u16, stream_port: u16, servers: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary: String = temporary.iter().map(|name| format!("{name}_temp_path {path}/{name};\n")).collect();
        let config = format!(
            "daemon off; master_process off; pid {path}/pid; worker_rlimit_nofile 8192;\n\
             events {{ worker_connections 8000; }}\n\
             http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;\n{temporary}{servers}}}\n"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, config).unwrap();
        let (file, none) = (file.display().to_string(), [("LC_ALL", "C")]);
        let args = ["-e", "stderr", "-p", folder.path().to_str().unwrap(), "-c", &file];
        let log = folder.path().join("nginx.log");
        let mut process = Process::start("nginx", &program(), &args, none, folder.path(), &log);
        eventually(Duration::from_secs(10), "nginx listens", async || {
            assert!(process.ended().is_none(), "nginx ended:\n{}", process.log());
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await;
        Self { process, port, stream_port, _folder: folder }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn stream_port(&self) -> u16 {
        self.stream_port
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }
}

/// Debian installs it outside the search path of ordinary users.
fn program() -> PathBuf {
    let debian = Path::new("/usr/sbin/nginx");
    if debian.exists() { debian.to_owned() } else { "nginx".into() }
}
