//! A file that is read in small pieces from front to back.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

pub(super) struct Source<R: Read + Seek> {
    file: BufReader<R>,
    at: u64,
    len: u64,
}

impl<R: Read + Seek> Source<R> {
    pub(super) fn new(mut file: R) -> io::Result<Self> {
        let len = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Self { file: BufReader::with_capacity(32 << 10, file), at: 0, len })
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Bytes behind the cursor.
    pub(super) fn left(&self) -> u64 {
        self.len.saturating_sub(self.at)
    }

    /// The bytes at the cursor, which stays. Returns how many there are.
    pub(super) fn peek(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let start = self.at;
        let mut read = 0;
        while read < bytes.len() {
            match self.file.read(&mut bytes[read..])? {
                0 => break,
                more => read += more,
            }
        }
        self.at += read as u64;
        self.seek(start)?;
        Ok(read)
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }

    /// A number of 1 to 8 bytes, the most significant first.
    pub(super) fn number(&mut self, length: usize) -> io::Result<u64> {
        let mut number = 0_u64;
        for _ in 0..length {
            let [byte] = self.bytes()?;
            number = number << 8 | u64::from(byte);
        }
        Ok(number)
    }

    pub(super) fn skip(&mut self, bytes: u64) -> io::Result<()> {
        self.seek(self.at.saturating_add(bytes))
    }

    /// Moves the cursor. Behind the end of the file is an error.
    pub(super) fn seek(&mut self, to: u64) -> io::Result<()> {
        if to > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let by = i64::try_from(to).unwrap_or(i64::MAX) - i64::try_from(self.at).unwrap_or(i64::MAX);
        self.file.seek_relative(by)?;
        self.at = to;
        Ok(())
    }
}
