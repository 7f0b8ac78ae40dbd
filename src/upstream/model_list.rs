//! Lists the models of a provider, for `tollfree check --live` and for the discovery of Ollama's and custom providers' models;
//! and tries a key that is to be added.

use std::time::Duration;

use reqwest::{
    StatusCode,
    header::{ACCEPT, AUTHORIZATION},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    bounds::{BYTE_ORDER_MARK, MAX_LIST_BYTES, MAX_LISTED_MODELS, MAX_MODEL_ID_CHARS},
    client::{Upstream, authorization},
    error_response,
    list_entry::Entry,
    redact,
    response_body::{BodyError, ResponseBody},
};
use crate::domain::{Capabilities, ListedModel, Provider, provider::Auth};

#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ModelListError {
    /// No connection, no TLS session, or no response in time.
    #[error("{0}")]
    Unreachable(String),
    /// 401, 403, or the provider's own error for a bad key.
    #[error("the key was refused: {0}")]
    BadKey(String),
    /// Any other response that is no list of models.
    #[error("status {status}: {message}")]
    Refused { status: u16, message: String },
}

/// What trying a key has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyTest {
    Accepted,
    /// The provider answers without a key as well, or has not said whether it takes the key: a wrong one would not be noticed.
    Unverified,
}

#[derive(Deserialize)]
struct List {
    #[serde(deserialize_with = "first_entries")]
    data: Vec<Entry>,
}

/// The first entries of a list, up to their bound.
fn first_entries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Entry>, D::Error> {
    struct Entries;
    impl<'de> Visitor<'de> for Entries {
        type Value = Vec<Entry>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list of models")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::new();
            while entries.len() < MAX_LISTED_MODELS
                && let Some(entry) = items.next_element()?
            {
                entries.push(entry);
            }
            while items.next_element::<IgnoredAny>()?.is_some() {}
            Ok(entries)
        }
    }
    deserializer.deserialize_seq(Entries)
}

/// Whether a discovered id may become the name of a model, which stands in headers, logs, metrics and names of keys in the
/// store: visible ASCII characters without quotes, and not too many.
fn is_safe_id(id: &str) -> bool {
    (1..=MAX_MODEL_ID_CHARS).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'`' | b'\\' | b',' | b';' | b'{' | b'}'))
}

/// Whether an id has the key with which the list was read, or a long part of it. (A short one may be a word that both have.)
fn shows(key: Option<&SecretString>, id: &str) -> bool {
    key.is_some_and(|key| {
        let key = key.expose_secret().as_bytes();
        let part = key.len().min(16);
        part >= 8 && key.windows(part).any(|part| memchr::memmem::find(id.as_bytes(), part).is_some())
    })
}

impl Upstream {
    /// `GET {base_url}/models`, in the provider's order. `prefix` is removed from the ids. `within_ms` bounds the whole call.
    /// Ids that could not be the name of a model, or that show the key, are left out.
    pub(crate) async fn list_models(
        &self,
        base_url: &str,
        key: Option<&SecretString>,
        prefix: &str,
        within_ms: u64,
    ) -> Result<Vec<ListedModel>, ModelListError> {
        let within = Duration::from_millis(within_ms);
        let received = tokio::time::timeout(within, self.get(base_url, "models", key)).await;
        let (status, body) = received
            .map_err(|_| ModelListError::Unreachable(format!("no answer within {within_ms} ms")))?
            .map_err(|e| ModelListError::Unreachable(e.to_string()))?;
        if !status.is_success() {
            return Err(refused(status, key, &body));
        }
        let Ok(list) = serde_json::from_slice::<List>(&body) else {
            let message = "the answer is no list of models (`{\"data\":[{\"id\":…}]}`)".to_owned();
            return Err(ModelListError::Refused { status: status.as_u16(), message });
        };
        let models = list.data.into_iter().map(|entry| entry.into_model(prefix));
        Ok(models.filter(|model| is_safe_id(&model.id) && !shows(key, &model.id)).collect())
    }

