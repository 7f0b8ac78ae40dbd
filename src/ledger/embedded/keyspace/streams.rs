//! Streams: append-only logs with a maximum length.

use std::{borrow::Cow, collections::VecDeque};

use super::{Bytes, CommandError, CommandReply, CommandResult, Keyspace, numbers::integer};

/// Redis trims with `MAXLEN ~` by whole nodes of this number of entries.
const NODE: usize = 100;

/// The time of an entry in ms, and its number within that millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Id {
    ms: u64,
    seq: u64,
}

impl Id {
    const MAX: Self = Self { ms: u64::MAX, seq: u64::MAX };

    /// Big-endian, so that the bytes sort like the ids.
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        ((u128::from(self.ms) << 64) | u128::from(self.seq)).to_be_bytes()
    }

    #[expect(clippy::cast_possible_truncation, reason = "takes the two halves")]
    fn from_bytes(bytes: [u8; 16]) -> Self {
        let both = u128::from_be_bytes(bytes);
        Self { ms: (both >> 64) as u64, seq: both as u64 }
    }

    fn next(self) -> Option<Self> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(Self { seq, ..self }),
            None => Some(Self { ms: self.ms.checked_add(1)?, seq: 0 }),
        }
    }

    fn previous(self) -> Option<Self> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(Self { seq, ..self }),
            None => Some(Self { ms: self.ms.checked_sub(1)?, seq: u64::MAX }),
        }
    }

    /// Parses `ms-seq`, or `ms` alone with `default_seq`.
    fn parse(text: &[u8], default_seq: u64) -> Result<Self, CommandError> {
        let invalid = || CommandError::new("ERR Invalid stream ID specified as stream command argument");
        let text = std::str::from_utf8(text).map_err(|_| invalid())?;
        let number = |text: &str| text.parse::<u64>().ok().filter(|_| !text.starts_with('+')).ok_or_else(invalid);
        Ok(match text.split_once('-') {
            Some((ms, seq)) => Self { ms: number(ms)?, seq: number(seq)? },
            None => Self { ms: number(text)?, seq: default_seq },
        })
    }
}

/// Entries in the order of their ids. The words of an entry are its fields, each followed by its value.
#[derive(Debug, Clone, Default)]
pub(super) struct Stream {
    entries: VecDeque<(Id, Vec<Bytes>)>,
    last: Id,
}

impl Stream {
    pub(crate) fn ids(&self) -> impl Iterator<Item = Id> {
        self.entries.iter().map(|(id, _)| *id)
    }

    /// Restores an entry from its record, or returns `None` if it is malformed. Records come in the order of their ids.
    pub(crate) fn restore(&mut self, id: &[u8], record: &[u8]) -> Option<()> {
        let mut words = Vec::new();
        let mut rest = record;
        while let Some((len, tail)) = rest.split_first_chunk::<4>() {
            let (word, tail) = tail.split_at_checked(u32::from_le_bytes(*len) as usize)?;
            words.push(word.into());
            rest = tail;
        }
        self.last = Id::from_bytes(id.try_into().ok()?);
        self.entries.push_back((self.last, words));
        rest.is_empty().then_some(())
    }
}

/// The words of an entry, each preceded by its length.
fn record(words: &[&[u8]]) -> Vec<u8> {
    let mut record = Vec::new();
    for word in words {
        record.extend_from_slice(&u32::try_from(word.len()).unwrap_or(u32::MAX).to_le_bytes());
        record.extend_from_slice(word);
    }
    record
}

