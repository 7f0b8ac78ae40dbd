//! Metrics follow the semantic conventions, and callers cannot add labels.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use opentelemetry_proto::tonic::metrics::v1::{HistogramDataPoint, Metric, metric::Data};
use serde_json::{Value, json};

use crate::support::{
    app::{TestApp, hi},
    collector::{Collector, attributes},
    eventually,
    fake_upstream::{DONE, FakeUpstream, content, stop, stream, whole},
    http::Answer,
};

const GEN_AI: [f64; 14] = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];

fn points(metric: &Metric) -> Vec<HistogramDataPoint> {
    let Some(Data::Histogram(histogram)) = &metric.data else { panic!("{} is no histogram", metric.name) };
    histogram.data_points.clone()
}

fn labels(point: &HistogramDataPoint) -> BTreeMap<String, Value> {
    attributes(&point.attributes)
}

/// The name, the labels and the value of each sample of a scrape.
fn samples(text: &str) -> Vec<(String, String, f64)> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            (name.to_owned(), labels.trim_end_matches('}').to_owned(), value.parse().unwrap())
        })
        .collect()
}

async fn scrape(app: &TestApp) -> Vec<(String, String, f64)> {
    let answer = app.get("/metrics").await;
    assert_eq!(answer.status, 200);
    samples(&answer.text())
}

#[tokio::test]
async fn metrics_follow_the_conventions() {
    let collector = Collector::http().await;
    let (broken, good) = (FakeUpstream::start().await, FakeUpstream::start().await);
    broken.always(whole(429, "{}"));
    let setup = collector.attach(TestApp::setup()).played("mistral", &broken).lab("lab", &good);
    let members = r#"["mistral/mistral-small-latest", "lab/m"]"#;
    let setup = setup.file(&format!("[models.two]\nmembers = {members}\nstrategy = \"listed\"\n"));
    let app = setup.env("TOLLFREE_AUTH", "open").start().await;
    let answer = app.chat("two").await;
    assert_eq!(answer.provider(), "lab", "{}", answer.text());
    good.then(stream([content("a"), stop(), DONE.to_owned()]));
    assert!(app.stream("lab/m").await.rest().await.is_done());
    assert_eq!(app.chat("nobody-has-this").await.status, 404);

    let count = |metric: &Metric| points(metric).iter().map(|point| point.count).sum::<u64>();
    let calls = collector.metric("gen_ai.client.operation.duration", |metric| count(metric) == 3).await;
    assert_eq!(calls.unit, "s");
    for point in points(&calls) {
        assert_eq!(point.explicit_bounds, GEN_AI);
        let labels = labels(&point);
        assert_eq!(labels["gen_ai.operation.name"], "chat");
        if labels.contains_key("error.type") {
            assert_eq!((&labels["gen_ai.provider.name"], &labels["error.type"]), (&json!("mistral_ai"), &json!("429")));
        } else {
            assert_eq!(
                (&labels["gen_ai.provider.name"], &labels["gen_ai.request.model"]),
                (&json!("lab"), &json!("m"))
            );
        }
    }
    let tokens = collector.metric("gen_ai.client.token.usage", |_| true).await;
    assert_eq!(tokens.unit, "{token}");
    let sums: BTreeMap<String, f64> = points(&tokens)
        .iter()
        .map(|point| (labels(point)["gen_ai.token.type"].as_str().unwrap().to_owned(), point.sum()))
        .collect();
    assert_eq!(sums, BTreeMap::from([("input".to_owned(), 7.0), ("output".to_owned(), 3.0)]));
    let first = collector.metric("gen_ai.client.operation.time_to_first_chunk", |_| true).await;
    assert_eq!((first.unit.as_str(), count(&first)), ("s", 1), "for streams only");
    let first = collector.metric("gen_ai.server.time_to_first_token", |metric| count(metric) == 2).await;
    assert_eq!((first.unit.as_str(), points(&first)[0].explicit_bounds[0]), ("s", 0.001));
    let chats = collector.metric("gen_ai.server.request.duration", |metric| count(metric) == 3).await;
    let models: BTreeSet<String> =
        points(&chats).iter().map(|p| labels(p)["gen_ai.request.model"].as_str().unwrap().to_owned()).collect();
    assert_eq!(models, BTreeSet::from(["two", "lab/m", "other"].map(str::to_owned)));

    let http = collector.metric("http.server.request.duration", |metric| count(metric) >= 3).await;
    assert_eq!(http.unit, "s");
    let chats: Vec<_> =
        points(&http).into_iter().filter(|p| labels(p)["http.route"] == "/v1/chat/completions").collect();
    assert_eq!(chats.len(), 2, "200 and 404");
    for point in chats {
        assert_eq!(point.explicit_bounds[..3], [0.005, 0.01, 0.025]);
        let labels = labels(&point);
        assert_eq!((&labels["http.request.method"], &labels["url.scheme"]), (&json!("POST"), &json!("http")));
        assert!(labels["http.response.status_code"] == 200 || labels["http.response.status_code"] == 404);
    }
    let admits = collector.metric("tollfree.admit", |_| true).await;
    // The first settlement of a store also has a round that is repeated.
    assert!(points(&admits).iter().any(|point| labels(point)["outcome"] == "granted"));
    let active = collector.metric("http.server.active_requests", |_| true).await;
    assert_eq!(active.unit, "{request}");
    for name in
        ["tollfree.budget.remaining", "tollfree.breaker.state", "tollfree.ledger.up", "tollfree.requests.in_flight"]
    {
        collector.metric(name, |_| true).await;
    }
}

