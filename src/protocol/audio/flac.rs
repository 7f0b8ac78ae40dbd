//! FLAC: the samples that its first block counts.

use std::io::{self, Read, Seek};

use super::source::Source;

pub(super) fn seconds(file: &mut Source<impl Read + Seek>) -> io::Result<Option<f64>> {
    // The mark, the head of the first block, and sizes of blocks and frames.
    file.skip(4 + 4 + 10)?;
    let packed = file.number(8)?;
    let (rate, samples) = (packed >> 44, packed & 0xF_FFFF_FFFF);
    Ok((rate > 0 && samples > 0).then(|| samples as f64 / rate as f64))
}
