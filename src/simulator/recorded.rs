//! Recorded responses and errors of every provider, by name: the models of the dialects' bodies, and faults served verbatim.

/// One recorded response: status line, headers and body.
#[derive(Debug)]
pub(crate) struct Case {
    /// `groq.429-tpm`
    pub name: &'static str,
    pub form: Form,
    head: &'static str,
    body: &'static [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    /// An event stream.
    Sse,
    Text,
}

impl Case {
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        CASES.iter().find(|case| case.name == name)
    }

    pub(crate) fn all() -> &'static [Self] {
        CASES
    }

    pub(crate) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(200)
    }

    /// Header names and values in order.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.head.lines().skip(1).filter_map(|line| line.split_once(": "))
    }

    /// The body without the line feed at the end of a text file.
    pub(crate) fn body(&self) -> &'static [u8] {
        match self.form {
            Form::Json => self.body.strip_suffix(b"\n").unwrap_or(self.body),
            Form::Sse | Form::Text => self.body,
        }
    }

    /// The events of a stream, each with its blank line.
    pub(crate) fn events(&self) -> Vec<&'static [u8]> {
        let mut events = Vec::new();
        let mut rest = self.body;
        while !rest.is_empty() {
            let unix = memchr::memmem::find(rest, b"\n\n").map(|at| at + 2);
            let dos = memchr::memmem::find(rest, b"\r\n\r\n").map(|at| at + 4);
            let end = unix.into_iter().chain(dos).min().unwrap_or(rest.len());
            let (event, after) = rest.split_at(end);
            events.push(event);
            rest = after;
        }
        events
    }

    /// The connection is lost at the end of the body.
    pub(crate) fn is_cut(&self) -> bool {
        self.name == "custom.stream-cut"
    }
}

macro_rules! cases {
    ($($name:literal $ext:ident,)*) => {
        &[$(Case {
            name: $name,
            form: cases!(@form $ext),
            head: include_str!(concat!("wire/", $name, ".headers")),
            body: include_bytes!(concat!("wire/", $name, ".", stringify!($ext))),
        },)*]
    };
    (@form json) => { Form::Json };
    (@form sse) => { Form::Sse };
    (@form txt) => { Form::Text };
}

