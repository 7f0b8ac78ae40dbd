//! Estimated charge of a request at a candidate.
//!
//! A prompt is measured in characters; the usage that each model reports shows how many tokens those are. The charge must bound
//! what the provider debits, so prompts have a margin and outputs use a high percentile.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;

use crate::{
    domain::{Candidate, Charge, ChatRequest, ModelKind, PromptSize, TokenCharge},
    memo::Memo,
};

/// Tokenisers differ by 10–20 % for the same text.
const MARGIN: f64 = 1.15;
/// Tokens of one image of unknown size.
const IMAGE_TOKENS: f64 = 1_100.0;
/// Samples of a model's outputs before their percentile is used.
const MIN_OUTPUTS: usize = 20;
/// Output tokens reserved until then, unless the caller allows fewer.
const CAUTIOUS_OUTPUT: i64 = 1_024;
/// Newest outputs per model in the percentile.
const MAX_OUTPUTS: usize = 256;
/// What a prompt is measured by: one, its text, digits and schemas.
const MEASURES: usize = 4;

/// Estimates per model, shared by all requests of this replica.
#[derive(Debug, Default)]
pub(crate) struct Estimates {
    models: Memo<String, Learned>,
    plans: AtomicU64,
}

/// Input of the `round_robin` and `random` strategies, and of ties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlanSeed {
    /// Counts the plans of this replica.
    pub number: u64,
    pub seed: u64,
}

/// Tokens per character and output length of one model, from its usage reports.
#[derive(Debug, Default)]
struct Learned {
    /// Bits of the coefficients of the fit, read without a lock.
    fit: [AtomicU64; MEASURES],
    /// 0 while there are too few samples.
    output_p99: AtomicU64,
    history: Mutex<History>,
}

#[derive(Debug, Default)]
struct History {
    fit: LinearFit,
    outputs: Vec<u32>,
    next: usize,
    output_p99: u32,
}

impl Estimates {
    /// Charge of `request` at `candidate`. Expected outputs count once per choice (`n`).
    pub(crate) fn charge(&self, candidate: &Candidate, request: &ChatRequest) -> Charge {
        self.models.with(&*candidate.name, |learned| charge(candidate, request, learned))
    }

    /// Tokens that a text is charged as input.
    pub(crate) fn input_charge(&self, model: &str, size: &PromptSize) -> i64 {
        self.models.with(model, |learned| to_units(MARGIN * prompt(size, learned)))
    }

    /// Expected tokens of a prompt at a model, without the margin of a charge.
    pub(crate) fn prompt_tokens(&self, model: &str, size: &PromptSize) -> i64 {
        self.models.with(model, |learned| to_units(prompt(size, learned)))
    }

    /// Adds the usage of one finished request. `model` is `provider/model`, `output` the tokens of all `n` choices.
    pub(crate) fn learn(&self, model: &str, size: &PromptSize, n: u32, input: i64, output: i64) {
        let learned = self.of(model);
        let mut history = learned.history.lock();
        if input > 0 && size.images == 0 {
            history.fit.add(measures(size), input as f64);
            learned.set_fit(history.fit.coefficients());
        }
        if output > 0 {
            let each = u32::try_from(output / i64::from(n.max(1))).unwrap_or(u32::MAX);
            let p99 = history.add_output(each);
            learned.output_p99.store(p99, Ordering::Relaxed);
        }
    }

    /// The seed of the next plan.
    pub(crate) fn next_seed(&self) -> PlanSeed {
        PlanSeed { number: self.plans.fetch_add(1, Ordering::Relaxed), seed: fastrand::u64(..) }
    }

    fn of(&self, model: &str) -> Arc<Learned> {
        self.models.get_or_create(model, || {
            let new = Learned::default();
            new.set_fit(LinearFit::default().coefficients());
            new
        })
    }
}

/// The charge with a model's learned estimates.
fn charge(candidate: &Candidate, request: &ChatRequest, learned: Option<&Learned>) -> Charge {
    let input = to_units(MARGIN * prompt(&candidate.prompt_size(request), learned));
    let provider = &candidate.provider;
    let verdict = candidate.guard(request).map(|(guard, texts)| guard.max_output(texts));
    let sent = verdict.or(request.max_tokens).or_else(|| candidate.default_max_tokens());
    let output = match candidate.token_charge() {
        _ if verdict.is_none() && !matches!(request.kind, ModelKind::Chat | ModelKind::Completion) => 0,
        TokenCharge::Reserve => {
            let reserve = sent.unwrap_or(provider.reserve_default_output);
            provider.reserve_cap_output.map_or(reserve, |cap| reserve.min(cap))
        }
        TokenCharge::Actual => {
            let expected = learned.and_then(Learned::output_p99).unwrap_or(CAUTIOUS_OUTPUT);
            sent.map_or(expected, |most| most.min(expected))
        }
        TokenCharge::Input | TokenCharge::None => 0,
    };
    let tokens = input.saturating_add(output.max(0).saturating_mul(i64::from(request.n.max(1))));
    let audio = request.upload.as_ref().map_or(0, |upload| candidate.model.audio_units(upload.seconds));
    Charge { requests: 1, input, tokens, audio }
}

