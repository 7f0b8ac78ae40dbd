//! How pressing a request is, by its own word (`service_tier`).

/// OpenAI's field, as the waiting room understands it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tier {
    /// Takes what others leave, and may wait longer for it.
    Flex,
    #[default]
    Standard,
    /// Four times the client's weight; for keys that are allowed it.
    Priority,
}

/// What `priority` makes of a weight.
const PRIORITY: i64 = 4;

impl Tier {
    /// The weight with which a client's request stands in line.
    pub fn weight(self, client: i64) -> i64 {
        if self == Self::Priority { client.saturating_mul(PRIORITY) } else { client }
    }
}
