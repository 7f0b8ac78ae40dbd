//! The pool as lines of text: one line for each limit that is in use, by provider, account and model.

use jiff::Timestamp;
use serde_json::Value;

/// One limit of an account, or of one model of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub provider: String,
    pub account: String,
    /// `*` for a limit over all models.
    pub model: String,
    pub limit: String,
    pub used: i64,
    pub max: i64,
    /// Units of requests that wait.
    pub waiting: i64,
    /// Why it serves nothing, or since when it is spent; empty while it serves.
    pub state: String,
    pub forecast: String,
}

/// What the head of the table says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Summary {
    pub replicas: i64,
    pub waiting: i64,
    pub requests: i64,
    pub failures: i64,
}

const BAR_CHARS: usize = 20;
const MIN_MODEL_CHARS: usize = 16;

pub(super) fn summary(budget: &Value) -> Summary {
    let number = |value: &Value| value.as_i64().unwrap_or(0);
    let totals = &budget["totals"];
    Summary {
        replicas: number(&budget["replicas"]),
        waiting: number(&budget["waiting"]),
        requests: number(&totals["requests"]),
        failures: number(&totals["failures"]),
    }
}

/// The limits of the pool, the fullest of each provider first. `all`: also those that are not in use.
pub(super) fn rows(budget: &Value, all: bool) -> Vec<Row> {
    let now = instant(&budget["taken_at"]);
    let mut rows = Vec::new();
    for provider in items(&budget["providers"]) {
        let mut own = Vec::new();
        for account in items(&provider["accounts"]) {
            let of = Owner { provider, account, model: &Value::Null, now };
            own.extend(items(&account["windows"]).map(|window| of.row(window)));
            for model in items(&account["models"]) {
                let of = Owner { model, ..of };
                own.extend(items(&model["windows"]).map(|window| of.row(window)));
            }
        }
        own.retain(|row: &Row| all || row.used > 0 || row.waiting > 0 || !row.state.is_empty());
        own.sort_by(|a, b| b.share().total_cmp(&a.share()));
        rows.extend(own);
    }
    rows
}

/// Whose limit a window is.
#[derive(Clone, Copy)]
struct Owner<'a> {
    provider: &'a Value,
    account: &'a Value,
    /// Null for a limit over all models.
    model: &'a Value,
    now: Option<Timestamp>,
}

impl Owner<'_> {
    fn row(&self, window: &Value) -> Row {
        let number = |name: &str| window[name].as_i64().unwrap_or(0);
        Row {
            provider: text(&self.provider["id"]).to_owned(),
            account: text(&self.account["id"]).to_owned(),
            model: self.model["id"].as_str().unwrap_or("*").to_owned(),
            limit: text(&window["limit"]).to_owned(),
            used: number("used"),
            max: number("max"),
            waiting: number("waiting"),
            state: self.state(window),
            forecast: match window["forecast"]["exhausted_at"].as_str() {
                Some(_) => format!("out in {}", self.until(&window["forecast"]["exhausted_at"])),
                None => String::new(),
            },
        }
    }

    fn state(&self, window: &Value) -> String {
        let is_off = |of: &Value| of["enabled"] == false;
        let open = [self.model, self.provider].into_iter().find(|of| of["breaker"]["state"] == "open");
        if is_off(self.provider) || is_off(self.model) {
            "disabled".to_owned()
        } else if let Some(of) = open {
            format!("breaker open, {}", self.until(&of["breaker"]["until"]))
        } else if let Some(cause) = self.model["cooldown"]["cause"].as_str() {
            format!("{cause}, {}", self.until(&self.model["cooldown"]["until"]))
        } else if window["left"] == 0 {
            format!("spent, {}", self.until(&window["next_free_at"]))
        } else {
            String::new()
        }
    }

    /// The time until an instant: `42 s`, `3 min`, `2 h 5 min`.
    fn until(&self, at: &Value) -> String {
        let (Some(at), Some(now)) = (instant(at), self.now) else { return String::new() };
        let seconds = (at.as_millisecond() - now.as_millisecond()).max(0).div_euclid(1_000);
        match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60) {
            (0, 0, 0) => format!("{seconds} s"),
            (0, 0, minutes) => format!("{minutes} min"),
            (0, hours, minutes) => format!("{hours} h {minutes} min"),
            (days, hours, _) => format!("{days} d {hours} h"),
        }
    }
}

impl Row {
    #[expect(clippy::cast_precision_loss, reason = "a share for display")]
    pub(super) fn share(&self) -> f64 {
        self.used as f64 / self.max.max(1) as f64
    }

    /// `████████░░░░`, with the share that is used.
    fn bar(&self) -> String {
        let eighths = (self.share().clamp(0.0, 1.0) * BAR_CHARS as f64).round();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to the length of the bar")]
        let full = eighths as usize;
        format!("{}{}", "█".repeat(full), "░".repeat(BAR_CHARS - full))
    }
}

