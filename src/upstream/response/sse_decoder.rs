//! Splits a byte stream into server-sent events; pure, no I/O.
//!
//! Line ends may be LF, CRLF or CR, chunks may end anywhere, and the last event may lack its blank line. Nothing is copied:
//! the bytes of an event are slices of the chunks.

use bytes::{Bytes, BytesMut};

use crate::upstream::bounds::MAX_EVENT_BYTES;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct RawEvent {
    /// The bytes of the event with its comments and its blank line.
    pub raw: Bytes,
    /// The `data:` lines, joined by line feeds. A line of bare JSON counts, too: Ollama sends an error after its 200 so.
    pub data: Bytes,
    /// The value of its `event:` line.
    pub name: Bytes,
    /// Its blank line has arrived. False only for the last event of a stream.
    pub terminated: bool,
}

/// An event exceeds [`MAX_EVENT_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("one event is larger than 8 MiB")]
pub(crate) struct EventTooLarge;

/// Splits chunks of bytes into events.
#[derive(Debug, Default)]
pub(crate) struct SseDecoder {
    held: BytesMut,
    /// Start of the first line that was not scanned to its end.
    line: usize,
    /// Start of the bytes that were not scanned for a line end.
    scanned: usize,
    /// The last event ended with a CR at the end of a chunk, so a LF that follows belongs to it.
    skip_lf: bool,
    begun: bool,
    /// Bytes of all events that were split off.
    consumed: u64,
}

impl SseDecoder {
    /// Takes a chunk. It is copied only where an unfinished event is held.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        if self.held.is_empty() {
            self.held = chunk.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        } else {
            self.held.extend_from_slice(&chunk);
        }
        self.trim_front();
    }

    fn trim_front(&mut self) {
        if self.held.is_empty() {
            return;
        }
        if std::mem::take(&mut self.skip_lf) && self.held[0] == b'\n' {
            let _ = self.held.split_to(1);
        }
        if !self.begun && self.held.len() >= 3 {
            self.begun = true;
            if self.held.starts_with(b"\xEF\xBB\xBF") {
                let _ = self.held.split_to(3);
                (self.line, self.scanned) = (0, 0);
            }
        }
    }

    /// Bytes of the event that is not complete yet.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// Bytes of all events so far, with their comments.
    pub(crate) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// The next complete event with data, or `None` if more bytes are needed.
    pub(crate) fn next_event(&mut self) -> Result<Option<RawEvent>, EventTooLarge> {
        while let Some(end) = self.blank_line() {
            let event = parse(self.cut(end), true);
            if !event.data.is_empty() {
                return Ok(Some(event));
            }
        }
        if self.held.len() > MAX_EVENT_BYTES { Err(EventTooLarge) } else { Ok(None) }
    }

    /// The unfinished event at the end of the stream, if it has data.
    pub(crate) fn finish(&mut self) -> Option<RawEvent> {
        let event = parse(self.cut(self.held.len()), false);
        (!event.data.is_empty()).then_some(event)
    }

    fn cut(&mut self, end: usize) -> Bytes {
        (self.line, self.scanned) = (0, 0);
        self.consumed += end as u64;
        self.held.split_to(end).freeze()
    }

    /// The position after the next blank line.
    fn blank_line(&mut self) -> Option<usize> {
        loop {
            let Some(offset) = memchr::memchr2(b'\n', b'\r', &self.held[self.scanned..]) else {
                // Each byte is searched once, however many chunks a line takes.
                self.scanned = self.held.len();
                return None;
            };
            let end = self.scanned + offset;
            let blank = end == self.line;
            let next = match (self.held[end], self.held.get(end + 1)) {
                (b'\r', Some(b'\n')) => end + 2,
                (b'\r', None) => {
                    if !blank {
                        // This may be half of a CRLF, so it is scanned again with the next chunk.
                        self.scanned = end;
                        return None;
                    }
                    self.skip_lf = true;
                    end + 1
                }
                _ => end + 1,
            };
            (self.line, self.scanned) = (next, next);
            if blank {
                return Some(next);
            }
        }
    }
}

fn parse(raw: Bytes, terminated: bool) -> RawEvent {
    let mut event = RawEvent { terminated, ..RawEvent::default() };
    let mut joined: Option<Vec<u8>> = None;
    let mut has_data = false;
    let mut at = 0;
    while at < raw.len() {
        let end = memchr::memchr2(b'\n', b'\r', &raw[at..]).map_or(raw.len(), |n| at + n);
        let line = &raw[at..end];
        if let Some(value) = field(line, b"data").or_else(|| line.starts_with(b"{").then_some(0)) {
            let value = at + value..end;
            if has_data {
                let joined = joined.get_or_insert_with(|| event.data.to_vec());
                joined.push(b'\n');
                joined.extend_from_slice(&raw[value]);
            } else {
                event.data = raw.slice(value);
                has_data = true;
            }
        } else if let Some(value) = field(line, b"event") {
            event.name = raw.slice(at + value..end);
        }
        at = end + 1;
    }
    if let Some(joined) = joined {
        event.data = joined.into();
    }
    event.raw = raw;
    event
}

