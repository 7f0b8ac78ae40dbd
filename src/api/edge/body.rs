//! Request bodies: bounded, and decompressed where the caller has compressed them.

use std::io::Read;

use actix_web::{
    HttpMessage, HttpRequest,
    dev::Payload,
    error::PayloadError,
    http::header::{CONTENT_ENCODING, CONTENT_LENGTH},
    web::{Bytes, BytesMut},
};
use brotli_decompressor::Decompressor;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use futures_util::StreamExt;
use ruzstd::decoding::StreamingDecoder;

use crate::{
    api::edge::error::ApiError,
    memory::{Exhausted, Reservation},
};

/// The largest window that a sender of Zstandard over HTTP may need (RFC 9659).
const ZSTD_WINDOW: u64 = 8 << 20;
/// Compression of what is compressed already gains nothing.
const MAX_CODINGS: usize = 2;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Zstd,
    Brotli,
}

/// Checks what can be checked before the body is read.
pub(crate) fn check_length(request: &HttpRequest, max: usize) -> Result<(), ApiError> {
    codings(request)?;
    let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    match length.and_then(|length| length.parse::<u64>().ok()) {
        Some(length) if length > max as u64 => Err(ApiError::TooLarge { max }),
        _ => Ok(()),
    }
}

/// Whether the body is compressed.
pub(crate) fn is_compressed(request: &HttpRequest) -> Result<bool, ApiError> {
    codings(request).map(|codings| !codings.is_empty())
}

/// Reads the whole body: at most `max` bytes, both as it was sent and decompressed. `memory` is held as long as the request.
pub(crate) async fn read(
    request: &HttpRequest,
    payload: Payload,
    max: usize,
    mut memory: Option<Reservation>,
) -> Result<Bytes, ApiError> {
    let codings = codings(request)?;
    let body = receive(payload, max, memory.as_mut()).await?;
    if codings.is_empty() {
        request.extensions_mut().insert(memory);
        return Ok(body);
    }
    // Bodies are text, of which compression leaves a tenth.
    reserve(memory.as_mut(), body.len().saturating_mul(10).min(max))?;
    // A small body can become a large one, which takes a while.
    let inflated = tokio::task::spawn_blocking(move || {
        codings.into_iter().rev().try_fold(body, |body, coding| inflate(&body, coding, max))
    });
    let inflated = inflated.await.map_err(|_| ApiError::Internal)?;
    request.extensions_mut().insert(memory);
    inflated
}

fn reserve(memory: Option<&mut Reservation>, bytes: usize) -> Result<(), ApiError> {
    match memory.map(|memory| memory.grow(bytes)) {
        None | Some(Ok(())) => Ok(()),
        Some(Err(Exhausted)) => {
            let message = "The bodies of other requests take all memory that is for them. Try again.".to_owned();
            Err(ApiError::Overloaded { message })
        }
    }
}

/// The codings in the order in which they were applied.
fn codings(request: &HttpRequest) -> Result<Vec<Coding>, ApiError> {
    let lines = request.headers().get_all(CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?"));
    let names = lines.flat_map(|line| line.split(',')).map(str::trim);
    let mut codings = Vec::new();
    for name in names.filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity")) {
        codings.push(match name.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Coding::Gzip,
            "deflate" => Coding::Deflate,
            "zstd" => Coding::Zstd,
            "br" => Coding::Brotli,
            _ => return Err(ApiError::UnsupportedEncoding(name.to_owned())),
        });
    }
    if codings.len() > MAX_CODINGS {
        return Err(ApiError::UnsupportedEncoding("more than two codings".to_owned()));
    }
    Ok(codings)
}

async fn receive(mut payload: Payload, max: usize, mut memory: Option<&mut Reservation>) -> Result<Bytes, ApiError> {
    let incomplete = |why: String| ApiError::InvalidJson { message: format!("The body ended early: {why}.") };
    let mut body = BytesMut::new();
    loop {
        match payload.next().await {
            None => return Ok(body.freeze()),
            Some(Ok(chunk)) if body.len() + chunk.len() > max => return Err(ApiError::TooLarge { max }),
            Some(Ok(chunk)) => {
                reserve(memory.as_deref_mut(), chunk.len())?;
                body.extend_from_slice(&chunk);
            }
            Some(Err(PayloadError::Incomplete(_))) => return Err(incomplete("the connection was closed".to_owned())),
            Some(Err(PayloadError::Io(error))) => return Err(incomplete(error.to_string())),
            Some(Err(error)) => return Err(incomplete(error.to_string())),
        }
    }
}

