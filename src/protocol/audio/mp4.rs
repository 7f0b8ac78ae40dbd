//! MP4 and M4A: the length of the movie, or of the longest track.

use std::io::{self, Read, Seek};

use super::source::Source;

/// Boxes that are looked at in one file.
const MAX_BOXES: usize = 10_000;

pub(super) fn seconds(file: &mut Source<impl Read + Seek>) -> io::Result<Option<f64>> {
    let (mut longest, mut timescale, mut boxes) = (0.0_f64, 0.0, 0);
    while file.left() >= 8 && boxes < MAX_BOXES {
        boxes += 1;
        let start = file.at();
        let size = file.number(4)?;
        let kind: [u8; 4] = file.bytes()?;
        let size = match size {
            0 => file.len() - start,
            1 => file.number(8)?,
            size => size,
        };
        if size < file.at() - start {
            break;
        }
        match &kind {
            // What is inside comes next.
            b"moov" | b"trak" | b"mdia" | b"mvex" => continue,
            b"mvhd" | b"mdhd" => {
                let (scale, length) = length(file)?;
                if &kind == b"mvhd" {
                    timescale = scale;
                }
                if scale > 0.0 {
                    longest = longest.max(length / scale);
                }
            }
            // The length of a file in fragments.
            b"mehd" if timescale > 0.0 => {
                let version = file.number(4)? >> 24;
                let length = file.number(if version == 1 { 8 } else { 4 })?;
                longest = longest.max(length as f64 / timescale);
            }
            _ => {}
        }
        file.seek(start.saturating_add(size).min(file.len()))?;
    }
    Ok((longest > 0.0).then_some(longest))
}

/// Units per second, and units in all; unknown lengths are 0.
fn length(file: &mut Source<impl Read + Seek>) -> io::Result<(f64, f64)> {
    let version = file.number(4)? >> 24;
    let size = if version == 1 { 8 } else { 4 };
    file.skip(2 * size)?;
    let scale = file.number(4)?;
    let length = file.number(usize::try_from(size).unwrap_or(4))?;
    let is_unknown = length == u64::MAX || size == 4 && length == u64::from(u32::MAX);
    Ok((scale as f64, if is_unknown { 0.0 } else { length as f64 }))
}
