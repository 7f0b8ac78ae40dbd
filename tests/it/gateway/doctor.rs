//! `tollfree doctor` finds and names planted faults, each by its own words and with a way to mend it.

use std::{
    process::{Output, Stdio},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    process::Command,
    task::JoinSet,
    time::timeout,
};

use crate::support::{
    app::{TestApp, binary},
    fake_upstream::FakeUpstream,
    http::Answer,
    listen,
    process::free_port,
    scaled,
    tls_upstream::{TlsUpstream, Tunnel},
};

const ADMIN_KEY: &str = "the-admin-key";

/// What a proxy between does to the bytes of the gateway.
#[derive(Clone, Copy)]
enum Proxy {
    /// Sends them on when none has come for this time.
    Buffers(Duration),
    /// Closes connections on which none has come for this time.
    Cuts(Duration),
    /// Changes the `date` header.
    ChangesDate,
    /// Closes the connection at the second request.
    OnlyHealth,
}

/// A gateway with two models, and a person with a key for the first.
struct Desk {
    app: TestApp,
    key: String,
    id: String,
    home: tempfile::TempDir,
}

impl Desk {
    async fn new() -> Self {
        let upstream = FakeUpstream::start().await;
        let app = TestApp::setup().lab("lab", &upstream).lab("other", &upstream).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY);
        Self::of(app.start().await, json!({ "name": "ann", "models": ["lab/m"] })).await
    }

    /// A person with a key that is made from `client`.
    async fn of(app: TestApp, client: Value) -> Self {
        let created =
            Answer::of(app.request("POST", "/admin/v1/clients").bearer_auth(ADMIN_KEY).json(&client)).await.json();
        let field = |name: &str| created[name].as_str().unwrap().to_owned();
        Self { key: field("key"), id: field("id"), app, home: tempfile::tempdir().unwrap() }
    }

    async fn findings_with(&self, url: &str, env: &[(&str, &str)]) -> Value {
        let output = self.command(url, &["--json", "--idle", "0"]).envs(env.iter().copied()).output().await.unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["checks"].clone()
    }

    async fn run(&self, url: &str, more: &[&str]) -> Output {
        self.command(url, more).output().await.unwrap()
    }

    fn command(&self, url: &str, more: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(["doctor", "--url", url]).args(more).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("HOME", self.home.path()).env("TOLLFREE_CLIENT_KEY", &self.key).current_dir(self.home.path());
        command
    }

    /// The findings without the silent stream, unless the arguments say otherwise.
    async fn findings(&self, url: &str, more: &[&str]) -> (bool, Value) {
        let idle: &[&str] = if more.contains(&"--idle") { &[] } else { &["--idle", "0"] };
        let output = self.run(url, &[&["--json"], idle, more].concat()).await;
        let text = String::from_utf8_lossy(&output.stdout);
        let report: Value =
            serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
        assert_eq!(output.status.code(), Some(i32::from(report["ok"] != true)), "{report}");
        (report["ok"] == true, report["checks"].clone())
    }

    /// Expects that exactly one finding is bad: of this check, with these words, and with these in its remedy.
    async fn finds(&self, url: &str, more: &[&str], check: &str, words: &str, mend: &str) {
        let (_, found) = self.findings(url, more).await;
        let bad: Vec<&Value> = found.as_array().unwrap().iter().filter(|finding| finding["state"] == "bad").collect();
        let [bad] = bad[..] else { panic!("{url} {more:?}: {found:#}") };
        let has = |field: &str, words: &str| bad[field].as_str().unwrap().contains(words);
        assert!(bad["check"] == check && has("message", words) && has("mend", mend), "{words}: {bad:#}");
    }

    fn url(&self) -> String {
        self.app.url("")
    }
}

/// A proxy to the gateway, and its tasks.
async fn proxy(port: u16, proxy: Proxy) -> (String, JoinSet<()>) {
    let (port, tasks) = listen(0, move |near| async move {
        let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
        let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
        tokio::select! {
            () = copy(near_read, far_write) => {}
            () = answer(far_read, near_write, proxy) => {}
        }
    })
    .await;
    (format!("http://127.0.0.1:{port}"), tasks)
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    tokio::io::copy(&mut from, &mut to).await.ok();
    // The client may wait for the rest of the answer.
    std::future::pending::<()>().await;
}