    /// Downloads a small file. The error is for the operator.
    pub(crate) async fn download(&self, url: &str, max_bytes: usize, within_ms: u64) -> Result<bytes::Bytes, String> {
        let get = async {
            let response = self.http_background().get(url).send().await.map_err(BodyError::from)?;
            let mut response = ResponseBody::new(response);
            Ok((response.status(), response.bytes(max_bytes).await?))
        };
        let received: Result<(StatusCode, bytes::Bytes), BodyError> =
            match tokio::time::timeout(Duration::from_millis(within_ms), get).await {
                Ok(received) => received,
                Err(_) => return Err(format!("no answer within {within_ms} ms")),
            };
        match received {
            Ok((status, bytes)) if status.is_success() => Ok(bytes),
            Ok((status, _)) => Err(format!("status {}", status.as_u16())),
            Err(error) => Err(error.to_string()),
        }
    }

    /// What an Ollama server knows about one of its models: `POST /api/show`. `None`: it does not answer, or not like Ollama.
    pub(crate) async fn describe_ollama(&self, base_url: &str, id: &str, within_ms: u64) -> Option<ListedModel> {
        #[derive(Deserialize)]
        struct Description {
            #[serde(default)]
            model_info: std::collections::BTreeMap<String, Box<RawValue>>,
            capabilities: Option<Vec<String>>,
        }
        let root = base_url.trim_end_matches('/').trim_end_matches("/v1");
        let request = self.http_background().post(format!("{root}/api/show")).json(&serde_json::json!({ "model": id }));
        let answer = async { ResponseBody::new(request.send().await?.error_for_status()?).bytes(MAX_LIST_BYTES).await };
        let answer = tokio::time::timeout(Duration::from_millis(within_ms), answer).await.ok()?.ok()?;
        let description: Description = serde_json::from_slice(&answer).ok()?;
        let context = description.model_info.iter().find(|(name, _)| name.ends_with(".context_length"));
        let has = |capabilities: &[String], name: &str| capabilities.iter().any(|capability| capability == name);
        let capabilities = description.capabilities.map(|names| {
            [
                ("tools", Capabilities::TOOLS),
                ("vision", Capabilities::VISION_BASE64),
                ("thinking", Capabilities::REASONING),
                ("insert", Capabilities::FIM),
                ("embedding", Capabilities::EMBEDDINGS),
            ]
            .into_iter()
            .filter(|(name, _)| has(&names, name))
            .fold(Capabilities::JSON_OBJECT.with(Capabilities::JSON_SCHEMA), |all, (_, one)| all.with(one))
        });
        let context = context.and_then(|(_, n)| n.get().parse().ok());
        Some(ListedModel { id: id.to_owned(), context, capabilities, ..ListedModel::default() })
    }

    /// Tries a key with one call: the list of models, or what shows whether a key is right where the list is open to
    /// everyone. A second call without the key finds out whether the first one proves anything.
    pub(crate) async fn test_key(
        &self,
        provider: &Provider,
        key: &SecretString,
        within_ms: u64,
    ) -> Result<KeyTest, ModelListError> {
        let within = Duration::from_millis(within_ms);
        let is_chat = provider.wire.key_test_model.is_some();
        let (status, body) = match tokio::time::timeout(within, self.call_with_key(provider, Some(key))).await {
            Ok(received) => received.map_err(|e| ModelListError::Unreachable(e.to_string()))?,
            // A wrong key is refused at once, and a model may take its time.
            Err(_) if is_chat => return Ok(KeyTest::Unverified),
            Err(_) => return Err(ModelListError::Unreachable(format!("no answer within {within_ms} ms"))),
        };
        if !status.is_success() {
            return match refused(status, Some(key), &body) {
                // It says something of the model, or of a limit, and nothing of the key.
                ModelListError::Refused { status: 400..=499, .. } if is_chat => Ok(KeyTest::Unverified),
                error => Err(error),
            };
        }
        let without = tokio::time::timeout(within, self.call_with_key(provider, None)).await;
        let is_open = matches!(without, Ok(Ok((status, _))) if status.is_success());
        Ok(if is_open { KeyTest::Unverified } else { KeyTest::Accepted })
    }

