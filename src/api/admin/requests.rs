//! `GET /admin/v1/requests`: the journal of finished requests, newest first, with filters.

use std::collections::HashMap;

use actix_web::{
    HttpRequest,
    web::{Data, Json},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    api::edge::{
        auth::Admin,
        error::ApiError,
        flow_error,
        pagination::{self, List, PageParams},
        query::{Query, invalid_parameter},
        state::AppState,
        timestamp::timestamp,
    },
    ledger::{AttemptRecord, JournalRange, PassedOver, RecordId, RequestRecord},
};

const PARAMETERS: [&str; 9] = ["client", "provider", "model", "status", "search", "since", "until", "limit", "cursor"];
/// Records read at a time when a filter may skip most of them.
const CHUNK: usize = 100;
/// Reads per request. A page may end early because of it; `next_cursor` then continues the search.
const MAX_CHUNKS: usize = 20;
/// How far a replica's clock may be ahead of the ledger's.
const MAX_CLOCK_SKEW_MS: i64 = 60_000;

/// One finished request.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Request)]
pub(crate) struct RequestObject {
    object: &'static str,
    /// The `x-request-id`
    id: String,
    cursor: String,
    /// When the request arrived
    #[schema(format = DateTime)]
    time: String,
    client: String,
    #[schema(required)]
    client_name: Option<String>,
    /// The model of the request
    model_requested: String,
    /// Of the candidate that answered, else of the last attempt
    #[schema(required)]
    provider: Option<String>,
    #[schema(required)]
    model: Option<String>,
    #[schema(required)]
    account: Option<String>,
    /// 499: the caller left. 502: also where a stream broke after its 200
    status: u16,
    stream: bool,
    /// The protocol of the client: `chat`, `messages` or `responses`
    protocol: String,
    /// What the client calls the session, or `opening-…` where it was recognised by the beginning of the conversation
    #[schema(required)]
    session: Option<String>,
    attempts: Vec<AttemptObject>,
    passed_over: Vec<SkippedCandidate>,
    waited_ms: i64,
    /// Time in which the ledger could not be reached or did not answer
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger_wait_ms: Option<i64>,
    #[schema(required)]
    first_token_ms: Option<i64>,
    duration_ms: i64,
    #[schema(required)]
    tokens_in: Option<i64>,
    #[schema(required)]
    tokens_out: Option<i64>,
    /// Part of `tokens_in` that the provider had cached
    #[schema(required)]
    tokens_cached: Option<i64>,
    /// Seconds of sound that were counted
    #[serde(skip_serializing_if = "Option::is_none")]
    audio_seconds: Option<i64>,
    #[schema(required)]
    error_code: Option<String>,
    #[schema(required)]
    trace_id: Option<String>,
}

/// One call to one candidate.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Attempt)]
struct AttemptObject {
    candidate: String,
    /// `ok`, `429_rpd`, `timeout`, `left`, …
    cause: String,
    /// Since the request arrived
    at_ms: i64,
    duration_ms: i64,
}

/// A candidate without an attempt, and the reason.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PassedOver)]
struct SkippedCandidate {
    candidate: String,
    /// `rpm`, `breaker`, …
    why: String,
    retry_in_ms: i64,
}

