//! The body of a response, chunk by chunk. Some servers compress although identity was requested: their bodies are inflated.

use std::io::Write;

use bytes::{Buf, Bytes};
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use reqwest::{
    Response, StatusCode,
    header::{CONTENT_ENCODING, HeaderMap},
};

use super::{bounds::MAX_UNCOMMITTED_BYTES, client::root_cause};

/// Compressed bytes that are inflated at a time. Deflate expands a byte to at most 1,032, so that a chunk stays below 1 MiB
/// whatever the server sends.
const PIECE_BYTES: usize = 1_000;

/// The first bytes of everything that gzip compresses.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A response whose body is read in chunks.
#[derive(Debug)]
pub(super) struct ResponseBody {
    response: Response,
    inflater: Option<Inflater>,
    /// Received bytes that were not inflated yet.
    compressed: Bytes,
    /// Compressed bytes since the last that became anything.
    barren_bytes: usize,
    has_begun: bool,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("{}", root_cause(.0))]
    Transport(#[from] reqwest::Error),
    /// The text names what the server sent.
    #[error("{0}")]
    Encoding(String),
}

#[derive(Debug)]
enum Inflater {
    Gzip(MultiGzDecoder<Vec<u8>>),
    Zlib(ZlibDecoder<Vec<u8>>),
    Deflate(DeflateDecoder<Vec<u8>>),
    /// `deflate`: the first byte shows whether the stream has the header of zlib, which some servers leave out.
    ZlibOrDeflate,
    Unknown(String),
}