    async fn call_with_key(
        &self,
        provider: &Provider,
        key: Option<&SecretString>,
    ) -> Result<(StatusCode, bytes::Bytes), BodyError> {
        let Provider { base_url, wire, .. } = provider;
        let Some(model) = &wire.key_test_model else {
            return self.get(base_url, wire.key_test_path.as_deref().unwrap_or("models"), key).await;
        };
        let messages = serde_json::json!([{ "role": "user", "content": "Hi" }]);
        let body = serde_json::json!({ "model": model, "messages": messages, "max_tokens": 1 });
        send(self.http_background().post(format!("{base_url}/chat/completions")).json(&body), key).await
    }

    async fn get(
        &self,
        base_url: &str,
        path: &str,
        key: Option<&SecretString>,
    ) -> Result<(StatusCode, bytes::Bytes), BodyError> {
        self.get_url(&format!("{base_url}/{path}"), key).await
    }

    pub(super) async fn get_url(
        &self,
        url: &str,
        key: Option<&SecretString>,
    ) -> Result<(StatusCode, bytes::Bytes), BodyError> {
        send(self.http_background().get(url), key).await
    }
}

async fn send(
    request: reqwest::RequestBuilder,
    key: Option<&SecretString>,
) -> Result<(StatusCode, bytes::Bytes), BodyError> {
    let mut request = request.header(ACCEPT, "application/json");
    if let Some(value) = authorization(Auth::BearerOptional, key) {
        request = request.header(AUTHORIZATION, value);
    }
    let mut response = ResponseBody::new(request.send().await?);
    let body = response.bytes(MAX_LIST_BYTES).await?;
    let mark = if body.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    Ok((response.status(), body.slice(mark..)))
}

