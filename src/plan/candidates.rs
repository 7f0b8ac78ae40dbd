//! The candidates that support a request. Dropping one here costs nothing; a kept one may still reject the request.

use std::{collections::BTreeMap, sync::Arc};

use super::{Estimates, PlanError};
use crate::domain::{
    Candidate, Capabilities, Charge, ChatRequest, Choice, EmbeddingInputs, PoolSnapshot, SubjectSnapshot, Unit,
    provider::{Model, Wire},
};

/// Why a candidate cannot serve a request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Unfit {
    /// It does not support a part of the request: the parameter, and a description for the error.
    Unsupported { param: String, what: String },
    /// Tokens needed, and the most that fit.
    TooSmall { needed: i64, most: i64 },
    /// Disabled in the configuration file.
    Disabled,
}

/// A parameter that only excludes candidates while others take it.
const PREFERENCE: &str = "parallel_tool_calls";

/// A candidate that supports the request, and the snapshot of its account and model.
#[derive(Debug)]
pub(crate) struct Eligible<'a> {
    pub choice: Choice,
    pub seen: Option<&'a SubjectSnapshot>,
}

/// The members that support the request, in the members' order, or the reason why there is none.
pub(crate) fn eligible<'a>(
    members: &[Arc<Candidate>],
    snapshot: &'a PoolSnapshot,
    learned: &Estimates,
    request: &ChatRequest,
) -> Result<Vec<Eligible<'a>>, PlanError> {
    let mut eligible = Vec::with_capacity(members.len());
    for candidate in members {
        let charge = learned.charge(candidate, request);
        let seen = snapshot.subject(candidate);
        if unfit(candidate, &charge, seen, request).is_none() {
            eligible.push(Eligible { choice: Choice { candidate: candidate.clone(), charge }, seen });
        }
    }
    if eligible.is_empty() {
        // Some libraries always ask for one call at a time: that is a preference among the candidates, and no condition.
        if request.parameters.iter().any(|name| name == PREFERENCE) {
            let mut request = request.clone();
            request.parameters.retain(|name| name != PREFERENCE);
            return self::eligible(members, snapshot, learned, &request);
        }
        return Err(explain(members, snapshot, learned, request));
    }
    // If only disabled candidates remain, they stay: `admit` reports that, and one may be enabled again by now.
    let is_on = |a: &Eligible<'_>| snapshot.is_enabled(&a.choice.candidate);
    if eligible.iter().any(is_on) {
        eligible.retain(is_on);
    }
    Ok(eligible)
}

/// The first reason against a candidate. It must be cheap, since it runs for every candidate of every request.
fn unfit(
    candidate: &Candidate,
    charge: &Charge,
    seen: Option<&SubjectSnapshot>,
    request: &ChatRequest,
) -> Option<Unfit> {
    let (provider, model) = (&candidate.provider, &candidate.model);
    if !provider.enabled || !model.enabled || model.zero_limit {
        return Some(Unfit::Disabled);
    }
    unsupported(model, &provider.wire, request)
        .map(|(param, what)| Unfit::Unsupported { param: param.to_owned(), what: what.to_owned() })
        .or_else(|| too_small(candidate, charge, seen, request))
}

/// The part of the request that a model or its provider's dialect does not support.
fn unsupported<'a>(model: &Model, wire: &Wire, request: &'a ChatRequest) -> Option<(&'a str, &'static str)> {
    let can = model.may_do();
    let wants = |capability| request.needs.has(capability);
    let has_images = request.images > 0 || wants(Capabilities::VISION) || wants(Capabilities::VISION_BASE64);
    let sees = can.has(Capabilities::VISION) || can.has(Capabilities::VISION_BASE64);
    let inline_only = wire.images_inline_only || !can.has(Capabilities::VISION);
    let is_missing = |capability| wants(capability) && !can.has(capability);
    let over = |count: u32, most: Option<u32>| most.is_some_and(|most| count > most);
    if is_missing(Capabilities::TOOLS) {
        Some(("tools", "tools"))
    } else if is_missing(Capabilities::JSON_SCHEMA) {
        Some(("response_format", "structured output by a JSON schema"))
    } else if is_missing(Capabilities::JSON_OBJECT) {
        Some(("response_format", "JSON mode"))
    } else if has_images && !sees {
        Some(("messages", "images"))
    } else if has_images && request.remote_images && inline_only {
        Some(("messages", "images given by a web address"))
    } else if request.private_urls && !wire.private_urls {
        Some(("messages", "images at private addresses"))
    } else if over(request.images, model.max_images) {
        Some(("messages", "that many images"))
    } else if is_missing(Capabilities::AUDIO_IN) {
        Some(("messages", "audio"))
    } else if is_missing(Capabilities::VIDEO_IN) {
        Some(("messages", "video"))
    } else if is_missing(Capabilities::PDF_IN) {
        Some(("messages", "files"))
    } else if is_missing(Capabilities::REASONING) {
        Some(("reasoning_effort", "reasoning"))
    } else if is_missing(Capabilities::TRANSLATE) {
        Some(("model", "translation of recordings"))
    } else if has_no_times(model, request) {
        Some(("response_format", "times in transcripts"))
    } else if is_too_large_a_file(model, request) {
        Some(("file", "a recording of that size"))
    } else if is_missing(Capabilities::FIM) {
        Some(("suffix", "a suffix (filling in between a prompt and a suffix)"))
    } else if has_too_many_texts(model, request) {
        Some(("input", "that many texts in one call"))
    } else if over(request.n, wire.max_n) {
        Some(("n", "that many answers to one request"))
    } else if over(request.tools, wire.max_tools) {
        Some(("tools", "that many tools"))
    } else if over(request.stops, wire.max_stop) {
        Some(("stop", "that many stop sequences"))
    } else if over(inputs(request), model.vectors.as_ref().map(|vectors| vectors.max_inputs)) {
        Some(("input", "that many texts in one call"))
    } else {
        refuses(wire, request).or_else(|| costs_money(wire, request))
    }
}

