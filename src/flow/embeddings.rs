//! Embeddings: a request is split into the calls that its models take. Each call is a request of its own to the ledger, and is
//! repeated by itself where it fails. All of them compute vectors of one space.

use std::{ops::Range, sync::Arc, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{AttemptLog, ChatReply, Flow, FlowError, failover::smallest_token_window};
use crate::{
    domain::{Candidate, Client, ComputedVectors, PromptSize, RoutePlan, VectorSpace},
    protocol::embeddings::{self, EmbeddingRequest},
    relay::ChatBody,
};

/// Calls of one request at the same time.
const MAX_CALLS: usize = 4;
/// Bytes of a response, of which a provider's may have 16 MiB.
const MAX_RESPONSE_BYTES: usize = 12 << 20;
/// Bytes of one number of a vector, with its comma.
const NUMBER_BYTES: usize = 24;
/// Length of vectors that is assumed where it is not known.
const ASSUMED_DIMENSIONS: u32 = 4_096;

/// What one call at a candidate takes.
struct PartLimits {
    inputs: usize,
    tokens: i64,
}

/// The vectors of one call, and who has computed them.
struct Computed {
    vectors: ComputedVectors,
    reply: ChatReply,
}

/// One request while its parts are computed.
struct Embedding {
    flow: Arc<Flow>,
    client: Client,
    request: Arc<EmbeddingRequest>,
    attempt_log: AttemptLog,
    wait: Duration,
    space: Option<VectorSpace>,
    /// Texts that every candidate takes in one call.
    smallest: usize,
}

impl Flow {
    /// The vectors of a request, in one response; `wait` bounds the time of each call in the wait queue.
    pub(crate) async fn embed(
        self: Arc<Self>,
        client: Client,
        request: EmbeddingRequest,
        attempt_log: AttemptLog,
        wait: Duration,
    ) -> Result<ChatReply, FlowError> {
        // The longest text alone: what it fits into takes the others, too.
        let longest = request.longest();
        let plan = match self.plan(&client, &request.part(longest..longest + 1, None), None) {
            Ok(plan) => plan,
            Err(error) => {
                let error = FlowError::Plan(error);
                self.record_rejected(&client, &attempt_log, error.status(), error.code());
                return Err(error);
            }
        };
        let parts = self.parts(&request, &plan);
        let space = plan.choices.first().and_then(|choice| space(&choice.candidate, &request));
        let embedding = Embedding {
            smallest: plan.choices.iter().map(|choice| max_inputs(&choice.candidate)).min().unwrap_or(1),
            flow: self,
            client,
            request: Arc::new(request),
            attempt_log,
            wait,
            space,
        };
        let calls = parts.into_iter().map(|range| embedding.part(range));
        let computed: Vec<Vec<Computed>> = stream::iter(calls).buffered(MAX_CALLS).try_collect().await?;
        embedding.whole(computed.into_iter().flatten().collect())
    }

    /// The texts of each call, by what the first candidate takes.
    fn parts(&self, request: &EmbeddingRequest, plan: &RoutePlan) -> Vec<Range<usize>> {
        let Some(first) = plan.choices.first().map(|choice| &choice.candidate) else { return Vec::new() };
        let limits = part_limits(first);
        let (mut parts, mut start, mut tokens) = (Vec::new(), 0, 0_i64);
        for (at, text) in request.texts.iter().enumerate() {
            let needed = self.estimates.input_charge(&first.name, &text.size);
            if at > start && (at - start >= limits.inputs || tokens.saturating_add(needed) > limits.tokens) {
                parts.push(start..at);
                (start, tokens) = (at, 0);
            }
            tokens = tokens.saturating_add(needed);
        }
        parts.push(start..request.texts.len());
        parts
    }
}

impl Embedding {
    /// Computes the vectors of some texts. Where that fails for all candidates that take so many, smaller calls are tried at the
    /// candidates that take fewer.
    async fn part(&self, range: Range<usize>) -> Result<Vec<Computed>, FlowError> {
        match self.call(range.clone()).await {
            Ok(computed) => Ok(vec![computed]),
            Err(FlowError::Refused(_) | FlowError::AllFailed { .. }) if range.len() > self.smallest => {
                let mut all = Vec::new();
                for start in range.clone().step_by(self.smallest) {
                    all.push(self.call(start..(start + self.smallest).min(range.end)).await?);
                }
                Ok(all)
            }
            Err(error) => Err(error),
        }
    }

    async fn call(&self, range: Range<usize>) -> Result<Computed, FlowError> {
        let part = self.request.part(range, self.space.clone());
        let log = self.attempt_log.part();
        let result = Box::pin(self.flow.chat(self.client.clone(), part, log.clone(), self.wait)).await;
        self.attempt_log.absorb(&log);
        let reply = result?;
        let ChatBody::Whole(body) = &reply.body else { return Err(damaged("The vectors came as a stream.")) };
        let vectors = serde_json::from_slice(body).map_err(|_| damaged("The vectors cannot be read."))?;
        Ok(Computed { vectors, reply })
    }

    /// One response with the vectors of all parts.
    fn whole(&self, mut parts: Vec<Computed>) -> Result<ChatReply, FlowError> {
        if !are_of_one_length(parts.iter().map(|part| &part.vectors)) {
            return Err(damaged("The calls of this request returned vectors of different lengths."));
        }
        let mut size = PromptSize::default();
        self.request.texts.iter().for_each(|text| size.add(&text.size));
        // What a provider does not count is estimated.
        let estimate = |part: &Computed| {
            let share = part.vectors.vectors.len() as f64 / self.request.texts.len().max(1) as f64;
            #[expect(clippy::cast_possible_truncation, reason = "a share of a count of tokens")]
            let tokens = (self.flow.estimates.prompt_tokens(&part.reply.model, &size) as f64 * share) as i64;
            tokens
        };
        let prompt_tokens = parts.iter().map(|part| part.vectors.prompt_tokens.unwrap_or_else(|| estimate(part))).sum();
        let vectors = parts.iter().flat_map(|part| part.vectors.vectors.iter().map(AsRef::as_ref));
        let model = parts.last().map(|part| part.reply.model.clone()).unwrap_or_default();
        let body = embeddings::encode(vectors, &model, prompt_tokens, self.request.format);
        let body = body.map_err(|failure| damaged(&failure.message))?;
        let mut memory = self.flow.upstream.memory().reserve(self.client.id.clone());
        memory.grow(body.len()).map_err(|_| damaged("There is no memory for the vectors now."))?;
        let reply = parts.pop().ok_or_else(|| damaged("There are no vectors."))?.reply;
        Ok(ChatReply { body: ChatBody::Whole(memory.hold(body)), ..reply })
    }
}

/// Whether the vectors of all calls have one length. Each call's are checked on arrival; where only the server knows the length,
/// it may have changed between two calls.
fn are_of_one_length<'c>(calls: impl Iterator<Item = &'c ComputedVectors>) -> bool {
    let mut lengths = calls.map(ComputedVectors::length);
    let Some(first) = lengths.next() else { return true };
    lengths.all(|length| length == first)
}