async fn answer(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, proxy: Proxy) {
    let (mut held, mut buffer) = (Vec::new(), [0; 16_384]);
    loop {
        let wait = match proxy {
            Proxy::Buffers(wait) | Proxy::Cuts(wait) => wait,
            Proxy::ChangesDate | Proxy::OnlyHealth => Duration::from_mins(10),
        };
        match (timeout(wait, from.read(&mut buffer)).await, proxy) {
            (Err(_), Proxy::Buffers(_)) => {
                if to.write_all(&held).await.is_err() {
                    return;
                }
                held.clear();
            }
            (Err(_), _) => return,
            (Ok(Ok(0) | Err(_)), _) => {
                to.write_all(&held).await.ok();
                return;
            }
            (Ok(Ok(n)), Proxy::Buffers(_)) => held.extend_from_slice(&buffer[..n]),
            (Ok(Ok(n)), Proxy::Cuts(_)) => to.write_all(&buffer[..n]).await.unwrap_or_default(),
            (Ok(Ok(n)), Proxy::OnlyHealth) => {
                // The answer to any other request is longer, or is not this one.
                if !String::from_utf8_lossy(&buffer[..n]).contains(r#"{"status":"ok""#) {
                    return;
                }
                to.write_all(&buffer[..n]).await.unwrap_or_default();
            }
            (Ok(Ok(n)), Proxy::ChangesDate) => {
                let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
                to.write_all(an_hour_ahead(&text).as_bytes()).await.unwrap_or_default();
            }
        }
    }
}

/// The response with its date an hour later.
fn an_hour_ahead(response: &str) -> String {
    let Some((before, rest)) = response.split_once("date: ") else { return response.to_owned() };
    let (date, after) = rest.split_once("\r\n").unwrap();
    let date =
        jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).unwrap() + jiff::SignedDuration::from_hours(1);
    let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&date).unwrap();
    format!("{before}date: {date}\r\n{after}")
}

#[tokio::test]
async fn a_good_way_is_good_in_every_line() {
    let desk = Desk::new().await;
    let (ok, found) = desk.findings(&desk.app.url("/v1"), &["--idle", "1", "--model", "lab/m"]).await;
    assert!(ok, "{found:#}");
    let checks: Vec<(&str, &str)> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|f| (f["check"].as_str().unwrap(), f["state"].as_str().unwrap()))
        .collect();
    let expected =
        ["proxy", "dns", "connection", "clock", "key", "models", "streaming", "idle"].map(|check| (check, "good"));
    assert_eq!(checks, expected, "{found:#}");
    let output = desk.run(&desk.url(), &["--idle", "0"]).await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("good  key        valid") && !text.contains('\u{1b}'), "no colours in a pipe: {text}");
}

#[tokio::test]
async fn wrong_keys_are_distinguished_from_revoked_ones() {
    let desk = Desk::new().await;
    let wrong = ["--key", "sk-tf-k7f3a9c2-00000000000000000000000000000000"];
    desk.finds(&desk.url(), &wrong, "key", "unknown", "the key that you were given").await;
    let revoke = desk.app.request("POST", &format!("/admin/v1/clients/{}/revoke", desk.id)).bearer_auth(ADMIN_KEY);
    assert_eq!(Answer::of(revoke).await.status, 200);
    desk.finds(&desk.url(), &[], "key", "has been revoked", "ask the administrator for a new one").await;
}

#[tokio::test]
async fn a_model_that_is_not_allowed_is_distinguished_from_one_that_does_not_exist() {
    let desk = Desk::new().await;
    desk.finds(&desk.url(), &["--model", "other/m"], "models", "other/m", "ask the administrator to allow it").await;
    desk.finds(&desk.url(), &["--model", "lab/n"], "models", "lab/n", "use another, such as `lab/m`").await;
}

