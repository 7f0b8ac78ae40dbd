//! Rendered manifests are valid for Kubernetes and have the documented properties.

use std::thread;

use serde_json::{Value, json};

use super::{CHART, KUBERNETES, documents, gateway, name, of_kind, run, template, tool, value_files};

/// Kinds of the Prometheus operator, which are not part of Kubernetes' schemas. `monitoring` tests them.
const CUSTOM_RESOURCES: &str = "monitoring.coreos.com/";

#[test]
fn every_value_file_is_valid_for_three_kubernetes_versions() {
    let files = value_files();
    assert!(files.len() >= 8, "{files:?}");
    let lint = |file| run(tool("helm").args(["lint", "--strict", "--quiet", CHART, "--values"]).arg(file));
    thread::scope(|scope| {
        for version in KUBERNETES {
            let files = &files;
            scope.spawn(move || {
                let folder = tempfile::tempdir().unwrap();
                let mut validate = tool("kubernetes-validate");
                validate.args(["--kubernetes-version", version, "--strict", "--quiet"]);
                for file in files {
                    let full = format!("{version}.0");
                    let text = template(&["--kube-version", &full, "--values", file.to_str().unwrap()]);
                    let ours = text.split("\n---\n").filter(|document| !document.contains(CUSTOM_RESOURCES));
                    let rendered = folder.path().join(format!("{}.yaml", name(file)));
                    std::fs::write(&rendered, ours.collect::<Vec<_>>().join("\n---\n")).unwrap();
                    validate.arg(rendered);
                }
                run(&mut validate);
            });
        }
        for file in &files {
            lint(file);
        }
    });
}

#[test]
fn the_defaults_are_secure_and_complete() {
    let all = documents(&template(&[]));
    for kind in [
        "Deployment",
        "StatefulSet",
        "Service",
        "Ingress",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
        "NetworkPolicy",
        "ServiceAccount",
        "Secret",
    ] {
        assert!(!of_kind(&all, kind).is_empty(), "no {kind}");
    }
    for kind in ["ServiceMonitor", "PrometheusRule"] {
        assert!(of_kind(&all, kind).is_empty(), "{kind} is off by default");
    }
    for document in all.iter().filter(|d| ["Deployment", "StatefulSet"].contains(&d["kind"].as_str().unwrap())) {
        let pod = &document["spec"]["template"]["spec"];
        assert_restricted(pod);
        assert_eq!(pod["enableServiceLinks"], false);
    }
    for pod in of_kind(&all, "Pod") {
        assert_restricted(&pod["spec"]);
    }
    let env = gateway(&all)["env"].as_array().unwrap();
    assert!(env.contains(&json!({ "name": "TOLLFREE_AUTH", "value": "required" })));
    let secret = |entry: &&Value| entry["name"].as_str().unwrap().ends_with("_KEY");
    assert!(env.iter().filter(secret).all(|entry| entry["value"].is_null()), "the Deployment contains a secret");
    let ingress = of_kind(&all, "Ingress")[0];
    assert!(ingress["spec"]["tls"].is_array());
    let paths = ingress["spec"]["rules"][0]["http"]["paths"].to_string();
    assert!(!paths.contains("metrics") && !paths.contains("\"/\""), "{paths}");
    assert_eq!(ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-buffering"], "off");
}

/// Asserts the `restricted` Pod Security Standard, a read-only root file system and no service account token.
fn assert_restricted(pod: &Value) {
    assert_eq!(pod["automountServiceAccountToken"], false, "{pod}");
    let whole = &pod["securityContext"];
    assert_eq!(whole["runAsNonRoot"], true);
    assert!(whole["runAsUser"].as_u64().unwrap() > 0);
    assert_eq!(whole["seccompProfile"]["type"], "RuntimeDefault");
    for container in pod["containers"].as_array().unwrap() {
        let expected = json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] },
        });
        assert_eq!(container["securityContext"], expected, "{}", container["name"]);
        assert!(container["resources"]["requests"].is_object() && container["resources"]["limits"].is_object());
    }
}