/// Vectors that passed the first check and still cannot be used.
fn damaged(message: &str) -> FlowError {
    FlowError::Damaged(message.to_owned())
}

fn space(candidate: &Candidate, request: &EmbeddingRequest) -> Option<VectorSpace> {
    candidate.model.vectors.as_ref()?.space(request.dimensions)
}

fn max_inputs(candidate: &Candidate) -> usize {
    let vectors = candidate.model.vectors.as_ref();
    let stated = vectors.map_or(1, |vectors| vectors.max_inputs as usize);
    let dimensions = vectors.and_then(|vectors| vectors.dimensions).unwrap_or(ASSUMED_DIMENSIONS) as usize;
    stated.min(MAX_RESPONSE_BYTES / (dimensions * NUMBER_BYTES)).max(1)
}

/// A call takes at most half of a token window, so that one that waits for room does not need the whole of it.
fn part_limits(candidate: &Candidate) -> PartLimits {
    let stated = candidate.model.vectors.as_ref().and_then(|vectors| vectors.max_batch_tokens);
    let window = smallest_token_window(candidate) / 2;
    PartLimits { inputs: max_inputs(candidate), tokens: stated.unwrap_or(i64::MAX).min(window) }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fmt::Write as _};

    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::{super::failover::Failover, *};
    use crate::{
        catalog::Catalog,
        config,
        domain::{Fault, FaultKind, Outcome, PoolSnapshot, Tier, client::ClientKind},
        plan::{self, Estimates, PlanError},
    };

    const KINDS: [FaultKind; 9] = [
        FaultKind::RateLimited,
        FaultKind::Busy,
        FaultKind::BadKey,
        FaultKind::Gone,
        FaultKind::Rejected,
        FaultKind::TooLarge,
        FaultKind::StaleConnection,
        FaultKind::Broken,
        FaultKind::TimedOut,
    ];
    /// An id, an alias, full names, a meta-model, and a name that an alias of the file maps to it.
    const NAMES: [&str; 7] = ["x", "y", "z", "p0/x", "p1/y", "mine", "any-1"];

    fn fault(kind: FaultKind) -> Fault {
        let outcome = Outcome::unknown();
        Fault { kind, status: None, label: "x".to_owned(), message: String::new(), code: None, outcome }
    }

    /// A model at one of four servers, as the file states it.
    #[derive(Debug, Clone)]
    struct Embedder {
        server: u8,
        id: &'static str,
        has_alias: bool,
        family: Option<&'static str>,
        dimensions: Option<u32>,
        min_dimensions: Option<u32>,
    }

    fn embedder() -> impl Strategy<Value = Embedder> {
        let name = (0..4_u8, prop::sample::select(vec!["x", "y"]), any::<bool>());
        // `bge-m3` has a length in the catalogue. Few families are without one, because those stop the start.
        let family = prop::sample::select(vec![None, None, Some("f"), Some("f"), Some("g"), Some("bge-m3")]);
        let length = prop::sample::select(vec![None, Some(4_u32), Some(4), Some(8), Some(8)]);
        (name, family, length, prop::option::of(1..5_u32)).prop_map(
            |((server, id, has_alias), family, dimensions, min_dimensions)| Embedder {
                server,
                id,
                has_alias,
                family,
                dimensions,
                min_dimensions,
            },
        )
    }

    /// The file's text, in which a later model replaces an earlier one of its name.
    fn file(models: &[Embedder], members: &[&str]) -> String {
        let by_name: BTreeMap<(u8, &str), &Embedder> = models.iter().map(|m| ((m.server, m.id), m)).collect();
        let mut text = format!("[models.mine]\nmembers = {members:?}\nstrategy = \"listed\"\n");
        text.push_str("[aliases]\n\"any-*\" = \"mine\"\n");
        for server in 0..4 {
            let _ = writeln!(text, "[providers.p{server}]\nbase_url = \"http://127.0.0.1:1/v1\"");
            for (_, model) in by_name.range((server, "")..(server + 1, "")) {
                let _ = writeln!(text, "[providers.p{server}.models.{}]\nkind = \"embedding\"", model.id);
                let mut state = |name: &str, value: Option<String>| {
                    if let Some(value) = value {
                        let _ = writeln!(text, "{name} = {value}");
                    }
                };
                state("aliases", model.has_alias.then(|| "[\"z\"]".to_owned()));
                state("family", model.family.map(|family| format!("{family:?}")));
                state("dimensions", model.dimensions.map(|n| n.to_string()));
                state("min_dimensions", model.min_dimensions.map(|n| n.to_string()));
            }
        }
        text
    }

    /// What the file makes, or `None` where it rightly stops the start.
    fn catalog(models: &[Embedder], members: &[&str]) -> Option<Catalog> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tollfree.toml"), file(models, members)).unwrap();
        let has_no_length = |m: &Embedder| m.dimensions.is_none() && m.family.is_some_and(|family| family != "bge-m3");
        match config::load(&BTreeMap::new(), folder.path()) {
            Ok(loaded) => match Catalog::build(&loaded.settings, &BTreeMap::new()) {
                Ok(catalog) => Some(catalog),
                Err(error) => {
                    let known = ["compute different vectors", "is a name of both"];
                    assert!(known.iter().any(|why| error.to_string().contains(why)), "{error}");
                    None
                }
            },
            Err(error) => {
                assert!(
                    models.iter().any(has_no_length) && error.to_string().contains("also set `dimensions`"),
                    "{error}"
                );
                None
            }
        }
    }

    fn route(
        catalog: &Catalog,
        request: &EmbeddingRequest,
        space: Option<VectorSpace>,
    ) -> Result<RoutePlan, PlanError> {
        let client = Client::new("ann", ClientKind::Anonymous, []);
        let part = request.part(0..1, space);
        plan::route(catalog, &PoolSnapshot::default(), &Estimates::default(), &client, &part, None)
    }

    /// A call's vectors, of the length that the space has, or that the server chooses.
    fn computed(space: &VectorSpace, chosen: usize) -> ComputedVectors {
        let length = space.dimensions.map_or(chosen, |length| length as usize);
        let vector = RawValue::from_string(format!("{:?}", vec![0.5; length])).unwrap();
        ComputedVectors { vectors: vec![vector], prompt_tokens: None }
    }

    proptest! {
        /// Over any file that starts, any name, any faults and any change of the file between two calls, all vectors of a request
        /// are of one space, and all requests of one name and length at one catalogue are, too. What a server makes of a space
        /// whose length only it knows is used only where all its calls agree.
        #[test]
        fn a_vector_never_changes_its_family(
            models in prop::collection::vec(embedder(), 1..7),
            later in prop::collection::vec(embedder(), 0..4),
            model in prop::sample::select(NAMES.to_vec()),
            members in prop::sample::subsequence(vec!["p0/x", "p1/x", "p2/x", "y", "z"], 1..4),
            dimensions in prop::option::of(2..9_u32),
            faults in prop::collection::vec(prop::sample::select(KINDS.to_vec()), 0..8),
            chosen in prop::collection::vec(3..5_usize, 1..4),
        ) {
            let Some(catalog) = catalog(&models, &members) else { return Ok(()) };
            let body = match dimensions {
                Some(n) => format!(r#"{{"model":"{model}","input":["a","b"],"dimensions":{n}}}"#),
                None => format!(r#"{{"model":"{model}","input":["a","b"]}}"#),
            };
            let request = embeddings::decode(body.into()).unwrap();
            let Ok(plan) = route(&catalog, &request, None) else { return Ok(()) };
            let begun = super::space(&plan.choices[0].candidate, &request).unwrap();
            prop_assert!(dimensions.is_none() || begun.dimensions == dimensions);
            prop_assert!(begun.dimensions.is_some() || begun.family.contains('/'), "a stated family has a length");
            let of_begun = |c: &Arc<Candidate>| super::space(c, &request).as_ref() == Some(&begun);
            let log = AttemptLog::new("r");
            let mut failover = Failover::new(plan, log, Tier::Standard, Duration::ZERO, Duration::from_mins(1));
            let client = Client::new("ann", ClientKind::Anonymous, []);
            for kind in faults {
                let choices = failover.admit_request(&client).choices.to_vec();
                prop_assert!(choices.iter().all(|choice| of_begun(&choice.candidate)));
                let Some(first) = choices.first() else { break };
                if failover.exclude(&first.candidate, &fault(kind)).is_err() {
                    break;
                }
            }
            if let Ok(again) = route(&catalog, &request, None) {
                prop_assert!(of_begun(&again.choices[0].candidate));
            }
            let changed: Vec<_> = models.into_iter().skip(1).chain(later).collect();
            if let Some(changed) = self::catalog(&changed, &members)
                && let Ok(part) = route(&changed, &request, Some(begun.clone()))
            {
                prop_assert!(part.choices.iter().all(|choice| of_begun(&choice.candidate)));
            }
            let calls: Vec<ComputedVectors> = chosen.iter().map(|length| computed(&begun, *length)).collect();
            let is_known_or_same = begun.dimensions.is_some() || chosen.iter().all(|length| *length == chosen[0]);
            prop_assert_eq!(are_of_one_length(calls.iter()), is_known_or_same);
        }
    }
}
