//! Who can serve the request at all. What is dropped here costs nothing; what is kept may still refuse.

use std::{collections::BTreeMap, sync::Arc};

use super::{Estimates, PlanError};
use crate::domain::{
    Candidate, Capabilities, Charge, ChatRequest, Choice, PoolSnapshot, SubjectSnapshot,
    provider::{Model, Wire},
};

/// Why a candidate cannot serve a request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Unfit {
    /// A part of the request that it cannot do: the parameter's name, and in words what is wanted of it.
    Unable { param: String, what: String },
    /// Tokens needed, and the most it takes.
    TooSmall { needed: i64, most: i64 },
    /// Disabled in the file.
    Disabled,
}

/// A candidate that can do what is asked, and what was seen of its account and model.
#[derive(Debug)]
pub struct Eligible<'a> {
    pub choice: Choice,
    pub seen: Option<&'a SubjectSnapshot>,
}

/// The members that can do what is asked, in the members' order; or why there is none.
pub fn eligible<'a>(
    members: &[Arc<Candidate>],
    snapshot: &'a PoolSnapshot,
    learned: &Estimates,
    request: &ChatRequest,
) -> Result<Vec<Eligible<'a>>, PlanError> {
    let mut able = Vec::with_capacity(members.len());
    for candidate in members {
        let charge = learned.charge(candidate, request);
        let seen = snapshot.subject(candidate);
        if lack(candidate, &charge, seen, request).is_none() {
            able.push(Eligible { choice: Choice { candidate: candidate.clone(), charge }, seen });
        }
    }
    if able.is_empty() {
        return Err(explain(members, snapshot, learned, request));
    }
    // Where nothing but what is switched off could serve, `admit` shall say so: it may be on again by now.
    let is_on = |a: &Eligible<'_>| snapshot.is_enabled(&a.choice.candidate);
    if able.iter().any(is_on) {
        able.retain(is_on);
    }
    Ok(able)
}

/// The first thing that stands against a candidate. Cheap: it runs for every candidate of every request.
fn lack(
    candidate: &Candidate,
    charge: &Charge,
    seen: Option<&SubjectSnapshot>,
    request: &ChatRequest,
) -> Option<Unfit> {
    let (provider, model) = (&candidate.provider, &candidate.model);
    if !provider.enabled || !model.enabled || model.zero_limit {
        return Some(Unfit::Disabled);
    }
    unable(model, &provider.wire, request)
        .map(|(param, what)| Unfit::Unable { param: param.to_owned(), what: what.to_owned() })
        .or_else(|| too_small(candidate, charge, seen, request))
}

/// The part of the request that a model or its provider's dialect cannot do.
fn unable<'a>(model: &Model, wire: &Wire, request: &'a ChatRequest) -> Option<(&'a str, &'static str)> {
    let can = model.capabilities;
    let wants = |capability| request.needs.has(capability);
    let pictures = request.images > 0 || wants(Capabilities::VISION) || wants(Capabilities::VISION_BASE64);
    let sees = can.has(Capabilities::VISION) || can.has(Capabilities::VISION_BASE64);
    let inline_only = wire.images_inline_only || !can.has(Capabilities::VISION);
    let lacks = |capability| wants(capability) && !can.has(capability);
    let over = |count: u32, most: Option<u32>| most.is_some_and(|most| count > most);
    if lacks(Capabilities::TOOLS) {
        Some(("tools", "tools"))
    } else if lacks(Capabilities::JSON_SCHEMA) {
        Some(("response_format", "structured output by a JSON schema"))
    } else if lacks(Capabilities::JSON_OBJECT) {
        Some(("response_format", "JSON mode"))
    } else if pictures && !sees {
        Some(("messages", "images"))
    } else if pictures && request.remote_images && inline_only {
        Some(("messages", "images given by a web address"))
    } else if over(request.images, model.max_images) {
        Some(("messages", "that many images"))
    } else if lacks(Capabilities::AUDIO_IN) {
        Some(("messages", "audio"))
    } else if lacks(Capabilities::VIDEO_IN) {
        Some(("messages", "video"))
    } else if lacks(Capabilities::PDF_IN) {
        Some(("messages", "files"))
    } else if lacks(Capabilities::REASONING) {
        Some(("reasoning_effort", "reasoning"))
    } else if over(request.n, wire.max_n) {
        Some(("n", "that many answers to one request"))
    } else if over(request.tools, wire.max_tools) {
        Some(("tools", "that many tools"))
    } else if over(request.stops, wire.max_stop) {
        Some(("stop", "that many stop sequences"))
    } else if refuses_effort(model, request) {
        Some(("reasoning_effort", "this reasoning effort"))
    } else {
        refuses(wire, request)
    }
}