/// The transcript is to have times that the model does not state.
fn has_no_times(model: &Model, request: &ChatRequest) -> bool {
    !model.states_times && request.upload.as_ref().is_some_and(|upload| upload.form.needs_times())
}

fn is_too_large_a_file(model: &Model, request: &ChatRequest) -> bool {
    let bytes = request.upload.as_ref().map_or(0, |upload| upload.recording_bytes());
    model.max_file_bytes.is_some_and(|most| bytes > most)
}

/// More texts than the guard judges at once.
fn has_too_many_texts(model: &Model, request: &ChatRequest) -> bool {
    let texts = request.moderation.as_ref().map_or(0, |inputs| inputs.texts.len());
    model.guard.is_some_and(|guard| texts > guard.max_texts())
}

/// Texts of an embedding request.
fn inputs(request: &ChatRequest) -> u32 {
    request.embedding.as_ref().map_or(0, |inputs| inputs.count)
}

/// A parameter that costs money at the provider, which this caller may not use.
fn costs_money<'a>(wire: &Wire, request: &'a ChatRequest) -> Option<(&'a str, &'static str)> {
    const WHAT: &str = "this parameter for a key that may not use what costs money";
    if request.may_cost_money {
        return None;
    }
    wire.paid.iter().find_map(|paid| match paid.as_str() {
        "tools=built_in" => request.built_in_tools.then_some(("tools", WHAT)),
        name => request.others.iter().chain(&request.parameters).find(|p| *p == name).map(|p| (p.as_str(), WHAT)),
    })
}

/// A parameter that matters and that the dialect is known to reject, to ignore, or not to take.
fn refuses<'a>(wire: &Wire, request: &'a ChatRequest) -> Option<(&'a str, &'static str)> {
    if request.n > 1 && wire.refuse.iter().any(|refused| refused == "n>1") {
        return Some(("n", "several answers to one request"));
    }
    let matters = |name: &str| request.tools > 0 || !matches!(name, "tool_choice" | "parallel_tool_calls");
    let is_refused = |name: &str| wire.refuse.iter().any(|refused| refused == name) || is_cut(wire, name);
    let refused = request.parameters.iter().find(|name| matters(name) && is_refused(name));
    refused.map(|name| (name.as_str(), "this parameter"))
}

/// A provider with a closed schema does not take the parameter, so that it would be cut from the request.
fn is_cut(wire: &Wire, parameter: &str) -> bool {
    let (path, role, name) = match parameter.split_once("[].") {
        Some(("messages", name)) => ("messages[]", "assistant", name),
        Some(("tools", name)) => ("tools[]", "", name),
        _ => ("", "", wire.renamed(parameter)),
    };
    wire.allowed(path, role).is_some_and(|names| !names.iter().any(|allowed| allowed == name))
}

