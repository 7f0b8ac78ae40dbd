//! The snapshot as operators meet it: settings in, candidates, windows and names out.

mod kinds;

use std::collections::BTreeMap;

use super::*;
use crate::{
    config,
    domain::{
        Capabilities, FoundModel, Limit, ModelKind, RefusedModel, Scope, Source, TokenCharge, Window, WindowKind,
        provider::Status,
    },
};

fn env(vars: &[(&str, &str)]) -> BTreeMap<String, String> {
    vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A snapshot of these variables and this file, with nothing discovered.
fn catalog(vars: &[(&str, &str)], file: &str) -> Catalog {
    discovering(vars, file, &[]).unwrap()
}

fn discovering(vars: &[(&str, &str)], file: &str, found: &[(&str, &[&str])]) -> Result<Catalog, CatalogError> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("tollfree.toml"), file).unwrap();
    let settings = config::load(&env(vars), directory.path()).unwrap().settings;
    let found = found.iter().map(|(p, ids)| ((*p).to_owned(), ids.iter().map(|id| (*id).into()).collect())).collect();
    Catalog::build(&settings, &found)
}

fn main_providers() -> Catalog {
    let keys = ["GROQ_API_KEY", "GEMINI_API_KEY", "CEREBRAS_API_KEY", "MISTRAL_API_KEY"];
    catalog(&keys.map(|name| (name, "k-1")), "")
}

fn windows<'a>(catalog: &'a Catalog, name: &str) -> &'a [Window] {
    &catalog.candidates.iter().find(|c| &*c.name == name).unwrap_or_else(|| panic!("no candidate {name}")).windows
}

fn window<'a>(catalog: &'a Catalog, name: &str, limit: Limit) -> &'a Window {
    windows(catalog, name).iter().find(|w| w.limit == limit).unwrap_or_else(|| panic!("{name} has no {limit}"))
}

fn names(resolved: Result<Resolved<'_>, NotFound>) -> Vec<String> {
    match resolved.unwrap() {
        Resolved::Meta(meta) => meta.members.iter().map(|c| c.name.to_string()).collect(),
        Resolved::Models(models) => models.iter().map(|c| c.name.to_string()).collect(),
    }
}

/// The provider of CONTRIBUTING.md, which names this test as a pattern.
#[test]
fn lab_counts_minutes_per_account_and_days_per_model() {
    let guide = include_str!("../../../CONTRIBUTING.md");
    let table = guide.split_once("```toml\n").and_then(|(_, rest)| rest.split_once("```")).unwrap().0;
    let catalog = catalog(&[("LAB_API_KEY", "k-1")], table);
    let minute = window(&catalog, "lab/lab-large", Limit::Rpm);
    assert_eq!((minute.max, minute.scope), (20, Scope::Account));
    let day = window(&catalog, "lab/lab-large", Limit::Rpd);
    assert_eq!((day.max, day.scope), (500, Scope::Model));
}

#[test]
fn groq_counts_in_buckets_per_model_and_reserves_max_tokens() {
    let catalog = main_providers();
    let day = window(&catalog, "groq/openai/gpt-oss-120b", Limit::Rpd);
    assert_eq!((day.kind, day.max, day.span_ms, day.scope), (WindowKind::Bucket, 1_000, 86_400_000, Scope::Model));
    let tokens = window(&catalog, "groq/openai/gpt-oss-120b", Limit::Tpm);
    assert_eq!((tokens.kind, tokens.max, tokens.charge), (WindowKind::Bucket, 8_000, TokenCharge::Reserve));
    let input = window(&catalog, "groq/qwen/qwen3.8-27b", Limit::Itpm);
    assert_eq!((input.max, input.charge, input.source), (7_000, TokenCharge::Input, Source::Catalogue));
}

#[test]
fn gemini_turns_its_day_in_los_angeles_and_counts_input_in_sliding_minutes() {
    let catalog = main_providers();
    let day = window(&catalog, "gemini/gemini-3.8-flash", Limit::Rpd);
    assert_eq!((day.kind, day.max), (WindowKind::Calendar, 20));
    assert_eq!(day.zone.as_ref().unwrap().name, "America/Los_Angeles");
    let minute = window(&catalog, "gemini/gemini-3.8-flash", Limit::Rpm);
    assert_eq!((minute.kind, minute.max, minute.span_ms), (WindowKind::Sliding, 5, 60_000));
    assert!(minute.zone.is_none());
    assert_eq!(window(&catalog, "gemini/gemini-3.8-flash", Limit::Tpm).charge, TokenCharge::Input);
}

