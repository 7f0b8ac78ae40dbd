//! Request bodies: bounded, and decompressed where the caller has compressed them.

use std::io::Read;

use actix_web::{
    HttpRequest,
    dev::Payload,
    error::PayloadError,
    http::header::{CONTENT_ENCODING, CONTENT_LENGTH},
    web::{Bytes, BytesMut},
};
use brotli_decompressor::Decompressor;
use flate2::{
    bufread::GzDecoder,
    read::{DeflateDecoder, ZlibDecoder},
};
use futures_util::StreamExt;
use ruzstd::decoding::StreamingDecoder;
use tokio::sync::Semaphore;

use crate::{
    api::edge::error::ApiError,
    memory::{Exhausted, Reservation},
};

/// The largest window that a sender of Zstandard over HTTP may need (RFC 9659).
const ZSTD_WINDOW: u64 = 8 << 20;
/// Compression of what is compressed already gains nothing.
const MAX_CODINGS: usize = 2;
/// Frames of Zstandard, or members of gzip, of one body. Even an empty one costs time.
const MAX_FRAMES: usize = 1_000;
/// Bytes that are inflated at a time.
const PIECE_BYTES: usize = 64 << 10;
/// Bodies that are inflated at a time: each may need a window beside what is reserved.
static INFLATING: Semaphore = Semaphore::const_new(4);

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

/// Reads the whole body: at most `max` bytes, both as it was sent and decompressed. `memory` is reserved for it, and lasts as
/// long as its owner keeps it.
pub(crate) async fn read(
    request: &HttpRequest,
    payload: Payload,
    max: usize,
    memory: &mut Option<Reservation>,
) -> Result<Bytes, ApiError> {
    let codings = codings(request)?;
    let body = receive(payload, max, memory.as_mut()).await?;
    if codings.is_empty() {
        return Ok(body);
    }
    let _turn = INFLATING.acquire().await.map_err(|_| ApiError::Internal)?;
    let mut reserved = memory.take();
    // A small body can become a large one, which takes a while.
    let inflated = tokio::task::spawn_blocking(move || {
        let inflated = codings.into_iter().rev().try_fold(body, |body, coding| {
            let inflated = inflate(&body, coding, max, &mut reserved);
            drop(body);
            inflated
        });
        if let (Ok(inflated), Some(reserved)) = (&inflated, &mut reserved) {
            reserved.shrink(inflated.len());
        }
        (inflated, reserved)
    });
    let (inflated, reserved) = inflated.await.map_err(|_| ApiError::Internal)?;
    *memory = reserved;
    inflated
}

fn exhausted(_: Exhausted) -> ApiError {
    let message = "The bodies of other requests take all memory that is for them. Try again.".to_owned();
    ApiError::Overloaded { message }
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
                memory.as_deref_mut().map_or(Ok(()), |memory| memory.grow(chunk.len())).map_err(exhausted)?;
                body.extend_from_slice(&chunk);
            }
            Some(Err(PayloadError::Incomplete(_))) => return Err(incomplete("the connection was closed".to_owned())),
            Some(Err(PayloadError::Io(error))) => return Err(incomplete(error.to_string())),
            Some(Err(error)) => return Err(incomplete(error.to_string())),
        }
    }
}

/// Why a body is not inflated.
enum Failure {
    TooLarge,
    Exhausted(Exhausted),
    Damaged(std::io::Error),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Damaged(error)
    }
}

fn inflate(body: &[u8], coding: Coding, max: usize, memory: &mut Option<Reservation>) -> Result<Bytes, ApiError> {
    let mut inflated = Inflated { bytes: Vec::new(), max, memory };
    let result = match coding {
        Coding::Gzip => inflated.gzip(body),
        // The standard means zlib's format, but some senders leave its header out.
        Coding::Deflate if is_zlib(body) => inflated.append(&mut ZlibDecoder::new(body)),
        Coding::Deflate => inflated.append(&mut DeflateDecoder::new(body)),
        Coding::Brotli => inflated.append(&mut Decompressor::new(body, 4_096)),
        Coding::Zstd => inflated.zstd(body),
    };
    match result {
        Ok(()) => Ok(inflated.bytes.into()),
        Err(Failure::TooLarge) => Err(ApiError::TooLarge { max }),
        Err(Failure::Exhausted(why)) => Err(exhausted(why)),
        Err(Failure::Damaged(error)) => {
            Err(ApiError::InvalidJson { message: format!("The body cannot be decompressed: {error}.") })
        }
    }
}