impl Keyspace {
    /// `XADD key [MAXLEN ~ n] (* | id) field value …`.
    pub(super) fn xadd(&mut self, args: &[&[u8]]) -> CommandResult<'_> {
        let [key, words @ ..] = args else { return Err(CommandError::ARITY) };
        if words.len() < 3 {
            return Err(CommandError::ARITY);
        }
        let (max_len, words) = match words {
            [word, b"~", max_len, rest @ ..] if word.eq_ignore_ascii_case(b"MAXLEN") => {
                let negative = CommandError::new("ERR The MAXLEN argument must be >= 0.");
                (Some(usize::try_from(integer(max_len)?).map_err(|_| negative)?), rest)
            }
            _ => (None, words),
        };
        let [id, fields @ ..] = words else { return Err(CommandError::SYNTAX) };
        let explicit = if id == b"*" { None } else { Some(Id::parse(id, 0)?) };
        if fields.is_empty() || fields.len() % 2 != 0 {
            return Err(CommandError::new("ERR wrong number of arguments for 'xadd' command"));
        }
        if explicit == Some(Id::default()) {
            return Err(CommandError::new("ERR The ID specified in XADD must be greater than 0-0"));
        }
        let now = Id { ms: u64::try_from(self.now_ms()).unwrap_or(0), seq: 0 };
        let last = self.stream(key)?.map_or(Id::default(), |stream| stream.last);
        let id = explicit.or_else(|| if now.ms > last.ms { Some(now) } else { last.next() });
        let id = id.filter(|id| *id > last).ok_or(CommandError::new(
            "ERR The ID specified in XADD is equal or smaller than the target stream top item",
        ))?;
        let (stream, changes) = self.stream_mut(key)?;
        stream.last = id;
        stream.entries.push_back((id, fields.iter().map(|word| (*word).into()).collect()));
        changes.set_part(key, &id.to_bytes(), Some(&record(fields)));
        if let Some(max_len) = max_len {
            let mut kept = stream.entries.len();
            while kept > 0 && kept - kept.min(NODE) >= max_len {
                kept -= kept.min(NODE);
            }
            for (id, _) in stream.entries.drain(..stream.entries.len() - kept) {
                changes.set_part(key, &id.to_bytes(), None);
            }
        }
        Ok(id_reply(id))
    }

    /// `XRANGE key from to [COUNT n]`, or `XREVRANGE key to from [COUNT n]`.
    pub(super) fn xrange(&mut self, args: &[&[u8]], reverse: bool) -> CommandResult<'_> {
        let [key, from, to, words @ ..] = args else { return Err(CommandError::ARITY) };
        let (from, to) = if reverse { (to, from) } else { (from, to) };
        let (from, to) = (parse_bound(from, false)?, parse_bound(to, true)?);
        let mut count = None;
        let (pairs, rest) = words.as_chunks::<2>();
        for [word, number] in pairs {
            if !word.eq_ignore_ascii_case(b"COUNT") {
                return Err(CommandError::SYNTAX);
            }
            count = Some(usize::try_from(integer(number)?).unwrap_or(0));
        }
        if !rest.is_empty() {
            return Err(CommandError::SYNTAX);
        }
        let Some(stream) = self.stream(key)? else { return Ok(CommandReply::List(Vec::new())) };
        let entries = &*stream.entries.make_contiguous();
        if count == Some(0) {
            return Ok(CommandReply::Nil);
        }
        let first = entries.partition_point(|(id, _)| *id < from);
        let end = entries.partition_point(|(id, _)| *id <= to).max(first);
        let found = entries[first..end].iter();
        let count = count.unwrap_or(usize::MAX);
        let replies = if reverse {
            found.rev().take(count).map(entry_reply).collect()
        } else {
            found.take(count).map(entry_reply).collect()
        };
        Ok(CommandReply::List(replies))
    }
}

fn id_reply(id: Id) -> CommandReply<'static> {
    CommandReply::Bulk(Cow::Owned(format!("{}-{}", id.ms, id.seq).into_bytes()))
}

fn entry_reply((id, words): &(Id, Vec<Bytes>)) -> CommandReply<'_> {
    let words = words.iter().map(|word| CommandReply::bulk(word)).collect();
    CommandReply::List(vec![id_reply(*id), CommandReply::List(words)])
}

/// Parses one end of a range. `(` excludes the id itself.
fn parse_bound(text: &[u8], upper: bool) -> Result<Id, CommandError> {
    match text {
        b"-" => return Ok(Id::default()),
        b"+" => return Ok(Id::MAX),
        _ => {}
    }
    let default_seq = if upper { u64::MAX } else { 0 };
    let Some(exclusive) = text.strip_prefix(b"(") else { return Id::parse(text, default_seq) };
    let id = Id::parse(exclusive, default_seq)?;
    if upper {
        id.previous().ok_or(CommandError::new("ERR invalid end ID for the interval"))
    } else {
        id.next().ok_or(CommandError::new("ERR invalid start ID for the interval"))
    }
}