fn inflate(body: &[u8], coding: Coding, max: usize) -> Result<Bytes, ApiError> {
    let inflated = match coding {
        Coding::Gzip => bounded(MultiGzDecoder::new(body), max),
        // The standard means zlib's format, but some senders leave its header out.
        Coding::Deflate if is_zlib(body) => bounded(ZlibDecoder::new(body), max),
        Coding::Deflate => bounded(DeflateDecoder::new(body), max),
        Coding::Brotli => bounded(Decompressor::new(body, 4_096), max),
        Coding::Zstd => zstd(body, max),
    };
    match inflated {
        Ok(Some(inflated)) => Ok(inflated.into()),
        Ok(None) => Err(ApiError::TooLarge { max }),
        Err(error) => Err(ApiError::InvalidJson { message: format!("The body cannot be decompressed: {error}.") }),
    }
}

/// Everything that `reader` has; `None` where that is more than `max` bytes.
fn bounded(reader: impl Read, max: usize) -> std::io::Result<Option<Vec<u8>>> {
    let mut inflated = Vec::new();
    reader.take(max as u64 + 1).read_to_end(&mut inflated)?;
    Ok((inflated.len() <= max).then_some(inflated))
}

/// Frames may follow each other.
fn zstd(mut rest: &[u8], max: usize) -> std::io::Result<Option<Vec<u8>>> {
    let mut inflated = Vec::new();
    while !rest.is_empty() {
        let mut frame = StreamingDecoder::new_with_max_window_size(rest, ZSTD_WINDOW).map_err(std::io::Error::other)?;
        match bounded(&mut frame, max - inflated.len())? {
            Some(more) => inflated.extend(more),
            None => return Ok(None),
        }
        rest = frame.into_inner();
    }
    Ok(Some(inflated))
}

/// Two bytes of a zlib header are a multiple of 31.
fn is_zlib(body: &[u8]) -> bool {
    let header = body.first_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes));
    header.is_some_and(|header| header % 31 == 0 && header >> 8 & 0x0F == 8)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use actix_web::test::TestRequest;
    use data_encoding::BASE64;
    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };

    use super::*;

    const ZSTD_OF_TEXT: &str = "KLUv/QRY8QAAeyJtb2RlbCI6ImZyZWUiLCJtZXNzYWdlcyI6W119tGeSpA==";
    const BROTLI_OF_TEXT: &str = "Gx0AoIyTpR5B20uRrb1m0enq04BMooknMsMBuSTyYQ+oBg==";
    const TEXT: &[u8] = br#"{"model":"free","messages":[]}"#;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    async fn body(coding: &'static str, body: Vec<u8>, max: usize) -> Result<Bytes, ApiError> {
        let (request, payload) =
            TestRequest::post().insert_header(("content-encoding", coding)).set_payload(body).to_http_parts();
        read(&request, payload, max, None).await
    }

    #[actix_web::test]
    async fn a_body_in_any_coding_is_read() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(TEXT).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(TEXT).unwrap();
        // Made by the `zstd` and `brotli` programs.
        let zstd = BASE64.decode(ZSTD_OF_TEXT.as_bytes()).unwrap();
        let brotli = BASE64.decode(BROTLI_OF_TEXT.as_bytes()).unwrap();
        for (coding, bytes) in [
            ("gzip", gzip(TEXT)),
            ("GZip", gzip(TEXT)),
            ("deflate", zlib.finish().unwrap()),
            ("deflate", raw.finish().unwrap()),
            ("zstd", [&zstd[..], &zstd].concat()),
            ("br", brotli),
            ("identity", TEXT.to_vec()),
            ("gzip, gzip", gzip(&gzip(TEXT))),
        ] {
            let expected = if coding == "zstd" { [TEXT, TEXT].concat() } else { TEXT.to_vec() };
            assert_eq!(body(coding, bytes, 100).await.unwrap(), expected, "{coding}");
        }
    }

    #[actix_web::test]
    async fn a_small_body_that_becomes_too_large_is_refused() {
        let bomb = gzip(&vec![b' '; 50_000_000]);
        assert!(bomb.len() < 100_000);
        assert!(matches!(body("gzip", bomb, 100_000).await, Err(ApiError::TooLarge { max: 100_000 })));
        assert!(body("gzip", gzip(&[b' '; 100]), 100).await.is_ok());
        assert!(matches!(body("gzip", gzip(&[b' '; 101]), 100).await, Err(ApiError::TooLarge { .. })));
    }

    #[actix_web::test]
    async fn unknown_codings_and_damaged_bodies_are_refused() {
        assert!(matches!(body("lzma", TEXT.to_vec(), 100).await, Err(ApiError::UnsupportedEncoding(_))));
        assert!(matches!(body("gzip, gzip, gzip", TEXT.to_vec(), 100).await, Err(ApiError::UnsupportedEncoding(_))));
        for coding in ["gzip", "deflate", "zstd", "br"] {
            let read = body(coding, vec![0xFF; 40], 100).await;
            assert!(matches!(read, Err(ApiError::InvalidJson { .. })), "{coding}: {read:?}");
        }
    }
}
