//! Priority of a request (`service_tier`).

/// OpenAI's `service_tier`, as the wait queue interprets it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tier {
    /// Served after others, and may wait longer.
    Flex,
    #[default]
    Standard,
    /// Four times the client's weight, for clients that are allowed it.
    Priority,
}

/// Factor of `priority`.
const PRIORITY_FACTOR: i64 = 4;

impl Tier {
    /// Weight of a client's request in the wait queue.
    pub fn weight(self, client: i64) -> i64 {
        if self == Self::Priority { client.saturating_mul(PRIORITY_FACTOR) } else { client }
    }
}