#[tokio::test]
async fn a_gateway_without_a_provider_is_found() {
    let app = TestApp::setup().env("TOLLFREE_ADMIN_KEY", ADMIN_KEY).env("OLLAMA_BASE_URL", "http://127.0.0.1:1/v1");
    let desk = Desk::of(app.start_unready().await, json!({ "name": "ann" })).await;
    desk.finds(&desk.url(), &[], "models", "no provider is configured", "add a provider key").await;
}

#[tokio::test]
async fn a_proxy_that_buffers_streams_is_found() {
    let desk = Desk::new().await;
    let (url, _tasks) = proxy(desk.app.port(), Proxy::Buffers(scaled(Duration::from_millis(700)))).await;
    desk.finds(&url, &[], "streaming", "holds streams back", "proxy_buffering off").await;
}

#[tokio::test]
async fn a_proxy_that_cuts_silent_connections_is_found() {
    let desk = Desk::new().await;
    let (url, _tasks) = proxy(desk.app.port(), Proxy::Cuts(scaled(Duration::from_secs(2)))).await;
    let idle = scaled(Duration::from_secs(4)).as_secs().to_string();
    desk.finds(&url, &["--idle", &idle], "idle", "cuts connections that are silent for about", "proxy_read_timeout")
        .await;
}

#[tokio::test]
async fn tls_where_the_gateway_has_none_and_the_reverse_are_found() {
    let desk = Desk::new().await;
    let plain = desk.url();
    let tls = plain.replace("http://", "https://");
    desk.finds(&tls, &[], "tls", "speaks plain HTTP there", &format!("--url {plain}")).await;
    let server = TlsUpstream::start(&["http/1.1"]).await;
    let plain = format!("http://{}", server.address());
    desk.finds(&plain, &[], "tls", "speaks TLS there", &format!("--url https://{}", server.address())).await;
}

#[tokio::test]
async fn an_authority_that_this_machine_does_not_trust_is_found() {
    let (desk, server) = (Desk::new().await, TlsUpstream::start(&["http/1.1"]).await);
    let url = format!("https://{}", server.address());
    desk.finds(&url, &[], "tls", "an authority that this machine does not trust", "SSL_CERT_FILE").await;
}

