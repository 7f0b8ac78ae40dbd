//! The chart accepts every setting of the gateway, and the gateway accepts every environment of the chart.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tollfree::config;

use super::{CHART, documents, gateway, name, of_kind, root, template, value_files};

/// Settings that have values of their own in the chart, or no use in it.
const EXCLUDED: [&str; 8] = [
    "server.host",
    "server.port",
    "auth.mode",
    "clients.file",
    "ledger.pool",
    "ledger.data_dir",
    "shutdown.grace_ms",
    "http.base_path",
];

fn schema() -> Value {
    serde_json::from_str(&std::fs::read_to_string(root().join(CHART).join("values.schema.json")).unwrap()).unwrap()
}

/// The environment of the container. Entries of Secrets outside the chart have invented values.
fn environment(documents: &[Value]) -> BTreeMap<String, String> {
    let secrets = of_kind(documents, "Secret");
    let secret = |wanted: &Value, key: &str| {
        let ours = secrets.iter().find(|secret| &secret["metadata"]["name"] == wanted);
        match (ours, key) {
            (Some(secret), _) => decode(secret["data"][key].as_str().unwrap_or_else(|| panic!("no {key} in {secret}"))),
            (None, "redis-url" | "url") => "rediss://:secret@redis.example.org:6380".to_owned(),
            (None, _) => format!("invented-and-long-enough-to-be-one-{key}"),
        }
    };
    let mut environment = BTreeMap::new();
    let container = gateway(documents);
    for reference in container["envFrom"].as_array().into_iter().flatten() {
        let wanted = &reference["secretRef"]["name"];
        let ours = secrets.iter().find(|secret| &secret["metadata"]["name"] == wanted);
        for key in ours.iter().flat_map(|secret| secret["data"].as_object().unwrap().keys()) {
            environment.insert(key.clone(), secret(wanted, key));
        }
    }
    for entry in container["env"].as_array().unwrap() {
        let from = &entry["valueFrom"]["secretKeyRef"];
        let value = match (entry["value"].as_str(), from.is_object()) {
            (Some(value), _) => value.replace("$(REDIS_PASSWORD)", environment.get("REDIS_PASSWORD").map_or("", |p| p)),
            (None, true) => secret(&from["name"], from["key"].as_str().unwrap()),
            (None, false) => "a-pod".to_owned(),
        };
        let name = entry["name"].as_str().unwrap().to_owned();
        assert!(environment.insert(name, value).is_none(), "duplicate: {entry}");
    }
    environment
}

fn decode(base64: &str) -> String {
    String::from_utf8(data_encoding::BASE64.decode(base64.as_bytes()).unwrap()).unwrap()
}

#[test]
fn the_gateway_accepts_the_environment_of_every_value_file() {
    for file in value_files() {
        let all = documents(&template(&["--values", file.to_str().unwrap()]));
        let folder = tempfile::tempdir().unwrap();
        let mut environment = environment(&all);
        let mounted = |variable: &str, kind: &str, entry: &str| {
            let path = environment.get(variable)?;
            assert!(path.ends_with(&format!("/{entry}")), "{variable} is {path}");
            let found =
                of_kind(&all, kind).iter().find_map(|document| document["data"][entry].as_str().map(str::to_owned));
            let text = found.unwrap_or_else(|| panic!("no document contains {entry}"));
            std::fs::write(folder.path().join(entry), if kind == "Secret" { decode(&text) } else { text }).unwrap();
            Some((variable.to_owned(), folder.path().join(entry).display().to_string()))
        };
        let files = [
            mounted("TOLLFREE_CONFIG", "ConfigMap", "tollfree.toml"),
            mounted("TOLLFREE_CLIENTS_FILE", "Secret", "clients.toml"),
        ];
        environment.extend(files.into_iter().flatten());
        let loaded = config::load(&environment, folder.path());
        let loaded = loaded.unwrap_or_else(|error| panic!("{}: {error}\n{environment:?}", name(&file)));
        assert!(loaded.settings.redis_url.is_some() && loaded.settings.admin_key.is_some(), "{}", name(&file));
    }
}

#[test]
fn the_schema_knows_every_setting_and_no_other() {
    let schema = schema();
    let known = &schema["properties"]["settings"]["properties"];
    let none = tempfile::tempdir().unwrap();
    let sources = config::load(&BTreeMap::new(), none.path()).unwrap().settings.sources;
    let settings: BTreeSet<String> = sources
        .iter()
        .map(|setting| setting.name.clone())
        .filter(|name| name.contains('.') && !EXCLUDED.contains(&&**name))
        .collect();
    let long = |path: &String| format!("TOLLFREE__{}", path.replace('.', "__").to_uppercase());
    for path in &settings {
        assert!(known[long(path)].is_object(), "settings.{} is not in values.schema.json", long(path));
    }
    let written: BTreeSet<String> =
        known.as_object().unwrap().keys().filter(|name| name.starts_with("TOLLFREE__")).cloned().collect();
    assert_eq!(written, settings.iter().map(long).collect());
    for name in known.as_object().unwrap().keys().filter(|name| !name.starts_with("TOLLFREE__")) {
        let dotenv = std::fs::read_to_string(root().join(".env.example")).unwrap();
        assert!(dotenv.contains(&**name), "{name} is not in .env.example");
    }
}

#[test]
fn values_and_schema_have_the_same_entries() {
    let values = &documents(&std::fs::read_to_string(root().join(CHART).join("values.yaml")).unwrap())[0];
    let schema = schema();
    let mut differences = Vec::new();
    compare(values, &schema, &schema, "", &mut differences);
    assert!(differences.is_empty(), "values.yaml and values.schema.json differ:\n{}", differences.join("\n"));
}

fn compare(values: &Value, schema: &Value, root: &Value, place: &str, differences: &mut Vec<String>) {
    let schema = match schema["$ref"].as_str() {
        Some(path) => root.pointer(path.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    let Some(properties) = schema["properties"].as_object() else { return };
    if schema["additionalProperties"] != false {
        differences.push(format!("{place}: accepts unknown values"));
    }
    // Free maps and objects defined by Kubernetes need no example.
    if values.as_object().is_none_or(serde_json::Map::is_empty) {
        return;
    }
    for (name, inner) in properties {
        let place = format!("{place}/{name}");
        match &values[name] {
            Value::Null if ["/global", "/resources", "/settings"].iter().any(|open| place.contains(open)) => {}
            Value::Null => differences.push(format!("{place} is not in values.yaml")),
            value => compare(value, inner, root, &place, differences),
        }
    }
}
