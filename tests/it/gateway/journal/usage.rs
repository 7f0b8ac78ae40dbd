//! Roll-ups, the budget and the ranking of models: they add up to the journal.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ADMIN_KEY, AdminReads, SOON, everywhere, names, setup};
use crate::support::{
    app::{TestApp, binary, hi},
    eventually,
    fake_upstream::FakeUpstream,
    http::Answer,
    redis_server::RedisServer,
};

#[tokio::test]
async fn usage_adds_up_to_the_journal_by_every_grouping() {
    let upstream = FakeUpstream::start().await;
    let file = format!(
        "[providers.tight]\nbase_url = \"{}\"\n[providers.tight.models.m]\nlimits = {{ rpd = 2 }}\n",
        upstream.base_url()
    );
    let make = || setup(&upstream).file(&file).env("TOLLFREE_API_KEY", "team").env("TOLLFREE_AUTH", "open");
    everywhere(make, async |one, two| {
        for _ in 0..4 {
            one.chat("tight/m").await;
            assert_eq!(Answer::of(two.chat_call(&hi("lab/m")).bearer_auth("team")).await.status, 200);
        }
        let lines = one.has(8).await;
        let count = |field: &str, name: &str| lines.iter().filter(|line| line[field] == name).count();
        let clients = two.read("/admin/v1/usage?by=client").await;
        let series = clients["series"].as_array().unwrap();
        assert_eq!(series.len(), 2, "{clients}");
        for one in series {
            let name = one["name"].as_str().unwrap();
            assert_eq!(one["total"]["requests"], count("client", name), "{clients}");
            let points = one["points"].as_array().unwrap();
            let sum: i64 = points.iter().map(|p| p["requests"].as_i64().unwrap()).sum();
            assert_eq!(one["total"]["requests"], sum);
            assert!(points.len() <= 2 && points[0]["time"].as_str().unwrap().ends_with(":00Z"), "{clients}");
        }
        let of = |usage: &Value, name: &str| {
            let series = usage["series"].as_array().unwrap();
            series.iter().find(|s| s["name"] == name).unwrap_or_else(|| panic!("{name} in {usage}"))["total"].clone()
        };
        let anon = of(&clients, "anon:127.0.0.1");
        assert_eq!((&anon["ok"], &anon["limited"], &anon["failed"]), (&json!(2), &json!(2), &json!(0)));
        assert_eq!((&anon["tokens_in"], &anon["tokens_out"]), (&json!(14), &json!(6)));
        assert!(anon["first_token_p50_ms"].is_i64() && anon["first_token_p95_ms"].is_i64());
        for step in ["minute", "hour", "day"] {
            let providers = two.read(&format!("/admin/v1/usage?by=provider&step={step}")).await;
            assert_eq!(of(&providers, "lab")["requests"], 4);
            assert_eq!(of(&providers, "tight")["requests"], 2);
            assert_eq!(of(&providers, "none")["limited"], 2, "no provider was called");
            let models = two.read(&format!("/admin/v1/usage?by=model&client=anon:127.0.0.1&step={step}")).await;
            assert_eq!(models["series"].as_array().unwrap().len(), 2, "{models}");
            assert_eq!(of(&models, "tight/m")["ok"], 2);
            let who = two.read(&format!("/admin/v1/usage?by=client&model=lab/m&step={step}")).await;
            assert_eq!((who["series"].as_array().unwrap().len(), &who["series"][0]["total"]["ok"]), (1, &json!(4)));
        }
        let own = Answer::of(two.request("GET", "/v1/usage").bearer_auth("team")).await.json();
        assert_eq!((own["series"].as_array().unwrap().len(), &own["series"][0]["total"]["requests"]), (1, &json!(4)));
        let admins = two.read("/v1/usage?step=day").await;
        assert_eq!(
            (&admins["series"][0]["name"], &admins["series"][0]["total"]["requests"]),
            (&json!("admin"), &json!(0))
        );
    })
    .await;
}

#[tokio::test]
async fn usage_is_set_against_the_operators_prices_and_top_prints_the_pool() {
    let upstream = FakeUpstream::start().await;
    let app = setup(&upstream).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY).start().await;
    assert_eq!(app.chat("lab/m").await.status, 200);
    app.has(1).await;
    let usage = app.read("/admin/v1/usage?by=model&step=hour").await;
    let saved = &usage["series"][0]["total"]["saved"];
    assert!(usage["currency"].is_null() && saved.is_null(), "off by default: {usage}");

    let file = "[prices]\n\"lab/*\" = { input = 1000, output = 10000 }\n[dashboard]\ncurrency = \"CHF\"\n";
    let app = setup(&upstream).env("TOLLFREE_ADMIN_KEY", ADMIN_KEY).file(file).start().await;
    assert_eq!(app.chat("lab/m").await.status, 200);
    app.has(1).await;
    let usage = app.read("/admin/v1/usage?by=model&step=hour").await;
    let saved = usage["series"][0]["total"]["saved"].as_f64().unwrap();
    assert!((saved - (7.0 * 1000.0 + 3.0 * 10_000.0) / 1e6).abs() < 1e-9, "{usage}");
    assert_eq!(usage["currency"], "CHF");

    let mut top = std::process::Command::new(binary());
    top.args(["top", "--all", "--url", &app.url("")]).env_clear().env("TOLLFREE_ADMIN_KEY", ADMIN_KEY);
    let printed = top.current_dir(std::env::temp_dir()).output().unwrap();
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(printed.status.success() && text.starts_with("Tollfree · 1 replica"), "{text}");
    assert!(!text.contains('\u{1b}'), "no terminal, no escape sequences: {text}");
    let printed = top.args(["--once", "--json"]).output().unwrap();
    let pool: Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(pool["providers"][0]["id"], "lab", "{pool}");
}

