//! Strings, expiry, and the commands about the server itself.

use std::borrow::Cow;

use super::{CommandError, CommandReply, CommandResult, Entry, Keyspace, NEVER, Value, numbers::integer};

impl Keyspace {
    fn string(&mut self, key: &[u8]) -> Result<Option<&[u8]>, CommandError> {
        match self.live(key) {
            Some(Entry { value: Value::String(text), .. }) => Ok(Some(text)),
            Some(_) => Err(CommandError::WRONG_TYPE),
            None => Ok(None),
        }
    }

    pub(super) fn get(&mut self, args: &[&[u8]]) -> CommandResult<'_> {
        let [key] = args else { return Err(CommandError::ARITY) };
        Ok(CommandReply::bulk_or_nil(self.string(key)?))
    }

    /// `GETEX key PX ms`.
    pub(super) fn getex(&mut self, args: &[&[u8]]) -> CommandResult<'_> {
        let [key, option, life_ms] = args else { return Err(CommandError::ARITY) };
        if !option.eq_ignore_ascii_case(b"PX") {
            return Err(CommandError::SYNTAX);
        }
        if self.string(key)?.is_none() {
            return Ok(CommandReply::Nil);
        }
        let expires = self.expiry(life_ms, "ERR invalid expire time in 'getex' command")?;
        self.expire_at(key, expires);
        Ok(CommandReply::bulk_or_nil(self.string(key)?))
    }

    /// The instant at which a lifetime that begins now ends.
    fn expiry(&self, life_ms: &[u8], invalid: &'static str) -> Result<i64, CommandError> {
        let life_ms = Some(integer(life_ms)?).filter(|life_ms| *life_ms > 0);
        let expires = life_ms.and_then(|life_ms| life_ms.checked_add(self.now_ms()));
        Ok(expires.ok_or(CommandError::new(invalid))?.min(NEVER - 1))
    }

    /// Sets the expiry of a key that lives.
    fn expire_at(&mut self, key: &[u8], expires: i64) {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.expires != expires) else { return };
        entry.expires = expires;
        self.changes.set_head(key, entry);
    }

    /// `SET key value [NX] [GET] [PX ms | KEEPTTL]`.
    pub(super) fn set(&mut self, args: &[&[u8]]) -> CommandResult<'_> {
        let [key, value, options @ ..] = args else { return Err(CommandError::ARITY) };
        let (mut only_new, mut get, mut keep_ttl, mut life_ms) = (false, false, false, None);
        let mut options = options.iter();
        while let Some(option) = options.next() {
            match option.to_ascii_uppercase().as_slice() {
                b"NX" => only_new = true,
                b"GET" => get = true,
                b"KEEPTTL" if life_ms.is_none() => keep_ttl = true,
                b"PX" if life_ms.is_none() && !keep_ttl => {
                    life_ms = Some(*options.next().ok_or(CommandError::SYNTAX)?);
                }
                _ => return Err(CommandError::SYNTAX),
            }
        }
        let expires = match life_ms {
            Some(life_ms) => self.expiry(life_ms, "ERR invalid expire time in 'set' command")?,
            None => NEVER,
        };
        // With GET the reply is the previous value, whether or not it has been replaced.
        let previous = if get { self.string(key)?.map(<[u8]>::to_vec) } else { None };
        let previous_expires = self.live(key).map(|entry| entry.expires);
        if !only_new || previous_expires.is_none() {
            let expires = if keep_ttl { previous_expires.unwrap_or(NEVER) } else { expires };
            self.remove(key);
            self.insert(key, Value::String((*value).into()), expires);
            if !get {
                return Ok(CommandReply::Ok);
            }
        }
        Ok(previous.map_or(CommandReply::Nil, |text| CommandReply::Bulk(Cow::Owned(text))))
    }

    pub(super) fn del(&mut self, args: &[&[u8]]) -> CommandResult<'_> {
        if args.is_empty() {
            return Err(CommandError::ARITY);
        }
        Ok(CommandReply::count(args.iter().filter(|key| self.live(key).is_some() && self.remove(key)).count()))
    }

    pub(super) fn exists(&mut self, args: &[&[u8]]) -> CommandResult<'_> {
        if args.is_empty() {
            return Err(CommandError::ARITY);
        }
        Ok(CommandReply::count(args.iter().filter(|key| self.live(key).is_some()).count()))
    }

    pub(super) fn pexpire(&mut self, args: &[&[u8]]) -> CommandResult<'_> {
        let [key, life_ms] = args else { return Err(CommandError::ARITY) };
        let now = self.now_ms();
        let invalid = CommandError::new("ERR invalid expire time in 'pexpire' command");
        let expires = integer(life_ms)?.checked_add(now).ok_or(invalid)?;
        if self.live(key).is_none() {
            return Ok(CommandReply::Int(0));
        }
        if expires <= now {
            self.remove(key);
        } else {
            self.expire_at(key, expires.min(NEVER - 1));
        }
        Ok(CommandReply::Int(1))
    }

    pub(super) fn pttl(&mut self, args: &[&[u8]]) -> CommandResult<'_> {
        let [key] = args else { return Err(CommandError::ARITY) };
        let now = self.now_ms();
        Ok(CommandReply::Int(match self.live(key) {
            None => -2,
            Some(Entry { expires: NEVER, .. }) => -1,
            Some(entry) => (entry.expires - now).max(0),
        }))
    }

    pub(super) fn time(&mut self, args: &[&[u8]]) -> CommandResult<'_> {
        if !args.is_empty() {
            return Err(CommandError::ARITY);
        }
        let part = |number: i64| CommandReply::Bulk(Cow::Owned(number.to_string().into_bytes()));
        Ok(CommandReply::List(vec![part(self.now_us.div_euclid(1_000_000)), part(self.now_us.rem_euclid(1_000_000))]))
    }

    /// `INFO [section]`: the section `server`, whichever is requested.
    pub(super) fn info(&mut self) -> CommandReply<'_> {
        let text = format!("# Server\r\nredis_version:7.0.0\r\nrun_id:{}\r\n", self.run_id);
        CommandReply::Bulk(Cow::Owned(text.into_bytes()))
    }

    /// `PUBLISH channel message`. The reply, the number of subscribers, is always 0.
    pub(super) fn publish(&mut self, args: &[&[u8]]) -> CommandResult<'_> {
        let [channel, message] = args else { return Err(CommandError::ARITY) };
        if self.keeps_published {
            self.published.push(((*channel).into(), (*message).into()));
        }
        Ok(CommandReply::Int(0))
    }
}
