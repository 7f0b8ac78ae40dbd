//! Support of this room's unit tests: candidates of the built-in catalogue, recorded responses and a scripted server.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
};

use crate::{catalog::Catalog, config, domain::Candidate};

const KEYS: [&str; 17] = [
    "GROQ_API_KEY",
    "GEMINI_API_KEY",
    "CEREBRAS_API_KEY",
    "MISTRAL_API_KEY",
    "OLLAMA_API_KEY",
    "OPENROUTER_API_KEY",
    "GITHUB_TOKEN",
    "CLOUDFLARE_API_TOKEN",
    "NVIDIA_API_KEY",
    "SAMBANOVA_API_KEY",
    "COHERE_API_KEY",
    "HF_TOKEN",
    "ZAI_API_KEY",
    "LLM7_API_KEY",
    "KILO_API_KEY",
    "MODELSCOPE_API_KEY",
    "OPENCODE_API_KEY",
];

/// Providers without models in the catalogue, and an own one.
const FILE: &str = r#"
[providers.huggingface.models.m]
[providers.llm7.models.m]
[providers.github.models.m]
[providers.sambanova.models.m]
[providers.custom]
base_url = "http://127.0.0.1:9/v1"
[providers.custom.models.m]
"#;

fn catalog() -> &'static Catalog {
    static CATALOG: OnceLock<Catalog> = OnceLock::new();
    CATALOG.get_or_init(|| build("ollama", "http://127.0.0.1:9/v1"))
}

fn build(provider: &str, base_url: &str) -> Catalog {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("tollfree.toml"), FILE).unwrap();
    let mut env: BTreeMap<String, String> =
        KEYS.iter().map(|name| ((*name).to_owned(), "test-key-0123".to_owned())).collect();
    env.insert("CLOUDFLARE_ACCOUNT_ID".into(), "account".into());
    env.insert("OLLAMA_MODELS".into(), "gpt-oss:20b".into());
    env.insert(format!("{}_BASE_URL", provider.to_uppercase()), base_url.to_owned());
    let settings = config::load(&env, directory.path()).unwrap().settings;
    Catalog::build(&settings, &BTreeMap::new()).unwrap()
}

/// The first candidate of a provider with this base URL.
pub(crate) fn candidate_at(provider: &str, base_url: &str) -> Arc<Candidate> {
    build(provider, base_url).candidates.iter().find(|c| &*c.provider.id == provider).unwrap().clone()
}

/// The first candidate of a provider.
pub(crate) fn candidate(provider: &str) -> &'static Arc<Candidate> {
    let found = catalog().candidates.iter().find(|c| &*c.provider.id == provider);
    found.unwrap_or_else(|| panic!("no candidate of {provider}"))
}

/// A candidate by its full name.
pub(crate) fn named(name: &str) -> &'static Arc<Candidate> {
    catalog().candidates.iter().find(|c| &*c.name == name).unwrap_or_else(|| panic!("no candidate {name}"))
}

/// One recorded response.
pub(crate) struct Recorded {
    /// `groq`
    pub provider: String,
    /// `groq.429-tpm`
    pub case: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Every recorded response, by name.
pub(crate) fn recorded() -> Vec<Recorded> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/simulator/wire");
    let mut heads: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "headers"))
        .collect();
    heads.sort();
    heads.iter().map(|head| read(head)).collect()
}

fn read(head: &Path) -> Recorded {
    let case = head.file_stem().unwrap().to_str().unwrap().to_owned();
    let text = std::fs::read_to_string(head).unwrap();
    let mut lines = text.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let mut headers: HeaderMap = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(n, v)| (n.parse::<HeaderName>().unwrap(), v.parse::<HeaderValue>().unwrap()))
        .collect();
    // The recorded responses without a date are of this time.
    headers.entry("date").or_insert(HeaderValue::from_static("Sun, 22 Nov 2026 13:20:00 GMT"));
    let stem = head.with_extension("");
    let body = ["json", "sse", "txt"]
        .iter()
        .find_map(|kind| std::fs::read(format!("{}.{kind}", stem.display())).ok())
        .unwrap_or_else(|| panic!("{case} has no body"));
    Recorded { provider: case.split('.').next().unwrap().to_owned(), case, status, headers, body: body.into() }
}

/// A server that plays the same script on every connection after it has read the request.
pub(crate) struct Scripted {
    pub base_url: String,
    /// Every request, with a receiver that resolves when the client has closed the connection.
    pub requests: mpsc::UnboundedReceiver<(String, oneshot::Receiver<()>)>,
}

/// One step of a script.
#[derive(Debug, Clone)]
pub(crate) enum Say {
    Bytes(Vec<u8>),
    Pause(Duration),
    /// Closes with a reset instead of an end.
    Reset,
}

/// A whole response: status line, headers, body, end.
pub(crate) fn says(status: u16, kind: &str, body: &[u8]) -> Vec<Say> {
    let head = format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n");
    vec![Say::Bytes([head.as_bytes(), body].concat())]
}

pub(crate) async fn serve(script: Vec<Say>) -> Scripted {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (sender, requests) = mpsc::unbounded_channel();
    #[expect(clippy::disallowed_methods, reason = "a test's own server, which ends with its runtime")]
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (script, sender) = (script.clone(), sender.clone());
            #[expect(clippy::disallowed_methods, reason = "as above")]
            tokio::spawn(async move {
                let request = read_request(&mut socket).await;
                let (gone, left) = oneshot::channel();
                let _ = sender.send((request, left));
                let (mut read, mut write) = socket.split();
                let talk = async {
                    for say in script {
                        match say {
                            Say::Bytes(bytes) => drop(write.write_all(&bytes).await),
                            Say::Pause(time) => tokio::time::sleep(time).await,
                            Say::Reset => return true,
                        }
                    }
                    false
                };
                let mut byte = [0];
                let reset = tokio::select! {
                    reset = talk => reset,
                    _ = read.read(&mut byte) => false,
                };
                if reset {
                    socket.set_zero_linger().unwrap();
                }
                drop(socket);
                let _ = gone.send(());
            });
        }
    });
    Scripted { base_url, requests }
}

async fn read_request(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = socket.read(&mut buffer).await.unwrap_or(0);
        bytes.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let length = |head: &str| {
            head.lines().find_map(|l| l.strip_prefix("content-length: ")).map_or(0, |n| n.parse::<usize>().unwrap())
        };
        match text.split_once("\r\n\r\n") {
            Some((head, body)) if body.len() >= length(head) => return text,
            _ if n == 0 => return text,
            _ => {}
        }
    }
}
