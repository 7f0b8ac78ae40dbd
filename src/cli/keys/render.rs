//! Clients of the admin API as text.

use std::fmt::Write;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use crate::setup::{TOOLS, Tool};

/// `ann` (k7f3a9c2)
pub(super) fn client_name(client: &Value) -> String {
    format!("`{}` ({})", text(client, "name"), text(client, "id"))
}

fn text<'a>(client: &'a Value, field: &str) -> &'a str {
    client[field].as_str().unwrap_or_default()
}

/// A new key, with examples of its use.
pub(super) fn new_key(client: &Value, url: &str, what: &str) -> String {
    let key = text(client, "key");
    let old = match client["old_secret_until"].as_str() {
        Some(until) => format!("\nThe old key works until {until}.\n"),
        None => String::new(),
    };
    let notice = match client["notice"].as_str() {
        Some(notice) => format!("\n{notice}\n"),
        None => String::new(),
    };
    format!(
        "{what} {}. It is shown once and not stored:

  {key}
{old}{notice}
Shell     export OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY={key}
Python    client = OpenAI(base_url=\"{url}/v1\", api_key=\"{key}\")
curl      curl {url}/v1/chat/completions -H 'authorization: Bearer {key}' \\
            -H 'content-type: application/json' \\
            -d '{{\"model\": \"free\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello\"}}]}}'
{}",
        client_name(client),
        agents(url)
    )
}

/// A line for each tool, to copy. None has the key in it: `setup` reads it from the terminal.
fn agents(url: &str) -> String {
    let line = |(nth, tool): (usize, &Tool)| {
        format!("{:<10}tollfree setup {} --url {url}\n", if nth == 0 { "Agents" } else { "" }, tool.id)
    };
    TOOLS.iter().enumerate().map(line).collect()
}

/// One line per client.
pub(super) fn table(clients: &[Value], now: Timestamp) -> String {
    if clients.is_empty() {
        return "There is no client yet: create one with `tollfree keys create NAME`.".to_owned();
    }
    let head = ["ID", "NAME", "STATE", "LIMITS", "MODELS", "EXPIRES", "LAST USE", "TODAY"].map(str::to_owned);
    let today = clients.iter().any(|client| client["usage_today"].is_object());
    let columns = if today { head.len() } else { head.len() - 1 };
    let rows: Vec<[String; 8]> = std::iter::once(head)
        .chain(clients.iter().map(|client| {
            [
                text(client, "id").to_owned(),
                cut(text(client, "name"), 24),
                state(client, now).to_owned(),
                limits(client),
                cut(&models(client), 32),
                client["expires_at"].as_str().map_or_else(|| "never".to_owned(), |at| at.chars().take(10).collect()),
                last_use(client, now),
                used_today(client),
            ]
        }))
        .collect();
    let widths: Vec<usize> =
        (0..columns).map(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing into a String cannot fail.
            let _ = write!(line, "{cell:<width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Every property of a client.
pub(super) fn details(client: &Value, now: Timestamp) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<12} {value}");
    };
    line("name", text(client, "name").to_owned());
    line("id", text(client, "id").to_owned());
    line("key", format!("{}…", text(client, "prefix")));
    line("state", state(client, now).to_owned());
    line("limits", limits(client));
    line("models", models(client));
    line("weight", client["weight"].to_string());
    line("priority", if client["priority"] == true { "allowed" } else { "no" }.to_owned());
    line("paid", if client["paid"] == true { "allowed" } else { "no" }.to_owned());
    let wait = client["wait_ms"].as_i64().map(|ms| format!("{:#}", SignedDuration::from_millis(ms)));
    line("wait", wait.unwrap_or_else(|| "default of the gateway".to_owned()));
    for (name, field, none) in [
        ("expires", "expires_at", Some("never")),
        ("created", "created_at", None),
        ("last use", "last_used_at", Some("never")),
        ("rotated", "rotated_at", None),
        ("old key ends", "old_secret_until", None),
        ("revoked", "revoked_at", None),
        ("note", "note", None),
    ] {
        let value = client[field].as_str().filter(|value| !value.is_empty()).or(none);
        if let Some(value) = value {
            line(name, value.to_owned());
        }
    }
    if client["usage_today"].is_object() {
        line("today", used_today(client));
    }
    if client["source"] == "file" {
        line("stored", "in the file of hashes: change it there".to_owned());
    }
    out
}

fn state(client: &Value, now: Timestamp) -> &'static str {
    let expired = client["expires_at"].as_str().and_then(|at| at.parse::<Timestamp>().ok()).is_some_and(|at| at <= now);
    match () {
        () if client["revoked_at"].is_string() => "revoked",
        () if client["disabled"] == true => "disabled",
        () if expired => "expired",
        () => "active",
    }
}