/// The certificate seems invalid only because this machine's clock is behind: the operator is not to blame.
#[tokio::test]
async fn a_clock_that_is_off_is_named_before_the_certificate() {
    let desk = Desk::new().await;
    let at = |from_now: SignedDuration| {
        let seconds = (Timestamp::now() + from_now).as_second().try_into().unwrap();
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    let half = SignedDuration::from_mins(30);
    let ahead = TlsUpstream::dated(&["http/1.1"], half * 2, |params| params.not_before = at(half)).await;
    desk.finds(
        &format!("https://{}", ahead.address()),
        &[],
        "clock",
        "behind the gateway's, so that the certificate",
        "set the clock",
    )
    .await;
    let expired = TlsUpstream::dated(&["http/1.1"], SignedDuration::ZERO, |params| params.not_after = at(-half)).await;
    let url = format!("https://{}", expired.address());
    desk.finds(&url, &[], "tls", "not valid now: certificate expired", "must renew the certificate").await;
}

#[tokio::test]
async fn a_name_without_an_address_is_found() {
    let desk = Desk::new().await;
    let url = "http://nowhere.invalid";
    desk.finds(url, &[], "dns", "nowhere.invalid has no address", "check the spelling of the name").await;
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_named_without_its_password() {
    let (desk, server, tunnel) = (Desk::new().await, TlsUpstream::start(&["http/1.1"]).await, Tunnel::start().await);
    let proxy = format!("http://ann:hunter2@{}", tunnel.address());
    let found = desk.findings_with(&format!("https://{}", server.address()), &[("HTTPS_PROXY", &proxy)]).await;
    let message = |check: &str| {
        let finding = found.as_array().unwrap().iter().find(|finding| finding["check"] == check).unwrap();
        (finding["state"].as_str().unwrap().to_owned(), finding["message"].as_str().unwrap().to_owned())
    };
    let (state, shown) = message("proxy");
    assert!(state == "good" && shown.contains(&tunnel.address()) && !shown.contains("hunter2"), "{shown}");
    assert_eq!(message("dns"), ("skipped".to_owned(), "left to the proxy".to_owned()));
    assert!(tunnel.heads()[0].starts_with("CONNECT localhost:"), "{:?}", tunnel.heads());
    for (excepted, state) in [("other.example", "warning"), ("example.org, 127.0.0.1", "good"), ("*", "good")] {
        let found = desk.findings_with(&desk.url(), &[("http_proxy", &proxy), ("NO_PROXY", excepted)]).await;
        assert_eq!(found[0]["state"], state, "{excepted}: {found:#}");
        assert_eq!(
            found[0]["message"].as_str().unwrap().contains("HTTP_PROXY is set"),
            state == "warning",
            "{found:#}"
        );
    }
}

#[tokio::test]
async fn an_error_that_ends_the_checks_is_a_finding_of_its_own() {
    let desk = Desk::new().await;
    let record = desk.home.path().join(".config/tollfree/setup/codex/record.json");
    std::fs::create_dir_all(record.parent().unwrap()).unwrap();
    std::fs::write(&record, "{").unwrap();
    desk.finds(&desk.url(), &["codex"], "tool", "record.json is damaged", "mend that").await;
    // A gateway that answers the first request only.
    let (url, _tasks) = proxy(desk.app.port(), Proxy::OnlyHealth).await;
    desk.finds(&url, &[], "key", "the connection was closed", "mend that").await;
}

/// `script` gives the program a terminal.
#[tokio::test]
async fn a_terminal_has_colours_unless_they_are_not_wanted() {
    let desk = Desk::new().await;
    for (name, value, coloured) in
        [("TERM", "xterm", true), ("TERM", "dumb", false), ("NO_COLOR", "1", false), ("NO_COLOR", "", true)]
    {
        let mut terminal = Command::new("script");
        let command = format!("{} doctor --idle 0 --url {}", binary().display(), desk.url());
        terminal.args(["-qec", &command, "/dev/null"]).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        terminal
            .env("HOME", desk.home.path())
            .env("TOLLFREE_CLIENT_KEY", &desk.key)
            .env("TERM", "xterm")
            .env(name, value);
        let output = terminal.current_dir(desk.home.path()).stdin(Stdio::null()).output().await.unwrap();
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(shown.contains("valid"), "{shown}");
        assert_eq!(shown.contains("\u{1b}[32mgood"), coloured, "{name}={value}: {shown:?}");
    }
}

#[tokio::test]
async fn a_wrong_path_is_found_and_the_right_one_named() {
    let desk = Desk::new().await;
    desk.finds(
        &desk.app.url("/team/llm"),
        &[],
        "path",
        "it is no gateway",
        &format!("the gateway is at {}", desk.url()),
    )
    .await;
}

#[tokio::test]
async fn a_gateway_that_is_down_is_found() {
    let desk = Desk::new().await;
    let port = free_port();
    let place = format!("nothing listens at 127.0.0.1:{port}");
    desk.finds(&format!("http://127.0.0.1:{port}"), &[], "connection", &place, "start the gateway").await;
}

#[tokio::test]
async fn a_clock_that_is_off_by_an_hour_is_found() {
    let desk = Desk::new().await;
    let (url, _tasks) = proxy(desk.app.port(), Proxy::ChangesDate).await;
    desk.finds(&url, &[], "clock", "behind the gateway's", "set the clock").await;
}

#[tokio::test]
async fn the_files_of_a_tool_are_compared_with_what_it_needs() {
    let desk = Desk::new().await;
    let idle = ["codex", "--idle", "0"];
    desk.finds(&desk.url(), &idle, "tool", "Codex is not set up", "tollfree setup codex").await;
    let mut setup = Command::new(binary());
    setup.args(["setup", "codex", "--url", &desk.url(), "--key", &desk.key]).env("HOME", desk.home.path());
    assert!(setup.output().await.unwrap().status.success());
    assert!(desk.findings(&desk.url(), &idle).await.0);
    let config = desk.home.path().join(".codex/config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("free-smart", "gpt-5")).unwrap();
    desk.finds(&desk.url(), &idle, "tool", "other settings than this gateway", "--dry-run").await;
    std::fs::write(&config, "model = = 1\n").unwrap();
    desk.finds(&desk.url(), &idle, "tool", "line 1, column 9", "mend the file by hand").await;
}