impl RequestObject {
    pub(crate) fn new(id: RecordId, line: RequestRecord, names: &HashMap<String, String>) -> Self {
        let served = line.model().map(str::to_owned);
        let account = match &*line.account {
            "" => line.attempts.last().map(|a| a.account.clone()).filter(|account| !account.is_empty()),
            account => Some(account.to_owned()),
        };
        let attempt = |AttemptRecord { candidate, cause, at_ms, duration_ms, .. }: AttemptRecord| AttemptObject {
            candidate,
            cause,
            at_ms,
            duration_ms,
        };
        let skipped = |PassedOver { candidate, why, retry_in_ms }| SkippedCandidate { candidate, why, retry_in_ms };
        Self {
            object: "request",
            id: line.request_id,
            cursor: id.to_string(),
            time: timestamp(line.time_ms),
            client_name: names.get(&line.client).cloned(),
            client: line.client,
            model_requested: line.requested_model,
            provider: served.as_deref().and_then(|name| name.split('/').next()).map(str::to_owned),
            model: served,
            account,
            status: line.status,
            stream: line.stream,
            protocol: if line.protocol.is_empty() { "chat".to_owned() } else { line.protocol },
            session: Some(line.session).filter(|session| !session.is_empty()),
            attempts: line.attempts.into_iter().map(attempt).collect(),
            passed_over: line.passed_over.into_iter().map(skipped).collect(),
            waited_ms: line.waited_ms,
            ledger_wait_ms: line.ledger_wait_ms,
            first_token_ms: line.first_token_ms,
            duration_ms: line.duration_ms,
            tokens_in: line.tokens_in,
            tokens_out: line.tokens_out,
            tokens_cached: line.tokens_out.map(|_| line.tokens_cached.unwrap_or(0)),
            audio_seconds: line.audio_seconds,
            error_code: line.error_code,
            trace_id: line.trace_id,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StatusFilter {
    Ok,
    /// Any error but 429.
    Error,
    Exactly(u16),
}

impl StatusFilter {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "ok" => Some(Self::Ok),
            "error" => Some(Self::Error),
            number => number.parse().ok().filter(|status| (100..=599).contains(status)).map(Self::Exactly),
        }
    }

    fn matches(self, status: u16) -> bool {
        match self {
            Self::Ok => status < 400,
            Self::Error => status >= 400 && status != 429,
            Self::Exactly(expected) => status == expected,
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
    fn parse(query: &'a Query) -> Result<Self, ApiError> {
        let (since, until) = (query.timestamp("since")?, query.timestamp("until")?);
        if since.zip(until).is_some_and(|(since, until)| since > until) {
            return Err(invalid_parameter("since", "`since` is after `until`.".to_owned()));
        }
        Ok(Self {
            client: query.text("client"),
            provider: query.text("provider"),
            model: query.text("model"),
            status: query.parse_with("status", "`ok`, `error` or a status such as 429", StatusFilter::parse)?,
            search: query.text("search").map(str::to_lowercase),
            since,
            until,
        })
    }

    fn is_empty(&self) -> bool {
        let Self { client, provider, model, status, search, since, until } = self;
        client.or(*provider).or(*model).is_none() && status.is_none() && search.is_none() && since.or(*until).is_none()
    }

    fn matches(&self, line: &RequestRecord, names: &HashMap<String, String>) -> bool {
        self.client.is_none_or(|client| line.client == client)
            && self.provider.is_none_or(|provider| line.provider() == Some(provider))
            && self.model.is_none_or(|model| line.model() == Some(model) || line.requested_model == model)
            && self.status.is_none_or(|status| status.matches(line.status))
            && self.since.is_none_or(|since| line.time_ms >= since)
            && self.until.is_none_or(|until| line.time_ms <= until)
            && self.search.as_ref().is_none_or(|search| {
                let name = names.get(&line.client).map_or("", String::as_str);
                let model = line.model().unwrap_or_default();
                let fields = [&line.request_id, &line.client, name, &line.requested_model, model, &line.session];
                fields.iter().any(|field| field.to_lowercase().contains(search))
            })
    }

    /// Whether a request recorded with this id, and so every older one, arrived before `since`.
    fn excludes_older(&self, recorded: RecordId) -> bool {
        self.since.is_some_and(|since| recorded.ms < u64::try_from(since - MAX_CLOCK_SKEW_MS).unwrap_or(0))
    }
}

/// Finished requests, newest first
#[utoipa::path(
    get, path = "/admin/v1/requests", tag = "usage", operation_id = "list_requests",
    security(("admin_key" = [])),
    params(
        ("client" = Option<String>, Query, nullable = false, description = "A client id"),
        ("provider" = Option<String>, Query, nullable = false, example = "groq"),
        ("model" = Option<String>, Query, nullable = false, description = "The model of the request, or `provider/model`"),
        ("status" = Option<String>, Query, nullable = false, description = "`ok`, `error` or a status code", example = "ok"),
        ("search" = Option<String>, Query, nullable = false, description = "Part of an id, client name, model or session"),
        ("since" = Option<String>, Query, nullable = false, format = DateTime, example = "2026-01-31T12:00:00Z"),
        ("until" = Option<String>, Query, nullable = false, format = DateTime),
        PageParams,
    ),
    responses((status = 200, description = "A page of requests", body = List<RequestObject>)),
)]
pub(crate) async fn list(
    state: Data<AppState>,
    _: Admin,
    request: HttpRequest,
) -> Result<Json<List<RequestObject>>, ApiError> {
    let query = Query::parse(&request, &PARAMETERS)?;
    let filter = Filter::parse(&query)?;
    let limit = pagination::limit(&query)?;
    let from = query.parse_with("cursor", pagination::EXPECTED_CURSOR, |text| text.parse::<RecordId>().ok())?;
    let (data, next) = page(&state, &filter, limit, from).await?;
    Ok(Json(List::new(data, next.map(|id| id.to_string()))))
}

/// Up to `limit` requests, and the cursor of the next page. One more is searched for, so that the last page is known to be
/// the last.
async fn page(
    state: &AppState,
    filter: &Filter<'_>,
    limit: usize,
    mut from: Option<RecordId>,
) -> Result<(Vec<RequestObject>, Option<RecordId>), ApiError> {
    let mut found: Vec<RequestObject> = Vec::new();
    let mut last_found = None;
    let chunk = if filter.is_empty() { limit + 1 } else { CHUNK };
    for _ in 0..MAX_CHUNKS {
        let reading = from.map_or(JournalRange::Newest, JournalRange::OlderThan);
        let page = state.flow.ledger.journal(chunk, reading).await.map_err(|e| flow_error::from_ledger_read(&e))?;
        let clients = page.records.iter().map(|(_, line)| line.client.as_str());
        let names = state.display_names.lookup(&state.flow.ledger, clients).await;
        for (id, line) in page.records {
            if filter.excludes_older(id) {
                return Ok((found, None));
            }
            if !filter.matches(&line, &names) {
                continue;
            }
            if found.len() == limit {
                return Ok((found, last_found));
            }
            found.push(RequestObject::new(id, line, &names));
            last_found = Some(id);
        }
        if page.scanned < chunk {
            return Ok((found, None));
        }
        from = page.last;
    }
    // After a full page the next one continues behind its last record, not behind the last one read.
    Ok(if found.len() == limit { (found, last_found) } else { (found, from) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_filter_is_a_name_or_a_code() {
        for (text, expected) in
            [("ok", [true, false, false]), ("error", [false, false, true]), ("429", [false, true, false])]
        {
            let filter = StatusFilter::parse(text).unwrap();
            assert_eq!([200, 429, 502].map(|status| filter.matches(status)), expected, "{text}");
        }
        for invalid in ["OK", "42", "700", "-1", "4xx"] {
            assert_eq!(StatusFilter::parse(invalid), None, "{invalid}");
        }
    }
}
