//! The story of one request: plan → admit → attempt → relay → settle → record.

pub mod attempt_log;
pub mod error;
pub mod failover;
pub mod gauges;
pub mod instrumented;
pub mod recorder;
#[cfg(test)]
mod tests;
pub mod wait_policy;

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

pub use self::{
    attempt_log::{Attempt, Trail},
    error::FlowError,
    wait_policy::Queue,
};
use self::{
    failover::Turns,
    instrumented::{ModelCall, Seen},
    recorder::Telling,
};
pub use crate::relay::AnswerBody;
use tokio::time::Instant;
use tracing::Instrument;

use crate::{
    catalog::Current,
    domain::{ChatRequest, Client, RoutePlan},
    ledger::{Admission, ClientUsage, Lease, Ledger, LedgerError, RequestRecord},
    plan::{self, Estimates, PlanError},
    record::Journal,
    relay::{self, Ending, RelayAsk},
    shutdown::Tasks,
    upstream::{Reply, Upstream},
};

/// All that a request meets on its way. One for all: to share its parts one by one would cost each request two dozen counts.
pub struct Flow {
    pub catalog: Current,
    pub ledger: Ledger,
    pub upstream: Upstream,
    pub record: Journal<RequestRecord>,
    pub estimates: Arc<Estimates>,
    pub tasks: Tasks,
    pub queue: Queue,
    /// Bounds choosing, not streaming, nor waiting in line.
    pub route_timeout: Duration,
}

/// A committed answer: its first content is there.
pub struct Answer {
    pub provider: Arc<str>,
    /// `provider/model`
    pub model: Arc<str>,
    pub body: AnswerBody,
    pub client: Option<ClientUsage>,
}

/// Who answers, and what is held until the answer is over.
struct Found {
    reply: Reply,
    lease: Lease,
    turns: Turns,
    call: ModelCall,
}

impl Flow {
    pub fn new(
        catalog: Current,
        ledger: Ledger,
        upstream: Upstream,
        tasks: Tasks,
        queue: Queue,
        route_timeout: Duration,
    ) -> Arc<Self> {
        let record = recorder::journal(ledger.clone(), tasks.clone());
        Arc::new(Self { catalog, ledger, upstream, record, estimates: Arc::default(), tasks, queue, route_timeout })
    }

    /// One request from start to finish; `wait`: how long its caller would stand in line for room. Dropped at any await it leaves nothing unsettled and is recorded as left.
    pub fn chat(
        self: &Arc<Self>,
        client: Client,
        request: ChatRequest,
        trail: Trail,
        wait: Duration,
    ) -> impl Future<Output = Result<Answer, FlowError>> + Send + use<> {
        let flow = self.clone();
        async move {
            let (telling, seen) =
                (Telling::begin(&flow.record, &client, &request, &trail), Seen::begin(&request.model));
            match flow.choose(&client, &request, trail, wait).await {
                Ok(found) => Ok(flow.relay(found, &request, telling, seen)),
                Err(error) => {
                    seen.failed(&error);
                    telling.failed(&error);
                    Err(error)
                }
            }
        }
    }

    /// Records a request that was refused before it could be read.
    pub fn turned_away(&self, client: &Client, trail: &Trail, status: u16, code: Option<&str>) {
        Telling::of(&self.record, client, "", false, trail).turned_away(status, code);
    }

    /// Each turn strikes candidates, so the plan bounds the loop.
    async fn choose(
        &self,
        client: &Client,
        request: &ChatRequest,
        trail: Trail,
        wait: Duration,
    ) -> Result<Found, FlowError> {
        let mut client = client.clone();
        let mut turns = Turns::new(self.plan(&client, request)?, trail, request.tier, wait, self.route_timeout);
        let mut admission = self.admit(&client, &mut turns).await;
        loop {
            if let Ok(Admission::ClientChanged) = admission {
                client = self.ledger.reauthenticate(&client).await?;
                turns.keep_planned(&self.plan(&client, request)?);
                admission = self.admit(&client, &mut turns).await;
                continue;
            }
            let lease = turns.lease(&self.ledger, admission)?;
            let candidate = lease.candidate().clone();
            lease.mark_sent();
            let call = ModelCall::begin(&candidate, request);
            let sent = {
                let sending = pin!(self.upstream.attempt(&candidate, request).instrument(call.span()));
                turns.within(&candidate, sending).await
            };
            let fault = match sent {
                Ok(reply) => return Ok(Found { reply, lease, turns, call }),
                Err(fault) => fault,
            };
            call.failed(&fault);
            match turns.failed(&candidate, &fault) {
                Ok(()) => {
                    let began = Instant::now();
                    // Boxed: what is rare shall not be carried by every request.
                    let goes_on = self.ledger.settle_and_admit(lease, fault.outcome, turns.ask(&client));
                    admission = Box::pin(goes_on).await;
                    turns.stood_still(began.elapsed());
                }
                Err(end) => {
                    lease.settle(fault.outcome);
                    return Err(end);
                }
            }
        }
    }

    fn plan(&self, client: &Client, request: &ChatRequest) -> Result<RoutePlan, PlanError> {
        instrumented::plan(client, request, || {
            plan::route(&self.catalog.load(), &self.ledger.snapshot(), &self.estimates, client, request)
        })
    }

    async fn admit(&self, client: &Client, turns: &mut Turns) -> Result<Admission, LedgerError> {
        let began = Instant::now();
        let admission = self.ledger.admit(turns.ask(client)).await;
        turns.stood_still(began.elapsed());
        admission
    }

    /// From here on the answer's body carries the lease; its end settles, teaches and records.
    fn relay(&self, found: Found, request: &ChatRequest, mut telling: Telling, mut seen: Seen) -> Answer {
        let Found { reply, lease, turns, call } = found;
        let candidate = reply.candidate.clone();
        turns.answered(&candidate);
        telling.answering(&candidate);
        call.answered(&reply);
        seen.answering(&candidate);
        let (provider, model) = (candidate.provider.id.clone(), candidate.name.clone());
        let client = lease.client_usage().copied();
        let ask = RelayAsk { include_usage: request.include_usage, charge: turns.charge(&candidate) };
        let (estimates, size, n) = (self.estimates.clone(), request.size, request.n);
        let body = relay::answer(reply, lease, ask, move |ended| {
            if let (Ending::Complete, Some(usage)) = (&ended.how, ended.usage) {
                estimates.learn(&candidate.name, &size, n, usage.input, usage.output);
            }
            call.ended(&ended);
            seen.ended(&ended);
            telling.ended(&ended);
        });
        Answer { provider, model, body, client }
    }
}