/// The model's context, or a whole token window, is smaller than the request.
fn too_small(
    candidate: &Candidate,
    charge: &Charge,
    seen: Option<&SubjectSnapshot>,
    request: &ChatRequest,
) -> Option<Unfit> {
    // Without the margin: the provider decides about a prompt that may just fit.
    let needed = match &request.embedding {
        // Each text has the context for itself.
        Some(inputs) => longest_text(inputs, charge, request),
        None => (charge.input * 100 / 115).saturating_add(request.max_tokens.unwrap_or(1).max(1)),
    };
    let context = candidate.model.context;
    if context > 0 && needed > context && !candidate.model.context_assumed {
        return Some(Unfit::TooSmall { needed, most: context });
    }
    candidate.windows.iter().find_map(|window| {
        let units = charge.units(window);
        if units <= 1 {
            return None;
        }
        let levels = seen.iter().flat_map(|s| &s.levels).filter(|l| l.limit == window.limit);
        let most = levels.map(|l| l.max).min().unwrap_or(window.max);
        let is_sound = window.limit.unit() == Unit::AudioSecond;
        let unfit = || {
            if is_sound {
                let what = format!("a recording of {units} seconds");
                Unfit::Unsupported { param: "file".to_owned(), what }
            } else {
                Unfit::TooSmall { needed: units, most }
            }
        };
        (units > most).then(unfit)
    })
}

/// Estimated tokens of the longest text, without the margin.
fn longest_text(inputs: &EmbeddingInputs, charge: &Charge, request: &ChatRequest) -> i64 {
    let share = inputs.longest.raw_tokens() / request.size.raw_tokens().max(1.0);
    #[expect(clippy::cast_possible_truncation, reason = "a share of a count of tokens")]
    let tokens = (charge.input as f64 / 1.15 * share.min(1.0)) as i64;
    tokens
}

