//! What is made once for each of a closed set of names, and kept.

use std::{borrow::Borrow, hash::Hash, sync::Arc};

use arc_swap::ArcSwap;
use rustc_hash::FxHashMap;

/// By name; read without a lock. A name is new once in a process's life: then all is copied.
#[derive(Debug)]
pub struct Memo<K, T>(ArcSwap<FxHashMap<K, Arc<T>>>);

impl<K, T> Default for Memo<K, T> {
    fn default() -> Self {
        Self(ArcSwap::default())
    }
}

impl<K: Hash + Eq + Clone, T> Memo<K, T> {
    /// What is kept under a name, made where there is none yet.
    pub fn of<Q>(&self, name: &Q, make: impl FnOnce() -> T) -> Arc<T>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(kept) = self.0.load().get(name) {
            return kept.clone();
        }
        let new = Arc::new(make());
        self.0.rcu(|all| {
            let mut all = FxHashMap::clone(all);
            all.entry(name.to_owned()).or_insert_with(|| new.clone());
            all
        });
        // Another thread may have been first.
        self.0.load().get(name).cloned().unwrap_or(new)
    }

    /// Looks at what is kept under a name, without making it.
    pub fn look<Q, R>(&self, name: &Q, look: impl FnOnce(Option<&T>) -> R) -> R
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        look(self.0.load().get(name).map(|kept| &**kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_made_once() {
        let kept = Memo::<String, u32>::default();
        assert!(kept.look("a", |one| one.is_none()));
        assert_eq!(["a", "b", "a"].map(|name| *kept.of(name, || u32::from(name == "a"))), [1, 0, 1]);
        assert_eq!(*kept.of("b", || 7), 0);
        assert!(kept.look("a", |one| one.is_some()));
    }
}