pub(super) fn refused(status: StatusCode, key: Option<&SecretString>, body: &[u8]) -> ModelListError {
    let raw = error_response::message_of(status.as_u16(), body);
    let message = redact::without_secrets(key.into_iter(), &raw);
    // Gemini reports a bad key as a bad request.
    let bad_key = matches!(status.as_u16(), 401 | 403) || memchr::memmem::find(body, b"API_KEY_INVALID").is_some();
    if bad_key { ModelListError::BadKey(message) } else { ModelListError::Refused { status: status.as_u16(), message } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{
        UpstreamSettings,
        test_support::{says, serve},
    };

    fn upstream() -> Upstream {
        let settings = UpstreamSettings { connect_ms: 500, first_token_ms: 500, stream_idle_ms: 500, proxy: None };
        Upstream::new(settings, 1, crate::memory::Memory::new(None)).unwrap()
    }

    #[test]
    fn every_recorded_list_is_read() {
        for (list, first, context) in [
            (include_str!("../simulator/wire/groq.models.json"), "openai/gpt-oss-120b", Some(131_072)),
            (include_str!("../simulator/wire/gemini.models.json"), "models/gemini-3.8-flash", None),
            (include_str!("../simulator/wire/mistral.models.json"), "mistral-small-2603", Some(262_144)),
            (include_str!("../simulator/wire/ollama.models.json"), "gpt-oss:20b", None),
            (
                include_str!("../simulator/wire/openrouter.models.json"),
                "nvidia/nemotron-3-super-120b-a12b:free",
                Some(262_144),
            ),
        ] {
            let list: List = serde_json::from_str(list).unwrap();
            let model = list.data.into_iter().next().unwrap().into_model("");
            assert_eq!((model.id.as_str(), model.context), (first, context));
        }
    }

    #[tokio::test]
    async fn a_list_is_requested_with_the_key_and_its_prefix_is_removed() {
        let upstream = upstream();
        let list = include_bytes!("../simulator/wire/gemini.models.json");
        let mut server = serve(says(200, "application/json", list)).await;
        let key = SecretString::from("test-key");
        let found = upstream.list_models(&server.base_url, Some(&key), "models/", 2_000).await.unwrap();
        assert_eq!(found[0], ListedModel { id: "gemini-3.8-flash".into(), ..ListedModel::default() });
        let (received, _) = server.requests.recv().await.unwrap();
        assert!(
            received.starts_with("GET /v1/models HTTP/1.1\r\n")
                && received.contains("authorization: Bearer test-key\r\n")
        );

        let marked = serve(says(200, "application/json", &[BYTE_ORDER_MARK, &list[..]].concat())).await;
        assert_eq!(upstream.list_models(&marked.base_url, None, "models/", 2_000).await.unwrap(), found);

        let unreachable = upstream.list_models("http://127.0.0.1:1/v1", None, "", 2_000).await;
        assert!(matches!(unreachable, Err(ModelListError::Unreachable(_))), "{unreachable:?}");
        let page = serve(says(200, "text/html", b"<html>")).await;
        let found = upstream.list_models(&page.base_url, None, "", 2_000).await;
        assert!(matches!(found, Err(ModelListError::Refused { status: 200, .. })), "{found:?}");
    }

    #[tokio::test]
    async fn ids_that_show_the_key_and_tiers_without_an_end_are_left_out() {
        let upstream = upstream();
        let key = SecretString::from("secret-0123456789");
        let tier = "t".repeat(100);
        let list = format!(
            r#"{{"data":[{{"id":"a/x-secret-0123456789"}},{{"id":"x-secret-012345678:free"}},{{"id":"secret:free"}},{{"id":"sk-model-of-theirs","tier":"{tier}"}},{{"id":"m"}}]}}"#
        );
        let server = serve(says(200, "application/json", list.as_bytes())).await;
        let found = upstream.list_models(&server.base_url, Some(&key), "", 2_000).await.unwrap();
        let found: Vec<_> = found.iter().map(|model| (model.id.as_str(), &model.tier)).collect();
        assert_eq!(found, [("secret:free", &None), ("sk-model-of-theirs", &None), ("m", &None)]);
    }

    #[tokio::test]
    async fn a_compressed_response_that_becomes_nothing_is_given_up() {
        let upstream = upstream();
        // Stored blocks without content.
        let body = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255][..], &[0, 0, 0, 255, 255].repeat(250_000)].concat();
        let server = serve(says(200, "application/json", &body)).await;
        let downloaded = upstream.download(&server.base_url, 1 << 20, 60_000).await;
        assert!(downloaded.as_ref().is_err_and(|error| error.contains("is nothing")), "{downloaded:?}");
    }

    #[tokio::test]
    async fn contexts_and_abilities_are_read_where_a_server_states_them() {
        let llama_cpp = r#"{"data":[{"id":"m","meta":{"n_ctx_train":40960}},{"id":"n","meta":null}]}"#;
        let list: List = serde_json::from_str(llama_cpp).unwrap();
        let contexts: Vec<_> = list.data.into_iter().map(|entry| entry.into_model("").context).collect();
        assert_eq!(contexts, [Some(40_960), None]);

        let upstream = upstream();
        let description =
            br#"{"model_info":{"llama.context_length":131072},"capabilities":["completion","vision","tools"]}"#;
        let mut server = serve(says(200, "application/json", description)).await;
        let model = upstream.describe_ollama(&server.base_url, "llava", 2_000).await.unwrap();
        let capabilities = model.capabilities.unwrap();
        assert_eq!((model.id.as_str(), model.context), ("llava", Some(131_072)));
        assert!(capabilities.has(Capabilities::VISION_BASE64.with(Capabilities::TOOLS)));
        assert!(!capabilities.has(Capabilities::REASONING));
        let (request, _) = server.requests.recv().await.unwrap();
        assert!(request.starts_with("POST /api/show HTTP/1.1\r\n"), "{request}");
        assert_eq!(upstream.describe_ollama("http://127.0.0.1:1/v1", "llava", 2_000).await, None);
    }

    #[test]
    fn a_bad_key_is_distinguished_from_other_errors() {
        let gemini = include_bytes!("../simulator/wire/gemini.400-key.json");
        assert!(
            matches!(refused(StatusCode::BAD_REQUEST, None, gemini), ModelListError::BadKey(m) if m.contains("not valid"))
        );
        let kong = include_bytes!("../simulator/wire/mistral.401-key-kong.json");
        assert!(
            matches!(refused(StatusCode::UNAUTHORIZED, None, kong), ModelListError::BadKey(m) if m == "Unauthorized")
        );
        assert!(matches!(
            refused(StatusCode::BAD_GATEWAY, None, b"<html>"),
            ModelListError::Refused { status: 502, .. }
        ));
    }
}
