//! Bounds the heads of requests in front of the HTTP parser, which takes up to 128 KiB, and panics at a name of 64 KiB.
//!
//! To know where a head begins, the lengths of bodies are followed. A head that leaves its body's length open is one that the
//! parser refuses; what follows it is bounded in the same way.

/// A longer head is refused.
pub(super) const MAX_HEAD_BYTES: usize = 64 << 10;
/// Longer lines are not read to their end: those that matter are short.
const MAX_LINE_BYTES: usize = 128;

/// Follows the requests of one connection.
#[derive(Debug, Default)]
pub(super) struct HeadLimit {
    at: At,
    /// Bytes of the current head, or of what stands in the place of one.
    head_bytes: usize,
    /// The beginning of the current line.
    line: Vec<u8>,
    line_bytes: usize,
    head: Head,
    /// Heads and bodies that have ended.
    ended: u64,
}

/// A head or a body that has begun and not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    number: u64,
    pub is_head: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum At {
    #[default]
    Head,
    /// Bytes of the body that are left.
    Body(u64),
    ChunkSize,
    /// Bytes of the chunk, with its line end, that are left.
    Chunk(u64),
    Trailer,
    /// The length of the body is unclear.
    Unclear,
}

#[derive(Debug, Default, Clone, Copy)]
struct Head {
    lines: usize,
    length: Option<u64>,
    is_chunked: bool,
    is_unclear: bool,
}

/// A head is larger than [`MAX_HEAD_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeadTooLarge;

