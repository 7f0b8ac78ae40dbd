//! `ZADD` and its kin.

use std::{cmp::Ordering, ops::Range};

use rustc_hash::FxHashMap;

use super::{
    Answer, Answered, Bytes, Fault, Keyspace,
    numbers::{float, integer, parse_float},
    span,
};

/// Members by score, then by their bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct Zset {
    scores: FxHashMap<Bytes, f64>,
    order: Vec<(f64, Bytes)>,
}

impl Zset {
    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (f64, &[u8])> {
        self.order.iter().map(|(score, member)| (*score, &**member))
    }

    fn place(&self, score: f64, member: &[u8]) -> Result<usize, usize> {
        // No score is NaN.
        self.order.binary_search_by(|(other, name)| {
            other.partial_cmp(&score).unwrap_or(Ordering::Equal).then_with(|| (**name).cmp(member))
        })
    }

    /// The score before, if there was one.
    pub fn set(&mut self, member: &[u8], score: f64) -> Option<f64> {
        let old = self.scores.get_mut(member);
        let before = old.as_deref().copied();
        match old {
            #[expect(clippy::float_cmp, reason = "a score is another one only when it differs")]
            Some(old) if *old == score => return before,
            Some(old) => *old = score,
            None => {
                self.scores.insert(member.into(), score);
            }
        }
        if let Some(before) = before
            && let Ok(place) = self.place(before, member)
        {
            self.order.remove(place);
        }
        let place = self.place(score, member).unwrap_or_else(|place| place);
        self.order.insert(place, (score, member.into()));
        before
    }

    fn del(&mut self, member: &[u8]) -> bool {
        let Some(score) = self.scores.remove(member) else { return false };
        if let Ok(place) = self.place(score, member) {
            self.order.remove(place);
        }
        true
    }

    fn places(&self, bounds: &Bounds) -> Range<usize> {
        let from = self.order.partition_point(|(score, _)| !bounds.above_min(*score));
        let to = self.order.partition_point(|(score, _)| bounds.below_max(*score));
        from..to.max(from)
    }
}

/// Two scores, each included unless `(` stood in front.
struct Bounds {
    min: (f64, bool),
    max: (f64, bool),
}

impl Bounds {
    fn read(min: &[u8], max: &[u8]) -> Result<Self, Fault> {
        let one = |text: &[u8]| {
            let (text, open) = text.strip_prefix(b"(").map_or((text, false), |rest| (rest, true));
            parse_float(text).map(|score| (score, open)).ok_or(Fault::RANGE_NOT_A_FLOAT)
        };
        Ok(Self { min: one(min)?, max: one(max)? })
    }

    fn above_min(&self, score: f64) -> bool {
        if self.min.1 { score > self.min.0 } else { score >= self.min.0 }
    }

    fn below_max(&self, score: f64) -> bool {
        if self.max.1 { score < self.max.0 } else { score <= self.max.0 }
    }
}

/// One end of a range over members of equal scores: `-`, `+`, `[member` or `(member`.
enum Edge<'a> {
    Before,
    After,
    At(&'a [u8], bool),
}

impl<'a> Edge<'a> {
    fn read(text: &'a [u8]) -> Result<Self, Fault> {
        match text {
            b"-" => Ok(Self::Before),
            b"+" => Ok(Self::After),
            [b'[', member @ ..] => Ok(Self::At(member, true)),
            [b'(', member @ ..] => Ok(Self::At(member, false)),
            _ => Err(Fault::of("ERR min or max not valid string range item")),
        }
    }

    /// Whether a member stands before a range that begins (ends, for `as_max`) here.
    fn is_past(&self, member: &[u8], as_max: bool) -> bool {
        match self {
            Self::Before => as_max,
            Self::After => !as_max,
            Self::At(edge, included) => match member.cmp(edge) {
                Ordering::Less => !as_max,
                Ordering::Equal => !*included,
                Ordering::Greater => as_max,
            },
        }
    }
}

/// What a range names.
enum Wanted {
    Scores(Bounds),
    Ranks(i64, i64),
}

/// The words behind a range.
#[derive(Default)]
struct RangeOptions {
    by_score: bool,
    reverse: bool,
    with_scores: bool,
    /// Offset and count; a negative count is all.
    limit: Option<(i64, i64)>,
}