#[test]
fn cerebras_has_six_buckets_and_reserves_at_most_16384() {
    let catalog = main_providers();
    let all = windows(&catalog, "cerebras/gpt-oss-120b");
    assert_eq!(all.len(), 6);
    assert!(all.iter().all(|w| w.kind == WindowKind::Bucket));
    let provider = catalog.providers.iter().find(|p| &*p.id == "cerebras").unwrap();
    assert_eq!((provider.reserve_default_output, provider.reserve_cap_output), (16_384, Some(16_384)));
    assert!(provider.wire.images_inline_only);
}

#[test]
fn mistral_debits_what_was_used_in_sliding_windows() {
    let plain = main_providers();
    let tokens = window(&plain, "mistral/mistral-small-2603", Limit::Tpm);
    assert_eq!((tokens.kind, tokens.max, tokens.charge), (WindowKind::Sliding, 50_000, TokenCharge::Actual));
    // Even when the file asks for a bucket: a charge that moves needs a sliding window.
    let file = "[providers.mistral]\nwindow = \"bucket\"\n";
    let catalog = catalog(&[("MISTRAL_API_KEY", "k")], file);
    assert_eq!(window(&catalog, "mistral/mistral-small-2603", Limit::Tpm).kind, WindowKind::Sliding);
    assert_eq!(window(&catalog, "mistral/mistral-small-2603", Limit::Rpm).kind, WindowKind::Bucket);
}

#[test]
fn limits_over_all_models_hang_on_the_account() {
    let catalog = catalog(&[("OPENROUTER_API_KEY", "k"), ("OLLAMA_API_KEY", "o"), ("ZAI_API_KEY", "z")], "");
    let day = window(&catalog, "openrouter/openrouter/free", Limit::Rpd);
    assert_eq!((day.kind, day.scope, day.max), (WindowKind::Calendar, Scope::Account, 50));
    let cloud = windows(&catalog, "ollama-cloud/gpt-oss:120b");
    assert_eq!(cloud.len(), 1, "its opaque windows are learned from refusals");
    assert_eq!((cloud[0].kind, cloud[0].scope, cloud[0].span_ms), (WindowKind::Concurrency, Scope::Account, 0));
    assert_eq!(windows(&catalog, "zai/glm-4.7-flash")[0].scope, Scope::Model);
}

#[test]
fn the_file_is_laid_over_the_catalogue_name_by_name() {
    let file = r#"
[providers.groq]
limits = { rpm = 40 }
[providers.groq.models."openai/gpt-oss-120b"]
limits = { rpd = 14400, tpm = "none" }
window = { rpd = "sliding" }
daily_reset = "Asia/Tokyo"
"#;
    let catalog = catalog(&[("GROQ_API_KEY", "k")], file);
    let name = "groq/openai/gpt-oss-120b";
    let all = windows(&catalog, name);
    assert_eq!((all[0].limit, all[0].scope, all[0].max, all[0].source), (Limit::Rpm, Scope::Account, 40, Source::File));
    let model: Vec<_> = all[1..].iter().map(|w| (w.limit, w.max, w.source, w.kind)).collect();
    assert_eq!(
        model,
        [
            (Limit::Rpm, 30, Source::Catalogue, WindowKind::Bucket),
            (Limit::Rpd, 14_400, Source::File, WindowKind::Calendar),
            (Limit::Tpd, 200_000, Source::Catalogue, WindowKind::Calendar),
        ]
    );
    assert_eq!(all[2].zone.as_ref().unwrap().name, "Asia/Tokyo");
    let sibling = window(&catalog, "groq/openai/gpt-oss-20b", Limit::Rpd);
    assert_eq!((sibling.max, sibling.kind), (1_000, WindowKind::Bucket), "another model keeps the catalogue's");
}

#[test]
fn a_rolling_reset_undoes_a_calendar() {
    let file = "[providers.gemini]\ndaily_reset = \"rolling\"\nwindow = \"bucket\"\n";
    let catalog = catalog(&[("GEMINI_API_KEY", "k")], file);
    assert_eq!(window(&catalog, "gemini/gemini-3.8-flash", Limit::Rpd).kind, WindowKind::Bucket);
}

