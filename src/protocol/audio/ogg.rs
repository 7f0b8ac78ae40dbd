//! Ogg with Opus or Vorbis: the position of the last page of each stream in it. Streams can follow each other.

use std::io::{self, Read, Seek};

use super::source::Source;

const OPUS_RATE: f64 = 48_000.0;
/// Streams beside or behind each other in one file.
const MAX_STREAMS: usize = 64;

struct Stream {
    serial: u32,
    /// Samples per second; 0 for a stream that is no sound.
    rate: f64,
    /// Samples before the first that is heard.
    skipped: f64,
    last: f64,
}

pub(super) fn seconds(file: &mut Source<impl Read + Seek>) -> io::Result<Option<f64>> {
    let mut streams: Vec<Stream> = Vec::new();
    while file.left() >= 27 {
        let head: [u8; 27] = file.bytes()?;
        if !head.starts_with(b"OggS") {
            break;
        }
        let granule = i64::from_le_bytes([head[6], head[7], head[8], head[9], head[10], head[11], head[12], head[13]]);
        let serial = u32::from_le_bytes([head[14], head[15], head[16], head[17]]);
        let mut size = 0_u64;
        for _ in 0..head[26] {
            let [length] = file.bytes()?;
            size += u64::from(length);
        }
        let end = file.at().saturating_add(size).min(file.len());
        let is_first = head[5] & 2 != 0;
        if is_first && streams.len() < MAX_STREAMS {
            streams.push(identify(file, serial, size)?);
        }
        if granule > 0
            && let Some(stream) = streams.iter_mut().rev().find(|stream| stream.serial == serial)
        {
            stream.last = stream.last.max(granule as f64);
        }
        file.seek(end)?;
    }
    let sound = streams.iter().filter(|stream| stream.rate > 0.0);
    let seconds: f64 = sound.map(|stream| (stream.last - stream.skipped).max(0.0) / stream.rate).sum();
    Ok((seconds > 0.0).then_some(seconds))
}

/// The stream that begins with this page.
fn identify(file: &mut Source<impl Read + Seek>, serial: u32, size: u64) -> io::Result<Stream> {
    let mut start = [0; 16];
    let read = file.peek(&mut start)?.min(usize::try_from(size).unwrap_or(usize::MAX));
    let (rate, skipped) = match &start[..read] {
        [b'O', b'p', b'u', b's', b'H', b'e', b'a', b'd', _, _, low, high, ..] => {
            (OPUS_RATE, f64::from(u16::from_le_bytes([*low, *high])))
        }
        [1, b'v', b'o', b'r', b'b', b'i', b's', _, _, _, _, _, a, b, c, d] => {
            (f64::from(u32::from_le_bytes([*a, *b, *c, *d])), 0.0)
        }
        _ => (0.0, 0.0),
    };
    Ok(Stream { serial, rate, skipped, last: 0.0 })
}