#[tokio::test]
async fn a_scrape_includes_budgets_and_breakers() {
    let (upstream, broken) = (FakeUpstream::start().await, FakeUpstream::start().await);
    broken.always(whole(500, "{}"));
    let url = upstream.base_url();
    let file = format!(
        "[providers.lab]\nbase_url = \"{url}\"\nlimits = {{ rpm = 5 }}\n[providers.lab.models.m]\nlimits = {{ tpm = 100000 }}\n"
    );
    let app = TestApp::setup().env("TOLLFREE_AUTH", "open").file(&file).lab("bad", &broken).start().await;
    assert_eq!(app.chat("lab/m").await.status, 200);
    for _ in 0..3 {
        assert_eq!(app.chat("bad/m").await.status, 502);
    }
    let of = |samples: &[(String, String, f64)], name: &str, labels: &[&str]| {
        let found = samples.iter().find(|(n, l, _)| n == name && labels.iter().all(|label| l.contains(label)));
        found.map(|(.., value)| *value)
    };
    eventually(Duration::from_secs(10), "the gauges follow the last look", async || {
        let samples = scrape(&app).await;
        let left = |limit, model| {
            let (limit, model) = (format!("limit=\"{limit}\""), format!("model=\"{model}\""));
            of(&samples, "tollfree_budget_remaining", &["provider=\"lab\"", &limit, &model])
        };
        let breaker = of(&samples, "tollfree_breaker_state", &["provider=\"bad\"", "model=\"*\""]);
        (left("rpm", "*") == Some(4.0) && left("tpm", "m").is_some_and(|n| n < 100_000.0) && breaker == Some(2.0))
            .then_some(())
    })
    .await;
    let samples = scrape(&app).await;
    assert_eq!(of(&samples, "tollfree_budget_limit", &["provider=\"lab\"", "limit=\"rpm\""]), Some(5.0));
    assert_eq!(of(&samples, "tollfree_ledger_up", &[]), Some(1.0));
    assert_eq!(of(&samples, "tollfree_requests_in_flight", &[]), Some(0.0));
    assert_eq!(of(&samples, "tollfree_journal_dropped_total", &[]), Some(0.0));
    assert_eq!(of(&samples, "http_server_active_requests", &["http_request_method=\"GET\""]), Some(1.0), "this one");
    assert!(of(&samples, "tollfree_admit_seconds_count", &["outcome=\"granted\""]).is_some_and(|n| n >= 2.0));
}

#[tokio::test]
async fn names_invented_by_callers_become_no_labels() {
    let upstream = FakeUpstream::start().await;
    let app = TestApp::setup().env("TOLLFREE_AUTH", "open").lab("lab", &upstream).start().await;
    assert_eq!(app.chat("lab/m").await.status, 200);
    let hostile = async |round: usize| {
        for number in 0..40 {
            let name = format!("invented-{round}-{number}\"}}\n{}", "x".repeat(number));
            assert_eq!(app.chat(&name).await.status, 404);
            let path = format!("/v1/models/invented-{round}-{number}");
            assert_eq!(app.get(&path).await.status, 404);
            assert_eq!(app.get(&format!("/invented-{round}-{number}")).await.status, 404);
            let method = format!("INVENTED{round}{number}");
            assert!(Answer::of(app.request(&method, "/v1/models")).await.status >= 400);
            let call = app.chat_call(&hi("lab/m")).header("x-request-id", format!("invented-{round}-{number}"));
            let call =
                call.header("host", format!("invented-{round}-{number}.localhost")).header("user-agent", "invented");
            assert_eq!(Answer::of(call).await.status, 200);
        }
        scrape(&app).await
    };
    scrape(&app).await;
    let first = hostile(1).await;
    let second = hostile(2).await;
    let series = |samples: &[(String, String, f64)]| -> BTreeSet<String> {
        samples.iter().map(|(name, labels, _)| format!("{name}{{{labels}}}")).collect()
    };
    let new: Vec<_> = series(&second).difference(&series(&first)).cloned().collect();
    assert_eq!(new, Vec::<String>::new(), "series added by forty more names");
    assert!(!series(&second).iter().any(|series| series.to_lowercase().contains("invented")));
    let has = |part: &str| series(&second).iter().any(|series| series.contains(part));
    assert!(has("gen_ai_request_model=\"other\"") && has("http_request_method=\"_OTHER\""));
}
