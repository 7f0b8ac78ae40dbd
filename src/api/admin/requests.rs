//! `GET /admin/v1/requests`: the journal, newest first, filtered.

use std::collections::HashMap;

use actix_web::{
    HttpRequest,
    web::{Data, Json},
};
use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{Array, Ref},
};

use crate::{
    api::{
        edge::{
            auth::Admin,
            error::ApiError,
            flow_error,
            pagination::Paging,
            query::{Query, wrong},
            state::Edge,
        },
        v1::status::instant,
    },
    ledger::{AttemptRecord, JournalRange, PassedOver, RecordId, RequestRecord},
};

const PARAMETERS: [&str; 9] = ["client", "provider", "model", "status", "search", "since", "until", "limit", "cursor"];
/// Lines of one read where a filter may pass most of them over, and reads of one call: then the page ends early.
const CHUNK: usize = 100;
const CHUNKS_MOST: usize = 20;
/// By so much a replica's clock may be ahead of the ledger's. ms.
const CLOCKS_APART_MS: i64 = 60_000;

/// One page of the journal.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RequestList)]
pub struct List {
    object: &'static str,
    data: Vec<Record>,
    /// Where the next page begins; null at the journal's end.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// One finished request.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Request)]
pub struct Record {
    object: &'static str,
    /// Its `x-request-id`.
    id: String,
    cursor: String,
    /// When it came in.
    #[schema(format = DateTime)]
    time: String,
    client: String,
    #[schema(required)]
    client_name: Option<String>,
    model_asked: String,
    /// Of the candidate that answered, else of the last that was asked.
    #[schema(required)]
    provider: Option<String>,
    #[schema(required)]
    model: Option<String>,
    #[schema(required)]
    account: Option<String>,
    /// 499: the caller left; 502 after a 200: the stream broke.
    status: u16,
    stream: bool,
    #[schema(schema_with = attempts)]
    attempts: Vec<AttemptRecord>,
    #[schema(schema_with = passed_over)]
    passed_over: Vec<PassedOver>,
    waited_ms: i64,
    #[schema(required)]
    first_content_ms: Option<i64>,
    duration_ms: i64,
    #[schema(required)]
    tokens_in: Option<i64>,
    #[schema(required)]
    tokens_out: Option<i64>,
    #[schema(required)]
    error_code: Option<String>,
    #[schema(required)]
    trace_id: Option<String>,
}

/// Types of the ledger, which knows nothing of the document: they stand in `shapes/usage.json`.
fn attempts() -> Array {
    Array::new(Ref::from_schema_name("Attempt"))
}

fn passed_over() -> Array {
    Array::new(Ref::from_schema_name("PassedOver"))
}

impl Record {
    pub fn of(id: RecordId, line: RequestRecord, names: &HashMap<String, String>) -> Self {
        let served = line.model().map(str::to_owned);
        let account = match &*line.account {
            "" => line.attempts.last().map(|a| a.account.clone()).filter(|account| !account.is_empty()),
            account => Some(account.to_owned()),
        };
        // An account is told once; whose attempt was at which is seen by its candidate.
        let attempts = line.attempts.into_iter().map(|tried| AttemptRecord { account: String::new(), ..tried });
        Self {
            object: "request",
            id: line.request_id,
            cursor: id.to_string(),
            time: instant(line.time_ms),
            client_name: names.get(&line.client).cloned(),
            client: line.client,
            model_asked: line.requested_model,
            provider: served.as_deref().and_then(|name| name.split('/').next()).map(str::to_owned),
            model: served,
            account,
            status: line.status,
            stream: line.stream,
            attempts: attempts.collect(),
            passed_over: line.passed_over,
            waited_ms: line.waited_ms,
            first_content_ms: line.first_token_ms,
            duration_ms: line.duration_ms,
            tokens_in: line.tokens_in,
            tokens_out: line.tokens_out,
            error_code: line.error_code,
            trace_id: line.trace_id,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StatusFilter {
    Ok,
    /// Neither answered nor limited.
    Error,
    Exactly(u16),
}

impl StatusFilter {
    fn read(text: &str) -> Option<Self> {
        match text {
            "ok" => Some(Self::Ok),
            "error" => Some(Self::Error),
            number => number.parse().ok().filter(|status| (100..=599).contains(status)).map(Self::Exactly),
        }
    }

    fn takes(self, status: u16) -> bool {
        match self {
            Self::Ok => status < 400,
            Self::Error => status >= 400 && status != 429,
            Self::Exactly(wanted) => status == wanted,
        }
    }
}

struct Filter<'a> {
    client: Option<&'a str>,
    provider: Option<&'a str>,
    model: Option<&'a str>,
    status: Option<StatusFilter>,
    search: Option<String>,
    since: Option<i64>,
    until: Option<i64>,
}

impl<'a> Filter<'a> {
    fn read(query: &'a Query) -> Result<Self, ApiError> {
        let (since, until) = (query.instant("since")?, query.instant("until")?);
        if since.zip(until).is_some_and(|(since, until)| since > until) {
            return Err(wrong("since", "`since` is after `until`.".to_owned()));
        }
        Ok(Self {
            client: query.text("client"),
            provider: query.text("provider"),
            model: query.text("model"),
            status: query.read_as("status", "`ok`, `error` or a status such as 429", StatusFilter::read)?,
            search: query.text("search").map(str::to_lowercase),
            since,
            until,
        })
    }

    fn is_open(&self) -> bool {
        let Self { client, provider, model, status, search, since, until } = self;
        client.or(*provider).or(*model).is_none() && status.is_none() && search.is_none() && since.or(*until).is_none()
    }

    fn takes(&self, line: &RequestRecord, names: &HashMap<String, String>) -> bool {
        self.client.is_none_or(|client| line.client == client)
            && self.provider.is_none_or(|provider| line.provider() == Some(provider))
            && self.model.is_none_or(|model| line.model() == Some(model) || line.requested_model == model)
            && self.status.is_none_or(|status| status.takes(line.status))
            && self.since.is_none_or(|since| line.time_ms >= since)
            && self.until.is_none_or(|until| line.time_ms <= until)
            && self.search.as_ref().is_none_or(|words| {
                let name = names.get(&line.client).map_or("", String::as_str);
                let fields =
                    [&line.request_id, &line.client, name, &line.requested_model, line.model().unwrap_or_default()];
                fields.iter().any(|field| field.to_lowercase().contains(words))
            })
    }

    /// Written then, a line came in no later: neither this one nor any before it is wanted.
    fn is_before(&self, written: RecordId) -> bool {
        self.since.is_some_and(|since| written.ms < u64::try_from(since - CLOCKS_APART_MS).unwrap_or(0))
    }
}

/// The journal: finished requests, the newest first
#[utoipa::path(
    get, path = "/admin/v1/requests", tag = "usage", operation_id = "list_requests",
    security(("admin_key" = [])),
    params(
        ("client" = Option<String>, Query, nullable = false, description = "The id of a client"),
        ("provider" = Option<String>, Query, nullable = false, example = "groq"),
        ("model" = Option<String>, Query, nullable = false, description = "As asked for, or `provider/model`"),
        ("status" = Option<String>, Query, nullable = false, description = "`ok`, `error` or a number", example = "ok"),
        ("search" = Option<String>, Query, nullable = false, description = "In ids, names of clients and models"),
        ("since" = Option<String>, Query, nullable = false, format = DateTime, example = "2026-01-31T12:00:00Z"),
        ("until" = Option<String>, Query, nullable = false, format = DateTime),
        Paging,
    ),
    responses((status = 200, description = "A page of the journal", body = List)),
)]
pub async fn list(edge: Data<Edge>, _: Admin, request: HttpRequest) -> Result<Json<List>, ApiError> {
    let query = Query::of(&request, &PARAMETERS)?;
    let filter = Filter::read(&query)?;
    let most = query.number("limit", 50, 1..=200)?;
    let from = query.read_as("cursor", "a `next_cursor` of this endpoint", |text| text.parse::<RecordId>().ok())?;
    let (data, next) = page(&edge, &filter, most, from).await?;
    Ok(Json(List { object: "list", data, next_cursor: next.map(|id| id.to_string()) }))
}

/// Up to `most` lines, and where to go on. One line more is looked for, so that the last page says that it is the last.
async fn page(
    edge: &Edge,
    filter: &Filter<'_>,
    most: usize,
    mut from: Option<RecordId>,
) -> Result<(Vec<Record>, Option<RecordId>), ApiError> {
    let mut found: Vec<Record> = Vec::new();
    let mut last_found = None;
    let chunk = if filter.is_open() { most + 1 } else { CHUNK };
    for _ in 0..CHUNKS_MOST {
        let reading = from.map_or(JournalRange::Newest, JournalRange::OlderThan);
        let page = edge.flow.ledger.journal(chunk, reading).await.map_err(|e| flow_error::unread(&e))?;
        let clients = page.records.iter().map(|(_, line)| line.client.as_str());
        let names = edge.names.of(&edge.flow.ledger, clients).await;
        for (id, line) in page.records {
            if filter.is_before(id) {
                return Ok((found, None));
            }
            if !filter.takes(&line, &names) {
                continue;
            }
            if found.len() == most {
                return Ok((found, last_found));
            }
            found.push(Record::of(id, line, &names));
            last_found = Some(id);
        }
        if page.scanned < chunk {
            return Ok((found, None));
        }
        from = page.last;
    }
    // A full page goes on behind its last line, so that what was looked at in vain is looked at again.
    Ok(if found.len() == most { (found, last_found) } else { (found, from) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_word_or_a_number() {
        for (text, takes) in
            [("ok", [true, false, false]), ("error", [false, false, true]), ("429", [false, true, false])]
        {
            let filter = StatusFilter::read(text).unwrap();
            assert_eq!([200, 429, 502].map(|status| filter.takes(status)), takes, "{text}");
        }
        for wrong in ["OK", "42", "700", "-1", "4xx"] {
            assert_eq!(StatusFilter::read(wrong), None, "{wrong}");
        }
    }
}
