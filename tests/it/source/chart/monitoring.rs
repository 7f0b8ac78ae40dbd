//! Alerts, the Grafana dashboard and the objects for the Prometheus operator.

use std::{
    collections::BTreeSet,
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use super::{CHART, both, documents, of_kind, root, run, template, tool};
use crate::support::{app::TestApp, eventually, fake_upstream::FakeUpstream, redis_server::RedisServer};

const FILES: [&str; 2] = ["alerts.yaml", "dashboard.json"];

fn file(name: &str) -> String {
    std::fs::read_to_string(root().join(CHART).join("files").join(name)).unwrap()
}

/// Every query of the dashboard, with Grafana's variables replaced.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&file("dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap().replace("$__rate_interval", "1m")).collect()
}

fn assert_promtool_accepts(rules: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yaml");
    std::fs::write(&path, rules).unwrap();
    run(tool("promtool").args(["check", "rules"]).arg(path));
}

#[test]
fn alerts_are_valid_and_each_fires_at_its_threshold() {
    run(tool("promtool").args(["test", "rules", "tests/alerts/test.yaml"]));
    let on = ["--set", "prometheusRule.enabled=true"];
    let all = documents(&template(&on));
    let rule = of_kind(&all, "PrometheusRule")[0];
    assert_eq!(rule["apiVersion"], "monitoring.coreos.com/v1");
    assert_promtool_accepts(&rule["spec"].to_string());
    let names: Vec<_> = rule["spec"]["groups"][0]["rules"].as_array().unwrap().iter().map(|r| &r["alert"]).collect();
    let documented = std::fs::read_to_string(root().join("docs/alerts.md")).unwrap();
    for name in names {
        assert!(documented.contains(&format!("`{}`", name.as_str().unwrap())), "{name} is not in docs/alerts.md");
    }
}

#[test]
fn every_query_of_the_dashboard_is_valid() {
    let records: Vec<_> = queries()
        .iter()
        .enumerate()
        .map(|(number, query)| json!({ "record": format!("query:{number}"), "expr": query }))
        .collect();
    assert!(records.len() > 12);
    assert_promtool_accepts(&json!({ "groups": [{ "name": "dashboard", "rules": records }] }).to_string());
    let on = ["--set", "grafanaDashboard.enabled=true"];
    let all = documents(&template(&on));
    let maps = of_kind(&all, "ConfigMap");
    let text = maps.iter().find_map(|map| map["data"]["tollfree.json"].as_str()).unwrap();
    assert_eq!(text.trim_end(), file("dashboard.json").trim_end());
}

#[test]
fn the_service_monitor_selects_the_service() {
    let on = ["--set", "serviceMonitor.enabled=true"];
    let all = documents(&template(&on));
    let monitor = of_kind(&all, "ServiceMonitor")[0];
    let endpoint = &monitor["spec"]["endpoints"][0];
    let services = of_kind(&all, "Service");
    let labels = monitor["spec"]["selector"]["matchLabels"].as_object().unwrap();
    let found: Vec<_> = services
        .iter()
        .filter(|service| labels.iter().all(|(label, value)| &service["metadata"]["labels"][label] == value))
        .collect();
    assert_eq!(found.len(), 1, "exactly the Service of the gateway");
    assert_eq!(found[0]["spec"]["ports"][0]["name"], endpoint["port"]);
    assert_eq!(endpoint["path"], "/metrics");
}

/// Names in a text that belong to one of our metric families.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let names = text.split(|c| !word(c)).filter(|name| {
        ["tollfree_", "http_server_", "gen_ai_client_", "gen_ai_server_"].iter().any(|family| name.starts_with(family))
    });
    names.map(str::to_owned).filter(|name| name != "tollfree_").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_valid_and_contain_every_metric_of_the_alerts_and_the_dashboard() {
    let (redis, upstream) = (RedisServer::start().await, FakeUpstream::start().await);
    let app = TestApp::setup().redis(&redis).played("groq", &upstream).start().await;
    for _ in 0..3 {
        assert_eq!(app.chat("groq/openai/gpt-oss-20b").await.status, 200);
    }
    app.chat("unknown/model").await;
    // Budgets are exported with the first snapshot of the pool.
    let text = eventually(Duration::from_secs(15), "budgets are exported", async || {
        let text = app.get("/metrics").await.text();
        text.contains("tollfree_budget_limit").then_some(text)
    })
    .await;

    let mut promtool: Command = tool("promtool");
    let piped = promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut checking = piped.spawn().unwrap();
    checking.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let checked = checking.wait_with_output().unwrap();
    assert!(checked.status.success(), "{}\n{text}", both(&checked));

    let exported = metrics_in(&text);
    // Exported only after an event of its kind.
    let is_optional = |name: &str| {
        ["tollfree_wait_seconds", "gen_ai_client_operation_time_to_first_chunk", "gen_ai_server_time_to_first_token"]
            .iter()
            .any(|rare| name.starts_with(rare))
            || name.starts_with("tollfree_telemetry_dropped")
    };
    for queried in FILES.iter().flat_map(|name| metrics_in(&file(name))) {
        assert!(exported.contains(&queried) || is_optional(&queried), "{queried} is queried and not exported:\n{text}");
    }
}
