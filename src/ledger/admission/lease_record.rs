//! What the scripts write down of an admission, and what a replica reads of it.

use bytes::Bytes;

/// A lease as the scripts keep it, see `lua/lib/lease.lua`: doubles, low byte first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Numbers(pub Bytes);

impl Numbers {
    const HEADS: usize = 5;
    const EACH: usize = 5;

    #[expect(clippy::cast_possible_truncation, reason = "all of them are whole")]
    fn each(&self) -> impl Iterator<Item = i64> {
        self.0.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as i64)
    }

    /// Which of the candidates asked for it is, from 1.
    pub fn candidate(&self) -> Option<usize> {
        self.each().next().and_then(|number| usize::try_from(number).ok())
    }

    /// Whether it is a breaker's probe.
    pub fn is_probe(&self) -> bool {
        self.each().skip(3).take(2).any(|probe| probe != 0)
    }

    /// Units in each window just after its charge; the client's windows come first.
    pub fn used(&self) -> impl Iterator<Item = i64> {
        self.each().skip(Self::HEADS + Self::EACH - 1).step_by(Self::EACH)
    }
}