/// The lines of a table: its header, then one for each row. A line is at most `columns` wide.
pub(super) fn lines(rows: &[Row], columns: usize) -> Vec<String> {
    let widest = |of: fn(&Row) -> &str, least: usize| {
        rows.iter().map(|row| of(row).chars().count()).max().unwrap_or(0).max(least)
    };
    let provider = widest(|row| &row.provider, 8);
    let account = widest(|row| &row.account, 7).min(12);
    let limit = widest(|row| &row.limit, 5);
    // Behind the model: two blanks before each column, the bar, the figures and the remark.
    let fixed = provider + account + limit + BAR_CHARS + 15 + 12 + 12;
    let model = widest(|row| &row.model, 5).min(columns.saturating_sub(fixed).max(MIN_MODEL_CHARS));
    let line = |cells: [&str; 7]| {
        let [of, by, what, named, bar, used, remark] = cells;
        let (by, what) = (cut(by, account), cut(what, model));
        let whole = format!(
            "{of:<provider$}  {by:<account$}  {what:<model$}  {named:<limit$}  {bar:<BAR_CHARS$}  {used:>13}  {remark}"
        );
        cut(whole.trim_end(), columns)
    };
    let header = line(["PROVIDER", "ACCOUNT", "MODEL", "LIMIT", "", "USED / MAX", ""]);
    let row = |row: &Row| {
        let used = format!("{} / {}", compact(row.used), compact(row.max));
        let waiting = if row.waiting > 0 { format!("{} waiting", compact(row.waiting)) } else { String::new() };
        let remarks: Vec<&str> =
            [&*row.state, &*waiting, &*row.forecast].into_iter().filter(|part| !part.is_empty()).collect();
        line([&row.provider, &row.account, &row.model, &row.limit, &row.bar(), &used, &remarks.join("; ")])
    };
    std::iter::once(header).chain(rows.iter().map(row)).collect()
}

/// The first characters of a text, with `…` for what is left out.
fn cut(text: &str, max_chars: usize) -> String {
    if text.chars().count() <= max_chars {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(max_chars.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// At most five characters: `950`, `1.2k`, `84k`, `3.4M`.
fn compact(n: i64) -> String {
    for (unit, name) in [(1_000_000_000_000, "T"), (1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")] {
        if n >= unit {
            let tenths = n / (unit / 10);
            let fraction =
                if tenths % 10 == 0 || tenths >= 1_000 { String::new() } else { format!(".{}", tenths % 10) };
            return format!("{}{fraction}{name}", tenths / 10);
        }
    }
    n.to_string()
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn instant(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn budget() -> Value {
        let window = |limit: &str, used: i64, max: i64| {
            json!({ "limit": limit, "used": used, "max": max, "left": max - used, "waiting": 0,
                    "next_free_at": "2026-11-30T10:01:30Z", "forecast": null })
        };
        let mut day = window("rpd", 1_000, 1_000);
        day["forecast"] = json!({ "exhausted_at": "2026-11-30T12:05:00Z", "pace_per_hour": 5.0 });
        json!({
            "taken_at": "2026-11-30T10:00:00Z", "replicas": 3, "waiting": 2, "totals": { "requests": 12, "failures": 1 },
            "providers": [{
                "id": "groq", "enabled": true, "breaker": { "state": "closed" },
                "accounts": [{
                    "id": "main", "windows": [window("rpm", 0, 30)],
                    "models": [
                        { "id": "openai/gpt-oss-120b", "enabled": true, "breaker": { "state": "closed" }, "cooldown": null,
                          "windows": [window("tpm", 2_000, 8_000), day] },
                        { "id": "idle", "enabled": true, "breaker": { "state": "closed" }, "cooldown": null,
                          "windows": [window("rpm", 0, 30)] },
                        { "id": "gone", "enabled": true, "breaker": { "state": "closed" },
                          "cooldown": { "cause": "404", "until": "2026-12-01T11:00:00Z" }, "windows": [window("rpm", 0, 30)] },
                    ],
                }],
            }],
        })
    }

    #[test]
    fn limits_in_use_are_shown_the_fullest_first_with_what_keeps_them_from_serving() {
        assert_eq!(summary(&budget()), Summary { replicas: 3, waiting: 2, requests: 12, failures: 1 });
        let shown = rows(&budget(), false);
        let names: Vec<_> = shown.iter().map(|row| (&*row.model, &*row.limit, &*row.state)).collect();
        let expected = [
            ("openai/gpt-oss-120b", "rpd", "spent, 1 min"),
            ("openai/gpt-oss-120b", "tpm", ""),
            ("gone", "rpm", "404, 1 d 1 h"),
        ];
        assert_eq!(names, expected);
        assert_eq!(shown[0].forecast, "out in 2 h 5 min");
        assert_eq!(rows(&budget(), true).len(), 5);
        let mut off = budget();
        off["providers"][0]["enabled"] = json!(false);
        assert_eq!(rows(&off, false).len(), 5, "a disabled provider is shown, too");
    }

    #[test]
    fn a_table_fits_its_columns() {
        let text = lines(&rows(&budget(), false), 120);
        assert!(text[0].starts_with("PROVIDER  ACCOUNT  MODEL"), "{text:?}");
        assert!(text[1].contains("████████████████████        1k / 1k  spent, 1 min; out in 2 h 5 min"), "{}", text[1]);
        assert!(text[2].contains("█████░░░"), "{}", text[2]);
        for line in lines(&rows(&budget(), true), 70) {
            assert!(line.chars().count() <= 70, "{line}");
        }
    }

    #[test]
    fn figures_are_short() {
        for (n, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1k"),
            (1_250, "1.2k"),
            (84_000, "84k"),
            (250_400, "250k"),
            (3_400_000, "3.4M"),
        ] {
            assert_eq!(compact(n), text);
        }
    }
}
