//! Hashes.

use rustc_hash::FxHashMap;

use super::{
    Bytes, CommandError, CommandReply, CommandResult, Keyspace,
    numbers::{integer, parse_integer, write_integer},
};

/// Up to this number of fields, a linear search is faster than hashing.
const MAX_SMALL_FIELDS: usize = 32;

/// Fields and their values.
#[derive(Debug, Clone)]
pub(super) enum Hash {
    Small(Vec<(Bytes, Bytes)>),
    Large(FxHashMap<Bytes, Bytes>),
}

impl Default for Hash {
    fn default() -> Self {
        Self::Small(Vec::new())
    }
}

impl Hash {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Small(fields) => fields.len(),
            Self::Large(fields) => fields.len(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let (small, large) = match self {
            Self::Small(fields) => (Some(fields), None),
            Self::Large(fields) => (None, Some(fields)),
        };
        let small = small.into_iter().flatten().map(|(field, value)| (&**field, &**value));
        small.chain(large.into_iter().flatten().map(|(field, value)| (&**field, &**value)))
    }

    fn get(&self, field: &[u8]) -> Option<&[u8]> {
        match self {
            Self::Small(fields) => fields.iter().find(|(name, _)| **name == *field).map(|(_, value)| &**value),
            Self::Large(fields) => fields.get(field).map(|value| &**value),
        }
    }

    /// Returns whether the field is new.
    pub(crate) fn set(&mut self, field: &[u8], value: &[u8]) -> bool {
        match self {
            Self::Small(fields) => {
                if let Some((_, old)) = fields.iter_mut().find(|(name, _)| **name == *field) {
                    if old.len() == value.len() {
                        old.copy_from_slice(value);
                    } else {
                        *old = value.into();
                    }
                    return false;
                }
                fields.push((field.into(), value.into()));
                if fields.len() > MAX_SMALL_FIELDS {
                    *self = Self::Large(std::mem::take(fields).into_iter().collect());
                }
                true
            }
            Self::Large(fields) => fields.insert(field.into(), value.into()).is_none(),
        }
    }

    fn del(&mut self, field: &[u8]) -> bool {
        match self {
            Self::Small(fields) => {
                let index = fields.iter().position(|(name, _)| **name == *field);
                index.map(|index| fields.swap_remove(index)).is_some()
            }
            Self::Large(fields) => fields.remove(field).is_some(),
        }
    }
}

impl Keyspace {
    pub(super) fn hget(&mut self, args: &[&[u8]]) -> CommandResult<'_> {
        let [key, field] = args else { return Err(CommandError::ARITY) };
        Ok(CommandReply::bulk_or_nil(self.hash(key)?.and_then(|hash| hash.get(field))))
    }

    pub(super) fn hmget(&mut self, args: &[&[u8]]) -> CommandResult<'_> {
        let [key, fields @ ..] = args else { return Err(CommandError::ARITY) };
        if fields.is_empty() {
            return Err(CommandError::ARITY);
        }
        let hash: Option<&Hash> = self.hash(key)?.map(|hash| &*hash);
        Ok(CommandReply::List(
            fields.iter().map(|field| CommandReply::bulk_or_nil(hash.and_then(|hash| hash.get(field)))).collect(),
        ))
    }

    pub(super) fn hset(&mut self, args: &[&[u8]]) -> CommandResult<'_> {
        let [key, pairs @ ..] = args else { return Err(CommandError::ARITY) };
        let (pairs, rest) = pairs.as_chunks::<2>();
        if pairs.is_empty() {
            return Err(CommandError::ARITY);
        }
        if !rest.is_empty() {
            return Err(CommandError::new("ERR wrong number of arguments for 'hset' command"));
        }
        let (hash, changes) = self.hash_mut(key)?;
        let mut new = 0;
        for [field, value] in pairs {
            new += i64::from(hash.set(field, value));
            changes.set_part(key, field, Some(value));
        }
        Ok(CommandReply::Int(new))
    }

    pub(super) fn hdel(&mut self, args: &[&[u8]]) -> CommandResult<'_> {
        let [key, fields @ ..] = args else { return Err(CommandError::ARITY) };
        if fields.is_empty() {
            return Err(CommandError::ARITY);
        }
        if self.hash(key)?.is_none() {
            return Ok(CommandReply::Int(0));
        }
        let (hash, changes) = self.hash_mut(key)?;
        let mut removed = 0;
        for field in fields {
            if hash.del(field) {
                changes.set_part(key, field, None);
                removed += 1;
            }
        }
        self.remove_if_empty(key);
        Ok(CommandReply::Int(removed))
    }

    pub(super) fn hkeys(&mut self, args: &[&[u8]]) -> CommandResult<'_> {
        let [key] = args else { return Err(CommandError::ARITY) };
        let fields = self.hash(key)?.map(|hash| hash.iter().map(|(field, _)| CommandReply::bulk(field)).collect());
        Ok(CommandReply::List(fields.unwrap_or_default()))
    }

    pub(super) fn hgetall(&mut self, args: &[&[u8]]) -> CommandResult<'_> {
        let [key] = args else { return Err(CommandError::ARITY) };
        let mut flat = Vec::new();
        if let Some(hash) = self.hash(key)? {
            flat.reserve(hash.len() * 2);
            for (field, value) in hash.iter() {
                flat.push(CommandReply::bulk(field));
                flat.push(CommandReply::bulk(value));
            }
        }
        Ok(CommandReply::List(flat))
    }

    pub(super) fn hincrby(&mut self, args: &[&[u8]]) -> CommandResult<'_> {
        let [key, field, by] = args else { return Err(CommandError::ARITY) };
        let by = integer(by)?;
        let old = match self.hash(key)?.and_then(|hash| hash.get(field)) {
            Some(text) => parse_integer(text).ok_or(CommandError::HASH_NOT_AN_INTEGER)?,
            None => 0,
        };
        let new = old.checked_add(by).ok_or(CommandError::OVERFLOW)?;
        let mut text = Vec::with_capacity(20);
        write_integer(&mut text, new);
        let (hash, changes) = self.hash_mut(key)?;
        hash.set(field, &text);
        changes.set_part(key, field, Some(&text));
        Ok(CommandReply::Int(new))
    }

    pub(super) fn hlen(&mut self, args: &[&[u8]]) -> CommandResult<'_> {
        let [key] = args else { return Err(CommandError::ARITY) };
        Ok(CommandReply::count(self.hash(key)?.map_or(0, |hash| hash.len())))
    }

    pub(super) fn hexists(&mut self, args: &[&[u8]]) -> CommandResult<'_> {
        let [key, field] = args else { return Err(CommandError::ARITY) };
        Ok(CommandReply::Int(self.hash(key)?.is_some_and(|hash| hash.get(field).is_some()).into()))
    }
}
