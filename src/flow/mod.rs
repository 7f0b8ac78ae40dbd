//! One request from start to finish: plan → admit → attempt → relay → settle → record.

mod affinity;
mod allowances;
pub(crate) mod attempt_log;
mod embeddings;
pub(crate) mod error;
pub(crate) mod failover;
pub(crate) mod gauges;
pub(crate) mod instrumented;
pub(crate) mod model_lists;
pub(crate) mod recorder;
mod signatures;
#[cfg(test)]
mod tests;
pub(crate) mod wait_policy;

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use self::{
    affinity::Affinity,
    failover::Failover,
    instrumented::{ChatMetrics, ModelCall},
    recorder::RequestRecorder,
    signatures::SignedRequest,
};
pub(crate) use self::{
    attempt_log::{Attempt, AttemptLog},
    error::FlowError,
    wait_policy::WaitLimits,
};
pub(crate) use crate::relay::ChatBody;
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

/// Shared state of the request pipeline. Kept behind one `Arc` so that a request clones one reference count instead of two
/// dozen.
pub(crate) struct Flow {
    pub catalog: Current,
    pub ledger: Ledger,
    pub upstream: Upstream,
    pub journal: Journal<RequestRecord>,
    pub estimates: Arc<Estimates>,
    pub tasks: Tasks,
    pub wait_limits: WaitLimits,
    /// Time in which a candidate must have replied. Streaming and waiting in the queue do not count.
    pub route_timeout: Duration,
}

/// A committed reply: the provider has sent its first content.
pub(crate) struct ChatReply {
    pub provider: Arc<str>,
    /// `provider/model`
    pub model: Arc<str>,
    pub body: ChatBody,
    pub client: Option<ClientUsage>,
}

/// The candidate that replied, with its lease.
struct Selected {
    reply: Reply,
    lease: Lease,
    failover: Failover,
    call: ModelCall,
}

impl Flow {
    pub(crate) fn new(
        catalog: Current,
        ledger: Ledger,
        upstream: Upstream,
        tasks: Tasks,
        wait_limits: WaitLimits,
        route_timeout: Duration,
    ) -> Arc<Self> {
        let journal = recorder::journal(ledger.clone(), tasks.clone());
        let estimates = Arc::default();
        Arc::new(Self { catalog, ledger, upstream, journal, estimates, tasks, wait_limits, route_timeout })
    }

    /// Waits, for at most a second, until the requests that have ended at this replica are in the journal.
    pub(crate) async fn recorded(&self) {
        // While the ledger is unreachable records wait, and so do their readers.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.journal.written()).await;
    }

    /// Handles one request; `wait` bounds its time in the wait queue. The future can be dropped at any await: the lease is
    /// then settled and the request recorded as cancelled.
    pub(crate) fn chat(
        self: &Arc<Self>,
        client: Client,
        request: ChatRequest,
        attempt_log: AttemptLog,
        wait: Duration,
    ) -> impl Future<Output = Result<ChatReply, FlowError>> + Send + use<> {
        let flow = self.clone();
        async move {
            let recorder = RequestRecorder::begin(&flow.journal, &client, &request, &attempt_log);
            let metrics = {
                let catalog = flow.catalog.load();
                ChatMetrics::begin(attempt_log.protocol(), &request, catalog.counted_as(&request.model))
            };
            let client_id = client.id.clone();
            match flow.select(client, &request, attempt_log, wait).await {
                Ok(selected) => {
                    let candidate = selected.reply.candidate.clone();
                    let reply = flow.relay(selected, &request, recorder, metrics);
                    let body = signatures::kept(&flow.ledger, client_id, &candidate, reply.body).await;
                    Ok(ChatReply { body, ..reply })
                }
                Err(error) => {
                    metrics.failed(&error);
                    recorder.failed(&error);
                    Err(error)
                }
            }
        }
    }

    /// Expected tokens of a request's prompt at the candidate that a plan would try first. Costs no budget.
    pub(crate) fn estimate_prompt(&self, client: &Client, request: &ChatRequest) -> Result<i64, PlanError> {
        let candidate = plan::first(&self.catalog.load(), &self.ledger.snapshot(), &self.estimates, client, request)?;
        Ok(self.estimates.prompt_tokens(&candidate.name, &request.size))
    }

    /// Whether the request would take what others need, so that background work should come after them.
    pub(crate) fn is_contended(&self, client: &Client, request: &ChatRequest) -> bool {
        plan::is_contended(&self.catalog.load(), &self.ledger.snapshot(), &self.estimates, client, request)
    }

    /// Tokens that a request needs and that the largest candidate takes, where it is too large for all of them.
    pub(crate) fn context_excess(&self, client: &Client, request: &ChatRequest) -> Option<(i64, i64)> {
        match self.plan(client, request, None) {
            Err(PlanError::ContextTooLong { needed, largest }) => Some((needed, largest)),
            _ => None,
        }
    }

