//! Memory for the bodies of requests and responses, and for what is held of streams: bounded per client, per provider and per
//! process.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;

/// A body and its edited copy.
const COPIES: usize = 2;
const MIB: usize = 1 << 20;
/// Step of a reservation that follows what is held.
const STEP: usize = 64 << 10;
/// Without a container's limit, and the most by default: with it a replica stays below 256 MB, whatever it is sent.
const DEFAULT_MAX: usize = 96 * MIB;

/// Bodies of all requests of this replica, of the responses that are read as a whole, and what is held of streams.
#[derive(Debug)]
pub(crate) struct Memory {
    max: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    total: usize,
    by_owner: HashMap<Arc<str>, usize>,
}

/// There is no memory for more of a body now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exhausted;

/// The memory of one body, until it is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    memory: Arc<Memory>,
    owner: Arc<str>,
    bytes: usize,
}

impl Memory {
    /// `max_mib`: as configured; otherwise half of what the container may use.
    pub(crate) fn new(max_mib: Option<usize>) -> Arc<Self> {
        let max = max_mib
            .map_or_else(|| container_bytes().map_or(DEFAULT_MAX, |all| all / 2).min(DEFAULT_MAX), |mib| mib * MIB);
        Arc::new(Self { max, held: Mutex::default() })
    }

    /// Room for files of this many bytes in all, by the same rules.
    pub(crate) fn for_files(bytes: usize) -> Arc<Self> {
        Arc::new(Self { max: bytes.saturating_mul(COPIES), held: Mutex::default() })
    }

    pub(crate) fn reserve(self: &Arc<Self>, owner: Arc<str>) -> Reservation {
        Reservation { memory: self.clone(), owner, bytes: 0 }
    }

    /// Bytes that are reserved now.
    #[cfg(test)]
    pub(crate) fn reserved(&self) -> usize {
        self.held.lock().total
    }
}

impl Reservation {
    /// Reserves memory for more bytes of the body. One client, or one provider, may take three eighths of the memory, so that
    /// one of each leaves a quarter to others.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let bytes = bytes * COPIES;
        let mut held = self.memory.held.lock();
        let of_owner = held.by_owner.get(&self.owner).copied().unwrap_or(0) + bytes;
        if held.total + bytes > self.memory.max || of_owner > self.memory.max / 8 * 3 {
            return Err(Exhausted);
        }
        held.total += bytes;
        held.by_owner.insert(self.owner.clone(), of_owner);
        self.bytes += bytes;
        Ok(())
    }

    /// Reserves memory for at least this many bytes in all. A few bytes are not worth the lock.
    pub(crate) fn cover(&mut self, bytes: usize) -> Result<(), Exhausted> {
        match bytes.saturating_sub(self.bytes / COPIES) {
            more if more < STEP / 4 => Ok(()),
            more => self.grow(more),
        }
    }

    /// Gives back what is reserved beyond this many bytes.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        self.give_back(self.bytes.saturating_sub(bytes * COPIES));
    }

    /// Reserves memory for this many bytes in all, in steps: what rarely holds more than a step rarely takes the lock.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let wanted = if bytes < STEP / 4 { 0 } else { bytes.next_multiple_of(STEP) };
        match (wanted * COPIES).checked_sub(self.bytes) {
            Some(0) => Ok(()),
            Some(more) => self.grow(more / COPIES),
            None => {
                self.give_back(self.bytes - wanted * COPIES);
                Ok(())
            }
        }
    }

    fn give_back(&mut self, bytes: usize) {
        self.bytes -= bytes;
        let mut held = self.memory.held.lock();
        held.total -= bytes;
        if let Some(of_owner) = held.by_owner.get_mut(&self.owner) {
            *of_owner -= bytes;
            if *of_owner == 0 {
                held.by_owner.remove(&self.owner);
            }
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.give_back(self.bytes);
        }
    }
}

/// Bytes that hold their reservation.
pub(crate) struct Reserved {
    bytes: Bytes,
    _reservation: Reservation,
}

impl AsRef<[u8]> for Reserved {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Reservation {
    /// The bytes, with which the reservation ends.
    pub(crate) fn hold(self, bytes: Bytes) -> Bytes {
        if self.bytes == 0 {
            return bytes;
        }
        Bytes::from_owner(Reserved { bytes, _reservation: self })
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
    fn a_reservation_follows_what_is_held() {
        let memory = Memory::new(Some(1));
        let mut held = memory.reserve("provider lab".into());
        for (bytes, reserved) in
            [(1_000, 0), (STEP / 4, STEP), (STEP, STEP), (STEP + 1, 2 * STEP), (100, 0), (STEP, STEP)]
        {
            assert_eq!(held.resize(bytes), Ok(()));
            assert_eq!(memory.held.lock().total, reserved * COPIES, "{bytes}");
        }
        assert_eq!(held.resize(MIB), Err(Exhausted));
        assert_eq!(memory.held.lock().total, STEP * COPIES, "what was reserved stays");
        assert_eq!((held.cover(100), held.cover(STEP + 100), held.cover(2 * STEP)), (Ok(()), Ok(()), Ok(())));
        assert_eq!(memory.held.lock().total, 2 * STEP * COPIES);
        held.shrink(1_000);
        assert_eq!(memory.held.lock().total, 1_000 * COPIES);
        drop(held);
        assert!(memory.held.lock().by_owner.is_empty());
    }

    #[test]
    fn one_client_and_one_provider_leave_room_to_others_and_what_they_held_is_free_again() {
        let memory = Memory::new(Some(16));
        let mut ann = memory.reserve("ann".into());
        assert_eq!(ann.grow(3 * MIB), Ok(()));
        assert_eq!(ann.grow(1), Err(Exhausted));
        assert_eq!(memory.reserve("ann".into()).grow(1), Err(Exhausted), "over all requests of a client");
        let mut bob = memory.reserve("provider bob".into());
        assert_eq!(bob.grow(3 * MIB), Ok(()));
        let mut eve = memory.reserve("eve".into());
        assert_eq!(eve.grow(2 * MIB), Ok(()), "a quarter is left");
        assert_eq!(eve.grow(1), Err(Exhausted), "the process is full");
        drop(eve);
        drop(ann);
        assert_eq!(memory.reserve("eve".into()).grow(MIB), Ok(()));
        drop(bob);
        assert!(Memory::new(None).max <= 96 * MIB);
        let mut lab = memory.reserve("provider lab".into());
        assert_eq!(lab.grow(1_000), Ok(()));
        let body = lab.hold(Bytes::from_static(b"x")).slice(..1);
        assert_eq!((memory.held.lock().total, &body[..]), (1_000 * COPIES, &b"x"[..]));
        drop(body);
        let held = memory.held.lock();
        assert!(held.total == 0 && held.by_owner.is_empty());
    }
}
