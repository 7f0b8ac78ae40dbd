//! Redis on the same machine, through its unix socket and without a port.

use crate::support::{app::TestApp, eventually, fake_upstream::FakeUpstream, process::Process};

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_behind_a_unix_socket_is_used_with_its_password_and_database() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("redis.sock").display().to_string();
    let args = ["--port", "0", "--unixsocket", &socket, "--save", "", "--requirepass", "of/this test"];
    let log = folder.path().join("redis.log");
    let _redis = Process::start("redis-server", "redis-server".as_ref(), &args, [("LC_ALL", "C")], folder.path(), &log);
    let query = |words: &[&str]| {
        let output = std::process::Command::new("redis-cli")
            .args(["-s", &socket, "--no-auth-warning", "-a", "of/this test"])
            .args(words)
            .output();
        String::from_utf8_lossy(&output.unwrap().stdout).trim().to_owned()
    };
    let is_up = async || (query(&["PING"]) == "PONG").then_some(());
    eventually(std::time::Duration::from_secs(10), "redis-server replies on its socket", is_up).await;
    let upstream = FakeUpstream::start().await;
    let url = format!("unix://:of%2Fthis%20test@{socket}?db=3");
    let app = TestApp::setup().lab("lab", &upstream).env("REDIS_URL", url).start().await;
    assert_eq!(app.chat("lab/m").await.status, 200, "{}", app.log());
    assert_ne!(query(&["-n", "3", "DBSIZE"]), "0");
    assert_eq!(query(&["-n", "0", "DBSIZE"]), "0");
}
