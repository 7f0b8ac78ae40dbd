//! Names, units and buckets of the instruments that requests write. The buckets are those that the semantic conventions recommend.

use std::sync::LazyLock;

use opentelemetry::{
    global,
    metrics::{Counter, Histogram, Meter},
};

pub(super) struct Instruments {
    pub http_request: Histogram<f64>,
    pub call_duration: Histogram<f64>,
    pub call_first_chunk: Histogram<f64>,
    pub call_tokens: Histogram<u64>,
    pub cached_tokens: Counter<u64>,
    pub chat_duration: Histogram<f64>,
    pub chat_first_token: Histogram<f64>,
}

const HTTP: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
const GEN_AI: [f64; 14] = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const FIRST_TOKEN: [f64; 16] =
    [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

pub(super) fn meter() -> Meter {
    global::meter("tollfree")
}

/// Created at the first use, by which time the process has set its meter provider.
pub(super) fn instruments() -> &'static Instruments {
    static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(Instruments::new);
    &INSTRUMENTS
}

impl Instruments {
    fn new() -> Self {
        let meter = meter();
        let seconds = |name, what: &'static str, buckets: &[f64]| {
            meter.f64_histogram(name).with_unit("s").with_description(what).with_boundaries(buckets.to_vec()).build()
        };
        Self {
            http_request: seconds("http.server.request.duration", "Duration of HTTP server requests.", &HTTP),
            call_duration: seconds("gen_ai.client.operation.duration", "GenAI operation duration.", &GEN_AI),
            call_first_chunk: seconds(
                "gen_ai.client.operation.time_to_first_chunk",
                "Time to receive the first chunk of a provider's stream.",
                &GEN_AI,
            ),
            call_tokens: meter
                .u64_histogram("gen_ai.client.token.usage")
                .with_unit("{token}")
                .with_description("Number of input and output tokens used.")
                .with_boundaries(TOKENS.to_vec())
                .build(),
            cached_tokens: meter
                .u64_counter("tollfree.cached_tokens")
                .with_unit("{token}")
                .with_description("Input tokens that providers served from their caches.")
                .build(),
            chat_duration: seconds(
                "gen_ai.server.request.duration",
                "Duration of a chat request as the caller saw it, to the last byte.",
                &GEN_AI,
            ),
            chat_first_token: seconds(
                "gen_ai.server.time_to_first_token",
                "Time to the first token as the caller saw it, including waiting and failed attempts.",
                &FIRST_TOKEN,
            ),
        }
    }
}