#[test]
fn a_token_limit_where_tokens_are_not_counted_is_charged_by_use() {
    let file = "[providers.openrouter]\nlimits = { tpd = 1000 }\n";
    let tokens = catalog(&[("OPENROUTER_API_KEY", "k")], file);
    assert_eq!(window(&tokens, "openrouter/openrouter/free", Limit::Tpd).charge, TokenCharge::Actual);
    let none = catalog(&[("OPENROUTER_API_KEY", "k")], &format!("{file}token_charge = \"none\"\n"));
    assert!(windows(&none, "openrouter/openrouter/free").iter().all(|w| w.limit != Limit::Tpd));
}

#[test]
fn a_limit_of_zero_takes_a_model_off_the_plan_until_the_file_lists_it() {
    let pro = "gemini/gemini-3.1-pro-preview";
    let key = [("GEMINI_API_KEY", "k")];
    let plain = catalog(&key, "");
    assert!(plain.candidates.iter().all(|c| &*c.name != pro));
    assert!(matches!(plain.resolve(pro), Err(NotFound::NotOffered { why, .. }) if why.contains("limit of 0")));

    let table = "[providers.gemini.models.\"gemini-3.1-pro-preview\"]\n";
    let listed = catalog(&key, &format!("{table}limits = {{ rpm = 5 }}\n"));
    assert_eq!(windows(&listed, pro).len(), 1);
    assert!(names(listed.resolve("free")).contains(&pro.to_owned()), "gated, but listed");

    let denied = catalog(&key, "[providers.gemini.models.\"gemini-3.8-flash\"]\nlimits = { rpd = 0 }\n");
    assert!(
        denied.candidates.iter().all(|c| &*c.name != "gemini/gemini-3.8-flash"),
        "the file's 0 counts, listed or not"
    );
}

#[test]
fn keys_are_accounts_of_their_own_unless_grouped() {
    let file = "[providers.groq]\naccounts = { main = [1, 3] }\n";
    let catalog = catalog(&[("GROQ_API_KEY", "k-1, k-2,k-3,k-2")], file);
    let of: Vec<_> = catalog.candidates.iter().filter(|c| &*c.name == "groq/openai/gpt-oss-20b").collect();
    let accounts: Vec<(&str, &str)> = of.iter().map(|c| (&*c.account.id, &*c.key.id)).collect();
    let [one, two, three] = ["k-1", "k-2", "k-3"].map(key_id);
    assert_eq!(accounts, [("main", one.as_str()), ("main", &three), (&two, &two)]);
    assert!(Arc::ptr_eq(&of[0].account, &of[1].account) && Arc::ptr_eq(&of[0].windows, &of[1].windows));
    // printf k-1 | sha256sum
    assert_eq!(one, "7c35c5a1");
}

#[test]
fn free_holds_every_active_chat_model_with_a_key_and_ollama_last() {
    let vars = [("GROQ_API_KEY", "k"), ("GEMINI_API_KEY", "k"), ("CEREBRAS_API_KEY", "k"), ("OLLAMA_MODELS", "llama3")];
    let catalog = catalog(&vars, "");
    let members = names(catalog.resolve("free"));
    for member in ["groq/openai/gpt-oss-120b", "gemini/gemini-3.8-flash", "cerebras/gpt-oss-120b"] {
        assert!(members.contains(&member.to_owned()), "{member}");
    }
    for outsider in [
        "groq/openai/gpt-oss-safeguard-20b", // a classifier
        "groq/whisper-large-v3",
        "groq/llama-3.3-70b-versatile",
        "gemini/gemini-2.5-flash-lite",  // gated
        "gemini/gemini-3.1-pro-preview", // zero
        "cerebras/qwen-3.8-27b",         // gated
        "mistral/mistral-small-2603",    // no key
    ] {
        assert!(!members.contains(&outsider.to_owned()), "{outsider}");
    }
    assert_eq!(members.last().unwrap(), "ollama/llama3");
    assert_eq!(names(catalog.resolve("cerebras/qwen-3.8-27b")).len(), 1, "gated models go by their own name");
    let orders: Vec<_> = catalog.metas.iter().map(|m| (m.name.as_str(), m.strategy)).collect();
    assert_eq!(
        orders,
        [
            ("free", RoutingStrategy::Headroom),
            ("free-fast", RoutingStrategy::Fast),
            ("free-smart", RoutingStrategy::Smart)
        ]
    );
}

