//! How long a request may wait in the queue: the smallest of its own header, its key's default and the operator's limit.

use std::time::Duration;

use crate::domain::{Client, Tier};

/// The operator's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WaitLimits {
    pub max_wait: Duration,
    /// Limit for `service_tier: "flex"`.
    pub flex_max_wait: Duration,
}

impl WaitLimits {
    /// `preferred`: the value of `Prefer: wait=N`.
    pub(crate) fn allowed_wait(&self, client: &Client, tier: Tier, preferred: Option<Duration>) -> Duration {
        let most = if tier == Tier::Flex { self.flex_max_wait.max(self.max_wait) } else { self.max_wait };
        let own = client.wait_ms.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0)));
        [preferred, own].into_iter().flatten().fold(most, Duration::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::client::ClientKind;

    #[test]
    fn the_smallest_limit_applies_and_flex_may_wait_longer() {
        let seconds = Duration::from_secs;
        let limits = WaitLimits { max_wait: seconds(30), flex_max_wait: seconds(600) };
        let mut client = Client::new("ann", ClientKind::Registered, []);
        assert_eq!(limits.allowed_wait(&client, Tier::Standard, None), seconds(30));
        assert_eq!(limits.allowed_wait(&client, Tier::Standard, Some(seconds(10))), seconds(10));
        assert_eq!(limits.allowed_wait(&client, Tier::Priority, Some(seconds(99))), seconds(30));
        assert_eq!(limits.allowed_wait(&client, Tier::Flex, Some(seconds(99))), seconds(99));
        client.wait_ms = Some(5_000);
        assert_eq!(limits.allowed_wait(&client, Tier::Standard, None), seconds(5));
        assert_eq!(limits.allowed_wait(&client, Tier::Standard, Some(Duration::ZERO)), Duration::ZERO);
    }
}