fn prompt(size: &PromptSize, learned: Option<&Learned>) -> f64 {
    let fit = learned.map_or([0.0, 1.0, 1.0, 1.0], Learned::fit);
    let tokens: f64 = fit.iter().zip(measures(size)).map(|(coefficient, measure)| coefficient * measure).sum();
    tokens + IMAGE_TOKENS * f64::from(size.images)
}

fn measures(size: &PromptSize) -> [f64; MEASURES] {
    [1.0, size.text_tokens(), size.digit_tokens(), size.schema_tokens()]
}

impl Learned {
    fn fit(&self) -> [f64; MEASURES] {
        self.fit.each_ref().map(|bits| f64::from_bits(bits.load(Ordering::Relaxed)))
    }

    fn set_fit(&self, coefficients: [f64; MEASURES]) {
        for (bits, coefficient) in self.fit.iter().zip(coefficients) {
            bits.store(coefficient.to_bits(), Ordering::Relaxed);
        }
    }

    fn output_p99(&self) -> Option<i64> {
        i64::try_from(self.output_p99.load(Ordering::Relaxed)).ok().filter(|p| *p > 0)
    }
}

impl History {
    /// The 99th percentile of the newest outputs, or 0 while there are too few.
    fn add_output(&mut self, tokens: u32) -> u64 {
        if self.outputs.len() < MAX_OUTPUTS {
            self.outputs.push(tokens);
        } else {
            let oldest = std::mem::replace(&mut self.outputs[self.next], tokens);
            self.next = (self.next + 1) % MAX_OUTPUTS;
            if oldest.cmp(&self.output_p99) == tokens.cmp(&self.output_p99) {
                // As many outputs are above and below the percentile as before.
                return u64::from(self.output_p99);
            }
        }
        if self.outputs.len() < MIN_OUTPUTS {
            return 0;
        }
        let mut sorted = self.outputs.clone();
        let rank = (sorted.len() * 99).div_ceil(100) - 1;
        let (_, p99, _) = sorted.select_nth_unstable(rank);
        self.output_p99 = *p99;
        u64::from(*p99)
    }
}

/// Linear fit of prompt tokens: a base, and a slope for each of the other measures. Least squares of relative errors, with decay.
///
/// One ratio for all does not fit: some models add a preamble of 70 tokens to the shortest prompt, some take every digit for a token
/// and others three, and each writes tools into its prompt in its own way.
#[derive(Debug, Default)]
struct LinearFit {
    /// Weighted sums of the products of the measures, and of each with the tokens.
    products: [[f64; MEASURES]; MEASURES],
    with_tokens: [f64; MEASURES],
}

impl LinearFit {
    /// Weight that a sample keeps with each new one.
    const DECAY: f64 = 0.98;
    /// Below this size, absolute rather than relative errors count.
    const ABSOLUTE_BELOW: f64 = 50.0;
    /// Weight of the prior (base 0, slopes 1): of a third of a sample or less.
    const PRIOR: [f64; MEASURES] = [1e-4, 0.3, 0.02, 0.05];
    /// Values outside these bounds come from wrong usage reports.
    const SLOPES: std::ops::RangeInclusive<f64> = 0.1..=4.0;
    const MAX_BASE: f64 = 2_000.0;

    fn add(&mut self, sample: [f64; MEASURES], tokens: f64) {
        let size: f64 = sample[1..].iter().sum();
        let weight = (size + Self::ABSOLUTE_BELOW).powi(-2);
        for (row, one) in self.products.iter_mut().zip(sample) {
            for (sum, other) in row.iter_mut().zip(sample) {
                *sum = *sum * Self::DECAY + weight * one * other;
            }
        }
        for (sum, one) in self.with_tokens.iter_mut().zip(sample) {
            *sum = *sum * Self::DECAY + weight * one * tokens;
        }
    }

    /// The base, and the slopes.
    fn coefficients(&self) -> [f64; MEASURES] {
        let (mut rows, mut right) = (self.products, self.with_tokens);
        for (at, prior) in Self::PRIOR.into_iter().enumerate() {
            rows[at][at] += prior;
            right[at] += if at == 0 { 0.0 } else { prior };
        }
        let mut fit = solved(rows, right);
        for slope in &mut fit[1..] {
            *slope = slope.clamp(*Self::SLOPES.start(), *Self::SLOPES.end());
        }
        let slopes: f64 = rows[0][1..].iter().zip(&fit[1..]).map(|(sum, slope)| sum * slope).sum();
        fit[0] = ((right[0] - slopes) / rows[0][0]).clamp(0.0, Self::MAX_BASE);
        fit
    }
}