#[rustfmt::skip]
const CASES: &[Case] = cases! {
    "cerebras.400-context" json,
    "cerebras.401-key" json,
    "cerebras.402-payment" json,
    "cerebras.404-archived" json,
    "cerebras.404-model" json,
    "cerebras.422-param" json,
    "cerebras.429-capacity" json,
    "cerebras.429-rph" json,
    "cerebras.429-rpm" json,
    "cerebras.429-tpd" json,
    "cerebras.429-tpm" json,
    "cerebras.429-wrapped" json,
    "cerebras.503-overload" json,
    "cerebras.models" json,
    "cerebras.stream-error" sse,
    "cerebras.stream-tools" sse,
    "cerebras.stream" sse,
    "cerebras.success" json,
    "cloudflare.400-model" json,
    "cloudflare.401-key" json,
    "cloudflare.403-paid" json,
    "cloudflare.429-capacity" json,
    "cloudflare.429-daily" json,
    "cloudflare.success" json,
    "cohere.401-key" json,
    "cohere.429-minute" json,
    "cohere.429-month" json,
    "cohere.success" json,
    "custom.400-context-vllm" json,
    "custom.429-http-date" json,
    "custom.502-html" txt,
    "custom.stream-crlf" sse,
    "custom.stream-cut" sse,
    "custom.stream-no-done" sse,
    "custom.success-json-as-stream" json,
    "gemini.400-context" json,
    "gemini.400-key-expired" json,
    "gemini.400-key" json,
    "gemini.400-param" json,
    "gemini.400-region" json,
    "gemini.400-signature" json,
    "gemini.403-leaked" json,
    "gemini.404-model" json,
    "gemini.404-retired" json,
    "gemini.429-bare" json,
    "gemini.429-both" json,
    "gemini.429-rpd-long" json,
    "gemini.429-rpd" json,
    "gemini.429-rpm" json,
    "gemini.429-tpm" json,
    "gemini.429-zero" json,
    "gemini.500" json,
    "gemini.503-overload" json,
    "gemini.embeddings" json,
    "gemini.models" json,
    "gemini.stream-tools" sse,
    "gemini.stream-usage" sse,
    "gemini.stream" sse,
    "gemini.success-empty" json,
    "gemini.success-tools" json,
    "gemini.success" json,
    "github.410-retired" json,
    "github.429-day" json,
    "groq.400-context" json,
    "groq.400-decommissioned" json,
    "groq.400-max-tokens" json,
    "groq.400-message-field" json,
    "groq.400-param" json,
    "groq.400-schema" json,
    "groq.400-tool-failed" json,
    "groq.401-key" json,
    "groq.403-cloudflare" txt,
    "groq.404-model" json,
    "groq.413-wall-itpm" json,
    "groq.413-wall-tpd" json,
    "groq.413-wall" json,
    "groq.429-rpd" json,
    "groq.429-rpm" json,
    "groq.429-tpd" json,
    "groq.429-tpm" json,
    "groq.503-overload" json,
    "groq.models" json,
    "groq.stream-error" sse,
    "groq.stream-reasoning" sse,
    "groq.stream-tools" sse,
    "groq.stream-usage" sse,
    "groq.stream" sse,
    "groq.success-tools" json,
    "groq.success" json,
    "huggingface.402-credits" json,
    "llm7.400-model" json,
    "mistral.400-context" json,
    "mistral.400-model" json,
    "mistral.400-order-tool" json,
    "mistral.400-order" json,
    "mistral.400-tool-id" json,
    "mistral.401-key-kong" json,
    "mistral.401-key" json,
    "mistral.403-tier" json,
    "mistral.422-detail" json,
    "mistral.422-param" json,
    "mistral.422-stream-options" json,
    "mistral.429-capacity" json,
    "mistral.429-old" json,
    "mistral.429-rpm" json,
    "mistral.429-tpm" json,
    "mistral.429-zero" json,
    "mistral.503-capacity" json,
    "mistral.503-overload" json,
    "mistral.models" json,
    "mistral.stream-thinking" sse,
    "mistral.stream-tools" sse,
    "mistral.stream" sse,
    "mistral.success-thinking" json,
    "mistral.success-tools" json,
    "mistral.success" json,
    "modelscope.429-balance" json,
    "nvidia.400-degraded" json,
    "nvidia.400-parallel" json,
    "nvidia.403-key" json,
    "nvidia.404-model" json,
    "nvidia.429" json,
    "ollama-cloud.401-key" json,
    "ollama-cloud.403-plan" json,
    "ollama-cloud.410-gone" json,
    "ollama-cloud.429-concurrency" json,
    "ollama-cloud.429-session" json,
    "ollama-cloud.429-week" json,
    "ollama.400-image" json,
    "ollama.400-param" json,
    "ollama.400-tools" json,
    "ollama.404-model" json,
    "ollama.500" json,
    "ollama.503-overload" json,
    "ollama.models" json,
    "ollama.stream-error" sse,
    "ollama.stream-tools" sse,
    "ollama.stream-usage" sse,
    "ollama.stream" sse,
    "ollama.success-tools" json,
    "ollama.success" json,
    "opencode.429-free" json,
    "openrouter.200-error" json,
    "openrouter.400-context" json,
    "openrouter.400-model" json,
    "openrouter.401-key" json,
    "openrouter.402-credits" json,
    "openrouter.403-moderation" json,
    "openrouter.404-endpoint" json,
    "openrouter.429-model" json,
    "openrouter.429-rpd" json,
    "openrouter.429-rpm" json,
    "openrouter.429-upstream" json,
    "openrouter.502-provider" json,
    "openrouter.503-overload" json,
    "openrouter.key" json,
    "openrouter.models" json,
    "openrouter.stream-error" sse,
    "openrouter.stream" sse,
    "openrouter.success" json,
    "sambanova.402-payment" json,
    "zai.400-context" json,
    "zai.400-model" json,
    "zai.401-key" json,
    "zai.429-capacity" json,
    "zai.429-concurrency" json,
    "zai.429-payment" json,
    "zai.429-quota" json,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_a_status_and_headers_and_json_that_parses() {
        for case in Case::all() {
            assert!((200..600).contains(&case.status()) && case.headers().count() > 0, "{}", case.name);
            if case.form == Form::Json {
                serde_json::from_slice::<serde_json::Value>(case.body())
                    .unwrap_or_else(|e| panic!("{}: {e}", case.name));
            }
        }
    }

    #[test]
    fn every_file_is_listed() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/simulator/wire");
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        let heads: Vec<String> = files.filter_map(|name| name.strip_suffix(".headers").map(str::to_owned)).collect();
        for head in &heads {
            assert!(Case::find(head).is_some(), "{head} is not listed");
        }
        assert_eq!(heads.len(), Case::all().len());
    }

    #[test]
    fn a_stream_is_split_at_blank_lines_of_either_form() {
        assert_eq!(Case::find("custom.stream-crlf").unwrap().events().len(), 4);
        let joined: Vec<u8> = Case::find("groq.stream").unwrap().events().concat();
        assert_eq!(joined, Case::find("groq.stream").unwrap().body());
    }
}