#[test]
fn a_terminating_replica_finishes_its_requests() {
    let all = documents(&template(&[]));
    let deployment = &of_kind(&all, "Deployment")[0]["spec"];
    assert_eq!(deployment["strategy"]["rollingUpdate"], json!({ "maxUnavailable": 0, "maxSurge": 1 }));
    let pod = &deployment["template"]["spec"];
    let grace = gateway(&all)["env"].as_array().unwrap().iter().find(|e| e["name"] == "TOLLFREE__SHUTDOWN__GRACE_MS");
    let grace_ms: u64 = grace.unwrap()["value"].as_str().unwrap().parse().unwrap();
    let before = gateway(&all)["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    let streams = 300;
    let whole = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(whole >= before + grace_ms / 1000 + streams + 10, "{whole} s");
    let probe = &gateway(&all)["readinessProbe"];
    assert_eq!((probe["httpGet"]["path"].as_str(), probe["periodSeconds"].as_u64()), (Some("/readyz"), Some(1)));
}

#[test]
fn pods_restart_only_when_their_configuration_or_a_secret_changes() {
    let annotations = |more: &[&str]| {
        let all = documents(&template(more));
        of_kind(&all, "Deployment")[0]["spec"]["template"]["metadata"]["annotations"].clone()
    };
    let before = annotations(&[]);
    assert_eq!(annotations(&[]), before, "generated secrets must not change the pods");
    assert_eq!(annotations(&["--set", "ingress.host=a.example.org"]), before);
    for change in [
        "config=[queue]",
        "providers.keys.GROQ_API_KEY=gsk_a",
        "auth.adminKey.value=a-key-of-16-chars",
        "auth.masterKey.value=a-master-key-of-thirty-two-characters",
    ] {
        assert_ne!(annotations(&["--set", change]), before, "{change}");
    }
}

#[test]
fn existing_objects_are_not_created() {
    let file = value_files().into_iter().find(|file| name(file) == "existing-secrets-values").unwrap();
    let all = documents(&template(&["--values", file.to_str().unwrap()]));
    assert!(of_kind(&all, "Secret").is_empty(), "{all:?}");
    assert!(of_kind(&all, "ServiceAccount").is_empty());
    let text = gateway(&all).to_string();
    for secret in [
        "tollfree-admin",
        "tollfree-master",
        "tollfree-shared",
        "provider-keys",
        "more-provider-keys",
        "tollfree-redis-password",
    ] {
        assert!(text.contains(&format!("\"{secret}\"")), "{secret}");
    }
    for kind in ["StatefulSet", "Service"] {
        let external = documents(&template(&["--set", "redis.bundled.enabled=false,redis.external.existingSecret=r"]));
        let redis =
            of_kind(&external, kind).into_iter().filter(|d| d["metadata"]["name"].to_string().contains("redis"));
        assert_eq!(redis.count(), 0, "a {kind} for Redis in spite of an external one");
    }
}

#[test]
fn a_variable_of_the_operator_replaces_the_one_of_the_chart() {
    for set in ["settings.HOST=::", "extraEnv[0].name=HOST,extraEnv[0].value=::"] {
        let all = documents(&template(&["--set", set]));
        let hosts: Vec<_> =
            gateway(&all)["env"].as_array().unwrap().iter().filter(|entry| entry["name"] == "HOST").collect();
        assert_eq!(hosts, [&json!({ "name": "HOST", "value": "::" })], "{set}");
    }
}

#[test]
fn openshift_assigns_ids_and_a_mirror_serves_every_image() {
    let file = value_files().into_iter().find(|file| name(file) == "openshift-values").unwrap();
    let text = template(&["--values", file.to_str().unwrap()]);
    assert!(!text.contains("runAsUser") && !text.contains("runAsGroup") && !text.contains("fsGroup"), "{text}");
    for line in text.lines().filter(|line| line.trim_start().starts_with("image:")) {
        assert!(line.contains("\"mirror.example.com/llm/"), "{line}");
    }
    let all = documents(&text);
    assert_eq!(of_kind(&all, "Deployment")[0]["metadata"]["annotations"]["reloader.stakater.com/auto"], "true");
    assert_eq!(gateway(&all)["envFrom"], json!([{ "configMapRef": { "name": "team-settings" } }]));
    let egress = &of_kind(&all, "NetworkPolicy")[0]["spec"]["egress"];
    assert!(
        egress.as_array().unwrap().contains(&json!({ "ports": [{ "port": 3128, "protocol": "TCP" }] })),
        "{egress}"
    );
}

#[test]
fn names_are_looked_up_at_the_clusters_own_servers_only() {
    for file in value_files() {
        let all = documents(&template(&["--values", file.to_str().unwrap()]));
        for policy in of_kind(&all, "NetworkPolicy") {
            let egress = policy["spec"]["egress"].as_array().cloned().unwrap_or_default();
            let is_dns = |port: &Value| port["protocol"] == "UDP";
            let open =
                egress.iter().filter(|rule| rule["ports"].as_array().is_some_and(|ports| ports.iter().any(is_dns)));
            for rule in open {
                assert!(rule["to"].as_array().is_some_and(|to| !to.is_empty()), "{}: {rule}", file.display());
            }
        }
    }
}

#[test]
fn redis_is_restarted_for_a_hang_and_not_for_a_long_start() {
    let all = documents(&template(&[]));
    let container = &of_kind(&all, "StatefulSet")[0]["spec"]["template"]["spec"]["containers"][0];
    let command = |probe: &str| container[probe]["exec"]["command"].clone();
    // Without -e, redis-cli succeeds on the LOADING error.
    assert_eq!(command("startupProbe"), json!(["redis-cli", "ping"]));
    assert_eq!(command("livenessProbe"), json!(["redis-cli", "ping"]));
    assert_eq!(command("readinessProbe"), json!(["redis-cli", "-e", "ping"]));
    assert!(container["resources"]["limits"]["cpu"].is_null() && container["resources"]["requests"]["cpu"].is_string());
}

#[test]
fn the_gateway_knows_the_address_of_its_clients() {
    let public_url = |set: &[&str]| {
        let args: Vec<&str> = set.iter().flat_map(|value| ["--set", value]).collect();
        let all = documents(&template(&args));
        let entries = gateway(&all)["env"].as_array().unwrap().clone();
        let named = |name: &str| entries.iter().find(|entry| entry["name"] == name).map(|entry| entry["value"].clone());
        (named("TOLLFREE_PUBLIC_URL"), named("TOLLFREE__SERVER__PUBLIC_URL"))
    };
    let host = "ingress.host=llm.example.com";
    assert_eq!(public_url(&[host, "ingress.basePath=/llm"]).0, Some(json!("https://llm.example.com/llm")));
    assert_eq!(public_url(&[host, "publicUrl=https://other.example"]).0, Some(json!("https://other.example")));
    // What is in front of such an ingress is not known.
    for unknown in ["ingress.tls.enabled=false", "ingress.enabled=false", "ingress.host=*.example.com"] {
        assert_eq!(public_url(&[host, unknown]), (None, None), "{unknown}");
    }
    let set = public_url(&[host, "settings.TOLLFREE__SERVER__PUBLIC_URL=https://third.example"]);
    assert_eq!(set, (None, Some(json!("https://third.example"))));
}

#[test]
fn everything_can_be_served_below_a_path_of_a_shared_host() {
    for controller in ["nginx", "haproxy", "contour", "traefik", "none"] {
        let all = documents(&template(&["--set", &format!("ingress.basePath=/llm,ingress.controller={controller}")]));
        let ingress = of_kind(&all, "Ingress")[0];
        let paths = ingress["spec"]["rules"][0]["http"]["paths"].as_array().unwrap();
        let paths: Vec<&str> = paths.iter().map(|each| each["path"].as_str().unwrap()).collect();
        assert!(paths.contains(&"/llm/v1") && paths.contains(&"/llm/dashboard"), "{controller}: {paths:?}");
        let deployment = of_kind(&all, "Deployment")[0].to_string();
        assert!(deployment.contains(r#"{"name":"TOLLFREE__HTTP__BASE_PATH","value":"/llm"}"#), "{controller}");
    }
}
