//! Formats of log lines: JSON or text. Both end with the ids of the current request.
//!
//! The formats of `tracing-subscriber` cannot add fields of the current context to an event.

use std::fmt::{self, Write as _};

use jiff::Timestamp;
use serde_json::Value;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use super::scope::{Ids, ids};

/// A JSON object per line: `timestamp`, `level`, `message`, the event's fields, `request.id`, `trace_id`, `span_id`.
pub(super) struct Json;

/// `2026-01-31T12:00:00Z INFO message key=value request.id=…`
pub(super) struct Text;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let fields = Fields::of(event);
        write!(line, "{{\"timestamp\":\"{:.6}\",\"level\":\"{}\"", Timestamp::now(), event.metadata().level())?;
        if let Some(message) = fields.message {
            write!(line, ",\"message\":{}", Value::String(message))?;
        }
        for (name, value) in fields.rest {
            write!(line, ",\"{name}\":{value}")?;
        }
        let Ids { request, trace, span } = ids();
        for (name, id) in
            [("request.id", request.as_deref()), ("trace_id", trace.as_deref()), ("span_id", span.as_deref())]
        {
            if let Some(id) = id {
                // A caller's request id consists of safe characters only.
                write!(line, ",\"{name}\":\"{id}\"")?;
            }
        }
        writeln!(line, "}}")
    }
}

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let fields = Fields::of(event);
        let ansi = line.has_ansi_escapes();
        let paint = |code: &'static str| if ansi { code } else { "" };
        let level = *event.metadata().level();
        let colour = match level {
            Level::ERROR => paint("\x1b[31m"),
            Level::WARN => paint("\x1b[33m"),
            Level::INFO => paint("\x1b[32m"),
            _ => paint("\x1b[34m"),
        };
        let (dim, plain) = (paint("\x1b[2m"), paint("\x1b[0m"));
        write!(line, "{dim}{:.6}{plain} {colour}{level:>5}{plain} ", Timestamp::now())?;
        line.write_str(&escape_controls(&fields.message.unwrap_or_default()))?;
        line.write_str(dim)?;
        for (name, value) in &fields.rest {
            match value {
                Value::String(text) => write!(line, " {name}={}", escape_controls(text))?,
                other => write!(line, " {name}={other}")?,
            }
        }
        let Ids { request, trace, .. } = ids();
        if let Some(id) = request {
            write!(line, " request.id={id}")?;
        }
        if let Some(id) = trace {
            write!(line, " trace_id={id}")?;
        }
        writeln!(line, "{plain}")
    }
}

/// Escapes control characters: a caller's text must not start new lines or control a terminal.
fn escape_controls(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            let _ = write!(safe, "{}", c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Message and fields of an event, in their order.
#[derive(Default)]
struct Fields {
    message: Option<String>,
    rest: Vec<(&'static str, Value)>,
}

impl Fields {
    fn of(event: &Event<'_>) -> Self {
        let mut fields = Self::default();
        event.record(&mut fields);
        fields
    }

    fn put(&mut self, field: &Field, value: Value) {
        match value {
            Value::String(text) if field.name() == "message" => self.message = Some(text),
            value => self.rest.push((field.name(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, value.to_string().into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use serde_json::json;
    use tracing_subscriber::{Registry, fmt, layer::SubscriberExt};

    use super::*;
    use crate::telemetry::RequestScope;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines_of<E>(format: E, work: impl FnOnce()) -> String
    where
        E: FormatEvent<Registry, fmt::format::DefaultFields> + Send + Sync + 'static,
    {
        let written = Written::default();
        let to = written.clone();
        let layer = fmt::layer().event_format(format).with_ansi(false).with_writer(move || to.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_line_within_a_request_has_its_ids() {
        let header =
            |name: &str| (name == "traceparent").then_some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00");
        let text = lines_of(Json, || {
            let scope = RequestScope::new("r-7".into(), header);
            tracing::warn!(provider.name = %"groq", tries = 2, "Failed \"it\"");
            let _within = scope.enter();
            tracing::info!(ok = true, "inside");
        });
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [outside, inside] = &lines[..] else { panic!("{text}") };
        assert_eq!(outside["message"], "Failed \"it\"");
        assert_eq!(
            (&outside["level"], &outside["provider.name"], &outside["tries"]),
            (&json!("WARN"), &json!("groq"), &json!(2))
        );
        assert_eq!(outside.get("request.id"), None);
        assert_eq!((&inside["request.id"], &inside["ok"]), (&json!("r-7"), &json!(true)));
        assert_eq!(inside["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(inside["timestamp"].as_str().unwrap().parse::<Timestamp>().is_ok(), "{inside}");
    }

    #[test]
    fn text_stays_on_one_line() {
        let text = lines_of(Text, || {
            let scope = RequestScope::new("r-8".into(), |_| None);
            let _within = scope.enter();
            tracing::info!(url.path = "/a\nb", "GET /a\x1b[2J");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(" INFO GET /a\\u{1b}[2J url.path=/a\\nb request.id=r-8"), "{text}");
    }
}
