//! `RPUSH` and its kin.

use std::collections::VecDeque;

use super::{Answer, Answered, Bytes, Changes, Fault, Keyspace, numbers::integer, span};

/// Items, each at a place that never changes: a push or a trim touches the records of its own items only.
#[derive(Debug, Clone, Default)]
pub(super) struct List {
    items: VecDeque<Bytes>,
    /// The place of the first item.
    first: i64,
}

impl List {
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// The record names of all items.
    pub fn places(&self) -> impl Iterator<Item = [u8; 8]> {
        (self.first..).take(self.items.len()).map(place_name)
    }

    /// Takes an item back from its record; they come in the order of their names.
    pub fn restore(&mut self, place: [u8; 8], item: &[u8]) {
        if self.items.is_empty() {
            self.first = read_place(place);
        }
        self.items.push_back(item.into());
    }

    fn push(&mut self, key: &[u8], item: &[u8], front: bool, changes: &mut Changes) {
        if front {
            self.first -= 1;
            self.items.push_front(item.into());
            changes.part(key, &place_name(self.first), Some(item));
        } else {
            let place = (self.first..).nth(self.items.len()).unwrap_or(i64::MAX);
            self.items.push_back(item.into());
            changes.part(key, &place_name(place), Some(item));
        }
    }

    fn keep(&mut self, key: &[u8], kept: std::ops::Range<usize>, changes: &mut Changes) {
        for (place, at) in self.places().zip(0..) {
            if !kept.contains(&at) {
                changes.part(key, &place, None);
            }
        }
        self.items.truncate(kept.end);
        for _ in 0..kept.start.min(self.items.len()) {
            self.items.pop_front();
            self.first += 1;
        }
    }
}

/// Sorts as the places do, negative ones first.
fn place_name(place: i64) -> [u8; 8] {
    (place.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

fn read_place(name: [u8; 8]) -> i64 {
    (u64::from_be_bytes(name) ^ (1 << 63)).cast_signed()
}

impl Keyspace {
    pub(super) fn push(&mut self, args: &[&[u8]], front: bool) -> Answered<'_> {
        let [key, items @ ..] = args else { return Err(Fault::ARITY) };
        if items.is_empty() {
            return Err(Fault::ARITY);
        }
        let (list, changes) = self.list_mut(key)?;
        for item in items {
            list.push(key, item, front, changes);
        }
        Ok(Answer::count(list.len()))
    }

    pub(super) fn ltrim(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key, start, stop] = args else { return Err(Fault::ARITY) };
        let (start, stop) = (integer(start)?, integer(stop)?);
        if self.list(key)?.is_some() {
            let (list, changes) = self.list_mut(key)?;
            list.keep(key, span(start, stop, list.len()), changes);
            self.drop_if_empty(key);
        }
        Ok(Answer::Done)
    }

    pub(super) fn lrange(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key, start, stop] = args else { return Err(Fault::ARITY) };
        let (start, stop) = (integer(start)?, integer(stop)?);
        let Some(list) = self.list(key)? else { return Ok(Answer::List(Vec::new())) };
        let list = &*list;
        Ok(Answer::List(list.items.range(span(start, stop, list.len())).map(|item| Answer::bulk(item)).collect()))
    }

    pub(super) fn llen(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key] = args else { return Err(Fault::ARITY) };
        Ok(Answer::count(self.list(key)?.map_or(0, |list| list.len())))
    }
}
