//! State that all requests share: the providers in force, their usage counters, faults and slots.

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
    profile::Profile,
    provider::{Model, Provider},
    rng::Rng,
    settings::Settings,
};

/// The state of the simulator.
pub(crate) struct State {
    pub clock: Clock,
    pub rng: Rng,
    pub faults: Faults,
    /// Calls kept in the log of each provider.
    log: AtomicUsize,
    profile: Mutex<Profile>,
    providers: ArcSwap<Providers>,
    usage: BTreeMap<String, Mutex<UsageCounters>>,
    /// By provider, account and bucket.
    pools: Mutex<HashMap<(String, String, String), Arc<SlotPool>>>,
}

/// The providers in force. Replaced as a whole.
#[derive(Debug)]
pub(crate) struct Providers {
    pub enforce: bool,
    pub by_id: BTreeMap<String, Arc<Provider>>,
}

/// Slots of one account and model.
struct SlotPool {
    size: i64,
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// The slot of a call, given back on drop; `None` where parallel calls are not limited.
pub(crate) type Slot = Option<OwnedSemaphorePermit>;

impl Providers {
    fn build(settings: &Settings) -> anyhow::Result<Self> {
        let built = settings.providers.iter().map(|(id, own)| Ok((id.clone(), Arc::new(Provider::build(id, own)?))));
        Ok(Self { enforce: settings.enforce, by_id: built.collect::<anyhow::Result<_>>()? })
    }
}

impl State {
    pub(crate) fn new(over: &Profile) -> anyhow::Result<Self> {
        let profile = Profile::real().merged(over)?;
        let settings = profile.settings()?;
        let providers = Providers::build(&settings)?;
        let usage =
            providers.by_id.keys().map(|id| (id.clone(), Mutex::new(UsageCounters::with_log(settings.log)))).collect();
        Ok(Self {
            clock: Clock::new(),
            rng: Rng::new(settings.seed),
            faults: Faults::default(),
            log: AtomicUsize::new(settings.log),
            profile: Mutex::new(profile),
            providers: ArcSwap::from_pointee(providers),
            usage,
            pools: Mutex::default(),
        })
    }

    pub(crate) fn providers(&self) -> Arc<Providers> {
        self.providers.load_full()
    }

    /// The usage counters of a provider.
    ///
    /// # Panics
    /// For an unknown provider: none can be added after the start.
    pub(crate) fn usage(&self, provider: &str) -> MutexGuard<'_, UsageCounters> {
        let usage = self.usage.get(provider).expect("every provider has counters from the start");
        usage.lock()
    }

    /// Merges a profile over the one in force. Counts are kept where a limit keeps its name and kind.
    pub(crate) fn change(&self, over: &Profile) -> anyhow::Result<()> {
        let mut profile = self.profile.lock();
        let next = profile.merged(over)?;
        let settings = next.settings()?;
        let providers = Providers::build(&settings)?;
        for (id, provider) in &providers.by_id {
            self.usage(id).limits_changed(provider);
        }
        *profile = next;
        self.log.store(settings.log, Relaxed);
        self.providers.store(Arc::new(providers));
        Ok(())
    }

    /// Clears all counts, the audit and the faults. The profile stays.
    pub(crate) fn reset(&self) {
        let calls = self.log.load(Relaxed);
        for id in self.usage.keys() {
            *self.usage(id) = UsageCounters::with_log(calls);
        }
        self.faults.clear();
    }

    /// A slot for a call, after a wait in the queue, or `Err` where the queue is full.
    pub(crate) async fn slot(&self, provider: &Provider, account: &str, model: &Model) -> Result<Slot, ()> {
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
        let mut pools = self.pools.lock();
        let name = (provider.id.clone(), account.to_owned(), model.bucket.clone());
        let fresh = || {
            let size = usize::try_from(model.concurrency).unwrap_or(1);
            Arc::new(SlotPool {
                size: model.concurrency,
                slots: Arc::new(Semaphore::new(size)),
                waiting: AtomicUsize::new(0),
            })
        };
        let pool = pools.entry(name).or_insert_with(fresh);
        if pool.size != model.concurrency {
            *pool = fresh();
        }
        Arc::clone(pool)
    }
}

/// Counts a waiting call until it is dropped.
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