/// What has been inflated of a body.
struct Inflated<'a> {
    bytes: Vec<u8>,
    max: usize,
    /// Follows the bytes. A reservation is for a body and a copy of it, and so covers the compressed form, too.
    memory: &'a mut Option<Reservation>,
}

impl Inflated<'_> {
    /// Appends everything that `reader` has.
    fn append(&mut self, reader: &mut impl Read) -> Result<(), Failure> {
        loop {
            let before = self.bytes.len();
            let left = self.max - before;
            let piece = PIECE_BYTES.min(left + 1);
            if let Some(memory) = self.memory {
                memory.cover(before + piece.min(left)).map_err(Failure::Exhausted)?;
            }
            if reader.by_ref().take(piece as u64).read_to_end(&mut self.bytes)? == 0 {
                return Ok(());
            }
            if self.bytes.len() > self.max {
                return Err(Failure::TooLarge);
            }
        }
    }

    /// Members may follow each other.
    fn gzip(&mut self, body: &[u8]) -> Result<(), Failure> {
        self.frames(body, |inflated, rest| {
            let mut member = GzDecoder::new(rest);
            inflated.append(&mut member)?;
            Ok(member.into_inner())
        })
    }

    /// Frames may follow each other.
    fn zstd(&mut self, body: &[u8]) -> Result<(), Failure> {
        self.frames(body, |inflated, rest| {
            let mut frame =
                StreamingDecoder::new_with_max_window_size(rest, ZSTD_WINDOW).map_err(std::io::Error::other)?;
            inflated.append(&mut frame)?;
            Ok(frame.into_inner())
        })
    }

    fn frames<'b>(
        &mut self,
        mut rest: &'b [u8],
        mut next: impl FnMut(&mut Self, &'b [u8]) -> Result<&'b [u8], Failure>,
    ) -> Result<(), Failure> {
        for _ in 0..MAX_FRAMES {
            rest = next(self, rest)?;
            if rest.is_empty() {
                return Ok(());
            }
        }
        Err(std::io::Error::other(format!("it has more than {MAX_FRAMES} parts")).into())
    }
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
    use crate::memory::Memory;

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
        read(&request, payload, max, &mut None).await
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
    async fn what_a_small_body_becomes_is_reserved_while_it_grows_and_as_long_as_it_is_kept() {
        let memory = Memory::new(Some(8));
        let read = async |bytes: usize| {
            let (request, payload) = TestRequest::post()
                .insert_header(("content-encoding", "gzip, gzip"))
                .set_payload(gzip(&gzip(&vec![b' '; bytes])))
                .to_http_parts();
            let mut reserved = Some(memory.reserve("ann".into()));
            (read(&request, payload, 16 << 20, &mut reserved).await, reserved)
        };
        let (refused, reserved) = read(2 << 20).await;
        assert!(matches!(refused, Err(ApiError::Overloaded { .. })), "{refused:?}");
        drop(reserved);
        let (body, reserved) = read(1 << 20).await;
        assert_eq!((body.unwrap().len(), memory.reserved()), (1 << 20, 2 << 20));
        drop(reserved);
        assert_eq!(memory.reserved(), 0);
    }

    #[actix_web::test]
    async fn a_body_of_many_empty_parts_is_refused() {
        let member = gzip(b"");
        assert!(body("gzip", member.repeat(MAX_FRAMES), 1 << 20).await.unwrap().is_empty());
        let read = body("gzip", member.repeat(MAX_FRAMES + 1), 1 << 20).await;
        assert!(matches!(read, Err(ApiError::InvalidJson { .. })), "{read:?}");
        let zstd = BASE64.decode(ZSTD_OF_TEXT.as_bytes()).unwrap();
        let read = body("zstd", zstd.repeat(MAX_FRAMES + 1), 1 << 20).await;
        assert!(matches!(read, Err(ApiError::InvalidJson { .. })), "{read:?}");
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