/// The error when no candidate is left. Only this path collects the reasons.
fn explain(
    members: &[Arc<Candidate>],
    snapshot: &PoolSnapshot,
    learned: &Estimates,
    request: &ChatRequest,
) -> PlanError {
    let reason = |c: &Arc<Candidate>| unfit(c, &learned.charge(c, request), snapshot.subject(c), request);
    let reasons: Vec<Unfit> = members.iter().filter_map(reason).collect();
    // Size first: those candidates support everything else.
    let largest = reasons.iter().filter_map(|l| match l {
        Unfit::TooSmall { needed, most } => Some((*most, *needed)),
        _ => None,
    });
    if let Some((largest, needed)) = largest.max() {
        return PlanError::ContextTooLong { needed, largest };
    }
    let mut counts = BTreeMap::<(&str, &str), usize>::new();
    for reason in &reasons {
        if let Unfit::Unsupported { param, what } = reason {
            *counts.entry((param, what)).or_default() += 1;
        }
    }
    let requested = &request.model;
    match counts.into_iter().max_by_key(|(_, times)| *times) {
        Some(((param, what), times)) => {
            let subject = if times == reasons.len() { "No model" } else { "No single enabled model" };
            let message = format!("{subject} behind `{requested}` supports {what} (`{param}`).");
            PlanError::Unsupported { param: param.to_owned(), message }
        }
        None => PlanError::Unsupported {
            param: "model".to_owned(),
            message: format!("Every model behind `{requested}` is disabled."),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Limit, PromptSize, TokenCharge},
        plan::test_support::{candidate, names, question, set_used},
    };

    fn plan(members: &[Arc<Candidate>], request: &ChatRequest) -> Result<Vec<Choice>, PlanError> {
        plan_with(members, &PoolSnapshot::default(), request)
    }

    fn plan_with(
        members: &[Arc<Candidate>],
        snapshot: &PoolSnapshot,
        request: &ChatRequest,
    ) -> Result<Vec<Choice>, PlanError> {
        let eligible = eligible(members, snapshot, &Estimates::default(), request)?;
        Ok(eligible.into_iter().map(|a| a.choice).collect())
    }

    fn unsupported_param(members: &[Arc<Candidate>], request: &ChatRequest) -> String {
        match plan(members, request) {
            Err(PlanError::Unsupported { param, .. }) => param,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn candidates_without_a_capability_are_dropped_and_the_error_names_it() {
        let plain = candidate("a/plain").can(Capabilities::default()).build();
        let tools = candidate("b/tools").can(Capabilities::TOOLS).build();
        let request = ChatRequest { needs: Capabilities::TOOLS, tools: 1, ..question() };
        let kept = plan(&[plain.clone(), tools], &request).unwrap();
        assert_eq!(names(&kept), ["b/tools"]);
        assert_eq!(unsupported_param(std::slice::from_ref(&plain), &request), "tools");
        let json = ChatRequest { needs: Capabilities::JSON_SCHEMA, ..question() };
        assert_eq!(unsupported_param(&[plain], &json), "response_format");
    }

    #[test]
    fn a_model_of_unknown_abilities_gets_the_request() {
        let unknown = candidate("lab/m")
            .model(|m| (m.capabilities_assumed, m.context_assumed, m.context) = (true, true, 32_768))
            .build();
        let size = PromptSize { messages: 1, ascii_chars: 400_000, ..PromptSize::default() };
        for request in [
            ChatRequest { needs: Capabilities::VISION, images: 1, remote_images: true, ..question() },
            ChatRequest { needs: Capabilities::TOOLS.with(Capabilities::AUDIO_IN), tools: 1, ..question() },
            ChatRequest { max_tokens: Some(64_000), ..question() },
            ChatRequest { size, ..question() },
        ] {
            assert_eq!(names(&plan(std::slice::from_ref(&unknown), &request).unwrap()), ["lab/m"], "{request:?}");
        }
    }

    #[test]
    fn a_remote_image_needs_a_candidate_that_fetches_it() {
        let inline = candidate("a/inline").can(Capabilities::VISION_BASE64).build();
        let fetching = candidate("b/fetching").can(Capabilities::VISION).build();
        let dialect =
            candidate("c/dialect").can(Capabilities::VISION).provider(|p| p.wire.images_inline_only = true).build();
        let all = [inline.clone(), fetching, dialect];
        let mut request = ChatRequest { needs: Capabilities::VISION, images: 1, ..question() };
        assert_eq!(plan(&all, &request).unwrap().len(), 3);
        request.remote_images = true;
        assert_eq!(names(&plan(&all, &request).unwrap()), ["b/fetching"]);
        assert_eq!(unsupported_param(&[inline], &request), "messages");
    }

    #[test]
    fn what_costs_money_needs_permission() {
        let paid = candidate("a/paid")
            .can(Capabilities::TOOLS)
            .provider(|p| p.wire.paid = vec!["models".into(), "web_search_options".into(), "tools=built_in".into()])
            .build();
        let tools = Capabilities::TOOLS;
        for (request, param) in [
            (ChatRequest { others: vec!["top_k".into(), "models".into()], ..question() }, "models"),
            (ChatRequest { parameters: vec!["web_search_options".into()], ..question() }, "web_search_options"),
            (ChatRequest { needs: tools, tools: 1, built_in_tools: true, ..question() }, "tools"),
        ] {
            assert_eq!(unsupported_param(std::slice::from_ref(&paid), &request), param);
            let allowed = ChatRequest { may_cost_money: true, ..request };
            assert_eq!(names(&plan(std::slice::from_ref(&paid), &allowed).unwrap()), ["a/paid"]);
        }
        let free = ChatRequest { others: vec!["top_k".into()], tools: 1, needs: tools, ..question() };
        assert_eq!(names(&plan(&[paid], &free).unwrap()), ["a/paid"]);
    }

    #[test]
    fn a_custom_tool_goes_only_where_its_text_is_taken() {
        let can = |name| candidate(name).can(Capabilities::TOOLS);
        let closed = can("a/closed")
            .provider(|p| p.wire.allowed_fields = vec![("tools[]".into(), vec!["type".into(), "function".into()])])
            .build();
        let open = can("b/open").build();
        let request = ChatRequest {
            parameters: vec!["tools[].custom".into()],
            tools: 1,
            needs: Capabilities::TOOLS,
            ..question()
        };
        assert_eq!(unsupported_param(std::slice::from_ref(&closed), &request), "tools[].custom");
        assert_eq!(names(&plan(&[closed, open], &request).unwrap()), ["b/open"]);
    }

    #[test]
    fn an_own_server_gets_no_urls_of_private_addresses_unless_it_may() {
        let sees = |name| candidate(name).can(Capabilities::VISION);
        let own = sees("a/own").build();
        let request = ChatRequest { remote_images: true, images: 1, private_urls: true, ..question() };
        assert_eq!(unsupported_param(std::slice::from_ref(&own), &request), "messages");
        let allowed = sees("b/own").provider(|p| p.wire.private_urls = true).build();
        assert_eq!(names(&plan(&[own, allowed], &request).unwrap()), ["b/own"]);
    }

    #[test]
    fn counts_and_rejected_parameters_exclude_candidates() {
        let strict = candidate("a/strict")
            .provider(|p| {
                p.wire.refuse = vec!["logprobs".into(), "n>1".into()];
                (p.wire.max_tools, p.wire.max_stop) = (Some(2), Some(4));
            })
            .build();
        let strict = [strict];
        let with = |change: fn(&mut ChatRequest)| {
            let mut request = question();
            change(&mut request);
            request
        };
        assert!(plan(&strict, &with(|r| (r.tools, r.stops) = (2, 4))).is_ok());
        assert_eq!(unsupported_param(&strict, &with(|r| r.tools = 3)), "tools");
        assert_eq!(unsupported_param(&strict, &with(|r| r.stops = 5)), "stop");
        assert_eq!(unsupported_param(&strict, &with(|r| r.n = 2)), "n");
        assert_eq!(unsupported_param(&strict, &with(|r| r.parameters = vec!["logprobs".into()])), "logprobs");
        let closed = candidate("c/closed")
            .provider(|p| {
                p.wire.rename = vec![("seed".into(), "random_seed".into())];
                let list = |path: &str, names: &[&str]| (path.into(), names.iter().map(|n| (*n).into()).collect());
                p.wire.allowed_fields =
                    vec![list("", &["model", "messages", "random_seed"]), list("messages[]:assistant", &["content"])];
            })
            .build();
        let closed = [closed];
        for name in ["functions", "web_search_options", "messages[].function_call"] {
            let request = ChatRequest { parameters: vec![name.to_owned()], ..question() };
            assert_eq!(unsupported_param(&closed, &request), name);
        }
        assert!(plan(&closed, &with(|r| r.parameters = vec!["seed".into()])).is_ok(), "it has another name there");
        let serial = ChatRequest { parameters: vec!["parallel_tool_calls".to_owned()], ..question() };
        assert!(plan(&closed, &serial).is_ok(), "without tools it has no effect");
        let serial = ChatRequest { tools: 1, ..serial };
        let [closed] = closed;
        let both = [closed.clone(), candidate("d/open").build()];
        assert_eq!(names(&plan(&both, &serial).unwrap()), ["d/open"], "one that takes it is preferred");
        assert_eq!(names(&plan(&[closed], &serial).unwrap()), ["c/closed"], "and no condition");
        let one = candidate("b/one").provider(|p| p.wire.max_n = Some(1)).build();
        assert_eq!(unsupported_param(&[one], &with(|r| r.n = 2)), "n");
    }

    #[test]
    fn a_request_beyond_every_context_is_too_long() {
        let small = candidate("a/small").model(|m| m.context = 4_096).build();
        let large = candidate("b/large").model(|m| m.context = 131_072).build();
        let size = PromptSize { messages: 1, ascii_chars: 40_000, ..PromptSize::default() };
        let request = ChatRequest { size, ..question() };
        assert_eq!(names(&plan(&[small.clone(), large], &request).unwrap()), ["b/large"]);
        let Err(PlanError::ContextTooLong { needed, largest }) = plan(&[small], &request) else { panic!() };
        assert_eq!((largest, needed / 1_000), (4_096, 10));
    }

    #[test]
    fn a_charge_larger_than_a_whole_window_can_never_be_admitted() {
        let builder =
            || candidate("groq/gpt").charged_by(TokenCharge::Reserve).limits(&[(Limit::Rpm, 30), (Limit::Tpm, 8_000)]);
        let groq = builder().build();
        let request = ChatRequest { max_tokens: Some(8_192), ..question() };
        let error = plan(std::slice::from_ref(&groq), &request).unwrap_err();
        assert_eq!(error, PlanError::ContextTooLong { needed: 8_192 + 115, largest: 8_000 });
        let fits = ChatRequest { max_tokens: Some(8_000 - 115), ..question() };
        assert!(plan(std::slice::from_ref(&groq), &fits).is_ok());
        let mut snapshot = PoolSnapshot::default();
        set_used(&mut snapshot, &groq, &[0, 0]);
        snapshot.subjects.get_mut(&*groq.subject).unwrap().levels[1].max = 7_000;
        assert!(plan_with(&[groq], &snapshot, &fits).is_err(), "a learned limit counts");
    }

    #[test]
    fn disabled_candidates_stay_only_if_no_other_is_left() {
        let (a, b) = (candidate("a/x").build(), candidate("b/y").build());
        let both = [a, b];
        let with = |off: &[&str]| {
            let snapshot =
                PoolSnapshot { disabled: off.iter().map(|o| (*o).to_owned()).collect(), ..PoolSnapshot::default() };
            plan_with(&both, &snapshot, &question()).unwrap()
        };
        assert_eq!(names(&with(&["a"])), ["b/y"]);
        assert_eq!(names(&with(&["b/y"])), ["a/x"]);
        assert_eq!(names(&with(&["a", "b"])), ["a/x", "b/y"]);
    }

    #[test]
    fn candidates_disabled_in_the_file_are_never_planned() {
        let off = candidate("a/x").model(|m| m.enabled = false).build();
        let other = candidate("b/y").provider(|p| p.enabled = false).build();
        assert_eq!(unsupported_param(&[off, other], &question()), "model");
    }
}
