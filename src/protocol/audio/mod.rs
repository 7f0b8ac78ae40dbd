//! The length of a recording, from its container: what a transcription is charged before the provider has counted it.

mod flac;
mod mp3;
mod mp4;
mod ogg;
mod source;
#[cfg(test)]
mod tests;
mod wav;
mod webm;

use std::io::{self, Read, Seek};

use source::Source;

/// Bytes per second of speech where the container does not tell: 32 kbit/s.
const ASSUMED_BYTES_PER_SECOND: f64 = 4_000.0;
/// The most bytes per second of a compressed recording, which a container cannot understate: 1 Mbit/s.
const MAX_BYTES_PER_SECOND: f64 = 125_000.0;

/// Seconds of a recording. Where the container is unknown, damaged or silent about it, its size decides.
pub(super) fn seconds(file: impl Read + Seek) -> io::Result<f64> {
    let mut source = Source::new(file)?;
    let bytes = source.len() as f64;
    let Some((found, is_compressed)) = stated(&mut source)? else { return Ok(bytes / ASSUMED_BYTES_PER_SECOND) };
    let least = if is_compressed { bytes / MAX_BYTES_PER_SECOND } else { 0.0 };
    Ok(found.max(least))
}

/// What the container says, and whether it is compressed. A damaged container says nothing.
fn stated(source: &mut Source<impl Read + Seek>) -> io::Result<Option<(f64, bool)>> {
    let mut start = [0; 12];
    let read = source.peek(&mut start)?;
    let start = &start[..read];
    let found = match start {
        [b'R', b'I' | b'F', b'F' | b'6', b'F' | b'4', _, _, _, _, b'W', b'A', b'V', b'E'] => {
            (wav::seconds(source), false)
        }
        [b'f', b'L', b'a', b'C', ..] => (flac::seconds(source), true),
        [b'O', b'g', b'g', b'S', ..] => (ogg::seconds(source), true),
        [0x1A, 0x45, 0xDF, 0xA3, ..] => (webm::seconds(source), true),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => (mp4::seconds(source), true),
        [b'I', b'D', b'3', ..] | [0xFF, 0xE0..=0xFF, ..] => (mp3::seconds(source), true),
        _ => return Ok(None),
    };
    match found {
        (Ok(seconds), is_compressed) => Ok(seconds.filter(|s| s.is_finite() && *s > 0.0).map(|s| (s, is_compressed))),
        (Err(error), _) if is_damage(&error) => Ok(None),
        (Err(error), _) => Err(error),
    }
}

/// An error of the file, and not of the disk.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
}