impl RangeOptions {
    fn read(words: &[&[u8]], by_score: bool) -> Result<Self, Fault> {
        let mut options = Self { by_score, ..Self::default() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.to_ascii_uppercase().as_slice() {
                b"WITHSCORES" => options.with_scores = true,
                b"BYSCORE" if !by_score => options.by_score = true,
                b"REV" if !by_score => options.reverse = true,
                b"LIMIT" => {
                    let (Some(offset), Some(count)) = (words.next(), words.next()) else { return Err(Fault::SYNTAX) };
                    options.limit = Some((integer(offset)?, integer(count)?));
                }
                _ => return Err(Fault::SYNTAX),
            }
        }
        Ok(options)
    }
}

impl Keyspace {
    /// `ZADD key [NX | XX] [GT | LT] [CH] score member …`.
    pub(super) fn zadd(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key, _, _, ..] = args else { return Err(Fault::ARITY) };
        let (mut nx, mut xx, mut gt, mut lt, mut ch) = (false, false, false, false, false);
        let mut words = &args[1..];
        while let [word, rest @ ..] = words {
            match word.to_ascii_uppercase().as_slice() {
                b"NX" => nx = true,
                b"XX" => xx = true,
                b"GT" => gt = true,
                b"LT" => lt = true,
                b"CH" => ch = true,
                _ => break,
            }
            words = rest;
        }
        let (pairs, rest) = words.as_chunks::<2>();
        if pairs.is_empty() || !rest.is_empty() {
            return Err(Fault::SYNTAX);
        }
        if nx && xx {
            return Err(Fault::of("ERR XX and NX options at the same time are not compatible"));
        }
        if [gt, lt, nx].into_iter().filter(|given| *given).count() > 1 {
            return Err(Fault::of("ERR GT, LT, and/or NX options at the same time are not compatible"));
        }
        // Plus zero: a small sorted set of Redis knows no negative zero.
        let pairs =
            pairs.iter().map(|[score, member]| Ok((float(score)? + 0.0, *member))).collect::<Result<Vec<_>, _>>()?;
        if self.zset(key)?.is_none() && xx {
            return Ok(Answer::Int(0));
        }
        let (zset, changes) = self.zset_mut(key)?;
        let (mut new, mut moved) = (0, 0);
        for (score, member) in pairs {
            match zset.scores.get(member).copied() {
                Some(old) if nx || (gt && score <= old) || (lt && score >= old) => continue,
                None if xx => continue,
                _ => {}
            }
            match zset.set(member, score) {
                #[expect(clippy::float_cmp, reason = "a score is another one only when it differs")]
                Some(old) if old == score => continue,
                Some(_) => moved += 1,
                None => new += 1,
            }
            changes.part(key, member, Some(&score.to_le_bytes()));
        }
        Ok(Answer::Int(if ch { new + moved } else { new }))
    }

    pub(super) fn zrem(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key, members @ ..] = args else { return Err(Fault::ARITY) };
        if members.is_empty() {
            return Err(Fault::ARITY);
        }
        if self.zset(key)?.is_none() {
            return Ok(Answer::Int(0));
        }
        let (zset, changes) = self.zset_mut(key)?;
        let mut gone = 0;
        for member in members {
            if zset.del(member) {
                changes.part(key, member, None);
                gone += 1;
            }
        }
        self.drop_if_empty(key);
        Ok(Answer::Int(gone))
    }

    pub(super) fn zscore(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key, member] = args else { return Err(Fault::ARITY) };
        let score = self.zset(key)?.and_then(|zset| zset.scores.get(*member).copied());
        Ok(score.map_or(Answer::Nil, Answer::float))
    }

    pub(super) fn zcard(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key] = args else { return Err(Fault::ARITY) };
        Ok(Answer::count(self.zset(key)?.map_or(0, |zset| zset.len())))
    }

    pub(super) fn zcount(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key, min, max] = args else { return Err(Fault::ARITY) };
        let bounds = Bounds::read(min, max)?;
        Ok(Answer::count(self.zset(key)?.map_or(0, |zset| zset.places(&bounds).len())))
    }

    /// `ZRANGE key start stop [BYSCORE] [REV] [LIMIT offset count] [WITHSCORES]`.
    pub(super) fn zrange(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key, start, stop, words @ ..] = args else { return Err(Fault::ARITY) };
        self.range(key, start, stop, &RangeOptions::read(words, false)?)
    }

    /// `ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]`.
    pub(super) fn zrangebyscore(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key, min, max, words @ ..] = args else { return Err(Fault::ARITY) };
        self.range(key, min, max, &RangeOptions::read(words, true)?)
    }

    fn range(&mut self, key: &[u8], start: &[u8], stop: &[u8], options: &RangeOptions) -> Answered<'_> {
        if !options.by_score && options.limit.is_some_and(|(_, count)| count != -1) {
            return Err(Fault::of(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        let wanted = match (options.by_score, options.reverse) {
            (true, false) => Wanted::Scores(Bounds::read(start, stop)?),
            (true, true) => Wanted::Scores(Bounds::read(stop, start)?),
            (false, _) => Wanted::Ranks(integer(start)?, integer(stop)?),
        };
        let Some(zset) = self.zset(key)? else { return Ok(Answer::List(Vec::new())) };
        let zset = &*zset;
        let places = match wanted {
            Wanted::Scores(bounds) => zset.places(&bounds),
            Wanted::Ranks(start, stop) => {
                let ranks = span(start, stop, zset.len());
                if options.reverse { zset.len() - ranks.end..zset.len() - ranks.start } else { ranks }
            }
        };
        let (offset, count) = options.limit.filter(|_| options.by_score).unwrap_or((0, -1));
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let found = zset.order.get(places).unwrap_or_default();
        let mut flat = Vec::new();
        let ordered: Box<dyn Iterator<Item = &(f64, Bytes)>> =
            if options.reverse { Box::new(found.iter().rev()) } else { Box::new(found.iter()) };
        for (score, member) in ordered.skip(offset).take(count) {
            flat.push(Answer::bulk(member));
            if options.with_scores {
                flat.push(Answer::float(*score));
            }
        }
        Ok(Answer::List(flat))
    }

    /// `ZRANGEBYLEX key min max [LIMIT offset count]`: for members of one score.
    pub(super) fn zrangebylex(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key, min, max, words @ ..] = args else { return Err(Fault::ARITY) };
        let (min, max) = (Edge::read(min)?, Edge::read(max)?);
        let (offset, count) = match words {
            [] => (0, -1),
            [limit, offset, count] if limit.eq_ignore_ascii_case(b"LIMIT") => (integer(offset)?, integer(count)?),
            _ => return Err(Fault::SYNTAX),
        };
        let Some(zset) = self.zset(key)? else { return Ok(Answer::List(Vec::new())) };
        let zset = &*zset;
        let from = zset.order.partition_point(|(_, member)| min.is_past(member, false));
        let to = zset.order.partition_point(|(_, member)| !max.is_past(member, true));
        let found = zset.order.get(from..to.max(from)).unwrap_or_default();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        Ok(Answer::List(found.iter().skip(offset).take(count).map(|(_, member)| Answer::bulk(member)).collect()))
    }

    pub(super) fn zremrangebyscore(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key, min, max] = args else { return Err(Fault::ARITY) };
        let bounds = Bounds::read(min, max)?;
        self.cut(key, |zset| zset.places(&bounds))
    }

    pub(super) fn zremrangebyrank(&mut self, args: &[&[u8]]) -> Answered<'_> {
        let [key, start, stop] = args else { return Err(Fault::ARITY) };
        let (start, stop) = (integer(start)?, integer(stop)?);
        self.cut(key, |zset| span(start, stop, zset.len()))
    }

    fn cut(&mut self, key: &[u8], places: impl Fn(&Zset) -> Range<usize>) -> Answered<'_> {
        if self.zset(key)?.is_none() {
            return Ok(Answer::Int(0));
        }
        let (zset, changes) = self.zset_mut(key)?;
        let places = places(zset);
        let gone = places.len();
        for (_, member) in zset.order.drain(places) {
            zset.scores.remove(&member);
            changes.part(key, &member, None);
        }
        self.drop_if_empty(key);
        Ok(Answer::count(gone))
    }
}
