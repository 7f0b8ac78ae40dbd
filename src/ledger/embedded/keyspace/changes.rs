//! The changes of a script as small records, so that writing a charge takes a few dozen bytes.
//!
//! A key has one head record (type, expiry and the value of a string) and one record per field, member or stream entry.

use rustc_hash::FxHashMap;

use super::{Entry, Keyspace, Value, hashes::Hash, sorted_sets::SortedSet, streams::Stream};

const HEAD: u8 = b'h';
const PART: u8 = b'p';

/// Changed records by name. `None` removes a record.
#[derive(Default)]
pub(crate) struct Changes {
    enabled: bool,
    records: FxHashMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Changes {
    pub(super) fn enable(&mut self) {
        self.enabled = true;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Vec<u8>, &Option<Vec<u8>>)> {
        self.records.iter()
    }

    pub(crate) fn clear(&mut self) {
        self.records.clear();
    }

    /// Records a new key, or a new expiry or string value of a key.
    pub(super) fn set_head(&mut self, key: &[u8], entry: &Entry) {
        if !self.enabled {
            return;
        }
        let (kind, text): (u8, &[u8]) = match &entry.value {
            Value::String(text) => (b't', text),
            Value::Hash(_) => (b'h', &[]),
            Value::SortedSet(_) => (b'z', &[]),
            Value::Stream(_) => (b'x', &[]),
        };
        let record = [&[kind], &entry.expires.to_le_bytes()[..], text].concat();
        self.records.insert(head_name(key), Some(record));
    }

    /// Records the new value of a part, or with `None` its removal.
    pub(super) fn set_part(&mut self, key: &[u8], part: &[u8], value: Option<&[u8]>) {
        if self.enabled {
            self.records.insert(part_name(key, part), value.map(<[u8]>::to_vec));
        }
    }

    /// Records the removal of a key with all its parts.
    pub(super) fn remove_key(&mut self, key: &[u8], value: &Value) {
        if !self.enabled {
            return;
        }
        self.records.insert(head_name(key), None);
        let mut remove = |part: &[u8]| {
            self.records.insert(part_name(key, part), None);
        };
        match value {
            Value::String(_) => {}
            Value::Hash(hash) => hash.iter().for_each(|(field, _)| remove(field)),
            Value::SortedSet(set) => set.members().for_each(remove),
            Value::Stream(stream) => stream.ids().for_each(|id| remove(&id.to_bytes())),
        }
    }
}

impl Keyspace {
    /// Takes records of another store, in the order of their names, without those that are malformed or whose key is missing.
    /// They count as changes. Returns the number of keys.
    pub(crate) fn import(&mut self, records: Vec<(Vec<u8>, Vec<u8>)>) -> usize {
        for (name, record) in records {
            if self.restore(&name, &record).is_some() {
                self.changes.records.insert(name, Some(record));
            }
        }
        self.entries.len()
    }

    /// Restores one record, or returns `None` if it is malformed. Records come in the order of their names: heads first.
    pub(crate) fn restore(&mut self, name: &[u8], record: &[u8]) -> Option<()> {
        match *name {
            [HEAD, ref key @ ..] => {
                let (kind, rest) = record.split_first()?;
                let (expires, text) = rest.split_first_chunk::<8>()?;
                let value = match kind {
                    b't' => Value::String(text.into()),
                    b'h' => Value::Hash(Hash::default()),
                    b'z' => Value::SortedSet(SortedSet::default()),
                    b'x' => Value::Stream(Stream::default()),
                    _ => return None,
                };
                self.entries.insert(key.into(), Entry { value, expires: i64::from_le_bytes(*expires) });
            }
            [PART, a, b, c, d, ref rest @ ..] => {
                let (key, part) = rest.split_at_checked(u32::from_be_bytes([a, b, c, d]) as usize)?;
                match &mut self.entries.get_mut(key)?.value {
                    Value::String(_) => return None,
                    Value::Hash(hash) => {
                        hash.set(part, record);
                    }
                    Value::SortedSet(set) => {
                        set.set(part, f64::from_le_bytes(record.try_into().ok()?));
                    }
                    Value::Stream(stream) => stream.restore(part, record)?,
                }
            }
            _ => return None,
        }
        Some(())
    }
}

fn head_name(key: &[u8]) -> Vec<u8> {
    [&[HEAD], key].concat()
}

/// Starts with the length of the key, so that the name is unambiguous.
fn part_name(key: &[u8], part: &[u8]) -> Vec<u8> {
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[PART], &length[..], key, part].concat()
}