/// A parameter that the dialect is known to refuse.
fn refuses<'a>(wire: &Wire, request: &'a ChatRequest) -> Option<(&'a str, &'static str)> {
    wire.refuse.iter().find_map(|refused| match refused.as_str() {
        "n>1" => (request.n > 1).then_some(("n", "several answers to one request")),
        name => request.parameters.iter().find(|p| *p == name).map(|p| (p.as_str(), "this parameter")),
    })
}

fn refuses_effort(model: &Model, request: &ChatRequest) -> bool {
    let known = &model.reasoning_efforts;
    request.reasoning_effort.as_ref().is_some_and(|effort| !known.is_empty() && !known.contains(effort))
}

/// The model's context, or a whole token window, is smaller than the request.
fn too_small(
    candidate: &Candidate,
    charge: &Charge,
    seen: Option<&SubjectSnapshot>,
    request: &ChatRequest,
) -> Option<Unfit> {
    // The context is judged without the margin: a prompt that may just fit is the provider's to judge.
    let needed = (charge.input * 100 / 115).saturating_add(request.max_tokens.unwrap_or(1).max(1));
    let context = candidate.model.context;
    if context > 0 && needed > context {
        return Some(Unfit::TooSmall { needed, most: context });
    }
    candidate.windows.iter().find_map(|window| {
        let units = charge.units(window);
        if units <= 1 {
            return None;
        }
        let levels = seen.iter().flat_map(|s| &s.levels).filter(|l| l.limit == window.limit);
        let most = levels.map(|l| l.max).min().unwrap_or(window.max);
        (units > most).then_some(Unfit::TooSmall { needed: units, most })
    })
}