#[tokio::test]
async fn the_budget_shows_each_window_with_its_clients_and_its_reset() {
    let upstream = FakeUpstream::start().await;
    let file = format!(
        "[providers.lab]\nbase_url = \"{}\"\nlimits = {{ concurrency = 9 }}\n[providers.lab.models.m]\nlimits = {{ rpm = 5, rpd = 100, tpd = 1000 }}\ndaily_reset = \"UTC\"\ntoken_charge = \"reserve\"\n",
        upstream.base_url()
    );
    everywhere(
        || TestApp::setup().env("TOLLFREE_ADMIN_KEY", ADMIN_KEY).file(&file),
        async |one, two| {
            for _ in 0..5 {
                assert_eq!(one.chat("lab/m").await.status, 200);
            }
            one.has(5).await;
            let replicas = if std::ptr::eq(one, two) { 1 } else { 2 };
            let budget = eventually(SOON, "the settled charges and all replicas", async || {
                let budget = two.read("/admin/v1/budget").await;
                let tpd = window(&budget["providers"][0]["accounts"][0]["models"][0], "tpd");
                (tpd["used"] == 50 && budget["replicas"] == replicas).then_some(budget)
            })
            .await;
            let account = &budget["providers"][0]["accounts"][0];
            let model = &account["models"][0];
            assert_eq!((&budget["object"], &budget["totals"]["requests"]), (&json!("budget"), &json!(5)), "{budget}");
            assert_eq!((&model["id"], &model["name"], &model["enabled"]), (&json!("m"), &json!("lab/m"), &json!(true)));
            assert_eq!((&model["breaker"]["state"], &model["cooldown"]), (&json!("closed"), &Value::Null));
            let rpm = window(model, "rpm");
            assert_eq!(
                (&rpm["used"], &rpm["left"], &rpm["max"], &rpm["source"]),
                (&json!(5), &json!(0), &json!(5), &json!("file"))
            );
            assert_eq!(rpm["clients"], json!([{ "client": "anon:127.0.0.1", "name": null, "units": 5 }]));
            assert!(rpm["next_free_at"].as_str() > budget["taken_at"].as_str(), "{rpm}");
            assert!(rpm["resets_at"].as_str() >= rpm["next_free_at"].as_str() && rpm["forecast"].is_null(), "{rpm}");
            let tpd = window(model, "tpd");
            assert_eq!((&tpd["kind"], &tpd["left"]), (&json!("calendar"), &json!(950)));
            assert_eq!(tpd["clients"][0]["units"], 50);
            assert!(tpd["resets_at"].as_str().unwrap().ends_with("T00:00:00Z"), "{tpd}");
            assert!((49.0..=50.0).contains(&tpd["forecast"]["pace_per_hour"].as_f64().unwrap()), "{tpd}");
            assert_eq!(window(account, "concurrency")["used"], 0, "of the account, over all its models");
        },
    )
    .await;
}

fn window<'a>(of: &'a Value, limit: &str) -> &'a Value {
    let windows = of["windows"].as_array().unwrap();
    windows.iter().find(|w| w["limit"] == limit).unwrap_or_else(|| panic!("no {limit} in {of}"))
}

#[tokio::test]
async fn a_stopped_replica_is_soon_no_longer_counted() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let (one, mut two) = (setup(&upstream).redis(&redis).start().await, setup(&upstream).redis(&redis).start().await);
    let replicas = async |count: i64| {
        let what = format!("{count} replicas");
        eventually(Duration::from_secs(15), &what, async || {
            (one.read("/admin/v1/budget").await["replicas"] == count).then_some(())
        })
        .await;
    };
    replicas(2).await;
    two.process().kill();
    replicas(1).await;
}

#[tokio::test]
async fn models_are_listed_in_their_ranking_with_its_reasons() {
    let upstream = FakeUpstream::start().await;
    let app = setup(&upstream).played("groq", &upstream).start().await;
    let models = app.read("/admin/v1/models").await;
    let data = models["data"].as_array().unwrap();
    let find = |id: &str| data.iter().find(|m| m["id"] == id).unwrap_or_else(|| panic!("no {id} in {models}"));
    let free = find("free");
    assert_eq!((&free["kind"], &free["strategy"]), (&json!("meta"), &json!("headroom")));
    let members = free["members"].as_array().unwrap();
    let ranks: Vec<i64> = members.iter().map(|m| m["rank"].as_i64().unwrap()).collect();
    assert_eq!(ranks, (1..=members.len() as i64).collect::<Vec<_>>());
    assert!(members[0]["why"].as_str().unwrap().contains('%'), "{free}");
    let model = find("groq/openai/gpt-oss-120b");
    assert_eq!((&model["kind"], &model["status"]), (&json!("model"), &json!("active")));
    let rpm = model["limits"].as_array().unwrap().iter().find(|l| l["limit"] == "rpm").unwrap();
    assert_eq!((&rpm["source"], rpm["max"].as_i64() > Some(0)), (&json!("catalogue"), true), "{model}");
    let retired: Vec<&Value> = data.iter().filter(|m| m["status"] == "retired").collect();
    assert!(!retired.is_empty() && retired.iter().any(|m| m["successor"].is_string()), "{models}");
    let mut ids = names(data, "id");
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "each once");
}
