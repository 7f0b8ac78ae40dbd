//! `HGET` and its kin.

use rustc_hash::FxHashMap;

use super::{
    Answer, Answered, Bytes, Fault, Keyspace,
    numbers::{integer, parse_integer, write_integer},
};

/// Up to so many fields are looked through one by one.
const FEW: usize = 32;

/// Fields and their values.
#[derive(Debug, Clone)]
pub(super) enum Hash {
    Few(Vec<(Bytes, Bytes)>),
    Many(FxHashMap<Bytes, Bytes>),
}

impl Default for Hash {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Hash {
    pub fn len(&self) -> usize {
        match self {
            Self::Few(fields) => fields.len(),
            Self::Many(fields) => fields.len(),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let (few, many) = match self {
            Self::Few(fields) => (Some(fields), None),
            Self::Many(fields) => (None, Some(fields)),
        };
        let few = few.into_iter().flatten().map(|(field, value)| (&**field, &**value));
        few.chain(many.into_iter().flatten().map(|(field, value)| (&**field, &**value)))
    }

    fn get(&self, field: &[u8]) -> Option<&[u8]> {
        match self {
            Self::Few(fields) => fields.iter().find(|(name, _)| **name == *field).map(|(_, value)| &**value),
            Self::Many(fields) => fields.get(field).map(|value| &**value),
        }
    }

    /// True when the field is new.
    pub fn set(&mut self, field: &[u8], value: &[u8]) -> bool {
        match self {
            Self::Few(fields) => {
                if let Some((_, old)) = fields.iter_mut().find(|(name, _)| **name == *field) {
                    if old.len() == value.len() {
                        old.copy_from_slice(value);
                    } else {
                        *old = value.into();
                    }
                    return false;
                }
                fields.push((field.into(), value.into()));
                if fields.len() > FEW {
                    *self = Self::Many(std::mem::take(fields).into_iter().collect());
                }
                true
            }
            Self::Many(fields) => fields.insert(field.into(), value.into()).is_none(),
        }
    }

    fn del(&mut self, field: &[u8]) -> bool {
        match self {
            Self::Few(fields) => {
                let place = fields.iter().position(|(name, _)| **name == *field);
                place.map(|place| fields.swap_remove(place)).is_some()
            }
            Self::Many(fields) => fields.remove(field).is_some(),
        }
    }
}

impl Keyspace {
    pub(super) fn hget(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key, field] = args else { return Err(Fault::ARITY) };
        Ok(Answer::maybe(self.hash(key)?.and_then(|hash| hash.get(field))))
    }

    pub(super) fn hmget(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key, fields @ ..] = args else { return Err(Fault::ARITY) };
        if fields.is_empty() {
            return Err(Fault::ARITY);
        }
        let hash: Option<&Hash> = self.hash(key)?.map(|hash| &*hash);
        Ok(Answer::List(fields.iter().map(|field| Answer::maybe(hash.and_then(|hash| hash.get(field)))).collect()))
    }

    pub(super) fn hset(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key, pairs @ ..] = args else { return Err(Fault::ARITY) };
        let (pairs, rest) = pairs.as_chunks::<2>();
        if pairs.is_empty() {
            return Err(Fault::ARITY);
        }
        if !rest.is_empty() {
            return Err(Fault::of("ERR wrong number of arguments for 'hset' command"));
        }
        let (hash, changes) = self.hash_mut(key)?;
        let mut new = 0;
        for [field, value] in pairs {
            new += i64::from(hash.set(field, value));
            changes.part(key, field, Some(value));
        }
        Ok(Answer::Int(new))
    }

    pub(super) fn hdel(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key, fields @ ..] = args else { return Err(Fault::ARITY) };
        if fields.is_empty() {
            return Err(Fault::ARITY);
        }
        if self.hash(key)?.is_none() {
            return Ok(Answer::Int(0));
        }
        let (hash, changes) = self.hash_mut(key)?;
        let mut gone = 0;
        for field in fields {
            if hash.del(field) {
                changes.part(key, field, None);
                gone += 1;
            }
        }
        self.drop_if_empty(key);
        Ok(Answer::Int(gone))
    }

    pub(super) fn hkeys(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key] = args else { return Err(Fault::ARITY) };
        let fields = self.hash(key)?.map(|hash| hash.iter().map(|(field, _)| Answer::bulk(field)).collect());
        Ok(Answer::List(fields.unwrap_or_default()))
    }

    pub(super) fn hgetall(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key] = args else { return Err(Fault::ARITY) };
        let mut flat = Vec::new();
        if let Some(hash) = self.hash(key)? {
            flat.reserve(hash.len() * 2);
            for (field, value) in hash.iter() {
                flat.push(Answer::bulk(field));
                flat.push(Answer::bulk(value));
            }
        }
        Ok(Answer::List(flat))
    }

    pub(super) fn hincrby(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key, field, by] = args else { return Err(Fault::ARITY) };
        let by = integer(by)?;
        let old = match self.hash(key)?.and_then(|hash| hash.get(field)) {
            Some(text) => parse_integer(text).ok_or(Fault::HASH_NOT_AN_INTEGER)?,
            None => 0,
        };
        let new = old.checked_add(by).ok_or(Fault::OVERFLOW)?;
        let mut text = Vec::with_capacity(20);
        write_integer(&mut text, new);
        let (hash, changes) = self.hash_mut(key)?;
        hash.set(field, &text);
        changes.part(key, field, Some(&text));
        Ok(Answer::Int(new))
    }

    pub(super) fn hlen(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key] = args else { return Err(Fault::ARITY) };
        Ok(Answer::count(self.hash(key)?.map_or(0, |hash| hash.len())))
    }

    pub(super) fn hexists(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key, field] = args else { return Err(Fault::ARITY) };
        Ok(Answer::Int(self.hash(key)?.is_some_and(|hash| hash.get(field).is_some()).into()))
    }
}
