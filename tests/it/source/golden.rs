//! One request, every dialect: what each provider is sent, byte for byte. `INSTA_UPDATE=always` writes them again.

use std::{collections::BTreeMap, path::Path};

use tollfree::{
    catalog::Catalog,
    config,
    protocol::chat,
    upstream::request_edit::{EditContext, edit_request},
};

const KEYS: [&str; 9] = [
    "GROQ_API_KEY",
    "GEMINI_API_KEY",
    "CEREBRAS_API_KEY",
    "MISTRAL_API_KEY",
    "OPENROUTER_API_KEY",
    "CLOUDFLARE_API_TOKEN",
    "NVIDIA_API_KEY",
    "COHERE_API_KEY",
    "ZAI_API_KEY",
];

fn catalog() -> Catalog {
    let directory = tempfile::tempdir().unwrap();
    let mut env: BTreeMap<String, String> = KEYS.iter().map(|k| ((*k).to_owned(), "k".to_owned())).collect();
    env.insert("CLOUDFLARE_ACCOUNT_ID".into(), "account".into());
    env.insert("OLLAMA_MODELS".into(), "gpt-oss:20b".into());
    let settings = config::load(&env, directory.path()).unwrap().settings;
    Catalog::build(&settings, &BTreeMap::new()).unwrap()
}

fn check(case: &str) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let request = chat::decode(std::fs::read(golden.join(format!("{case}.json"))).unwrap().into()).unwrap();
    let catalog = catalog();
    let mut seen = Vec::new();
    for candidate in &catalog.candidates {
        let provider = candidate.provider.id.to_string();
        if seen.contains(&provider) {
            continue;
        }
        let sent = edit_request(&request, candidate, EditContext::new(candidate, &request, false));
        let sent = std::str::from_utf8(&sent).unwrap();
        insta::with_settings!({ snapshot_path => &golden, prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(format!("{case}.{provider}"), sent);
        });
        seen.push(provider);
    }
    assert_eq!(seen.len(), KEYS.len() + 1, "{seen:?}");
}

#[test]
fn a_request_with_everything_in_it_reaches_each_provider_in_its_dialect() {
    check("everything");
}

#[test]
fn a_plain_request_is_changed_only_where_it_must_be() {
    check("plain");
}
