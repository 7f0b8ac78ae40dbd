//! The record of a lease that the scripts write, as far as a replica reads it.

use bytes::Bytes;

/// A lease as `lua/lib/lease.lua` packs it: little-endian doubles, first a head, then five for each window.
#[derive(Debug, Clone, Default)]
pub(crate) struct LeaseRecord(pub Bytes);

impl LeaseRecord {
    const HEAD: usize = 5;
    const PER_WINDOW: usize = 5;

    #[expect(clippy::cast_possible_truncation, reason = "all of them are whole")]
    fn numbers(&self) -> impl Iterator<Item = i64> {
        self.0.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as i64)
    }

    /// The candidate that was chosen, counted from 1.
    pub(crate) fn candidate(&self) -> Option<usize> {
        self.numbers().next().and_then(|number| usize::try_from(number).ok())
    }

    /// Whether the lease is the probe of a breaker.
    pub(crate) fn is_probe(&self) -> bool {
        self.numbers().skip(3).take(2).any(|probe| probe != 0)
    }

    /// Units in each window after its charge, the client's windows first.
    pub(crate) fn used(&self) -> impl Iterator<Item = i64> {
        self.numbers().skip(Self::HEAD + Self::PER_WINDOW - 1).step_by(Self::PER_WINDOW)
    }
}
