//! Keeps a private vocabulary out: words that once stood for things the field has its own terms for.

use super::house_rules::files;

/// Word → what to write instead.
const BANNED: [(&str, &str); 16] = [
    ("told", "returned, reported, shown"),
    ("tells", "returns, reports, shows"),
    ("telling", "recording, reporting"),
    ("asked", "requested, called, sent to"),
    ("bury", "drop, expire"),
    ("hall", "queue"),
    ("knock", "notify"),
    ("knocks", "notifications"),
    ("elder", "older version, previous"),
    ("elders", "older versions"),
    ("stranger", "another caller, anonymous"),
    ("strangers", "other callers"),
    ("anew", "again"),
    ("boss", "admin"),
    ("nudge", "notify"),
    ("gladly", "nothing"),
];

/// Phrases without a referent: a constant's name says it better.
const BANNED_PHRASES: [&str; 4] = ["so long as", "for so long", "so many at", "so often"];

#[test]
fn banned_words_stand_nowhere() {
    let folders = [
        ("src", &["rs", "toml"][..]),
        ("lua", &["lua"]),
        ("tests/it", &["rs"]),
        ("dashboard/src", &["ts", "tsx"]),
        ("docs", &["md"]),
        ("helm", &["yaml", "tpl", "txt", "json"]),
        ("deploy", &["yaml", "conf", "cfg", "env", "yml"]),
    ];
    let mut found = Vec::new();
    for (folder, extensions) in folders {
        for (path, text) in extensions.iter().flat_map(|extension| files(folder, extension)) {
            // This list itself, and a model's canned texts.
            if path.ends_with("source/language.rs") {
                continue;
            }
            for (number, line) in text.lines().enumerate() {
                let lower = line.to_lowercase();
                let mut words = lower.split(|c: char| !c.is_alphabetic());
                let word = words.find_map(|word| BANNED.iter().find(|(banned, _)| *banned == word));
                if let Some((word, instead)) = word {
                    found.push(format!("{path}:{}: `{word}` (write: {instead})", number + 1));
                }
                if let Some(phrase) = BANNED_PHRASES.iter().find(|phrase| lower.contains(**phrase)) {
                    found.push(format!("{path}:{}: `{phrase}`", number + 1));
                }
            }
        }
    }
    assert!(found.is_empty(), "{} banned words:\n{}", found.len(), found.join("\n"));
}