fn limits(client: &Value) -> String {
    let set = ["rpm", "rpd", "tpm", "tpd", "concurrency"]
        .into_iter()
        .filter_map(|name| Some(format!("{} {name}", client["limits"][name].as_i64()?)));
    let limits = set.collect::<Vec<_>>().join(", ");
    if limits.is_empty() { "none".to_owned() } else { limits }
}

fn models(client: &Value) -> String {
    let listed: Vec<&str> = client["models"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if listed.is_empty() { "all".to_owned() } else { listed.join(", ") }
}

fn last_use(client: &Value, now: Timestamp) -> String {
    let Some(at) = client["last_used_at"].as_str().and_then(|at| at.parse::<Timestamp>().ok()) else {
        return "never".to_owned();
    };
    match at.duration_until(now).as_secs() {
        ..60 => "just now".to_owned(),
        s @ 60..3_600 => format!("{} min ago", s / 60),
        s @ 3_600..86_400 => format!("{} h ago", s / 3_600),
        s => format!("{} d ago", s / 86_400),
    }
}

fn used_today(client: &Value) -> String {
    let used = &client["usage_today"];
    let number = |field: &str| used[field].as_i64().unwrap_or(0);
    if used.is_object() {
        format!("{} requests, {} tokens", number("requests"), number("tokens_in") + number("tokens_out"))
    } else {
        String::new()
    }
}

fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max - 1).chain(['…']).collect()
}

/// The `[[client]]` table of the file of hashes.
pub(super) fn hash_file_entry(name: &str, id: &str, digest: &str, fields: &Map<String, Value>) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let mut out = format!("[[client]]\nname = {}\nid = {}\nsha256 = {}\n", quoted(name), quoted(id), quoted(digest));
    for (field, value) in fields.iter().filter(|(field, value)| *field != "name" && !value.is_null()) {
        if let Ok(value) = toml::Value::try_from(without_null(value)) {
            let _ = writeln!(out, "{field} = {}", inline(&value));
        }
    }
    out
}

/// TOML has no null: such fields are left out.
fn without_null(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            map.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), without_null(v))).collect()
        }
        other => other.clone(),
    }
}

fn inline(value: &toml::Value) -> String {
    match value {
        toml::Value::Table(table) => {
            let pairs: Vec<String> = table.iter().map(|(key, value)| format!("{key} = {}", inline(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn client() -> Value {
        json!({ "id": "k1", "name": "ann", "limits": { "rpm": 10, "tpd": 5 }, "models": [], "weight": 1,
            "last_used_at": "2026-11-25T11:00:00Z", "expires_at": null, "disabled": false, "revoked_at": null })
    }

    #[test]
    fn a_table_has_one_line_per_client() {
        let now: Timestamp = "2026-11-25T12:30:00Z".parse().unwrap();
        let table = table(&[client()], now);
        let lines: Vec<&str> = table.lines().collect();
        let words = |line: &str| {
            line.split("  ").map(str::trim).filter(|w| !w.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(words(lines[0]), ["ID", "NAME", "STATE", "LIMITS", "MODELS", "EXPIRES", "LAST USE"]);
        assert_eq!(words(lines[1]), ["k1", "ann", "active", "10 rpm, 5 tpd", "all", "never", "1 h ago"]);
        let mut over = client();
        over["expires_at"] = json!("2026-11-25T12:00:00Z");
        assert_eq!(state(&over, now), "expired");
        over["revoked_at"] = json!("2026-11-25T12:00:00Z");
        assert_eq!(state(&over, now), "revoked");
    }

    #[test]
    fn an_entry_of_the_file_of_hashes_is_valid_toml() {
        let fields = json!({ "name": "x", "limits": { "rpm": 10, "tpd": null }, "models": ["free"], "wait_ms": null, "note": "a \"b\"" });
        let block = hash_file_entry("an \"ann\"", "k1", &"0".repeat(64), fields.as_object().unwrap());
        let read: toml::Table = toml::from_str(&block).unwrap();
        let ann = &read["client"].as_array().unwrap()[0];
        assert_eq!(ann["name"].as_str(), Some("an \"ann\""));
        assert_eq!((ann["limits"]["rpm"].as_integer(), ann["note"].as_str()), (Some(10), Some("a \"b\"")));
        assert!(ann.get("wait_ms").is_none() && ann["limits"].get("tpd").is_none(), "{block}");
    }
}
