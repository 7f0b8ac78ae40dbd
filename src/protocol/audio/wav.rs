//! WAV: the bytes of its data chunk, by the bytes per second of its format chunk.

use std::io::{self, Read, Seek};

use super::source::Source;

pub(super) fn seconds(file: &mut Source<impl Read + Seek>) -> io::Result<Option<f64>> {
    file.skip(12)?;
    let (mut bytes_per_second, mut data) = (0.0, None);
    while file.left() >= 8 && (data.is_none() || bytes_per_second == 0.0) {
        let id: [u8; 4] = file.bytes()?;
        let size = u64::from(u32::from_le_bytes(file.bytes()?));
        let end = file.at().saturating_add(size + size % 2).min(file.len());
        match &id {
            b"fmt " if size >= 16 => {
                file.skip(4)?;
                let rate = u32::from_le_bytes(file.bytes()?);
                let stated = u32::from_le_bytes(file.bytes()?);
                let block = u16::from_le_bytes(file.bytes()?);
                let by_block = f64::from(rate) * f64::from(block);
                bytes_per_second = if by_block > 0.0 { by_block } else { f64::from(stated) };
            }
            // A recorder that could not go back writes no size, or the largest.
            b"data" => data = Some(if size == 0 || size > file.left() { file.left() } else { size }),
            _ => {}
        }
        file.seek(end)?;
    }
    Ok(data.filter(|_| bytes_per_second > 0.0).map(|bytes| bytes as f64 / bytes_per_second))
}