/// The position of the value in a line of this field.
fn field(line: &[u8], name: &[u8]) -> Option<usize> {
    let rest = line.strip_prefix(name)?;
    match rest {
        [] => Some(line.len()),
        [b':', b' ', ..] => Some(name.len() + 2),
        [b':', ..] => Some(name.len() + 1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The classify: whole text, line by line, as the standard says, plus our two liberties.
    fn naive(bytes: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        let mut lines: Vec<Vec<u8>> = vec![Vec::new()];
        let mut i = 0;
        while i < bytes.len() {
            match bytes[i] {
                b'\r' => {
                    i += usize::from(bytes.get(i + 1) == Some(&b'\n'));
                    lines.push(Vec::new());
                }
                b'\n' => lines.push(Vec::new()),
                b => lines.last_mut().unwrap().push(b),
            }
            i += 1;
        }
        let mut events = Vec::new();
        let (mut data, mut name): (Vec<Vec<u8>>, Vec<u8>) = (Vec::new(), Vec::new());
        lines.push(Vec::new());
        for line in lines {
            let colon = line.iter().position(|b| *b == b':').unwrap_or(line.len());
            let value = line.get(colon + 1..).unwrap_or(&[]);
            let value = value.strip_prefix(b" ").unwrap_or(value).to_vec();
            match &line[..colon] {
                _ if line.is_empty() => {
                    let joined = data.join(&b'\n');
                    if !joined.is_empty() {
                        events.push((joined, std::mem::take(&mut name)));
                    }
                    (data, name) = (Vec::new(), Vec::new());
                }
                b"data" => data.push(value),
                b"event" => name = value,
                [b'{', ..] => data.push(line),
                _ => {}
            }
        }
        events
    }

    fn split(bytes: &[u8], cuts: &[usize]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let (mut decoder, mut events, mut at) = (SseDecoder::default(), Vec::new(), 0);
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (bytes.len() + 1)).chain([bytes.len()]).collect();
        cuts.sort_unstable();
        for cut in cuts {
            decoder.push(Bytes::copy_from_slice(&bytes[at..cut]));
            at = cut;
            while let Some(event) = decoder.next_event().unwrap() {
                assert!(event.terminated);
                events.push((event.data.to_vec(), event.name.to_vec()));
            }
        }
        events.extend(decoder.finish().map(|e| (e.data.to_vec(), e.name.to_vec())));
        events
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_naive_decoder_wherever_chunks_end(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "data: {\"a\":1}", "data:x", "data: é世", "data", "data:  two", ": note", "event: error", "id: 7",
                "{\"error\":\"x\"}", "dat", "\n", "\n", "\n\n", "\r\n", "\r\n\r\n", "\r", "\r\r", "datax: no",
            ]), 0..24),
            cuts in prop::collection::vec(any::<usize>(), 0..12),
        ) {
            let bytes = pieces.concat().into_bytes();
            prop_assert_eq!(split(&bytes, &cuts), naive(&bytes));
        }
    }

    #[test]
    fn an_event_is_a_slice_of_its_chunk() {
        let chunk = Bytes::from(b"data: {\"a\":1}\n\ndata: [DONE]\n\n".to_vec());
        let start = chunk.as_ptr();
        let mut decoder = SseDecoder::default();
        decoder.push(chunk);
        let event = decoder.next_event().unwrap().unwrap();
        assert_eq!((&event.raw[..], &event.data[..]), (&b"data: {\"a\":1}\n\n"[..], &b"{\"a\":1}"[..]));
        assert_eq!(event.raw.as_ptr(), start);
        assert_eq!(decoder.next_event().unwrap().unwrap().data, "[DONE]");
        assert_eq!(decoder.next_event().unwrap(), None);
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut decoder = SseDecoder::default();
        decoder.push(Bytes::from(vec![b'a'; MAX_EVENT_BYTES]));
        assert_eq!(decoder.next_event(), Ok(None));
        decoder.push(Bytes::from_static(b"b"));
        assert_eq!(decoder.next_event(), Err(EventTooLarge));
    }

    #[test]
    fn a_blank_line_that_ends_with_a_cr_ends_its_event() {
        let mut decoder = SseDecoder::default();
        decoder.push(Bytes::from_static(b"data: a\r\n\r"));
        assert_eq!(decoder.next_event().unwrap().unwrap().data, "a");
        decoder.push(Bytes::from_static(b"\ndata: b\r\n\r\n"));
        assert_eq!(decoder.next_event().unwrap().unwrap().data, "b");
    }
}