#[test]
fn names_are_resolved_in_the_documented_order() {
    let keys = ["GROQ_API_KEY", "CEREBRAS_API_KEY", "NVIDIA_API_KEY", "OPENROUTER_API_KEY"].map(|n| (n, "k"));
    let file = "[models.\"gpt-oss-120b\"]\nmembers = [\"groq/*\"]\n[models.mine]\nmembers = [\"cerebras/*\", \"gpt-oss-20b\"]\norder = \"listed\"\n";
    let catalog = catalog(&keys, file);
    assert!(matches!(catalog.resolve("gpt-oss-120b"), Ok(Resolved::Meta(_))), "a meta-model hides an alias");
    assert_eq!(names(catalog.resolve("groq/gpt-oss-120b")), ["groq/openai/gpt-oss-120b"], "an alias at one provider");
    let everywhere = names(catalog.resolve("openai/gpt-oss-120b"));
    assert_eq!(everywhere, ["groq/openai/gpt-oss-120b", "cerebras/gpt-oss-120b"], "an id here, an alias there");
    assert_eq!(
        names(catalog.resolve("nvidia/nemotron-3-super-120b-a12b")),
        ["nvidia/nvidia/nemotron-3-super-120b-a12b"],
        "a whole id that begins like a provider"
    );
    assert_eq!(
        names(catalog.resolve("mine")),
        [
            "cerebras/gpt-oss-120b",
            "cerebras/gemma-4-31b",
            "groq/openai/gpt-oss-20b",
            "openrouter/openai/gpt-oss-20b:free",
            "nvidia/openai/gpt-oss-20b"
        ]
    );
}

#[test]
fn what_is_retired_names_its_successor_unless_it_lives_elsewhere() {
    let groq = catalog(&[("GROQ_API_KEY", "k")], "");
    for requested in ["llama-3.3-70b-versatile", "groq/llama-3.3-70b-versatile", "groq/llama-3.3-70b"] {
        let retired = NotFound::Retired { model: requested.into(), successor: Some("groq/openai/gpt-oss-120b".into()) };
        assert_eq!(groq.resolve(requested).unwrap_err(), retired);
    }
    assert_eq!(
        groq.resolve("github/gpt-4o").unwrap_err(),
        NotFound::Retired { model: "github/gpt-4o".into(), successor: None }
    );
    assert_eq!(
        groq.resolve("llama-3.3-70b").unwrap_err(),
        NotFound::NoMember { requested: "llama-3.3-70b".into() },
        "NVIDIA still serves it, without a key here"
    );
    let nvidia = catalog(&[("NVIDIA_API_KEY", "k")], "");
    assert_eq!(names(nvidia.resolve("llama-3.3-70b")), ["nvidia/meta/llama-3.3-70b-instruct"]);
    let listed = catalog(&[("GROQ_API_KEY", "k")], "[providers.groq.models.\"llama-3.3-70b-versatile\"]\n");
    assert_eq!(names(listed.resolve("groq/llama-3.3-70b")), ["groq/llama-3.3-70b-versatile"]);
}

#[test]
fn an_unknown_name_is_answered_with_the_closest_ones() {
    let catalog = catalog(&[("GROQ_API_KEY", "k")], "");
    let Err(NotFound::Unknown { closest, .. }) = catalog.resolve("groq/openai/gpt-oss-12b") else { panic!("found") };
    assert_eq!(closest[0], "groq/openai/gpt-oss-120b");
    let words = catalog.resolve("fre").unwrap_err().to_string();
    assert!(words.contains("Did you mean `free`"), "{words}");
    let words = catalog.resolve("zzzzzzzz").unwrap_err().to_string();
    assert_eq!(words, "The model `zzzzzzzz` does not exist.");
}

#[test]
fn without_any_key_free_says_what_to_do() {
    let words = catalog(&[], "").resolve("free").unwrap_err().to_string();
    assert!(words.contains("set a key or run `tollfree demo`"), "{words}");
}