/// Why nobody is left: the slow second look, only for the error.
fn explain(
    members: &[Arc<Candidate>],
    snapshot: &PoolSnapshot,
    learned: &Estimates,
    request: &ChatRequest,
) -> PlanError {
    let lack_of = |c: &Arc<Candidate>| lack(c, &learned.charge(c, request), snapshot.subject(c), request);
    let lacks: Vec<Unfit> = members.iter().filter_map(lack_of).collect();
    // Size first: those candidates could do everything else.
    let largest = lacks.iter().filter_map(|l| match l {
        Unfit::TooSmall { needed, most } => Some((*most, *needed)),
        _ => None,
    });
    if let Some((largest, needed)) = largest.max() {
        return PlanError::ContextTooLong { needed, largest };
    }
    let mut counts = BTreeMap::<(&str, &str), usize>::new();
    for lack in &lacks {
        if let Unfit::Unable { param, what } = lack {
            *counts.entry((param, what)).or_default() += 1;
        }
    }
    let asked = &request.model;
    match counts.into_iter().max_by_key(|(_, times)| *times) {
        Some(((param, what), times)) => {
            let who = if times == lacks.len() { "No model" } else { "No enabled model, taken all together," };
            let message = format!("{who} behind `{asked}` can do {what} (`{param}`).");
            PlanError::Unsupported { param: param.to_owned(), message }
        }
        None => PlanError::Unsupported {
            param: "model".to_owned(),
            message: format!("Every model behind `{asked}` is disabled."),
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
        seeing(members, &PoolSnapshot::default(), request)
    }

    fn seeing(
        members: &[Arc<Candidate>],
        snapshot: &PoolSnapshot,
        request: &ChatRequest,
    ) -> Result<Vec<Choice>, PlanError> {
        let able = eligible(members, snapshot, &Estimates::default(), request)?;
        Ok(able.into_iter().map(|a| a.choice).collect())
    }

    fn unsupported(members: &[Arc<Candidate>], request: &ChatRequest) -> String {
        match plan(members, request) {
            Err(PlanError::Unsupported { param, .. }) => param,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn who_lacks_what_is_needed_is_dropped_and_the_error_names_it() {
        let plain = candidate("a/plain").can(Capabilities::default()).build();
        let tools = candidate("b/tools").can(Capabilities::TOOLS).build();
        let request = ChatRequest { needs: Capabilities::TOOLS, tools: 1, ..question() };
        let kept = plan(&[plain.clone(), tools], &request).unwrap();
        assert_eq!(names(&kept), ["b/tools"]);
        assert_eq!(unsupported(std::slice::from_ref(&plain), &request), "tools");
        let json = ChatRequest { needs: Capabilities::JSON_SCHEMA, ..question() };
        assert_eq!(unsupported(&[plain], &json), "response_format");
    }

    #[test]
    fn an_image_by_its_address_needs_someone_who_fetches_it() {
        let inline = candidate("a/inline").can(Capabilities::VISION_BASE64).build();
        let fetching = candidate("b/fetching").can(Capabilities::VISION).build();
        let dialect =
            candidate("c/dialect").can(Capabilities::VISION).provider(|p| p.wire.images_inline_only = true).build();
        let all = [inline.clone(), fetching, dialect];
        let mut request = ChatRequest { needs: Capabilities::VISION, images: 1, ..question() };
        assert_eq!(plan(&all, &request).unwrap().len(), 3);
        request.remote_images = true;
        assert_eq!(names(&plan(&all, &request).unwrap()), ["b/fetching"]);
        assert_eq!(unsupported(&[inline], &request), "messages");
    }

    #[test]
    fn counts_and_refused_parameters_exclude() {
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
        assert_eq!(unsupported(&strict, &with(|r| r.tools = 3)), "tools");
        assert_eq!(unsupported(&strict, &with(|r| r.stops = 5)), "stop");
        assert_eq!(unsupported(&strict, &with(|r| r.n = 2)), "n");
        assert_eq!(unsupported(&strict, &with(|r| r.parameters = vec!["logprobs".into()])), "logprobs");
        let one = candidate("b/one").provider(|p| p.wire.max_n = Some(1)).build();
        assert_eq!(unsupported(&[one], &with(|r| r.n = 2)), "n");
    }

    #[test]
    fn reasoning_effort_goes_where_its_value_is_known() {
        let low = candidate("a/low").model(|m| m.reasoning_efforts = vec!["low".into()]).build();
        let any = candidate("b/any").build();
        let request = ChatRequest { reasoning_effort: Some("none".into()), ..question() };
        assert_eq!(names(&plan(&[low.clone(), any], &request).unwrap()), ["b/any"]);
        assert_eq!(unsupported(&[low], &request), "reasoning_effort");
    }

    #[test]
    fn what_no_context_holds_is_too_long_and_says_how_much() {
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
        let making =
            || candidate("groq/gpt").charged_by(TokenCharge::Reserve).limits(&[(Limit::Rpm, 30), (Limit::Tpm, 8_000)]);
        let groq = making().build();
        let request = ChatRequest { max_tokens: Some(8_192), ..question() };
        let error = plan(std::slice::from_ref(&groq), &request).unwrap_err();
        assert_eq!(error, PlanError::ContextTooLong { needed: 8_192 + 115, largest: 8_000 });
        let fits = ChatRequest { max_tokens: Some(8_000 - 115), ..question() };
        assert!(plan(std::slice::from_ref(&groq), &fits).is_ok());
        let mut snapshot = PoolSnapshot::default();
        set_used(&mut snapshot, &groq, &[0, 0]);
        snapshot.subjects.get_mut(&*groq.subject).unwrap().levels[1].max = 7_000;
        assert!(seeing(&[groq], &snapshot, &fits).is_err(), "a learned limit counts");
    }

    #[test]
    fn who_is_switched_off_is_asked_only_where_nobody_else_could() {
        let (a, b) = (candidate("a/x").build(), candidate("b/y").build());
        let both = [a, b];
        let with = |off: &[&str]| {
            let snapshot =
                PoolSnapshot { disabled: off.iter().map(|o| (*o).to_owned()).collect(), ..PoolSnapshot::default() };
            seeing(&both, &snapshot, &question()).unwrap()
        };
        assert_eq!(names(&with(&["a"])), ["b/y"]);
        assert_eq!(names(&with(&["b/y"])), ["a/x"]);
        assert_eq!(names(&with(&["a", "b"])), ["a/x", "b/y"]);
    }

    #[test]
    fn the_disabled_are_never_asked() {
        let off = candidate("a/x").model(|m| m.enabled = false).build();
        let other = candidate("b/y").provider(|p| p.enabled = false).build();
        assert_eq!(unsupported(&[off, other], &question()), "model");
    }
}
