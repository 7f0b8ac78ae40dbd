//! The commands and programs of the documents, run as they are written, with the address of a gateway in place of
//! `localhost:3000`. What needs a cluster or an engine of containers is read by their own programs as far as these get
//! without one.

use std::{
    collections::BTreeSet,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;

use crate::support::{
    app::{TestApp, binary},
    markdown::{Block, blocks},
    recording::wav,
    redis_server::RedisServer,
    simulator::Simulator,
};

const ADMIN_KEY: &str = "an-admin-key-of-the-documents";
const ADDED_KEY: &str = "gsk_simulated_added_0001";
/// The id of a provider key in the documents.
const EXAMPLE_ID: &str = "groq-1a2b3c4d";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Programs that stand before the real ones: what changes a cluster is rendered instead.
const HELM: &str = r#"
for word in "$@"; do
  case $word in
    install|upgrade) words+=(template) ;;
    --wait|--reuse-values) ;;
    test) exit 0 ;;
    *) words+=("$word") ;;
  esac
done
exec "$TOOLS/helm" "${words[@]}""#;
const KUBECTL: &str = r#"
case " $* " in
  *" create "*) exec "$TOOLS/kubectl" "$@" --dry-run=client --output=yaml ;;
  *" apply -f "*) test -s "${!#}" ;;
  *" get secret "*) "$TOOLS/helm" template tollfree helm/tollfree | grep --quiet admin-key && echo a2V5 ;;
  *) echo "kubectl $*: not known to the test" >&2; exit 1 ;;
esac"#;
const DOCKER: &str = r#"
case "$1" in
  compose) exec "$TOOLS/docker-compose" config --quiet ;;
  build|push) ;;
  *) echo "docker $*: not known to the test" >&2; exit 1 ;;
esac"#;

/// A folder in which the commands of a page run, and a gateway that they call.
struct Desk {
    app: TestApp,
    folder: tempfile::TempDir,
    /// The key that was added at last.
    key_id: String,
}

impl Desk {
    async fn new(simulator: &Simulator) -> Self {
        let own_key = simulator.keys("groq").into_iter().find(|key| key != ADDED_KEY).unwrap();
        let setup =
            TestApp::setup().simulated(simulator, "gemini").simulated(simulator, "groq").env("GROQ_API_KEY", own_key);
        let setup = setup.env("TOLLFREE_ADMIN_KEY", ADMIN_KEY).env("TOLLFREE_AUTH", "open");
        let app = setup.env("TOLLFREE_MASTER_KEY", "m".repeat(64)).start().await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("talk.wav"), wav(12)).unwrap();
        for name in ["helm", "k8s", "deploy", "docker-compose.yml", ".env.example", "tollfree.example.toml"] {
            symlink(root().join(name), folder.path().join(name)).unwrap();
        }
        let programs = folder.path().join("programs");
        std::fs::create_dir(&programs).unwrap();
        symlink(binary(), programs.join("tollfree")).unwrap();
        for (name, script) in [("helm", HELM), ("kubectl", KUBECTL), ("docker", DOCKER)] {
            let path = programs.join(name);
            std::fs::write(&path, format!("#!/usr/bin/env bash\nset -euo pipefail\nwords=(){script}\n")).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        Self { app, folder, key_id: EXAMPLE_ID.to_owned() }
    }

    fn with_address(&self, text: &str) -> String {
        text.replace("localhost:3000", &format!("127.0.0.1:{}", self.app.port()))
    }

    /// Runs a program and returns its output.
    fn run(&self, place: &str, shown: &str, command: &mut Command) -> String {
        let programs = self.folder.path().join("programs");
        let path = std::env::var("PATH").unwrap();
        let key = self.folder.path().join("key");
        std::fs::write(&key, ADDED_KEY).unwrap();
        let output = command
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", programs.display()))
            .env("HOME", self.folder.path())
            .env_remove("KUBECONFIG")
            .env("TOOLS", root().join(".tools/bin"))
            .env("PORT", self.app.port().to_string())
            .env("TOLLFREE_DATA_DIR", self.app.folder.path().join("data"))
            .env("TOLLFREE_ADMIN_KEY", ADMIN_KEY)
            .env("TOLLFREE_CLIENT_KEY", "any")
            .stdin(std::fs::File::open(key).unwrap())
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(output.status.success(), "{place}: `{shown}` failed:\n{text}");
        text
    }

    fn run_shell(&mut self, block: &Block) {
        for command in block.commands().iter().filter(|command| !command.starts_with("make ")) {
            let written = self.with_address(command).replace(EXAMPLE_ID, &self.key_id);
            // A response with an error must not pass for one.
            let written = written.replace("curl ", "curl --fail-with-body ");
            let output =
                self.run(&block.place, command, Command::new("bash").args(["-euo", "pipefail", "-c", &written]));
            if !command.contains("keys add") {
                continue;
            }
            let words = output.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            let mut ids = words.filter(|word| word.len() == EXAMPLE_ID.len() && word.starts_with("groq-"));
            if let Some(id) = ids.next() {
                id.clone_into(&mut self.key_id);
            }
        }
    }
}

async fn simulator() -> Simulator {
    let accounts = json!({ "main": ["gsk_simulated_main_0001"], "acme": [ADDED_KEY] });
    Simulator::with(json!({ "providers": { "groq": { "accounts": accounts } } })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_documents_runs() {
    let simulator = simulator().await;
    let all: Vec<Block> = blocks().into_iter().filter(|block| block.language == "sh").collect();
    let is_elsewhere = |block: &Block| {
        block.tried_by.as_deref().is_some_and(|by| !["make test-k8s", "make test-compose"].contains(&by))
    };
    let pages: BTreeSet<PathBuf> = all.iter().map(|block| block.page.clone()).collect();
    for page in pages {
        let mut desk = Desk::new(&simulator).await;
        for block in all.iter().filter(|block| block.page == page && !is_elsewhere(block)) {
            desk.run_shell(block);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_python_program_of_the_documents_runs() {
    let simulator = simulator().await;
    let desk = Desk::new(&simulator).await;
    let all: Vec<Block> = blocks().into_iter().filter(|block| block.language == "python").collect();
    assert!(all.len() >= 2, "README and docs/agents.md have one each");
    for block in all {
        let program = desk.with_address(&block.text);
        desk.run(&block.place, &program, Command::new(root().join(".venv/bin/python")).args(["-c", &program]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_values_file_of_the_documents_is_rendered() {
    let simulator = simulator().await;
    let desk = Desk::new(&simulator).await;
    for block in blocks().iter().filter(|block| block.language == "yaml") {
        std::fs::write(desk.folder.path().join("values.yaml"), &block.text).unwrap();
        desk.run(
            &block.place,
            "helm install",
            Command::new("bash").args(["-c", "helm install tollfree helm/tollfree --values values.yaml"]),
        );
    }
}

#[tokio::test]
async fn redis_accepts_the_settings_of_the_documents() {
    let redis = RedisServer::start().await;
    let mut settings = 0;
    for block in blocks().iter().filter(|block| block.language == "conf") {
        for line in block.text.lines() {
            let reply = redis.command(&format!("CONFIG SET {line}").split(' ').collect::<Vec<_>>());
            assert!(reply.starts_with("+OK"), "{}: {line}: {reply}", block.place);
            settings += 1;
        }
    }
    assert!(settings >= 5);
}
