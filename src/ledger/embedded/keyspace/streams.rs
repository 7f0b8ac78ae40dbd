//! `XADD` and its kin: an append-only log with a bound.

use std::{borrow::Cow, collections::VecDeque};

use super::{Answer, Answered, Bytes, Fault, Keyspace, numbers::integer};

/// Redis trims `~` by whole nodes of up to so many entries.
const NODE: usize = 100;

/// When, and which of that millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Id {
    ms: u64,
    seq: u64,
}

impl Id {
    const MAX: Self = Self { ms: u64::MAX, seq: u64::MAX };

    /// Sorts as the ids do.
    pub fn to_bytes(self) -> [u8; 16] {
        ((u128::from(self.ms) << 64) | u128::from(self.seq)).to_be_bytes()
    }

    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
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

    /// `ms-seq`, or `ms` alone with `seq` for the rest.
    fn read(text: &[u8], seq: u64) -> Result<Self, Fault> {
        let invalid = || Fault::of("ERR Invalid stream ID specified as stream command argument");
        let text = std::str::from_utf8(text).map_err(|_| invalid())?;
        let number = |text: &str| text.parse::<u64>().ok().filter(|_| !text.starts_with('+')).ok_or_else(invalid);
        Ok(match text.split_once('-') {
            Some((ms, seq)) => Self { ms: number(ms)?, seq: number(seq)? },
            None => Self { ms: number(text)?, seq },
        })
    }

    fn text(self) -> Vec<u8> {
        format!("{}-{}", self.ms, self.seq).into_bytes()
    }
}

/// Entries in the order of their ids; each is its fields and values by turns.
#[derive(Debug, Clone, Default)]
pub(super) struct Stream {
    entries: VecDeque<(Id, Vec<Bytes>)>,
    last: Id,
}

impl Stream {
    pub fn ids(&self) -> impl Iterator<Item = Id> {
        self.entries.iter().map(|(id, _)| *id)
    }

    /// Takes an entry back from its record; they come in the order of their names.
    pub fn restore(&mut self, id: Id, record: &[u8]) -> Option<()> {
        let mut words = Vec::new();
        let mut rest = record;
        while let Some((len, tail)) = rest.split_first_chunk::<4>() {
            let (word, tail) = tail.split_at_checked(u32::from_le_bytes(*len) as usize)?;
            words.push(word.into());
            rest = tail;
        }
        self.last = id;
        self.entries.push_back((id, words));
        rest.is_empty().then_some(())
    }
}

fn record(words: &[&[u8]]) -> Vec<u8> {
    let mut record = Vec::new();
    for word in words {
        record.extend_from_slice(&u32::try_from(word.len()).unwrap_or(u32::MAX).to_le_bytes());
        record.extend_from_slice(word);
    }
    record
}

/// `MAXLEN`: how many entries may stay, and whether some more may stay too.
#[derive(Clone, Copy)]
struct Trim {
    len: usize,
    about: bool,
}

