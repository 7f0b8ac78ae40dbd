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
    attempt_log::{Attempt, AttemptLog},
    error::FlowError,
    wait_policy::WaitLimits,
};
use self::{
    failover::Failover,
    instrumented::{ChatMetrics, ModelCall},
    recorder::RequestRecorder,
};
pub use crate::relay::ChatBody;
use tokio::time::Instant;
use tracing::Instrument;

use crate::{
    catalog::Current,
    domain::{ChatRequest, Client, RoutePlan},
    ledger::{Admission, ClientUsage, Lease, Ledger, LedgerError, RequestRecord},
    plan::{self, Estimates, PlanError},
    record::Journal,
    relay::{self, Ending, RelayContext},
    shutdown::Tasks,
    upstream::{Reply, Upstream},
};

/// All that a request meets on its way. One for all: to share its parts one by one would cost each request two dozen counts.
pub struct Flow {
    pub catalog: Current,
    pub ledger: Ledger,
    pub upstream: Upstream,
    pub journal: Journal<RequestRecord>,
    pub estimates: Arc<Estimates>,
    pub tasks: Tasks,
    pub wait_limits: WaitLimits,
    /// Bounds choosing, not streaming, nor waiting in line.
    pub route_timeout: Duration,
}

/// A committed answer: its first content is there.
pub struct ChatReply {
    pub provider: Arc<str>,
    /// `provider/model`
    pub model: Arc<str>,
    pub body: ChatBody,
    pub client: Option<ClientUsage>,
}

/// Who answers, and what is held until the answer is over.
struct Selected {
    reply: Reply,
    lease: Lease,
    failover: Failover,
    call: ModelCall,
}

impl Flow {
    pub fn new(
        catalog: Current,
        ledger: Ledger,
        upstream: Upstream,
        tasks: Tasks,
        wait_limits: WaitLimits,
        route_timeout: Duration,
    ) -> Arc<Self> {
        let journal = recorder::journal(ledger.clone(), tasks.clone());
        Arc::new(Self {
            catalog,
            ledger,
            upstream,
            journal,
            estimates: Arc::default(),
            tasks,
            wait_limits,
            route_timeout,
        })
    }

    /// One request from start to finish; `wait`: how long its caller would stand in line for room. Dropped at any await it leaves nothing unsettled and is recorded as left.
    pub fn chat(
        self: &Arc<Self>,
        client: Client,
        request: ChatRequest,
        attempt_log: AttemptLog,
        wait: Duration,
    ) -> impl Future<Output = Result<ChatReply, FlowError>> + Send + use<> {
        let flow = self.clone();
        async move {
            let (recorder, seen) = (
                RequestRecorder::begin(&flow.journal, &client, &request, &attempt_log),
                ChatMetrics::begin(&request.model),
            );
            match flow.choose(&client, &request, attempt_log, wait).await {
                Ok(found) => Ok(flow.relay(found, &request, recorder, seen)),
                Err(error) => {
                    seen.failed(&error);
                    recorder.failed(&error);
                    Err(error)
                }
            }
        }
    }

    /// Records a request that was refused before it could be read.
    pub fn record_rejected(&self, client: &Client, attempt_log: &AttemptLog, status: u16, code: Option<&str>) {
        RequestRecorder::of(&self.journal, client, "", false, attempt_log).rejected(status, code);
    }

    /// Each turn strikes candidates, so the plan bounds the loop.
    async fn choose(
        &self,
        client: &Client,
        request: &ChatRequest,
        attempt_log: AttemptLog,
        wait: Duration,
    ) -> Result<Selected, FlowError> {
        let mut client = client.clone();
        let mut failover =
            Failover::new(self.plan(&client, request)?, attempt_log, request.tier, wait, self.route_timeout);
        let mut admission = self.admit(&client, &mut failover).await;
        loop {
            if let Ok(Admission::ClientChanged) = admission {
                client = self.ledger.reauthenticate(&client).await?;
                failover.keep_planned(&self.plan(&client, request)?);
                admission = self.admit(&client, &mut failover).await;
                continue;
            }
            let lease = failover.lease(&self.ledger, admission)?;
            let candidate = lease.candidate().clone();
            lease.mark_sent();
            let call = ModelCall::begin(&candidate, request);
            let sent = {
                let sending = pin!(self.upstream.attempt(&candidate, request).instrument(call.span()));
                failover.within(&candidate, sending).await
            };
            let fault = match sent {
                Ok(reply) => return Ok(Selected { reply, lease, failover, call }),
                Err(fault) => fault,
            };
            call.failed(&fault);
            match failover.failed(&candidate, &fault) {
                Ok(()) => {
                    let began = Instant::now();
                    // Boxed: what is rare shall not be carried by every request.
                    let goes_on = self.ledger.settle_and_admit(lease, fault.outcome, failover.ask(&client));
                    admission = Box::pin(goes_on).await;
                    failover.stood_still(began.elapsed());
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

    async fn admit(&self, client: &Client, failover: &mut Failover) -> Result<Admission, LedgerError> {
        let began = Instant::now();
        let admission = self.ledger.admit(failover.ask(client)).await;
        failover.stood_still(began.elapsed());
        admission
    }

    /// From here on the answer's body carries the lease; its end settles, teaches and records.
    fn relay(
        &self,
        found: Selected,
        request: &ChatRequest,
        mut recorder: RequestRecorder,
        mut seen: ChatMetrics,
    ) -> ChatReply {
        let Selected { reply, lease, failover, call } = found;
        let candidate = reply.candidate.clone();
        failover.answered(&candidate);
        recorder.answering(&candidate);
        call.answered(&reply);
        seen.answering(&candidate);
        let (provider, model) = (candidate.provider.id.clone(), candidate.name.clone());
        let client = lease.client_usage().copied();
        let ask = RelayContext { include_usage: request.include_usage, charge: failover.charge(&candidate) };
        let (estimates, size, n) = (self.estimates.clone(), request.size, request.n);
        let body = relay::answer(reply, lease, ask, move |ended| {
            if let (Ending::Complete, Some(usage)) = (&ended.ending, ended.usage) {
                estimates.learn(&candidate.name, &size, n, usage.input, usage.output);
            }
            call.ended(&ended);
            seen.ended(&ended);
            recorder.ended(&ended);
        });
        ChatReply { provider, model, body, client }
    }
}
