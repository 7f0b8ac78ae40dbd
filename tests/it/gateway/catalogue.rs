//! A signed catalogue: signed as the release job does it, fetched, verified, compared, and laid over the built-in one.

use std::{
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use crate::support::{
    app::{TestApp, binary},
    eventually,
    fake_upstream::{FakeUpstream, whole},
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const GROQ: &str = "https://api.groq.com/openai/v1";

fn succeeds(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// A new pair of keys in a folder: its public half as PEM.
fn new_key(folder: &Path) -> String {
    let key = folder.join("key.pem");
    succeeds(Command::new("openssl").args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(&key));
    succeeds(Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(&key))
}

/// The built-in catalogue with these replacements, signed by the key of the folder.
fn sign(folder: &Path, changes: &[(&str, &str)]) -> String {
    let mut text = std::fs::read_to_string(Path::new(ROOT).join("src/catalog/providers.toml")).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    let file = folder.join("unsigned.toml");
    std::fs::write(&file, text).unwrap();
    let script = Path::new(ROOT).join("deploy/sign-catalogue.sh");
    succeeds(Command::new(script).arg(folder.join("key.pem")).arg(file))
}

/// `tollfree catalog …` in a folder. Returns its exit code and what it printed.
fn catalog(folder: &Path, key: &str, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(binary());
    command.arg("catalog").args(arguments).current_dir(folder).env_clear().env("HOME", folder);
    let output = command.env("TOLLFREE__CATALOG__PUBLIC_KEY", key).output().unwrap();
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.code().unwrap(), printed)
}

#[test]
fn no_private_half_of_a_key_is_here_and_a_program_without_a_key_says_so() {
    let key = std::fs::read_to_string(Path::new(ROOT).join("src/catalog/signing-key.pem")).unwrap();
    assert!(!key.contains("PRIVATE"), "{key}");
    let folder = tempfile::tempdir().unwrap();
    new_key(folder.path());
    std::fs::write(folder.path().join("signed.toml"), sign(folder.path(), &[])).unwrap();
    let (code, printed) = catalog(folder.path(), "", &["verify", "signed.toml"]);
    let expected = if key.contains("BEGIN PUBLIC KEY") { "signed by another key" } else { "Set `catalog.public_key`" };
    assert!(code == 1 && printed.contains(expected), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_catalogue_is_fetched_verified_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let key = new_key(folder);
    let file = sign(folder, &[("serial = 2", "serial = 9"), ("rpm = 40, rpd = 10000", "rpm = 41, rpd = 10000")]);
    let host = FakeUpstream::start().await;
    host.always(whole(200, &file));
    let url = format!("{}/catalogue", host.base_url());
    let (code, printed) = catalog(folder, &key, &["fetch", "--url", &url, "--output", "kept.toml"]);
    assert!(code == 0 && printed.contains("its signature is right"), "{printed}");
    assert_eq!(std::fs::read_to_string(folder.join("kept.toml")).unwrap(), file);
    let (code, printed) = catalog(folder, &key, &["diff", "kept.toml"]);
    assert_eq!((code, printed.lines().count()), (0, 2), "{printed}");
    assert!(printed.contains("providers.nvidia.limits.rpm: 40 → 41"), "{printed}");
    assert_eq!(catalog(folder, &key, &["verify", "kept.toml"]).0, 0);

    std::fs::write(folder.join("changed.toml"), file.replace("rpm = 41", "rpm = 99")).unwrap();
    let (code, printed) = catalog(folder, &key, &["verify", "changed.toml"]);
    assert!(code == 1 && printed.contains("its signature is wrong"), "{printed}");
    host.always(whole(200, &file.replace("rpm = 41", "rpm = 99")));
    let (code, printed) = catalog(folder, &key, &["fetch", "--url", &url, "--output", "other.toml"]);
    assert!(code == 1 && printed.contains("its signature is wrong"), "{printed}");
    assert!(!folder.join("other.toml").exists());
    assert_eq!(catalog(folder, &key, &["fetch"]).0, 2, "nothing is fetched unless an address is set");
}

#[tokio::test]
async fn a_running_gateway_adopts_a_newer_catalogue_and_keeps_it_for_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let key = new_key(folder.path());
    let model = "[providers.groq.models.\"openai/gpt-oss-120b\"]";
    let new = format!("[providers.groq.models.brand-new]\ncontext = 8192\nquality = 9\n\n{model}");
    let file = sign(folder.path(), &[("serial = 2", "serial = 9"), (model, &new)]);
    let host = FakeUpstream::start().await;
    host.always(whole(200, &file));
    let kept = folder.path().join("kept.toml");
    let setup =
        TestApp::setup().env("GROQ_API_KEY", "k").env("GROQ_BASE_URL", GROQ.replace("https://", "http://127.0.0.1:1/"));
    let setup = setup.env("TOLLFREE__CATALOG__PUBLIC_KEY", &key).env("TOLLFREE__CATALOG__FILE", kept.display());
    let mut app = setup.env("TOLLFREE_CATALOG_URL", format!("{}/catalogue", host.base_url())).start().await;
    let serves = async |app: &TestApp| {
        eventually(Duration::from_secs(20), "the new model is served", async || {
            app.get("/v1/models").await.text().contains("groq/brand-new").then_some(())
        })
        .await;
    };
    serves(&app).await;
    assert!(app.log().contains("Adopted the catalogue"), "{}", app.log());
    host.always(whole(500, "{}"));
    app.restart().await;
    serves(&app).await;
    // Another key: nothing is adopted, and the gateway serves what it has.
    host.always(whole(200, &file));
    let other = tempfile::tempdir().unwrap();
    let setup = TestApp::setup().env("GROQ_API_KEY", "k").env("TOLLFREE__CATALOG__PUBLIC_KEY", new_key(other.path()));
    let app = setup.env("TOLLFREE_CATALOG_URL", format!("{}/catalogue", host.base_url())).start().await;
    eventually(Duration::from_secs(20), "the log says why", async || {
        app.log().contains("its signature is wrong").then_some(())
    })
    .await;
    assert!(!app.get("/v1/models").await.text().contains("groq/brand-new"));
}