    /// Records a request that was rejected before it was read.
    pub(crate) fn record_rejected(&self, client: &Client, attempt_log: &AttemptLog, status: u16, code: Option<&str>) {
        RequestRecorder::new(&self.journal, client, "", false, attempt_log).rejected(status, code);
    }

    /// Finds the candidate that replies. Each failed attempt excludes candidates, so the plan bounds the loop.
    async fn select(
        &self,
        mut client: Client,
        request: &ChatRequest,
        attempt_log: AttemptLog,
        wait: Duration,
    ) -> Result<Selected, FlowError> {
        let affinity = self.affinity(&client, request).await;
        let plan = self.plan(&client, request, affinity.stays_at())?;
        // Before the admission, behind which the call must leave at once.
        let signed = SignedRequest::of(request, &plan, &self.ledger, &client.id).await;
        let mut failover = Failover::new(plan, attempt_log, request.tier, wait, self.route_timeout);
        let mut admission = self.admit(&client, &mut failover).await;
        loop {
            if let Ok(Admission::ClientChanged) = admission {
                client = self.ledger.reauthenticate(&client).await?;
                failover.retain_planned(&self.plan(&client, request, affinity.stays_at())?);
                admission = self.admit(&client, &mut failover).await;
                continue;
            }
            let lease = failover.granted_lease(&self.ledger, admission)?;
            let candidate = lease.candidate().clone();
            lease.mark_sent();
            let call = ModelCall::begin(&candidate, request, failover.protocol());
            let attempt = {
                let attempt =
                    pin!(self.upstream.attempt(&candidate, signed.request(&candidate)).instrument(call.span()));
                failover.attempt(&candidate, attempt).await
            };
            let fault = match attempt {
                // The last candidate's empty response is delivered as it is.
                Ok(reply) if reply.is_empty && failover.has_alternative(&candidate) => reply.into_empty_fault(),
                Ok(reply) => {
                    affinity.served_by(&candidate, &self.ledger, &self.tasks);
                    return Ok(Selected { reply, lease, failover, call });
                }
                Err(fault) => fault,
            };
            call.failed(&fault);
            self.note_refused(&candidate, &fault);
            if let Err(error) = failover.exclude(&candidate, &fault) {
                lease.settle(fault.outcome);
                return Err(error);
            }
            let began = Instant::now();
            let settle_and_admit = self.ledger.settle_and_admit(lease, fault.outcome, failover.admit_request(&client));
            // Boxed: failover is rare, and every request would carry this future's size.
            admission = Box::pin(settle_and_admit).await;
            failover.extend_deadline(began.elapsed());
        }
    }

    async fn affinity(&self, client: &Client, request: &ChatRequest) -> Affinity {
        if request.session.is_none() {
            return Affinity::default();
        }
        // Boxed: most requests have no session, and every one would carry this future's size.
        Box::pin(Affinity::of(request, &client.id, &self.catalog.load_full(), &self.ledger)).await
    }

    fn plan(&self, client: &Client, request: &ChatRequest, stays_at: Option<&str>) -> Result<RoutePlan, PlanError> {
        instrumented::plan(client, request, || {
            plan::route(&self.catalog.load(), &self.ledger.snapshot(), &self.estimates, client, request, stays_at)
        })
    }

    async fn admit(&self, client: &Client, failover: &mut Failover) -> Result<Admission, LedgerError> {
        let began = Instant::now();
        let admission = self.ledger.admit(failover.admit_request(client)).await;
        failover.extend_deadline(began.elapsed());
        admission
    }

    /// Hands the lease to the reply's body, whose end settles it, updates the estimates and records the request.
    fn relay(
        &self,
        selected: Selected,
        request: &ChatRequest,
        mut recorder: RequestRecorder,
        mut metrics: ChatMetrics,
    ) -> ChatReply {
        let Selected { reply, lease, failover, call } = selected;
        let candidate = reply.candidate.clone();
        failover.replied(&candidate);
        recorder.replied(&candidate);
        call.replied(&reply);
        metrics.replied(&candidate);
        let (provider, model) = (candidate.provider.id.clone(), candidate.name.clone());
        let client = lease.client_usage().copied();
        let context = RelayContext { include_usage: request.include_usage, charge: failover.charge(&candidate) };
        let (estimates, size, n) = (self.estimates.clone(), candidate.prompt_size(request), request.n);
        let body = relay::answer(reply, lease, context, move |outcome| {
            if let (Ending::Complete, Some(usage)) = (&outcome.ending, outcome.usage) {
                estimates.learn(&candidate.name, &size, n, usage.input, usage.output);
            }
            call.ended(&outcome);
            metrics.ended(&outcome);
            recorder.ended(&outcome);
        });
        ChatReply { provider, model, body, client }
    }
}