impl HeadLimit {
    /// Takes the next bytes of the connection.
    pub(super) fn observe(&mut self, mut bytes: &[u8]) -> Result<(), HeadTooLarge> {
        while !bytes.is_empty() {
            let taken = match self.at {
                At::Body(left) | At::Chunk(left) => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    let left = left - taken as u64;
                    self.at = match self.at {
                        At::Body(_) if left == 0 => {
                            self.ended += 1;
                            At::Head
                        }
                        At::Body(_) => At::Body(left),
                        _ if left == 0 => At::ChunkSize,
                        _ => At::Chunk(left),
                    };
                    taken
                }
                At::Unclear => {
                    self.counts(bytes.len())?;
                    bytes.len()
                }
                At::Head | At::ChunkSize | At::Trailer => {
                    let end = memchr::memchr(b'\n', bytes);
                    let taken = end.map_or(bytes.len(), |end| end + 1);
                    self.counts(taken)?;
                    self.line_bytes += taken;
                    let room = MAX_LINE_BYTES - self.line.len();
                    self.line.extend_from_slice(&bytes[..taken.min(room)]);
                    if end.is_some() {
                        self.line_ended();
                    }
                    taken
                }
            };
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// Where the connection is inside a request.
    pub(super) fn unfinished(&self) -> Option<Part> {
        let is_head = self.at == At::Head;
        (!is_head || self.head_bytes > 0).then_some(Part { number: self.ended, is_head })
    }

    fn counts(&mut self, bytes: usize) -> Result<(), HeadTooLarge> {
        self.head_bytes += bytes;
        if self.head_bytes > MAX_HEAD_BYTES { Err(HeadTooLarge) } else { Ok(()) }
    }

    fn line_ended(&mut self) {
        let line = std::mem::take(&mut self.line);
        let is_cut = std::mem::take(&mut self.line_bytes) > line.len();
        let text = line.trim_ascii();
        self.at = match self.at {
            At::ChunkSize => {
                self.head_bytes = 0;
                let digits = text.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
                match std::str::from_utf8(digits).ok().and_then(|hex| u64::from_str_radix(hex, 16).ok()) {
                    Some(0) => At::Trailer,
                    Some(size) => At::Chunk(size.saturating_add(2)),
                    None => At::Unclear,
                }
            }
            At::Trailer if text.is_empty() => self.next_request(At::Head),
            At::Trailer => At::Trailer,
            // Blank lines before a request are skipped.
            _ if text.is_empty() && self.head.lines == 0 => At::Head,
            _ if text.is_empty() => {
                let Head { length, is_chunked, is_unclear, .. } = self.head;
                self.next_request(match (length, is_chunked) {
                    _ if is_unclear => At::Unclear,
                    (Some(_), true) => At::Unclear,
                    (None | Some(0), false) => At::Head,
                    (Some(length), false) => At::Body(length),
                    (None, true) => At::ChunkSize,
                })
            }
            _ => {
                self.head.lines += 1;
                if self.head.lines > 1 {
                    self.header(text, is_cut);
                }
                At::Head
            }
        };
        self.line = line;
        self.line.clear();
    }

    fn next_request(&mut self, at: At) -> At {
        (self.head, self.head_bytes, self.ended) = (Head::default(), 0, self.ended + 1);
        at
    }

    fn header(&mut self, line: &[u8], is_cut: bool) {
        let Some(colon) = memchr::memchr(b':', line) else { return };
        let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
            self.head.is_unclear |= is_cut || length.is_none() || self.head.length.is_some_and(|l| Some(l) != length);
            self.head.length = length;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.head.is_unclear |= is_cut || !value.eq_ignore_ascii_case(b"chunked") || self.head.is_chunked;
            self.head.is_chunked = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(body: &str, chunked: bool) -> String {
        if !chunked {
            return format!("POST / HTTP/1.1\r\nHost: x\r\ncontent-LENGTH:  {}\r\n\r\n{body}", body.len());
        }
        let (one, two) = body.split_at(body.len() / 2);
        let chunk =
            |part: &str| if part.is_empty() { String::new() } else { format!("{:x};a=b\r\n{part}\r\n", part.len()) };
        let chunks = format!("{}{}0\r\nTrailer: x\r\n\r\n", chunk(one), chunk(two));
        format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}")
    }

    proptest! {
        /// After any requests, in any pieces, the bytes of the next head are counted from zero.
        #[test]
        fn bodies_do_not_count(
            bodies in prop::collection::vec(("[a\r\n:]{0,300}", any::<bool>()), 0..6),
            piece in 1..400_usize,
        ) {
            let text: String = bodies.iter().map(|(body, chunked)| request(body, *chunked)).collect();
            let mut limit = HeadLimit::default();
            for part in text.as_bytes().chunks(piece) {
                limit.observe(part).unwrap();
            }
            prop_assert_eq!((limit.at, limit.head_bytes), (At::Head, 0), "{}", text);
            limit.observe(b"GET / HTTP/1.1\r\n").unwrap();
            prop_assert_eq!(limit.head_bytes, 16);
        }
    }

    #[test]
    fn a_head_over_the_limit_is_refused_whatever_it_consists_of() {
        let start = "GET / HTTP/1.1\r\n";
        for head in [
            "a".repeat(70_000),
            "a: b\r\n".repeat(12_000),
            format!("{}: y\r\n", "n".repeat(65_536)),
            "\r\n".repeat(40_000),
        ] {
            assert_eq!(HeadLimit::default().observe(format!("{start}{head}").as_bytes()), Err(HeadTooLarge));
        }
        let long = format!("{start}a: {}\r\n\r\n", "b".repeat(60_000));
        assert_eq!(HeadLimit::default().observe(long.repeat(3).as_bytes()), Ok(()));
    }

    #[test]
    fn a_large_body_passes_and_what_follows_an_unclear_one_is_bounded() {
        let body = "x".repeat(1 << 20);
        assert_eq!(HeadLimit::default().observe(request(&body, false).as_bytes()), Ok(()));
        assert_eq!(HeadLimit::default().observe(request(&body, true).as_bytes()), Ok(()));
        for unclear in
            ["Content-Length: 9\r\nTransfer-Encoding: chunked", "Content-Length: 1, 2", "Transfer-Encoding: gzip"]
        {
            let text = format!("POST / HTTP/1.1\r\n{unclear}\r\n\r\n{body}");
            assert_eq!(HeadLimit::default().observe(text.as_bytes()), Err(HeadTooLarge), "{unclear}");
        }
    }
}
