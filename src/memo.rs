//! A map of values that are created once per name, for closed sets of names on hot paths.

use std::{borrow::Borrow, hash::Hash, sync::Arc};

use arc_swap::ArcSwap;
use rustc_hash::FxHashMap;

/// Reads take no lock. A new name copies the map, which happens once per name.
#[derive(Debug)]
pub(crate) struct Memo<K, T>(ArcSwap<FxHashMap<K, Arc<T>>>);

impl<K, T> Default for Memo<K, T> {
    fn default() -> Self {
        Self(ArcSwap::default())
    }
}

impl<K: Hash + Eq + Clone, T> Memo<K, T> {
    /// The value of a name, created by `make` if it is new.
    pub(crate) fn get_or_create<Q>(&self, name: &Q, make: impl FnOnce() -> T) -> Arc<T>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(value) = self.0.load().get(name) {
            return value.clone();
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

    /// Calls `read` with the value of a name, or `None` if it does not exist.
    pub(crate) fn with<Q, R>(&self, name: &Q, read: impl FnOnce(Option<&T>) -> R) -> R
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        read(self.0.load().get(name).map(|value| &**value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_created_once() {
        let value = Memo::<String, u32>::default();
        assert!(value.with("a", |one| one.is_none()));
        assert_eq!(["a", "b", "a"].map(|name| *value.get_or_create(name, || u32::from(name == "a"))), [1, 0, 1]);
        assert_eq!(*value.get_or_create("b", || 7), 0);
        assert!(value.with("a", |one| one.is_some()));
    }
}
