//! Compresses lists and pages with gzip for callers that accept it. Streams, chat responses and files that are already
//! compressed pass unchanged.

use std::io::Write as _;

use actix_web::{
    HttpMessage,
    body::{BodySize, EitherBody, MessageBody},
    dev::ServiceResponse,
    http::{
        Method, StatusCode,
        header::{
            ACCEPT_ENCODING, AcceptEncoding, CONTENT_ENCODING, CONTENT_TYPE, ETAG, Encoding, HeaderMap, HeaderValue,
            VARY,
        },
    },
    web::Bytes,
};
use flate2::{Compression, write::GzEncoder};

/// Below this size, compression saves no packet. Responses with secrets, such as that of the session, are smaller.
const MIN_BYTES: u64 = 1_024;

/// A body as its handler made it, or its compressed form.
pub(crate) type MaybeCompressed<B> = EitherBody<B, Bytes>;

pub(crate) fn compress<B: MessageBody>(served: ServiceResponse<B>) -> ServiceResponse<MaybeCompressed<B>> {
    if !is_compressible(&served) {
        return served.map_into_left_body();
    }
    let accepted = served.request().get_header::<AcceptEncoding>();
    let gzip = Encoding::gzip();
    let accepts = accepted.is_some_and(|accepted| accepted.negotiate([&gzip].into_iter()).as_ref() == Some(&gzip));
    served.map_body(|head, body| {
        head.headers_mut().insert(VARY, HeaderValue::from_name(ACCEPT_ENCODING));
        if !accepts {
            return EitherBody::left(body);
        }
        match body.try_into_bytes() {
            Ok(bytes) => EitherBody::right(compressed(head.headers_mut(), bytes)),
            Err(body) => EitherBody::left(body),
        }
    })
}

fn is_compressible<B: MessageBody>(served: &ServiceResponse<B>) -> bool {
    let (method, response) = (served.request().method(), served.response());
    let headers = response.headers();
    let is_text = || {
        let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        content_type.starts_with(b"application/json") || content_type.starts_with(b"text/")
    };
    matches!(*method, Method::GET | Method::HEAD)
        && response.status() == StatusCode::OK
        && matches!(response.body().size(), BodySize::Sized(MIN_BYTES..))
        // The dashboard's files have compressed forms of their own.
        && !headers.contains_key(VARY)
        && is_text()
}

fn compressed(headers: &mut HeaderMap, bytes: Bytes) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    let Ok(compressed) = encoder.write_all(&bytes).and_then(|()| encoder.finish()) else { return bytes };
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    // A strong tag names exact bytes, and these differ from those of the plain form.
    let weak = headers.get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""));
    let weak = weak.and_then(|tag| HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok());
    if let Some(weak) = weak {
        headers.insert(ETAG, weak);
    }
    compressed.into()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use actix_web::{test, test::TestRequest};
    use flate2::read::GzDecoder;

    use super::*;
    use crate::{
        api::test_support::app,
        config::{ProviderSettings, Settings},
    };

    /// With enough models that their list is worth compressing.
    fn settings() -> Settings {
        let provider = ProviderSettings { keys: vec!["key".into()], ..ProviderSettings::default() };
        Settings { providers: [("groq".to_owned(), provider)].into(), ..Settings::default() }
    }

    #[actix_web::test]
    async fn lists_and_pages_are_compressed_where_gzip_is_accepted() {
        let app = app(settings()).await;
        for path in ["/v1/models", "/openapi.json", "/docs"] {
            let plain = test::call_service(&app, TestRequest::get().uri(path).to_request()).await;
            assert_eq!(plain.headers().get(CONTENT_ENCODING), None, "{path}");
            assert_eq!(plain.headers().get(VARY).unwrap(), "accept-encoding", "{path}");
            let plain = test::read_body(plain).await;
            for (accepted, is_gzip) in [("gzip, deflate, br", true), ("br", false), ("gzip;q=0", false)] {
                let request = TestRequest::get().uri(path).insert_header((ACCEPT_ENCODING, accepted));
                let response = test::call_service(&app, request.to_request()).await;
                let encoding = response.headers().get(CONTENT_ENCODING).cloned();
                assert_eq!(encoding.is_some(), is_gzip, "{path} {accepted}");
                let body = test::read_body(response).await;
                if is_gzip {
                    let mut text = Vec::new();
                    GzDecoder::new(&body[..]).read_to_end(&mut text).unwrap();
                    assert_eq!((text.len(), body.len() * 2 < text.len()), (plain.len(), true), "{path}");
                } else {
                    assert_eq!(body.len(), plain.len(), "{path} {accepted}");
                }
            }
        }
    }

    #[actix_web::test]
    async fn a_compressed_page_is_revalidated_by_its_weak_tag() {
        let app = app(Settings::default()).await;
        let get = || TestRequest::get().uri("/openapi.json").insert_header((ACCEPT_ENCODING, "gzip"));
        let tag = test::call_service(&app, get().to_request()).await.headers().get(ETAG).unwrap().clone();
        assert!(tag.as_bytes().starts_with(b"W/\""), "{tag:?}");
        let again = test::call_service(&app, get().insert_header(("if-none-match", tag)).to_request()).await;
        assert_eq!(again.status(), 304);
    }

    #[actix_web::test]
    async fn short_responses_stay_as_they_are() {
        let app = app(Settings::default()).await;
        let request = TestRequest::get().uri("/healthz").insert_header((ACCEPT_ENCODING, "gzip"));
        let response = test::call_service(&app, request.to_request()).await;
        assert!(!response.headers().contains_key(CONTENT_ENCODING));
        assert_eq!(test::read_body(response).await, r#"{"status":"ok"}"#);
    }
}
