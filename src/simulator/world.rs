//! The state all requests share: providers in force, their books, faults, slots.

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
    books::Books,
    chance::Chance,
    clock::Clock,
    faults::Faults,
    overlay,
    provider::{Model, Provider},
    settings::Profile,
};

/// Everything behind the port.
pub struct World {
    pub clock: Clock,
    pub chance: Chance,
    pub faults: Faults,
    profile: Mutex<Profile>,
    scene: ArcSwap<Scene>,
    books: BTreeMap<String, Mutex<Books>>,
    gates: Mutex<HashMap<(String, String, String), Arc<Gate>>>,
}

/// Providers as they are in force now; replaced whole.
#[derive(Debug)]
pub struct Scene {
    pub enforce: bool,
    pub providers: BTreeMap<String, Arc<Provider>>,
}

/// Slots of one account and model.
struct Gate {
    size: i64,
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// A call's slot, given back when dropped; none where calls are not limited.
pub type Slot = Option<OwnedSemaphorePermit>;

impl Scene {
    fn build(profile: &Profile) -> anyhow::Result<Self> {
        let built = profile.providers.iter().map(|(id, own)| Ok((id.clone(), Arc::new(Provider::build(id, own)?))));
        let providers = built.collect::<anyhow::Result<_>>()?;
        Ok(Self { enforce: profile.enforce.unwrap_or(true), providers })
    }
}

impl World {
    pub fn new(over: &Profile) -> anyhow::Result<Self> {
        let profile = overlay::real().overlaid(over);
        let scene = Scene::build(&profile)?;
        let lines = profile.log.unwrap_or(0);
        let books = scene.providers.keys().map(|id| (id.clone(), Mutex::new(Books::with_log(lines)))).collect();
        Ok(Self {
            clock: Clock::new(),
            chance: Chance::new(profile.seed.unwrap_or(1)),
            faults: Faults::default(),
            profile: Mutex::new(profile),
            scene: ArcSwap::from_pointee(scene),
            books,
            gates: Mutex::default(),
        })
    }

    pub fn scene(&self) -> Arc<Scene> {
        self.scene.load_full()
    }

    /// The books of a provider.
    ///
    /// # Panics
    /// For a provider that was not there at the start; none can be added later.
    pub fn books(&self, provider: &str) -> MutexGuard<'_, Books> {
        let books = self.books.get(provider).expect("every provider has its books from the start");
        books.lock()
    }

    /// Lays a profile over the one in force. Counts go on where a limit keeps its name and kind.
    pub fn change(&self, over: &Profile) -> anyhow::Result<()> {
        let mut profile = self.profile.lock();
        let next = profile.clone().overlaid(over);
        let scene = Scene::build(&next)?;
        for (id, provider) in &scene.providers {
            self.books(id).limits_changed(provider);
        }
        *profile = next;
        self.scene.store(Arc::new(scene));
        Ok(())
    }

    /// Forgets all counts, the audit and the faults; the profile stays.
    pub fn reset(&self) {
        let lines = self.profile.lock().log.unwrap_or(0);
        for id in self.books.keys() {
            *self.books(id) = Books::with_log(lines);
        }
        self.faults.clear();
    }

    /// A slot for a call, after a wait in the queue if there is room in it; `Err` when there is not.
    pub async fn slot(&self, provider: &Provider, account: &str, model: &Model) -> Result<Slot, ()> {
        if model.concurrency <= 0 {
            return Ok(None);
        }
        let gate = self.gate(provider, account, model);
        if let Ok(slot) = Arc::clone(&gate.slots).try_acquire_owned() {
            return Ok(Some(slot));
        }
        if gate.waiting.load(Relaxed) >= provider.switches.queue {
            return Err(());
        }
        let _waiting = Waiting::at(&gate.waiting);
        Arc::clone(&gate.slots).acquire_owned().await.map(Some).map_err(|_| ())
    }

    fn gate(&self, provider: &Provider, account: &str, model: &Model) -> Arc<Gate> {
        let mut gates = self.gates.lock();
        let name = (provider.id.clone(), account.to_owned(), model.bucket.clone());
        let fresh = || {
            let size = usize::try_from(model.concurrency).unwrap_or(1);
            Arc::new(Gate {
                size: model.concurrency,
                slots: Arc::new(Semaphore::new(size)),
                waiting: AtomicUsize::new(0),
            })
        };
        let gate = gates.entry(name).or_insert_with(fresh);
        if gate.size != model.concurrency {
            *gate = fresh();
        }
        Arc::clone(gate)
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
