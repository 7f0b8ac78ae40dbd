//! The state all requests share: providers in force, their usage, faults, slots.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    accounting::usage::UsageCounters,
    clock::Clock,
    faults::Faults,
    profile_merge,
    provider::{Model, Provider},
    rng::Rng,
    settings::Profile,
};

/// Everything behind the port.
pub(super) struct State {
    pub clock: Clock,
    pub rng: Rng,
    pub faults: Faults,
    profile: Mutex<Profile>,
    providers: ArcSwap<Providers>,
    usage: BTreeMap<String, Mutex<UsageCounters>>,
    pool: Mutex<HashMap<(String, String, String), Arc<SlotPool>>>,
}

/// Providers as they are in force now; replaced whole.
#[derive(Debug)]
pub(super) struct Providers {
    pub enforce: bool,
    pub providers: BTreeMap<String, Arc<Provider>>,
}

/// Slots of one account and model.
struct SlotPool {
    size: i64,
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// A call's slot, given back when dropped; none where calls are not limited.
pub(super) type Slot = Option<OwnedSemaphorePermit>;

impl Providers {
    fn build(profile: &Profile) -> anyhow::Result<Self> {
        let built = profile.providers.iter().map(|(id, own)| Ok((id.clone(), Arc::new(Provider::build(id, own)?))));
        let providers = built.collect::<anyhow::Result<_>>()?;
        Ok(Self { enforce: profile.enforce.unwrap_or(true), providers })
    }
}

impl State {
    pub(super) fn new(over: &Profile) -> anyhow::Result<Self> {
        let profile = profile_merge::real().overlaid(over);
        let providers = Providers::build(&profile)?;
        let lines = profile.log.unwrap_or(0);
        let usage =
            providers.providers.keys().map(|id| (id.clone(), Mutex::new(UsageCounters::with_log(lines)))).collect();
        Ok(Self {
            clock: Clock::new(),
            rng: Rng::new(profile.seed.unwrap_or(1)),
            faults: Faults::default(),
            profile: Mutex::new(profile),
            providers: ArcSwap::from_pointee(providers),
            usage,
            pool: Mutex::default(),
        })
    }

    pub(super) fn providers(&self) -> Arc<Providers> {
        self.providers.load_full()
    }

    /// The usage of a provider.
    ///
    /// # Panics
    /// For a provider that was not there at the start; none can be added later.
    pub(super) fn usage(&self, provider: &str) -> MutexGuard<'_, UsageCounters> {
        let usage = self.usage.get(provider).expect("every provider has its usage from the start");
        usage.lock()
    }

    /// Lays a profile over the one in force. Counts go on where a limit keeps its name and kind.
    pub(super) fn change(&self, over: &Profile) -> anyhow::Result<()> {
        let mut profile = self.profile.lock();
        let next = profile.clone().overlaid(over);
        let providers = Providers::build(&next)?;
        for (id, provider) in &providers.providers {
            self.usage(id).limits_changed(provider);
        }
        *profile = next;
        self.providers.store(Arc::new(providers));
        Ok(())
    }

    /// Forgets all counts, the audit and the faults; the profile stays.
    pub(super) fn reset(&self) {
        let lines = self.profile.lock().log.unwrap_or(0);
        for id in self.usage.keys() {
            *self.usage(id) = UsageCounters::with_log(lines);
        }
        self.faults.clear();
    }

    /// A slot for a call, after a wait in the queue if there is room in it; `Err` when there is not.
    pub(super) async fn slot(&self, provider: &Provider, account: &str, model: &Model) -> Result<Slot, ()> {
        if model.concurrency <= 0 {
            return Ok(None);
        }
        let pool = self.pool(provider, account, model);
        if let Ok(slot) = Arc::clone(&pool.slots).try_acquire_owned() {
            return Ok(Some(slot));
        }
        if pool.waiting.load(Relaxed) >= provider.switches.queue {
            return Err(());
        }
        let _waiting = Waiting::at(&pool.waiting);
        Arc::clone(&pool.slots).acquire_owned().await.map(Some).map_err(|_| ())
    }

    fn pool(&self, provider: &Provider, account: &str, model: &Model) -> Arc<SlotPool> {
        let mut pool = self.pool.lock();
        let name = (provider.id.clone(), account.to_owned(), model.bucket.clone());
        let fresh = || {
            let size = usize::try_from(model.concurrency).unwrap_or(1);
            Arc::new(SlotPool {
                size: model.concurrency,
                slots: Arc::new(Semaphore::new(size)),
                waiting: AtomicUsize::new(0),
            })
        };
        let pool = pool.entry(name).or_insert_with(fresh);
        if pool.size != model.concurrency {
            *pool = fresh();
        }
        Arc::clone(pool)
    }
}

/// One more in a queue, until dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn at(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