#[test]
fn a_provider_of_ones_own_serves_what_the_file_lists_or_the_server_names() {
    let file = "[providers.lab]\nbase_url = \"http://gpu-box:8000/v1/\"\n";
    let found = discovering(&[], file, &[("lab", &["qwen3:latest", "nomic-embed-text"])]).unwrap();
    assert_eq!(names(found.resolve("free")), ["lab/qwen3:latest"]);
    assert_eq!(names(found.resolve("lab/qwen3")), ["lab/qwen3:latest"]);
    assert_eq!(names(found.resolve("nomic-embed-text")), ["lab/nomic-embed-text"]);
    let embedder = found.models.iter().find(|served| &*served.model.id == "nomic-embed-text").unwrap();
    let family = embedder.model.vectors.as_ref().map(|vectors| (&*vectors.family, vectors.dimensions));
    assert_eq!((embedder.model.kind, family), (ModelKind::Embedding, Some(("lab/nomic-embed-text", None))));
    let lab = &found.candidates[0];
    assert_eq!((lab.provider.base_url.as_str(), &*lab.account.id), ("http://gpu-box:8000/v1", "none"));
    assert_eq!((lab.model.context, lab.is_unmetered()), (32_768, true));
    assert!(lab.model.capabilities.has(Capabilities::TOOLS) && !lab.model.capabilities.has(Capabilities::VISION));

    let table = "[providers.lab.models.\"big\"]\ncontext = 8192\ncapabilities = [\"vision\"]\nlimits = { rpm = 3, tpm = 100 }\n";
    let listed = catalog(&[("LAB_API_KEY", "k")], &format!("{file}{table}"));
    assert_eq!(listed.candidates[0].model.context, 8_192);
    assert_eq!(&*listed.candidates[0].key.id, key_id("k"));
    let tokens = window(&listed, "lab/big", Limit::Tpm);
    assert_eq!((tokens.kind, tokens.charge, tokens.source), (WindowKind::Sliding, TokenCharge::Actual, Source::File));
}

#[test]
fn keyless_providers_serve_only_what_the_file_lists() {
    assert!(catalog(&[], "").providers.is_empty());
    let listed = catalog(&[], "[providers.ovh.models.\"Qwen3-32B\"]\n");
    assert_eq!(names(listed.resolve("free")), ["ovh/Qwen3-32B"]);
    assert_eq!(window(&listed, "ovh/Qwen3-32B", Limit::Rpm).scope, Scope::Model);
    assert_eq!(window(&listed, "ovh/Qwen3-32B", Limit::Rpm).max, 2);
    let paid = catalog(&[("TOGETHER_API_KEY", "k")], "[providers.together.models.x]\n");
    assert_eq!(paid.candidates[0].model.status, Status::Paid);
    assert_eq!(names(paid.resolve("free")), ["together/x"]);
}

#[test]
fn the_operator_switches_on_providers_that_answer_without_a_key() {
    let keyless = catalog(&[("TOLLFREE_KEYLESS", "ovh, llm7")], "");
    let providers: Vec<&str> = keyless.providers.iter().map(|provider| &*provider.id).collect();
    assert_eq!(providers, ["llm7", "ovh"]);
    let members = names(keyless.resolve("free"));
    assert!(members.contains(&"ovh/gpt-oss-120b".to_owned()) && members.contains(&"llm7/gpt-oss:20b".to_owned()));
    assert!(keyless.candidates.iter().all(|candidate| candidate.key.secret.is_none() && candidate.provider.keyless));
    let minute = |catalog: &Catalog, name| window(catalog, name, Limit::Rpm).max;
    assert_eq!((minute(&keyless, "ovh/gpt-oss-120b"), minute(&keyless, "llm7/gpt-oss:20b")), (2, 10));

    let keyed = catalog(&[("TOLLFREE_KEYLESS", "llm7"), ("LLM7_API_KEY", "k")], "");
    assert!(keyed.candidates.iter().all(|candidate| candidate.key.secret.is_some()), "the key is used");
    assert_eq!(minute(&keyed, "llm7/gpt-oss:20b"), 40);

    let directory = tempfile::tempdir().unwrap();
    let wrong = config::load(&env(&[("TOLLFREE_KEYLESS", "groq")]), directory.path()).unwrap_err().to_string();
    assert!(wrong.contains("TOLLFREE_KEYLESS") && wrong.contains("`groq`") && wrong.contains("ovh"), "{wrong}");
    let all = catalog(&[("TOLLFREE_KEYLESS", "all")], "");
    assert!(all.providers.iter().any(|provider| &*provider.id == "kilo"));
}