impl Keyspace {
    /// `XADD key [NOMKSTREAM] [MAXLEN [= | ~] n] id field value …`.
    pub(super) fn xadd(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key, words @ ..] = args else { return Err(Fault::ARITY) };
        if words.len() < 3 {
            return Err(Fault::ARITY);
        }
        let (mut words, mut trim, mut make) = (words, None, true);
        loop {
            match words {
                [word, rest @ ..] if word.eq_ignore_ascii_case(b"NOMKSTREAM") => {
                    (make, words) = (false, rest);
                }
                [word, rest @ ..] if word.eq_ignore_ascii_case(b"MAXLEN") => {
                    let (about, rest) = match rest {
                        [b"~", rest @ ..] => (true, rest),
                        [b"=", rest @ ..] => (false, rest),
                        _ => (false, rest),
                    };
                    let [len, rest @ ..] = rest else { return Err(Fault::SYNTAX) };
                    let len = usize::try_from(integer(len)?)
                        .map_err(|_| Fault::of("ERR The MAXLEN argument must be >= 0."))?;
                    (trim, words) = (Some(Trim { len, about }), rest);
                }
                _ => break,
            }
        }
        let [id, fields @ ..] = words else { return Err(Fault::SYNTAX) };
        let wanted = Wanted::read(id)?;
        if fields.is_empty() || fields.len() % 2 != 0 {
            return Err(Fault::of("ERR wrong number of arguments for 'xadd' command"));
        }
        if matches!(wanted, Wanted::Exactly(Id { ms: 0, seq: 0 })) {
            return Err(Fault::of("ERR The ID specified in XADD must be greater than 0-0"));
        }
        let now = u64::try_from(self.now_ms()).unwrap_or(0);
        let last = match self.stream(key)? {
            Some(stream) => stream.last,
            None if make => Id::default(),
            None => return Ok(Answer::Nil),
        };
        let id = wanted.after(last, now)?;
        let (stream, changes) = self.stream_mut(key)?;
        stream.last = id;
        stream.entries.push_back((id, fields.iter().map(|word| (*word).into()).collect()));
        changes.part(key, &id.to_bytes(), Some(&record(fields)));
        if let Some(Trim { len, about }) = trim {
            let over = if about {
                let mut left = stream.entries.len();
                while left > 0 && left - left.min(NODE) >= len {
                    left -= left.min(NODE);
                }
                stream.entries.len() - left
            } else {
                stream.entries.len().saturating_sub(len)
            };
            for (id, _) in stream.entries.drain(..over) {
                changes.part(key, &id.to_bytes(), None);
            }
        }
        Ok(Answer::Bulk(Cow::Owned(id.text())))
    }

    pub(super) fn xlen(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key] = args else { return Err(Fault::ARITY) };
        Ok(Answer::count(self.stream(key)?.map_or(0, |stream| stream.entries.len())))
    }

    /// `XRANGE key from to [COUNT n]`, or `XREVRANGE key to from [COUNT n]`.
    pub(super) fn xrange(&mut self, args: &[&[u8]], reverse: bool) -> Answered<'_> {
        let [key, from, to, words @ ..] = args else { return Err(Fault::ARITY) };
        let (from, to) = if reverse { (to, from) } else { (from, to) };
        let bounds = (bound(from, false)?, bound(to, true)?);
        let mut count = None;
        let (pairs, rest) = words.as_chunks::<2>();
        for [word, number] in pairs {
            if !word.eq_ignore_ascii_case(b"COUNT") {
                return Err(Fault::SYNTAX);
            }
            count = Some(usize::try_from(integer(number)?).unwrap_or(0));
        }
        if !rest.is_empty() {
            return Err(Fault::SYNTAX);
        }
        let Some(stream) = self.stream(key)? else { return Ok(Answer::List(Vec::new())) };
        let entries = &*stream.entries.make_contiguous();
        if count == Some(0) {
            return Ok(Answer::Nil);
        }
        let first = entries.partition_point(|(id, _)| *id < bounds.0);
        let end = entries.partition_point(|(id, _)| *id <= bounds.1).max(first);
        let found = entries[first..end].iter();
        let count = count.unwrap_or(usize::MAX);
        let found =
            if reverse { found.rev().take(count).map(entry).collect() } else { found.take(count).map(entry).collect() };
        Ok(Answer::List(found))
    }
}

fn entry((id, words): &(Id, Vec<Bytes>)) -> Answer<'_> {
    let words = Answer::List(words.iter().map(|word| Answer::bulk(word)).collect());
    Answer::List(vec![Answer::Bulk(Cow::Owned(id.text())), words])
}

/// One end of a range; `(` leaves the id itself out.
fn bound(text: &[u8], upper: bool) -> Result<Id, Fault> {
    match text {
        b"-" => return Ok(Id::default()),
        b"+" => return Ok(Id::MAX),
        _ => {}
    }
    let (text, open) = text.strip_prefix(b"(").map_or((text, false), |rest| (rest, true));
    let id = Id::read(text, if upper { u64::MAX } else { 0 })?;
    match (open, upper) {
        (false, _) => Ok(id),
        (true, false) => id.next().ok_or(Fault::of("ERR invalid start ID for the interval")),
        (true, true) => id.previous().ok_or(Fault::of("ERR invalid end ID for the interval")),
    }
}

/// The id an entry is to have.
enum Wanted {
    /// `*`
    Any,
    /// `ms-*`
    Within(u64),
    Exactly(Id),
}

impl Wanted {
    fn read(text: &[u8]) -> Result<Self, Fault> {
        if text == b"*" {
            return Ok(Self::Any);
        }
        Ok(match text.strip_suffix(b"-*") {
            Some(ms) if !ms.contains(&b'-') => Self::Within(Id::read(ms, 0)?.ms),
            _ => Self::Exactly(Id::read(text, 0)?),
        })
    }

    fn after(&self, last: Id, now_ms: u64) -> Result<Id, Fault> {
        let id = match *self {
            Self::Any if now_ms > last.ms => Some(Id { ms: now_ms, seq: 0 }),
            Self::Any => last.next(),
            Self::Within(ms) if ms == last.ms => last.next().filter(|id| id.ms == ms),
            Self::Within(ms) => Some(Id { ms, seq: 0 }),
            Self::Exactly(id) => Some(id),
        };
        id.filter(|id| *id > last)
            .ok_or(Fault::of("ERR The ID specified in XADD is equal or smaller than the target stream top item"))
    }
}
