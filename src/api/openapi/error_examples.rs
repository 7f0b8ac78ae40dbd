//! An example of each error code in the document.

use crate::api::edge::error::ApiError;

pub(super) fn all() -> Vec<ApiError> {
    let text = str::to_owned;
    vec![
        ApiError::InvalidJson { message: text("The body is not valid JSON: expected a value at line 2 column 14.") },
        ApiError::InvalidValue {
            param: Some(text("temperature")),
            message: text("Invalid value for `temperature`: expected a number from 0 to 2, found 3."),
        },
        ApiError::ContextTooLong {
            message: text("The request needs about 250000 tokens; the largest model it could go to takes 131072."),
        },
        ApiError::Unsupported { param: Some(text("tools")), message: text("No candidate for `free` can call tools.") },
        ApiError::PreviousResponseNotFound(text("No stored response has the id `resp_0193`.")),
        ApiError::InvalidKey("This API key is unknown.".into()),
        ApiError::ModelNotAllowed(text("free-smart")),
        ApiError::AdminRequired,
        ApiError::CrossSite,
        ApiError::HostNotAllowed,
        ApiError::Overloaded { message: text("This replica has 4096 requests, which is its limit. Try again.") },
        ApiError::TooManyAttempts { retry_ms: 42_000 },
        conflict("client_revoked", "The key of client `k7f3a9c2` is revoked. Create a new client."),
        conflict("client_in_file", "Client `k7f3a9c2` is defined in the clients file. Change it there."),
        conflict("too_many_clients", "The maximum number of clients is reached. Delete some first."),
        conflict("conflict", "Client `k7f3a9c2` was changed at the same time. Try again."),
        conflict("provider_key_exists", "This key is stored already, as `groq-1a2b3c4d`."),
        conflict(
            "provider_key_in_environment",
            "The provider key `groq-1a2b3c4d` is set in the environment. Change it there.",
        ),
        conflict(
            "provider_key_unreadable",
            "The provider key `groq-1a2b3c4d` cannot be opened: none of the master keys opens it: it is sealed under the \
             master key `9f8e7d6c`.",
        ),
        conflict(
            "keyless_in_configuration",
            "The configuration has `kilo` called without a key (TOLLFREE_KEYLESS). Change it there.",
        ),
        conflict("too_many_provider_keys", "There are already 1000 provider keys, the maximum. Delete some first."),
        conflict(
            "master_key_not_set",
            "No master key is set, so that no provider key can be stored. Set TOLLFREE_MASTER_KEY and restart the gateway.",
        ),
        ApiError::ProviderKeyRefused(text("groq refuses this key: Invalid API Key")),
        ApiError::ModelNotFound(text(
            "The model `groq/gpt-os` does not exist. Did you mean `groq/openai/gpt-oss-20b`?",
        )),
        ApiError::NotFound(text("No provider `grok` is configured. Configured providers: groq, gemini.")),
        ApiError::UnsupportedEncoding(text("lzma")),
        ApiError::TooLarge { max: 16_777_216 },
        ApiError::ClientQuota {
            message: text(
                "Your limit of 10 requests per minute is used up. The next request is admitted in 12s (14:03:05 UTC).",
            ),
            retry_ms: 12_000,
        },
        ApiError::NoBudget {
            message: text(
                "Every candidate for `free` is at its limit. The first becomes available in 12s (14:03:05 UTC).\n\
                 - groq/openai/gpt-oss-120b: limit of 30 requests per minute is used up, available in 12s (14:03:05 UTC)",
            ),
            retry_ms: 12_000,
        },
        ApiError::NoProvider {
            message: text(
                "Every candidate for `free` is down. The first becomes available in 12s (14:03:05 UTC).\n\
                 - groq/openai/gpt-oss-120b: circuit breaker open after repeated failures, next attempt in 12s (14:03:05 UTC)",
            ),
            retry_ms: 12_000,
        },
        ApiError::AllFailed { message: text("Every candidate failed:\n- groq/openai/gpt-oss-120b: 500 after 210 ms") },
        ApiError::TimedOut { message: text("No candidate answered in time:\n- ollama/llama3.2: no content in 20 s") },
        ApiError::LedgerUnavailable {
            message: text("The budget store is unreachable, so no provider was called."),
            retry_ms: 1_000,
        },
        ApiError::AdminKeyNotSet,
        ApiError::Internal,
    ]
}

fn conflict(code: &'static str, message: &str) -> ApiError {
    ApiError::Conflict { code, message: message.to_owned() }
}