/// The solution of linear equations whose matrix is positive definite, so that no pivot is zero.
fn solved(mut rows: [[f64; MEASURES]; MEASURES], mut right: [f64; MEASURES]) -> [f64; MEASURES] {
    for at in 0..MEASURES {
        let (pivot, known) = (rows[at], right[at]);
        for (row, value) in rows.iter_mut().zip(&mut right).skip(at + 1) {
            let factor = row[at] / pivot[at];
            for (cell, above) in row.iter_mut().zip(pivot).skip(at) {
                *cell -= factor * above;
            }
            *value -= factor * known;
        }
    }
    for at in (0..MEASURES).rev() {
        let known: f64 = (at + 1..MEASURES).map(|column| rows[at][column] * right[column]).sum();
        right[at] = (right[at] - known) / rows[at][at];
    }
    right
}

fn to_units(tokens: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "saturates; a prompt has far less than 2^53 tokens")]
    let units = tokens.ceil() as i64;
    units.max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::test_support::{candidate, question};

    /// A size from which only outputs are learned.
    const PICTURE: PromptSize = PromptSize {
        messages: 1,
        ascii_chars: 4,
        digits: 0,
        symbols: 0,
        cjk_chars: 0,
        other_chars: 0,
        schema_chars: 0,
        images: 1,
    };

    fn sized(ascii_chars: u64) -> ChatRequest {
        ChatRequest { size: PromptSize { messages: 1, ascii_chars, ..PromptSize::default() }, ..question() }
    }

    #[test]
    fn a_charge_follows_what_the_provider_debits() {
        let estimates = Estimates::default();
        let of = |charge| candidate("p/m").charged_by(charge);
        let request = ChatRequest { max_tokens: Some(500), ..question() }; // 100 tokens of prompt
        let tokens = |candidate: &Candidate, request: &ChatRequest| estimates.charge(candidate, request).tokens;
        let reserve = of(TokenCharge::Reserve).build();
        assert_eq!(tokens(&reserve, &request), 115 + 500);
        assert_eq!(tokens(&reserve, &question()), 115 + 1_024, "the provider's default");
        let capped = of(TokenCharge::Reserve).provider(|p| p.reserve_cap_output = Some(300)).build();
        assert_eq!(tokens(&capped, &request), 115 + 300);
        let absurd = of(TokenCharge::Reserve).provider(|p| p.reserve_default_output = 16_384).build();
        assert_eq!(Some(tokens(&absurd, &question()) - 115), absurd.default_max_tokens(), "what we send instead");
        assert_eq!(tokens(&of(TokenCharge::Input).build(), &request), 115);
        let actual = of(TokenCharge::Actual).build();
        assert_eq!(tokens(&actual, &request), 115 + 500);
        assert_eq!(tokens(&actual, &question()), 115 + CAUTIOUS_OUTPUT);
        assert_eq!(tokens(&actual, &ChatRequest { n: 3, ..request }), 115 + 3 * 500, "every choice counts");
    }

    #[test]
    fn expected_outputs_follow_the_model_after_enough_samples() {
        let (estimates, actual) = (Estimates::default(), candidate("p/m").charged_by(TokenCharge::Actual).build());
        let output = || estimates.charge(&actual, &question()).tokens - 115;
        for _ in 0..MIN_OUTPUTS - 1 {
            estimates.learn("p/m", &PICTURE, 1, 100, 40);
        }
        assert_eq!(output(), CAUTIOUS_OUTPUT);
        estimates.learn("p/m", &PICTURE, 1, 100, 3_000);
        assert_eq!(output(), 3_000);
        for _ in 0..MAX_OUTPUTS {
            estimates.learn("p/m", &PICTURE, 1, 100, 40);
        }
        assert_eq!(output(), 40, "old samples expire");
    }

    #[test]
    fn a_preamble_and_a_dense_tokeniser_are_learned_separately() {
        let (estimates, candidate) = (Estimates::default(), candidate("p/m").build());
        for round in 0..40 {
            let chars = [20, 400, 8_000, 60_000][round % 4];
            let tokens = 70.0 + 1.4 * sized(chars).size.raw_tokens();
            estimates.learn("p/m", &sized(chars).size, 1, to_units(tokens), 10);
        }
        for chars in [20, 1_000, 30_000] {
            let truth = 70.0 + 1.4 * sized(chars).size.raw_tokens();
            let guess = estimates.charge(&candidate, &sized(chars)).input as f64 / MARGIN;
            assert!((guess / truth - 1.0).abs() < 0.08, "{chars} characters: {guess} for {truth}");
        }
    }

    #[test]
    fn a_tokeniser_of_digits_is_learned_from_prompts_with_different_shares_of_them() {
        let (estimates, candidate) = (Estimates::default(), candidate("p/m").build());
        let with_digits = |chars: u64, digits: u64| {
            let mut request = sized(chars);
            request.size.digits = digits;
            request
        };
        let truth = |chars: u64, digits: u64| (chars - digits) as f64 / 4.0 + digits as f64 / 3.0 + 4.0;
        for round in 0..10 {
            let (chars, digits) = ([3_000, 6_000, 2_000][round % 3], [0, 200, 1_200, 30][round % 4]);
            estimates.learn("p/m", &with_digits(chars, digits).size, 1, to_units(truth(chars, digits)), 10);
        }
        for (chars, digits) in [(3_000, 1_800), (8_000, 100), (5_000, 2_500), (400, 150)] {
            let guess = estimates.charge(&candidate, &with_digits(chars, digits)).input as f64 / MARGIN;
            let truth = truth(chars, digits);
            assert!((guess / truth - 1.0).abs() < 0.1, "{chars} characters, {digits} digits: {guess} for {truth}");
        }
    }

    #[test]
    fn short_prompts_alone_do_not_distort_long_ones() {
        let (estimates, candidate) = (Estimates::default(), candidate("p/m").build());
        for _ in 0..50 {
            estimates.learn("p/m", &sized(8).size, 1, 78, 10);
        }
        let long = estimates.charge(&candidate, &sized(40_000)).input as f64 / MARGIN;
        assert!((8_000.0..16_000.0).contains(&long), "{long}");
        let short = estimates.charge(&candidate, &sized(8)).input;
        assert!((70..100).contains(&short), "{short}");
    }

    #[test]
    fn models_are_learned_separately() {
        let estimates = Estimates::default();
        estimates.learn("p/other", &sized(4_000).size, 1, 3_000, 10);
        assert_eq!(estimates.charge(&candidate("p/m").build(), &question()).input, 115);
    }

    proptest! {
        #[test]
        fn the_percentile_is_that_of_the_newest_outputs(outputs in proptest::collection::vec(1..60_u32, 1..700)) {
            let mut history = History::default();
            for (last, output) in outputs.iter().enumerate() {
                let reported = history.add_output(*output);
                let mut newest = outputs[(last + 1).saturating_sub(MAX_OUTPUTS)..=last].to_vec();
                newest.sort_unstable();
                let p99 = newest[(newest.len() * 99).div_ceil(100) - 1];
                prop_assert_eq!(reported, if newest.len() < MIN_OUTPUTS { 0 } else { u64::from(p99) });
            }
        }
    }

    proptest! {
        /// For any reports, a charge stays positive and finite and grows with the prompt.
        #[test]
        fn a_charge_stays_within_bounds(reports in proptest::collection::vec((0..2_000_000_u64, 0..10_000_000_i64, 0..100_000_i64), 0..60)) {
            let (estimates, candidate) = (Estimates::default(), candidate("p/m").charged_by(TokenCharge::Actual).build());
            for (chars, input, output) in reports {
                estimates.learn("p/m", &sized(chars).size, 1, input, output);
            }
            let small = estimates.charge(&candidate, &sized(100));
            let large = estimates.charge(&candidate, &sized(100_000));
            prop_assert!(small.input >= 1 && small.tokens >= small.input);
            prop_assert!(large.input > small.input && large.input < 200_000);
        }

        /// Once a tokeniser is known, the margin covers a scatter of ±10 %.
        #[test]
        fn the_margin_covers_the_scatter(slope in 0.6..2.5_f64, base in 0.0..200.0_f64, noise in proptest::collection::vec(-0.1..0.1_f64, 60)) {
            let (estimates, candidate) = (Estimates::default(), candidate("p/m").build());
            let truth = |chars: u64, noise: f64| (base + slope * sized(chars).size.raw_tokens()) * (1.0 + noise);
            for (i, noise) in noise.iter().enumerate() {
                let chars = [100, 2_000, 500, 20_000, 9_000][i % 5];
                estimates.learn("p/m", &sized(chars).size, 1, to_units(truth(chars, *noise)), 10);
            }
            for chars in [100, 700, 5_000, 30_000] {
                let charged = estimates.charge(&candidate, &sized(chars)).input as f64;
                prop_assert!(charged > truth(chars, 0.0), "{} for {}", charged, truth(chars, 0.0));
            }
        }
    }
}