#[test]
fn new_models_are_on_trial_and_what_is_gone_is_retired_with_its_date() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = config::load(&env(&[("OPENCODE_API_KEY", "k")]), directory.path()).unwrap().settings;
    let findings = &mut settings.providers.get_mut("opencode").unwrap().findings;
    let new = |id: &str, is_proven| FoundModel {
        id: id.to_owned(),
        max_output: Some(77),
        is_proven,
        ..FoundModel::default()
    };
    findings.new = vec![new("acme-1-free", false), new("acme-2-free", true), new("acme-3", true)];
    findings.gone.insert("big-pickle".to_owned(), 1_796_000_000_000);
    let refused = RefusedModel { since_ms: 1_796_000_000_000, until_ms: i64::MAX, cause: "404".to_owned() };
    findings.refused.insert("minimax-m3-free".to_owned(), refused);
    let catalog = Catalog::build(&settings, &Discovered::new()).unwrap();
    let status = |id: &str| {
        let served = catalog.models.iter().find(|served| &*served.model.id == id);
        served.map(|served| (served.model.status, served.model.max_output))
    };
    assert_eq!(status("acme-1-free"), Some((Status::Trial, 77)));
    assert_eq!(status("acme-2-free"), Some((Status::Active, 77)));
    assert_eq!([status("acme-3"), status("big-pickle"), status("minimax-m3-free")], [None; 3]);
    let members = names(catalog.resolve("free"));
    assert!(
        members.contains(&"opencode/acme-2-free".to_owned()) && !members.contains(&"opencode/acme-1-free".to_owned())
    );
    for gone in ["big-pickle", "minimax-m3-free"] {
        assert!(matches!(catalog.resolve(&format!("opencode/{gone}")), Err(NotFound::Retired { .. })), "{gone}");
        let known = catalog.known.iter().find(|known| known.id == gone).unwrap();
        assert_eq!(known.retired_on.as_deref(), Some("2026-11-30"));
    }
}

#[test]
fn ollama_is_queried_only_if_its_models_are_not_listed() {
    let at = |vars: &[(&str, &str)], file: &str| {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("tollfree.toml"), file).unwrap();
        let settings = config::load(&env(vars), directory.path()).unwrap().settings;
        to_discover(&settings).into_iter().map(|d| format!("{} {}", d.provider, d.base_url)).collect::<Vec<_>>()
    };
    assert_eq!(at(&[], ""), ["ollama http://localhost:11434/v1"]);
    assert_eq!(at(&[("OLLAMA_BASE_URL", "http://box:11434")], ""), ["ollama http://box:11434/v1"]);
    assert!(at(&[("OLLAMA_MODELS", "llama3")], "").is_empty());
    assert!(at(&[], "[providers.ollama]\nenabled = false\n").is_empty());
    let custom = "[providers.lab]\nbase_url = \"http://gpu-box:8000/v1\"\n";
    assert_eq!(at(&[("OLLAMA_MODELS", "x")], custom), ["lab http://gpu-box:8000/v1"]);
    let found = discovering(&[], "", &[("ollama", &["llama3:latest"])]).unwrap();
    assert!(found.candidates[0].is_unmetered() && found.candidates[0].provider.local);
}

#[test]
fn no_name_stands_for_two_models_of_a_provider() {
    let tags = discovering(&[], "", &[("ollama", &["llama3", "llama3:latest"])]).unwrap();
    assert_eq!(names(tags.resolve("ollama/llama3")), ["ollama/llama3"]);
    let file = "[providers.lab]\nbase_url = \"http://x\"\n[providers.lab.models.a]\naliases = [\"c\"]\n[providers.lab.models.c]\n";
    let error = discovering(&[], file, &[]).unwrap_err().to_string();
    assert_eq!(error, "providers.lab: `c` is a name of both `a` and `c`");
}

