//! `GET`, `SET`, expiries and what asks the server itself.

use std::borrow::Cow;

use super::{
    Answer, Answered, Entry, Fault, Keyspace, NEVER, Value,
    numbers::{integer, parse_integer, write_integer},
};

impl Keyspace {
    fn text(&mut self, key: &[u8]) -> Result<Option<&[u8]>, Fault> {
        match self.live(key) {
            Some(Entry { value: Value::Text(text), .. }) => Ok(Some(text)),
            Some(_) => Err(Fault::WRONG_TYPE),
            None => Ok(None),
        }
    }

    pub(super) fn get(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key] = args else { return Err(Fault::ARITY) };
        Ok(Answer::maybe(self.text(key)?))
    }

    /// `SET key value [NX | XX] [GET] [PX ms | EX s | PXAT ms | KEEPTTL]`.
    pub(super) fn set(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key, value, options @ ..] = args else { return Err(Fault::ARITY) };
        let (mut only_if, mut expires, mut keep, mut get) = (None, None, false, false);
        let mut options = options.iter();
        while let Some(option) = options.next() {
            let free = expires.is_none() && !keep;
            match option.to_ascii_uppercase().as_slice() {
                b"NX" if only_if != Some(true) => only_if = Some(false),
                b"XX" if only_if != Some(false) => only_if = Some(true),
                b"GET" => get = true,
                b"KEEPTTL" if expires.is_none() => keep = true,
                unit @ (b"PX" | b"EX" | b"PXAT") if free => {
                    let Some(given) = options.next() else { return Err(Fault::SYNTAX) };
                    expires = Some((unit.to_vec(), *given));
                }
                _ => return Err(Fault::SYNTAX),
            }
        }
        let expires = match expires {
            Some((unit, given)) => self.instant(&unit, integer(given)?)?.min(NEVER - 1),
            None => NEVER,
        };
        // With GET the value before is the answer, whether it was replaced or not.
        let before = if get { self.text(key)?.map(<[u8]>::to_vec) } else { None };
        let old = self.live(key).map(|entry| entry.expires);
        if only_if.is_none_or(|there| there == old.is_some()) {
            let expires = if keep { old.unwrap_or(NEVER) } else { expires };
            self.remove(key);
            let entry = self.insert(key, Value::Text((*value).into()));
            entry.expires = expires;
            self.note_head(key);
            if !get {
                return Ok(Answer::Done);
            }
        }
        Ok(before.map_or(Answer::Nil, |text| Answer::Bulk(Cow::Owned(text))))
    }

    fn instant(&self, unit: &[u8], given: i64) -> Result<i64, Fault> {
        let instant = match unit {
            _ if given <= 0 => None,
            b"PXAT" => Some(given),
            b"EX" => given.checked_mul(1000).and_then(|ms| ms.checked_add(self.now_ms())),
            _ => given.checked_add(self.now_ms()),
        };
        instant.ok_or(Fault::of("ERR invalid expire time in 'set' command"))
    }

    /// The head of a key has been changed in place.
    fn note_head(&mut self, key: &[u8]) {
        if let Some(entry) = self.entries.get(key) {
            self.changes.head(key, entry);
        }
    }

    pub(super) fn del(&mut self, args: &[&[u8]]) -> Answered<'_> {
        if args.is_empty() {
            return Err(Fault::ARITY);
        }
        Ok(Answer::count(args.iter().filter(|key| self.live(key).is_some() && self.remove(key)).count()))
    }

    pub(super) fn exists(&mut self, args: &[&[u8]]) -> Answered<'_> {
        if args.is_empty() {
            return Err(Fault::ARITY);
        }
        Ok(Answer::count(args.iter().filter(|key| self.live(key).is_some()).count()))
    }

    pub(super) fn incr(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key] = args else { return Err(Fault::ARITY) };
        self.add(key, 1)
    }

    pub(super) fn incrby(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key, by] = args else { return Err(Fault::ARITY) };
        self.add(key, integer(by)?)
    }

    fn add(&mut self, key: &[u8], by: i64) -> Answered<'_> {
        let old = match self.text(key)? {
            Some(text) => Some(parse_integer(text).ok_or(Fault::NOT_AN_INTEGER)?),
            None => None,
        };
        let new = old.unwrap_or(0).checked_add(by).ok_or(Fault::OVERFLOW)?;
        let mut text = Vec::with_capacity(20);
        write_integer(&mut text, new);
        let value = Value::Text(text.into());
        match self.entries.get_mut(key) {
            Some(entry) => entry.value = value,
            None => {
                self.insert(key, value);
            }
        }
        self.note_head(key);
        Ok(Answer::Int(new))
    }

    pub(super) fn pexpire(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key, ms] = args else { return Err(Fault::ARITY) };
        let invalid = Fault::of("ERR invalid expire time in 'pexpire' command");
        let instant = integer(ms)?.checked_add(self.now_ms()).ok_or(invalid)?;
        Ok(self.expire(key, instant))
    }

    pub(super) fn pexpireat(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key, ms] = args else { return Err(Fault::ARITY) };
        let instant = integer(ms)?;
        Ok(self.expire(key, instant))
    }

    fn expire(&mut self, key: &[u8], instant: i64) -> Answer<'static> {
        let now = self.now_ms();
        let Some(entry) = self.live(key) else { return Answer::Int(0) };
        if instant <= now {
            self.remove(key);
        } else if entry.expires != instant {
            // The last instant there is means never.
            entry.expires = instant.min(NEVER - 1);
            self.note_head(key);
        }
        Answer::Int(1)
    }

    pub(super) fn pttl(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key] = args else { return Err(Fault::ARITY) };
        let now = self.now_ms();
        Ok(Answer::Int(match self.live(key) {
            None => -2,
            Some(Entry { expires: NEVER, .. }) => -1,
            Some(entry) => (entry.expires - now).max(0),
        }))
    }

    pub(super) fn persist(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key] = args else { return Err(Fault::ARITY) };
        match self.live(key) {
            Some(entry) if entry.expires != NEVER => entry.expires = NEVER,
            _ => return Ok(Answer::Int(0)),
        }
        self.note_head(key);
        Ok(Answer::Int(1))
    }

    pub(super) fn time(&mut self, args: &[&[u8]]) -> Answered<'_> {
        if !args.is_empty() {
            return Err(Fault::ARITY);
        }
        let part = |number: i64| Answer::Bulk(Cow::Owned(number.to_string().into_bytes()));
        Ok(Answer::List(vec![part(self.now_us.div_euclid(1_000_000)), part(self.now_us.rem_euclid(1_000_000))]))
    }

    /// Tells who it is whatever section is asked for.
    pub(super) fn info(&mut self) -> Answer<'_> {
        let text = format!("# Server\r\nredis_version:7.0.0\r\nrun_id:{}\r\n", self.run_id);
        Answer::Bulk(Cow::Owned(text.into_bytes()))
    }

    /// Nobody listens in this process.
    /// `PUBLISH channel message`; how many listen outside the scripts is told as none.
    pub(super) fn publish(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [channel, message] = args else { return Err(Fault::ARITY) };
        if self.is_heard {
            self.published.push(((*channel).into(), (*message).into()));
        }
        Ok(Answer::Int(0))
    }
}
