//! The Dockerfile, the compose file, and the plain manifests.

use super::{CHART, documents, root, run, tool};

/// These features need `BuildKit`, which not every builder has.
#[test]
fn the_dockerfile_builds_with_any_builder() {
    let text = std::fs::read_to_string(root().join("Dockerfile")).unwrap();
    for modern in ["--mount", "# syntax", "<<", "--chmod", "--link"] {
        assert!(!text.contains(modern), "{modern}");
    }
    let last = text.rsplit("\nFROM ").next().unwrap();
    assert!(last.contains("\nUSER 65532:65532\n"), "runAsNonRoot requires a numeric user");
    for base in text.lines().filter_map(|line| line.strip_prefix("FROM ")) {
        assert!(base.starts_with("${"), "the base image is not an argument: {base}");
    }
}

#[test]
fn the_compose_file_is_valid_alone_and_with_each_profile() {
    let services = |arguments: &[&str]| {
        let mut compose = tool("docker-compose");
        // A `.env` file on this machine must not affect the result.
        let text = run(compose.args(["--env-file", "/dev/null"]).args(arguments).args(["config", "--services"]));
        let mut services: Vec<_> = text.lines().map(str::to_owned).collect();
        services.sort();
        services
    };
    assert_eq!(services(&[]), ["gateway", "proxy", "redis"]);
    assert_eq!(services(&["--profile", "demo"]), ["gateway", "providers", "proxy", "redis"]);
    let observed = ["collector", "gateway", "jaeger", "prometheus", "proxy", "redis"];
    assert_eq!(services(&["--profile", "observability"]), observed);

    let whole = run(tool("docker-compose").args(["--env-file", "deploy/demo.env", "config"]));
    let whole = &documents(&whole)[0]["services"];
    for (name, service) in whole.as_object().unwrap() {
        assert_eq!(service["read_only"], true, "{name}");
        for port in service["ports"].as_array().into_iter().flatten() {
            assert_eq!(port["host_ip"], "127.0.0.1", "{name} must be published on localhost only");
        }
    }
    assert!(whole["gateway"]["environment"]["GROQ_BASE_URL"].as_str().unwrap().contains("providers:4100"));
}

#[test]
fn the_plain_manifests_are_what_the_chart_renders() {
    let render = ["template", "tollfree", CHART, "--namespace", "tollfree", "--values", "k8s/values.yaml"];
    let rendered = run(tool("helm").args(render).args(["--skip-tests", "--no-hooks"]));
    let written = std::fs::read_to_string(root().join("k8s/tollfree.yaml")).unwrap();
    let body = written.split_once("\n---\n").map(|(_, body)| format!("---\n{body}"));
    assert!(body.as_deref() == Some(&rendered), "k8s/tollfree.yaml differs from the rendered chart: run `make k8s`");
    assert!(!written.contains("kind: Secret"), "k8s/tollfree.yaml contains a Secret");
}
