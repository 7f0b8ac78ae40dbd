//! Models that do not chat: their families, their windows, and meta-models of them.

use super::*;

#[test]
fn a_meta_model_of_different_vectors_or_kinds_is_refused() {
    let lab = "[providers.lab]\nbase_url = \"http://gpu-box:8000/v1\"\n[providers.lab.models.chat]\n[providers.lab.models.a-embed]\n[providers.lab.models.b-embed]\n";
    let refused = |members: &str| {
        let file = format!("[models.mine]\nmembers = {members}\n{lab}");
        discovering(&[], &file, &[]).unwrap_err().to_string()
    };
    let error = refused(r#"["lab/a-embed", "lab/b-embed"]"#);
    assert!(
        error.contains("models.mine.members: `lab/a-embed` and `lab/b-embed` compute different vectors"),
        "{error}"
    );
    let error = refused(r#"["lab/a-embed", "lab/chat"]"#);
    assert!(error.contains("different kinds"), "{error}");
    let same = "[models.mine]\nmembers = [\"lab/a-embed\", \"other/a-embed\"]\n\
        [providers.lab]\nbase_url = \"http://gpu-box:8000/v1\"\n[providers.lab.models.a-embed]\nfamily = \"a\"\ndimensions = 8\n\
        [providers.other]\nbase_url = \"http://gpu-box:8001/v1\"\n[providers.other.models.a-embed]\nfamily = \"a\"\ndimensions = 8\n";
    let catalog = discovering(&[], same, &[]).unwrap();
    assert_eq!(names(catalog.resolve("mine")), ["lab/a-embed", "other/a-embed"]);
    let free = "[models.free]\nmembers = [\"lab/a-embed\"]\n".to_owned() + lab;
    assert!(discovering(&[], &free, &[]).unwrap_err().to_string().contains("no chat model"));
}

#[test]
fn embedding_models_are_no_members_of_free_and_every_one_has_a_family() {
    let keys =
        ["GEMINI_API_KEY", "MISTRAL_API_KEY", "COHERE_API_KEY", "NVIDIA_API_KEY", "HF_TOKEN", "CLOUDFLARE_API_KEY"];
    let vars: Vec<(&str, &str)> =
        keys.map(|name| (name, "k")).into_iter().chain([("CLOUDFLARE_ACCOUNT_ID", "a")]).collect();
    let catalog = catalog(&vars, "");
    assert!(catalog.metas.iter().flat_map(|meta| &meta.members).all(|c| c.model.kind == ModelKind::Chat));
    let embedders: Vec<_> = catalog.models.iter().filter(|served| served.model.kind == ModelKind::Embedding).collect();
    assert!(embedders.len() > 10, "{}", embedders.len());
    for served in embedders {
        let vectors = served.model.vectors.as_ref().unwrap();
        assert!(!vectors.family.contains('/') && vectors.dimensions.is_some(), "{}", served.model.id);
    }
    let bge = ["cloudflare/@cf/baai/bge-m3", "nvidia/baai/bge-m3", "huggingface/BAAI/bge-m3"];
    assert_eq!(names(catalog.resolve("bge-m3")), bge);
}

#[test]
fn a_family_of_the_catalogue_states_its_length_for_models_of_the_file() {
    let file = "[providers.lab]\nbase_url = \"http://gpu-box:8000/v1\"\n[providers.lab.models.mine-embed]\nfamily = \"bge-m3\"\n";
    let catalog = catalog(&[], file);
    let vectors = catalog.models[0].model.vectors.as_ref().unwrap();
    assert_eq!((&*vectors.family, vectors.dimensions), ("bge-m3", Some(1_024)));
}

#[test]
fn coheres_month_is_one_calendar_window_of_all_its_endpoints() {
    let catalog = catalog(&[("COHERE_API_KEY", "k")], "");
    for name in ["cohere/rerank-v3.5", "cohere/embed-v4.0", "cohere/command-a-03-2025"] {
        let month = window(&catalog, name, Limit::Rpmonth);
        let found = (month.kind, month.max, month.scope, month.zone.as_ref().map(|zone| &*zone.name));
        assert_eq!(found, (WindowKind::Calendar, 1_000, Scope::Account, Some("UTC")), "{name}");
    }
}
