//! The data directory of a gateway without Redis: a disk that takes no more, damage, and files that vanish before a reload.

use std::{path::Path, process::Command, time::Duration};

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::support::{
    app::{TestApp, binary},
    eventually,
    fake_upstream::FakeUpstream,
};

fn daily(upstream: &FakeUpstream, rpd: u32) -> String {
    let url = upstream.base_url();
    format!("[providers.lab]\nbase_url = \"{url}\"\n[providers.lab.models.m]\nlimits = {{ rpd = {rpd} }}\n")
}

/// Bounds the size of the files that a process may write, as a full disk would.
fn limit_files(app: &TestApp, bytes: Option<u64>) {
    let pid = Pid::from_raw(i32::try_from(app.pid()).unwrap());
    prlimit(pid, Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}

fn tollfree(arguments: &[&str], folder: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(binary());
    command.args(arguments).env_clear().env("HOME", folder).current_dir(folder);
    let output = command.env("PORT", "0").env("TOLLFREE_DATA_DIR", folder.join("data")).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_an_outage_that_ends_with_it() {
    let upstream = FakeUpstream::start().await;
    let setup = TestApp::setup().file(&daily(&upstream, 5)).played("ollama", &upstream).env("OLLAMA_MODELS", "m");
    let mut app = setup.start().await;
    assert_eq!(app.chat("lab/m").await.status, 200);
    limit_files(&app, Some(1));
    assert_eq!(app.chat("lab/m").await.error().2, "ledger_unavailable", "no change is acted on that could be lost");
    assert_eq!((app.chat("lab/m").await.status, app.chat("ollama/m").await.status), (503, 200));
    limit_files(&app, None);
    let again = async || (app.chat("lab/m").await.status == 200).then_some(());
    eventually(Duration::from_secs(10), "the state is written again", again).await;
    assert!(app.process().ended().is_none());
    app.restart().await;
    app.until_ready().await;
    let mut served = 0;
    while app.chat("lab/m").await.status == 200 {
        served += 1;
    }
    // One was charged by the call that could not be written, and was given back by none.
    assert!((2..=3).contains(&served), "nothing that was answered is forgotten: {served}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_stops_the_start_and_a_repair_keeps_what_can_be_read() {
    let upstream = FakeUpstream::start().await;
    let mut app = TestApp::setup().file(&daily(&upstream, 500)).start().await;
    for _ in 0..20 {
        assert_eq!(app.chat("lab/m").await.status, 200);
    }
    let folder = app.folder.path().to_owned();
    let (code, output) = tollfree(&["data", "check"], &folder);
    assert!(code == Some(1) && output.contains("another process is using"), "{output}");
    app.process().kill();
    let (code, output) = tollfree(&["data", "check"], &folder);
    assert!(code == Some(0) && output.contains("is sound: 0 client keys"), "{output}");
    let log = folder.join("data/0.jnl");
    let mut bytes = std::fs::read(&log).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[used / 2] ^= 0x55;
    std::fs::write(&log, bytes).unwrap();
    for arguments in [&["data", "check"][..], &["serve"]] {
        let (code, output) = tollfree(arguments, &folder);
        assert!(code == Some(1) && output.contains("tollfree data repair"), "{output}");
    }
    let (code, output) = tollfree(&["data", "repair"], &folder);
    assert!(code == Some(0) && output.contains("The damaged files are in"), "{output}");
    app.relaunch().await;
    app.until_ready().await;
    assert_eq!(app.chat("lab/m").await.status, 200);
}

#[tokio::test]
async fn a_file_that_is_empty_or_gone_at_a_reload_changes_nothing() {
    let upstream = FakeUpstream::start().await;
    let app = TestApp::setup().lab("lab", &upstream).start().await;
    let file = app.folder.path().join("tollfree.toml");
    for (name, change) in
        [("empty", &(|| std::fs::write(&file, " \n")) as &dyn Fn() -> _), ("gone", &|| std::fs::remove_file(&file))]
    {
        change().unwrap();
        let before = app.log().matches("Kept the old configuration").count();
        app.signal("HUP");
        eventually(Duration::from_secs(5), "the reload is refused", async || {
            (app.log().matches("Kept the old configuration").count() > before).then_some(())
        })
        .await;
        assert!(app.log().contains("vanished or empty: tollfree.toml"), "{name}:\n{}", app.log());
        assert_eq!(app.chat("lab/m").await.status, 200, "{name}");
    }
}
