//! Memory for the bodies of requests: bounded per client and per process.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

/// A body and its edited copy for the provider.
const COPIES: usize = 2;
const MIB: usize = 1 << 20;
/// Without a container's limit, and the most by default.
const DEFAULT_MAX: usize = 512 * MIB;

/// Bodies of all requests of this replica.
#[derive(Debug)]
pub(crate) struct BodyMemory {
    max: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    total: usize,
    by_client: HashMap<Arc<str>, usize>,
}

/// There is no memory for more of a body now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exhausted;

/// The memory of one body, until it is dropped.
#[derive(Debug)]
pub(crate) struct BodyReservation {
    memory: Arc<BodyMemory>,
    client: Arc<str>,
    bytes: usize,
}

impl BodyMemory {
    /// `max_mib`: as configured; otherwise half of what the container may use.
    pub(crate) fn new(max_mib: Option<usize>) -> Arc<Self> {
        let max = max_mib
            .map_or_else(|| container_bytes().map_or(DEFAULT_MAX, |all| all / 2).min(DEFAULT_MAX), |mib| mib * MIB);
        Arc::new(Self { max, held: Mutex::default() })
    }

    pub(crate) fn reserve(self: &Arc<Self>, client: Arc<str>) -> BodyReservation {
        BodyReservation { memory: self.clone(), client, bytes: 0 }
    }
}

impl BodyReservation {
    /// Reserves memory for more bytes of the body. One client may take half of the memory.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let bytes = bytes * COPIES;
        let mut held = self.memory.held.lock();
        let of_client = held.by_client.get(&self.client).copied().unwrap_or(0) + bytes;
        if held.total + bytes > self.memory.max || of_client > self.memory.max / 2 {
            return Err(Exhausted);
        }
        held.total += bytes;
        held.by_client.insert(self.client.clone(), of_client);
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for BodyReservation {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut held = self.memory.held.lock();
        held.total -= self.bytes;
        if let Some(of_client) = held.by_client.get_mut(&self.client) {
            *of_client -= self.bytes;
            if *of_client == 0 {
                held.by_client.remove(&self.client);
            }
        }
    }
}

/// The memory of the container, by either version of cgroups.
fn container_bytes() -> Option<usize> {
    let files = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limit = files.iter().find_map(|file| std::fs::read_to_string(file).ok()?.trim().parse::<usize>().ok())?;
    // Version 1 writes a huge number where there is no limit.
    (limit < 1 << 50).then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_takes_half_and_what_it_held_is_free_again() {
        let memory = BodyMemory::new(Some(16));
        let mut ann = memory.reserve("ann".into());
        assert_eq!(ann.grow(4 * MIB), Ok(()));
        assert_eq!(ann.grow(1), Err(Exhausted));
        assert_eq!(memory.reserve("ann".into()).grow(1), Err(Exhausted), "over all requests of a client");
        let mut bob = memory.reserve("bob".into());
        assert_eq!(bob.grow(4 * MIB), Ok(()));
        assert_eq!(memory.reserve("eve".into()).grow(1), Err(Exhausted), "the process is full");
        drop(ann);
        assert_eq!(memory.reserve("eve".into()).grow(MIB), Ok(()));
        drop(bob);
        let held = memory.held.lock();
        assert!(held.total == 0 && held.by_client.is_empty());
    }
}
