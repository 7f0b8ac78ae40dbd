//! MP3: its frames, counted one by one. A head that states their number may be wrong, or of another part of the file.

use std::io::{self, Read, Seek};

use super::source::Source;

const BITRATES: [[u32; 16]; 5] = [
    [0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448, 0], // version 1, layer I
    [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 0],    // version 1, layer II
    [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0],     // version 1, layer III
    [0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256, 0],    // version 2, layer I
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0],         // version 2, layers II and III
];
const RATES: [u32; 3] = [44_100, 48_000, 32_000];
/// Bytes without a frame, behind which the rest is something else.
const MAX_GAP: u64 = 64 << 10;

struct Frame {
    bytes: u64,
    seconds: f64,
}

pub(super) fn seconds(file: &mut Source<impl Read + Seek>) -> io::Result<Option<f64>> {
    skip_tag(file)?;
    let (mut seconds, mut gap) = (0.0, 0);
    while file.left() >= 4 && gap <= MAX_GAP {
        let mut head = [0; 4];
        file.peek(&mut head)?;
        if let Some(frame) = frame(head) {
            seconds += frame.seconds;
            gap = 0;
            file.skip(frame.bytes.min(file.left()))?;
        } else {
            gap += 1;
            file.skip(1)?;
        }
    }
    Ok((seconds > 0.0).then_some(seconds))
}

/// Tags before the first frame.
fn skip_tag(file: &mut Source<impl Read + Seek>) -> io::Result<()> {
    let mut head = [0; 10];
    while file.peek(&mut head)? == 10 && head.starts_with(b"ID3") {
        let size = head[6..].iter().fold(0_u64, |size, byte| size << 7 | u64::from(byte & 0x7F));
        let footer = if head[5] & 0x10 != 0 { 10 } else { 0 };
        file.skip(10 + size + footer)?;
    }
    Ok(())
}

fn frame(head: [u8; 4]) -> Option<Frame> {
    if head[0] != 0xFF || head[1] & 0xE0 != 0xE0 {
        return None;
    }
    let (version, layer) = (head[1] >> 3 & 3, head[1] >> 1 & 3);
    if version == 1 || layer == 0 {
        return None;
    }
    let (is_first, layer) = (version == 3, 4 - layer);
    let table = match (is_first, layer) {
        (true, layer) => usize::from(layer) - 1,
        (false, 1) => 3,
        (false, _) => 4,
    };
    let kilobits = BITRATES[table][usize::from(head[2] >> 4)];
    let base = *RATES.get(usize::from(head[2] >> 2 & 3))?;
    if kilobits == 0 {
        return None;
    }
    let rate = match version {
        3 => base,
        2 => base / 2,
        _ => base / 4,
    };
    let samples = match (layer, is_first) {
        (1, _) => 384,
        (3, false) => 576,
        _ => 1_152,
    };
    let padding = u32::from(head[2] >> 1 & 1);
    let bytes = if layer == 1 {
        (12_000 * kilobits / rate + padding) * 4
    } else {
        samples / 8 * 1_000 * kilobits / rate + padding
    };
    Some(Frame { bytes: u64::from(bytes.max(4)), seconds: f64::from(samples) / f64::from(rate) })
}