impl ResponseBody {
    pub(super) fn new(response: Response) -> Self {
        let encoding = response.headers().get(CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?").trim());
        let inflater = encoding.and_then(Inflater::of);
        Self { response, inflater, compressed: Bytes::new(), barren_bytes: 0, has_begun: false }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    pub(super) fn headers_mut(&mut self) -> &mut HeaderMap {
        self.response.headers_mut()
    }

    /// The next bytes, or `None` after the last. Cancel safe.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, BodyError> {
        if self.inflater.is_none() {
            let chunk = self.response.chunk().await?;
            let is_first = !std::mem::replace(&mut self.has_begun, true);
            // Some servers compress without saying so. Text never begins with these bytes.
            match chunk {
                Some(chunk) if is_first && chunk.starts_with(&GZIP_MAGIC) => {
                    self.inflater = Inflater::of("gzip");
                    self.compressed = chunk;
                }
                chunk => return Ok(chunk),
            }
        }
        let Some(inflater) = &mut self.inflater else { return Ok(None) };
        loop {
            while self.compressed.has_remaining() {
                let before = self.compressed.remaining();
                let bytes = inflater.inflate(&mut self.compressed)?;
                if !bytes.is_empty() {
                    self.barren_bytes = 0;
                    return Ok(Some(bytes.into()));
                }
                self.barren_bytes += before - self.compressed.remaining();
                if self.barren_bytes > MAX_UNCOMMITTED_BYTES {
                    return Err(BodyError::Encoding(
                        "more than 1 MiB of the compressed response is nothing".to_owned(),
                    ));
                }
            }
            match self.response.chunk().await? {
                Some(chunk) => self.compressed = chunk,
                None => return Ok(None),
            }
        }
    }

    /// The whole body, up to `max_bytes`.
    pub(super) async fn bytes(&mut self, max_bytes: usize) -> Result<Bytes, BodyError> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if body.len() + chunk.len() > max_bytes {
                return Err(BodyError::Encoding(format!("the response is larger than {} MiB", max_bytes >> 20)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.into())
    }
}

impl Inflater {
    /// `None`: the body is not encoded.
    fn of(encoding: &str) -> Option<Self> {
        let encoding = encoding.to_ascii_lowercase();
        // Some servers name the charset here, or that there is no encoding.
        let is_none = |name: &&str| matches!(*name, "" | "identity" | "none" | "utf-8" | "utf8");
        let mut names = encoding.split(',').map(str::trim).filter(|name| !is_none(name));
        match (names.next(), names.next()) {
            (None, _) => None,
            (Some("gzip" | "x-gzip"), None) => Some(Self::Gzip(MultiGzDecoder::new(Vec::new()))),
            (Some("deflate"), None) => Some(Self::ZlibOrDeflate),
            _ => Some(Self::Unknown(encoding)),
        }
    }

    /// Inflates a piece of what was received.
    fn inflate(&mut self, compressed: &mut Bytes) -> Result<Vec<u8>, BodyError> {
        if let Self::ZlibOrDeflate = self {
            const DEFLATE_METHOD: u8 = 8;
            let is_zlib = compressed.first().is_some_and(|first| first & 0x0f == DEFLATE_METHOD);
            *self = if is_zlib {
                Self::Zlib(ZlibDecoder::new(Vec::new()))
            } else {
                Self::Deflate(DeflateDecoder::new(Vec::new()))
            };
        }
        let piece = &compressed[..compressed.len().min(PIECE_BYTES)];
        let (taken, inflated) = match self {
            Self::Gzip(decoder) => (written(decoder, piece), std::mem::take(decoder.get_mut())),
            Self::Zlib(decoder) => (written(decoder, piece), std::mem::take(decoder.get_mut())),
            Self::Deflate(decoder) => (written(decoder, piece), std::mem::take(decoder.get_mut())),
            Self::ZlibOrDeflate => (Ok(0), Vec::new()),
            Self::Unknown(name) => {
                let message = format!("the response is encoded with `{name}`, which was not requested");
                return Err(BodyError::Encoding(message));
            }
        };
        match taken {
            // What follows the end of a compressed stream is no part of the body.
            Ok(0) => compressed.clear(),
            Ok(taken) => compressed.advance(taken),
            Err(error) => {
                return Err(BodyError::Encoding(format!("the compressed response cannot be inflated: {error}")));
            }
        }
        Ok(inflated)
    }
}

/// Writes a piece to a decoder, and everything that it makes of it to the decoder's buffer. Returns the bytes taken.
fn written(decoder: &mut impl Write, piece: &[u8]) -> std::io::Result<usize> {
    let taken = decoder.write(piece)?;
    decoder.flush()?;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };
    use proptest::prelude::*;

    use super::*;

    fn finish<W: Write>(mut encoder: W, text: &[u8], end: impl FnOnce(W) -> std::io::Result<Vec<u8>>) -> Bytes {
        encoder.write_all(text).unwrap();
        end(encoder).unwrap().into()
    }

    /// Inflates what comes in chunks of the given size.
    fn inflated(encoding: &str, compressed: &Bytes, chunk_bytes: usize) -> Vec<u8> {
        let (mut inflater, mut out) = (Inflater::of(encoding).unwrap(), Vec::new());
        for chunk in compressed.chunks(chunk_bytes) {
            let mut chunk = Bytes::copy_from_slice(chunk);
            while chunk.has_remaining() {
                out.extend(inflater.inflate(&mut chunk).unwrap());
            }
        }
        out
    }

    proptest! {
        #[test]
        fn every_encoding_is_inflated_whatever_the_chunks(text in "[a-z{}\": ,é\n]{0,3000}", chunk_bytes in 1..2_000_usize) {
            let (text, level) = (text.as_bytes(), Compression::default());
            let gzip = finish(GzEncoder::new(Vec::new(), level), text, GzEncoder::finish);
            let twice: Bytes = [&gzip[..], &gzip[..]].concat().into();
            for (encoding, compressed) in [
                ("gzip", gzip.clone()),
                ("identity, gzip", gzip.clone()),
                ("X-GZIP", gzip),
                ("deflate", finish(ZlibEncoder::new(Vec::new(), level), text, ZlibEncoder::finish)),
                ("deflate", finish(DeflateEncoder::new(Vec::new(), level), text, DeflateEncoder::finish)),
            ] {
                prop_assert_eq!(inflated(encoding, &compressed, chunk_bytes), text, "{}", encoding);
            }
            prop_assert_eq!(inflated("gzip", &twice, chunk_bytes), [text, text].concat());
        }
    }

    #[test]
    fn a_chunk_stays_small_whatever_it_inflates_to() {
        let bomb = finish(GzEncoder::new(Vec::new(), Compression::best()), &vec![b' '; 32 << 20], GzEncoder::finish);
        let (mut inflater, mut rest, mut total) = (Inflater::of("gzip").unwrap(), bomb, 0);
        while rest.has_remaining() {
            let piece = inflater.inflate(&mut rest).unwrap();
            assert!(piece.len() <= 2 << 20, "{} bytes at once", piece.len());
            total += piece.len();
        }
        assert_eq!(total, 32 << 20);
    }

    #[test]
    fn events_are_inflated_as_they_come() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let (mut inflater, mut sent) = (Inflater::of("gzip").unwrap(), 0);
        for event in ["data: 1\n\n", "data: 2\n\n"] {
            encoder.write_all(event.as_bytes()).unwrap();
            encoder.flush().unwrap();
            let mut chunk = Bytes::copy_from_slice(&encoder.get_ref()[sent..]);
            sent = encoder.get_ref().len();
            let mut seen = Vec::new();
            while chunk.has_remaining() {
                seen.extend(inflater.inflate(&mut chunk).unwrap());
            }
            assert_eq!(seen, event.as_bytes());
        }
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let error = |encoding: &str| {
            let mut body = Bytes::from_static(b"\x1f\x8b no such thing");
            Inflater::of(encoding).unwrap().inflate(&mut body).unwrap_err().to_string()
        };
        assert!(error("br").contains("`br`"), "{}", error("br"));
        assert!(error("gzip").contains("cannot be inflated"), "{}", error("gzip"));
        assert!(error("gzip, gzip").contains("`gzip, gzip`"), "{}", error("gzip, gzip"));
        for none in ["identity", "none", "UTF-8", "utf-8, identity", ""] {
            assert!(Inflater::of(none).is_none(), "{none}");
        }
    }
}
