//! `WebM` and Matroska: the stated length, or the time of the last block. Recorders in browsers state no length and no sizes.

use std::io::{self, Read, Seek};

use super::source::Source;

const SEGMENT: u64 = 0x1853_8067;
const INFO: u64 = 0x1549_A966;
const TIMESTAMP_SCALE: u64 = 0x2A_D7B1;
const DURATION: u64 = 0x4489;
const CLUSTER: u64 = 0x1F43_B675;
const CLUSTER_TIME: u64 = 0xE7;
const BLOCK_GROUP: u64 = 0xA0;
const SIMPLE_BLOCK: u64 = 0xA3;
const BLOCK: u64 = 0xA1;
/// Nanoseconds in a unit of time, unless the file says otherwise.
const DEFAULT_SCALE: u64 = 1_000_000;
/// The longest block of sound that is usual.
const LAST_BLOCK_SECONDS: f64 = 0.12;

pub(super) fn seconds(file: &mut Source<impl Read + Seek>) -> io::Result<Option<f64>> {
    let (mut scale, mut stated, mut cluster, mut last) = (DEFAULT_SCALE, 0.0_f64, 0_u64, 0_u64);
    while file.left() >= 2 {
        let (Ok(id), Ok(size)) = (id(file), size(file)) else { break };
        match (id, size) {
            // What is inside comes next.
            (SEGMENT | INFO | CLUSTER | BLOCK_GROUP, _) => {}
            (TIMESTAMP_SCALE, Some(length @ 1..=8)) => scale = file.number(as_length(length))?.max(1),
            (DURATION, Some(4)) => stated = f64::from(f32::from_be_bytes(file.bytes()?)),
            (DURATION, Some(8)) => stated = f64::from_be_bytes(file.bytes()?),
            (CLUSTER_TIME, Some(length @ 1..=8)) => cluster = file.number(as_length(length))?,
            (SIMPLE_BLOCK | BLOCK, Some(length)) if length >= 4 => {
                let end = file.at().saturating_add(length).min(file.len());
                self::size(file)?; // the track
                let time = i16::from_be_bytes(file.bytes()?);
                last = last.max(cluster.saturating_add_signed(i64::from(time)));
                file.seek(end)?;
            }
            (_, Some(length)) => file.skip(length.min(file.left()))?,
            // An unknown size of something else cannot be passed over.
            (_, None) => break,
        }
    }
    let unit = scale as f64 / 1e9;
    let by_blocks = if last > 0 { last as f64 * unit + LAST_BLOCK_SECONDS } else { 0.0 };
    let seconds = (if stated.is_finite() { stated * unit } else { 0.0 }).max(by_blocks);
    Ok((seconds > 0.0).then_some(seconds))
}

fn as_length(length: u64) -> usize {
    usize::try_from(length).unwrap_or(8)
}

/// The id of an element, with its mark of length.
fn id(file: &mut Source<impl Read + Seek>) -> io::Result<u64> {
    let [first] = file.bytes()?;
    let more = first.leading_zeros();
    if more > 3 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(u64::from(first) << (8 * more) | file.number(more as usize)?)
}

/// A size; `None` where it is unknown.
fn size(file: &mut Source<impl Read + Seek>) -> io::Result<Option<u64>> {
    let [first] = file.bytes()?;
    let more = first.leading_zeros();
    if more > 7 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let bits = 7 - more;
    let high = u64::from(first) & ((1 << bits) - 1);
    let size = high << (8 * more) | file.number(more as usize)?;
    let unknown = (1_u64 << (bits + 8 * more)) - 1;
    Ok((size != unknown).then_some(size))
}
