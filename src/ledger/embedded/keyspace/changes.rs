//! What a script has changed, as records small enough to be kept one by one: a charge is a few dozen bytes.
//!
//! A key is one head (type, expiry, and the text of a string) and one record per field, member, item or entry.

use rustc_hash::FxHashMap;

use super::{Entry, Value};

const HEAD: u8 = b'h';
const PART: u8 = b'p';

/// Records by name; a later one of the same name replaces the earlier. `None`: to be removed.
#[derive(Default)]
pub struct Changes {
    kept: bool,
    records: FxHashMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Changes {
    pub(super) fn keep(&mut self) {
        self.kept = true;
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Hands the records over and forgets them.
    pub fn drain(&mut self) -> impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)> {
        self.records.drain()
    }

    /// A key is new, or its expiry or its text is another one.
    pub(super) fn head(&mut self, key: &[u8], entry: &Entry) {
        if !self.kept {
            return;
        }
        let text: &[u8] = if let Value::Text(text) = &entry.value { text } else { &[] };
        let mut record = Vec::with_capacity(9 + text.len());
        record.push(kind(&entry.value));
        record.extend_from_slice(&entry.expires.to_le_bytes());
        record.extend_from_slice(text);
        self.records.insert(head_name(key), Some(record));
    }

    /// A part is new, changed, or (`None`) gone.
    pub(super) fn part(&mut self, key: &[u8], part: &[u8], value: Option<&[u8]>) {
        if self.kept {
            self.records.insert(part_name(key, part), value.map(<[u8]>::to_vec));
        }
    }

    /// A key is gone, and every part of it.
    pub(super) fn forget(&mut self, key: &[u8], value: &Value) {
        if !self.kept {
            return;
        }
        self.records.insert(head_name(key), None);
        let mut forget = |part: &[u8]| {
            self.records.insert(part_name(key, part), None);
        };
        match value {
            Value::Text(_) => {}
            Value::Hash(hash) => hash.iter().for_each(|(field, _)| forget(field)),
            Value::Set(set) => set.iter().for_each(forget),
            Value::Zset(zset) => zset.iter().for_each(|(_, member)| forget(member)),
            Value::List(list) => list.places().for_each(|place| forget(&place)),
            Value::Stream(stream) => stream.ids().for_each(|id| forget(&id.to_bytes())),
        }
    }
}

/// One letter per type.
pub(super) fn kind(value: &Value) -> u8 {
    match value {
        Value::Text(_) => b't',
        Value::Hash(_) => b'h',
        Value::Set(_) => b's',
        Value::Zset(_) => b'z',
        Value::List(_) => b'l',
        Value::Stream(_) => b'x',
    }
}

fn head_name(key: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(1 + key.len());
    name.push(HEAD);
    name.extend_from_slice(key);
    name
}

/// The key's length stands in front of it, so that no two keys with their parts can be taken for each other.
fn part_name(key: &[u8], part: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(5 + key.len() + part.len());
    name.push(PART);
    name.extend_from_slice(&u32::try_from(key.len()).unwrap_or(u32::MAX).to_be_bytes());
    name.extend_from_slice(key);
    name.extend_from_slice(part);
    name
}

/// A record's name, read back.
pub(super) enum Name<'a> {
    Head(&'a [u8]),
    Part { key: &'a [u8], part: &'a [u8] },
}

pub(super) fn read_name(name: &[u8]) -> Option<Name<'_>> {
    match name {
        [HEAD, key @ ..] => Some(Name::Head(key)),
        [PART, a, b, c, d, rest @ ..] => {
            let (key, part) = rest.split_at_checked(u32::from_be_bytes([*a, *b, *c, *d]) as usize)?;
            Some(Name::Part { key, part })
        }
        _ => None,
    }
}
