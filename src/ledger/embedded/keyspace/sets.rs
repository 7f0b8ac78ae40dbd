//! `SADD` and its kin.

use rustc_hash::FxHashSet;

use super::{Answer, Answered, Bytes, Fault, Keyspace};

/// Members without an order.
#[derive(Debug, Clone, Default)]
pub(super) struct Set(FxHashSet<Bytes>);

impl Set {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|member| &**member)
    }

    pub fn add(&mut self, member: &[u8]) -> bool {
        self.0.insert(member.into())
    }
}

impl Keyspace {
    pub(super) fn sadd(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key, members @ ..] = args else { return Err(Fault::ARITY) };
        if members.is_empty() {
            return Err(Fault::ARITY);
        }
        let (set, changes) = self.members_mut(key)?;
        let mut new = 0;
        for member in members {
            if set.add(member) {
                changes.part(key, member, Some(&[]));
                new += 1;
            }
        }
        Ok(Answer::Int(new))
    }

    pub(super) fn srem(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key, members @ ..] = args else { return Err(Fault::ARITY) };
        if members.is_empty() {
            return Err(Fault::ARITY);
        }
        if self.members(key)?.is_none() {
            return Ok(Answer::Int(0));
        }
        let (set, changes) = self.members_mut(key)?;
        let mut gone = 0;
        for member in members {
            if set.0.remove(*member) {
                changes.part(key, member, None);
                gone += 1;
            }
        }
        self.drop_if_empty(key);
        Ok(Answer::Int(gone))
    }

    pub(super) fn smembers(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key] = args else { return Err(Fault::ARITY) };
        let set: Option<&Set> = self.members(key)?.map(|set| &*set);
        Ok(Answer::List(set.into_iter().flat_map(Set::iter).map(Answer::bulk).collect()))
    }

    pub(super) fn scard(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key] = args else { return Err(Fault::ARITY) };
        Ok(Answer::count(self.members(key)?.map_or(0, |set| set.len())))
    }
}