#[test]
fn the_file_wins_where_the_catalogue_has_another_use_for_a_name() {
    let key = [("GEMINI_API_KEY", "k")];
    let alias = catalog(&key, "[providers.gemini.models.\"gemini-flash-latest\"]\nlimits = { rpm = 7 }\n");
    assert_eq!(window(&alias, "gemini/gemini-3.8-flash", Limit::Rpm).max, 7);
    assert_eq!(names(alias.resolve("gemini-flash-latest")), ["gemini/gemini-3.8-flash"]);
    assert!(alias.notes[0].contains("gemini-flash-latest") && alias.notes[0].contains("`gemini-3.8-flash`"));

    let taken = "[providers.gemini.models.mine]\naliases = [\"gemini-flash-latest\"]\n";
    let taken = catalog(&key, taken);
    assert_eq!(names(taken.resolve("gemini-flash-latest")), ["gemini/mine"]);
    assert_eq!(names(taken.resolve("gemini/gemini-3.8-flash")), ["gemini/gemini-3.8-flash"]);
    assert!(taken.notes[0].contains("`gemini-flash-latest` names `mine`"), "{:?}", taken.notes);

    let id = catalog(&key, "[providers.gemini.models.mine]\naliases = [\"gemini-3.8-flash\"]\n");
    assert_eq!(names(id.resolve("gemini-3.8-flash")), ["gemini/mine"]);
    assert!(id.notes[0].contains("`gemini-3.8-flash` is a name of `mine`"), "{:?}", id.notes);
}

#[test]
fn what_is_not_stated_about_a_model_is_unknown() {
    let lab = "[providers.lab]\nbase_url = \"http://x\"\n";
    let assumed = |catalog: &Catalog| {
        let model = &catalog.candidates[0].model;
        (model.context, model.context_assumed, model.capabilities_assumed)
    };
    assert_eq!(assumed(&catalog(&[], &format!("{lab}[providers.lab.models.m]\n"))), (32_768, true, true));
    let stated = "[providers.lab.models.m]\ncontext = 8192\ncapabilities = [\"tools\"]\n";
    assert_eq!(assumed(&catalog(&[], &format!("{lab}{stated}"))), (8_192, false, false));
    let defaults = "[providers.lab.model_defaults]\ncapabilities = []\n[providers.lab.models.m]\n";
    assert_eq!(assumed(&catalog(&[], &format!("{lab}{defaults}"))), (32_768, true, false));
    assert_eq!(assumed(&main_providers()), (131_072, false, false));
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("tollfree.toml"), lab).unwrap();
    let settings = config::load(&env(&[]), directory.path()).unwrap().settings;
    let found = DiscoveredModel { context: Some(40_960), capabilities: Some(Capabilities::VISION), ..("m".into()) };
    let described = Catalog::build(&settings, &Discovered::from([("lab".to_owned(), vec![found])])).unwrap();
    assert_eq!(assumed(&described), (40_960, false, false));
    assert_eq!(described.candidates[0].model.capabilities, Capabilities::VISION);
}

#[test]
fn what_is_switched_off_in_the_file_says_so() {
    let catalog = catalog(&[("GROQ_API_KEY", "k")], "[providers.groq]\nenabled = false\n");
    assert!(catalog.candidates.is_empty());
    assert!(!catalog.providers[0].enabled);
    let words = catalog.resolve("groq/openai/gpt-oss-20b").unwrap_err().to_string();
    assert!(words.contains("disabled"), "{words}");
}

#[test]
fn cloudflare_needs_its_account_beside_the_key() {
    assert!(catalog(&[("CLOUDFLARE_API_TOKEN", "k")], "").providers.is_empty());
    let whole = catalog(&[("CLOUDFLARE_API_TOKEN", "k"), ("CLOUDFLARE_ACCOUNT_ID", "abc123")], "");
    assert_eq!(whole.providers[0].base_url, "https://api.cloudflare.com/client/v4/accounts/abc123/ai/v1");
}

#[test]
fn a_member_that_matches_nothing_is_noted_and_left_out() {
    let notes = |file: &str| catalog(&[], file).notes;
    let wrong = notes("[models.mine]\nmembers = [\"groq/openai/gpt-oss-12b\"]\n");
    assert!(
        wrong[0].starts_with("tollfree.toml:2:1: models.mine.members: ")
            && wrong[0].contains("did you mean `groq/openai/gpt-oss-120b`"),
        "{wrong:?}"
    );
    assert!(notes("[models.mine]\nmembers = [\"mistral/*\", \"ollama/anything\"]\n").is_empty());
}

#[test]
fn the_hash_follows_the_windows_and_nothing_else() {
    let key = [("GROQ_API_KEY", "k")];
    let plain = catalog(&key, "").hash;
    assert_eq!(plain, catalog(&key, "[queue]\nmax_wait_ms = 1\n[models.mine]\nmembers = [\"groq/*\"]\n").hash);
    assert_ne!(plain, catalog(&key, "[providers.groq]\nlimits = { rpm = 5 }\n").hash);
}

#[test]
fn aliases_are_tried_after_every_other_name_in_the_order_of_the_file() {
    let file = "[aliases]\n\"gpt-4o-mini\" = \"groq/openai/gpt-oss-20b\"\n\"gpt-4*\" = \"free\"\n\"free\" = \"free-fast\"\n\"x\" = \"fre\"\n";
    let catalog = catalog(&[("GROQ_API_KEY", "k")], file);
    assert_eq!(names(catalog.resolve("gpt-4o-mini")), ["groq/openai/gpt-oss-20b"]);
    for name in ["gpt-4o", "free"] {
        assert!(matches!(catalog.resolve(name), Ok(Resolved::Meta(meta)) if meta.name == "free"), "{name}");
    }
    assert!(catalog.resolve("x").unwrap_err().to_string().contains("`fre` does not exist"));
    let notes: Vec<_> = catalog.notes.iter().filter(|note| note.contains("aliases.\"x\"")).collect();
    assert_eq!(notes.len(), 1, "{:?}", catalog.notes);
}

#[test]
fn requests_are_counted_under_names_that_callers_cannot_add_to() {
    let catalog = catalog(&[("GROQ_API_KEY", "k")], "[aliases]\n\"gpt-4*\" = \"free\"\n");
    for (name, counted_as) in [
        ("free", Some("free")),
        ("groq/openai/gpt-oss-20b", Some("groq/openai/gpt-oss-20b")),
        ("anthropic/groq/openai/gpt-oss-20b", Some("groq/openai/gpt-oss-20b")),
        ("gpt-4-0613-x7", Some("gpt-4*")),
        ("claude-7f3a9c", Some("claude-*")),
        ("anthropic/claude-haiku-7f3a9c", Some("claude-*haiku*")),
        ("no-such-model", None),
        ("anthropic/no-such-model", None),
    ] {
        assert_eq!(catalog.counted_as(name), counted_as, "{name}");
    }
}

#[test]
fn names_of_claude_stand_for_meta_models_unless_the_file_maps_them() {
    let key = [("GROQ_API_KEY", "k")];
    let stands_for = |catalog: &Catalog, name: &str| match catalog.resolve(name) {
        Ok(Resolved::Meta(meta)) => meta.name.clone(),
        other => panic!("{name}: {other:?}"),
    };
    let plain = catalog(&key, "");
    for (name, meta) in [
        ("claude-sonnet-4-5", "free-smart"),
        ("claude-3-5-haiku-latest", "free-fast"),
        ("anthropic/claude-haiku-4-5", "free-fast"),
        ("anthropic/free-smart", "free-smart"),
        ("anthropic/free", "free"),
    ] {
        assert_eq!(stands_for(&plain, name), meta, "{name}");
    }
    assert_eq!(names(plain.resolve("anthropic/groq/openai/gpt-oss-20b")), ["groq/openai/gpt-oss-20b"]);
    assert!(plain.resolve("anthropic/nothing").is_err() && plain.resolve("claude").is_err());
    let mapped = catalog(&key, "[aliases]\n\"claude-opus*\" = \"free\"\n");
    assert_eq!(stands_for(&mapped, "claude-opus-5"), "free");
    assert_eq!(stands_for(&mapped, "claude-sonnet-5"), "free-smart");
}

#[test]
fn a_name_that_clients_have_built_in_is_answered_with_what_to_use() {
    let catalog = catalog(&[("GROQ_API_KEY", "k")], "");
    for name in ["gpt-4o", "gpt-5.1-mini", "openai/gpt-4.1", "o3", "o4-mini", "chatgpt-4o-latest"] {
        let words = catalog.resolve(name).unwrap_err().to_string();
        assert!(words.contains("Use `free`") && words.contains("[aliases]"), "{name}: {words}");
    }
    for name in ["olmo-2", "gpt-oss", "o", "gpt"] {
        let words = catalog.resolve(name).unwrap_err().to_string();
        assert!(!words.contains("[aliases]"), "{name}: {words}");
    }
}
