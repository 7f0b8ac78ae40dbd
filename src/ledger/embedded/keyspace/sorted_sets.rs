//! Sorted sets.

use std::{cmp::Ordering, ops::Range};

use rustc_hash::FxHashMap;

use super::{
    Bytes, CommandError, CommandReply, CommandResult, Keyspace, index_range,
    numbers::{float, integer, parse_float},
};

/// Members ordered by score, then by their bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct SortedSet {
    scores: FxHashMap<Bytes, f64>,
    order: Vec<(f64, Bytes)>,
}

impl SortedSet {
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &[u8]> {
        self.order.iter().map(|(_, member)| &**member)
    }

    fn position(&self, score: f64, member: &[u8]) -> Result<usize, usize> {
        // No score is NaN.
        self.order.binary_search_by(|(other, name)| {
            other.partial_cmp(&score).unwrap_or(Ordering::Equal).then_with(|| (**name).cmp(member))
        })
    }

    /// Returns the previous score.
    pub(crate) fn set(&mut self, member: &[u8], score: f64) -> Option<f64> {
        let old = self.scores.get_mut(member);
        let previous = old.as_deref().copied();
        match old {
            #[expect(clippy::float_cmp, reason = "only an identical score is unchanged")]
            Some(old) if *old == score => return previous,
            Some(old) => *old = score,
            None => {
                self.scores.insert(member.into(), score);
            }
        }
        if let Some(previous) = previous
            && let Ok(index) = self.position(previous, member)
        {
            self.order.remove(index);
        }
        let index = self.position(score, member).unwrap_or_else(|index| index);
        self.order.insert(index, (score, member.into()));
        previous
    }

    fn remove(&mut self, member: &[u8]) -> bool {
        let Some(score) = self.scores.remove(member) else { return false };
        if let Ok(index) = self.position(score, member) {
            self.order.remove(index);
        }
        true
    }

    fn indexes(&self, bounds: &ScoreBounds) -> Range<usize> {
        let from = self.order.partition_point(|(score, _)| !bounds.min.admits(*score, Ordering::Greater));
        let to = self.order.partition_point(|(score, _)| bounds.max.admits(*score, Ordering::Less));
        from..to.max(from)
    }

    fn lex_indexes(&self, min: &LexBound<'_>, max: &LexBound<'_>) -> Range<usize> {
        let from = self
            .order
            .partition_point(|(_, member)| **member < *min.member || (**member == *min.member && !min.inclusive));
        let to = self
            .order
            .partition_point(|(_, member)| **member < *max.member || (**member == *max.member && max.inclusive));
        from..to.max(from)
    }
}

/// One end of a range of scores.
struct ScoreBound {
    score: f64,
    inclusive: bool,
}

impl ScoreBound {
    /// `1.5`, or `(1.5` for an exclusive bound.
    fn parse(text: &[u8]) -> Result<Self, CommandError> {
        let exclusive = text.strip_prefix(b"(");
        let score = parse_float(exclusive.unwrap_or(text)).ok_or(CommandError::RANGE_NOT_A_FLOAT)?;
        Ok(Self { score, inclusive: exclusive.is_none() })
    }

    /// Whether a score lies on the given side of this bound, or on an inclusive bound itself.
    fn admits(&self, score: f64, side: Ordering) -> bool {
        score.partial_cmp(&self.score).is_some_and(|order| order == side || (order.is_eq() && self.inclusive))
    }
}

struct ScoreBounds {
    min: ScoreBound,
    max: ScoreBound,
}

impl ScoreBounds {
    fn parse(min: &[u8], max: &[u8]) -> Result<Self, CommandError> {
        Ok(Self { min: ScoreBound::parse(min)?, max: ScoreBound::parse(max)? })
    }
}

/// One end of a range of members with equal scores: `[member`, or `(member` for an exclusive bound.
struct LexBound<'a> {
    member: &'a [u8],
    inclusive: bool,
}

impl<'a> LexBound<'a> {
    fn parse(text: &'a [u8]) -> Result<Self, CommandError> {
        match text {
            [b'[', member @ ..] => Ok(Self { member, inclusive: true }),
            [b'(', member @ ..] => Ok(Self { member, inclusive: false }),
            _ => Err(CommandError::new("ERR min or max not valid string range item")),
        }
    }
}

/// What a range selects by.
enum Selection {
    Scores(ScoreBounds),
    Indexes(i64, i64),
}

/// The options after a range.
#[derive(Default)]
struct RangeOptions {
    by_score: bool,
    reverse: bool,
    with_scores: bool,
    /// Offset and count. A negative count means no limit.
    limit: Option<(i64, i64)>,
}

impl RangeOptions {
    fn parse(words: &[&[u8]], by_score: bool) -> Result<Self, CommandError> {
        let mut options = Self { by_score, ..Self::default() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.to_ascii_uppercase().as_slice() {
                b"WITHSCORES" => options.with_scores = true,
                b"BYSCORE" if !by_score => options.by_score = true,
                b"REV" if !by_score => options.reverse = true,
                b"LIMIT" => {
                    let (Some(offset), Some(count)) = (words.next(), words.next()) else {
                        return Err(CommandError::SYNTAX);
                    };
                    options.limit = Some((integer(offset)?, integer(count)?));
                }
                _ => return Err(CommandError::SYNTAX),
            }
        }
        Ok(options)
    }
}

impl Keyspace {
    /// `ZADD key score member …`.
    pub(super) fn zadd(&mut self, args: &[&[u8]]) -> CommandResult<'_> {
        let [key, pairs @ ..] = args else { return Err(CommandError::ARITY) };
        let (pairs, rest) = pairs.as_chunks::<2>();
        if pairs.is_empty() {
            return Err(CommandError::ARITY);
        }
        if !rest.is_empty() {
            return Err(CommandError::SYNTAX);
        }
        // Adding zero turns a negative zero into a positive one, as small sorted sets of Redis do.
        let pairs =
            pairs.iter().map(|[score, member]| Ok((float(score)? + 0.0, *member))).collect::<Result<Vec<_>, _>>()?;
        let (set, changes) = self.sorted_set_mut(key)?;
        let mut added = 0;
        for (score, member) in pairs {
            let previous = set.set(member, score);
            added += i64::from(previous.is_none());
            if previous != Some(score) {
                changes.set_part(key, member, Some(&score.to_le_bytes()));
            }
        }
        Ok(CommandReply::Int(added))
    }

    pub(super) fn zrem(&mut self, args: &[&[u8]]) -> CommandResult<'_> {
        let [key, members @ ..] = args else { return Err(CommandError::ARITY) };
        if members.is_empty() {
            return Err(CommandError::ARITY);
        }
        if self.sorted_set(key)?.is_none() {
            return Ok(CommandReply::Int(0));
        }
        let (set, changes) = self.sorted_set_mut(key)?;
        let mut removed = 0;
        for member in members {
            if set.remove(member) {
                changes.set_part(key, member, None);
                removed += 1;
            }
        }
        self.remove_if_empty(key);
        Ok(CommandReply::Int(removed))
    }

    pub(super) fn zcard(&mut self, args: &[&[u8]]) -> CommandResult<'_> {
        let [key] = args else { return Err(CommandError::ARITY) };
        Ok(CommandReply::count(self.sorted_set(key)?.map_or(0, |set| set.len())))
    }

    pub(super) fn zcount(&mut self, args: &[&[u8]]) -> CommandResult<'_> {
        let [key, min, max] = args else { return Err(CommandError::ARITY) };
        let bounds = ScoreBounds::parse(min, max)?;
        Ok(CommandReply::count(self.sorted_set(key)?.map_or(0, |set| set.indexes(&bounds).len())))
    }

    /// `ZRANGE key start stop [BYSCORE] [REV] [LIMIT offset count] [WITHSCORES]`.
    pub(super) fn zrange(&mut self, args: &[&[u8]]) -> CommandResult<'_> {
        let [key, start, stop, words @ ..] = args else { return Err(CommandError::ARITY) };
        self.range(key, start, stop, &RangeOptions::parse(words, false)?)
    }

    /// `ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]`.
    pub(super) fn zrangebyscore(&mut self, args: &[&[u8]]) -> CommandResult<'_> {
        let [key, min, max, words @ ..] = args else { return Err(CommandError::ARITY) };
        self.range(key, min, max, &RangeOptions::parse(words, true)?)
    }

    fn range(&mut self, key: &[u8], start: &[u8], stop: &[u8], options: &RangeOptions) -> CommandResult<'_> {
        if !options.by_score && options.limit.is_some_and(|(_, count)| count != -1) {
            return Err(CommandError::new(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        let selection = match (options.by_score, options.reverse) {
            (true, false) => Selection::Scores(ScoreBounds::parse(start, stop)?),
            (true, true) => Selection::Scores(ScoreBounds::parse(stop, start)?),
            (false, _) => Selection::Indexes(integer(start)?, integer(stop)?),
        };
        let Some(set) = self.sorted_set(key)? else { return Ok(CommandReply::List(Vec::new())) };
        let set = &*set;
        let indexes = match selection {
            Selection::Scores(bounds) => set.indexes(&bounds),
            Selection::Indexes(start, stop) => {
                let ranks = index_range(start, stop, set.len());
                if options.reverse { set.len() - ranks.end..set.len() - ranks.start } else { ranks }
            }
        };
        let (offset, count) = options.limit.filter(|_| options.by_score).unwrap_or((0, -1));
        let (offset, count) = (to_usize(offset), to_usize(count));
        let found = set.order.get(indexes).unwrap_or_default();
        let ordered: Box<dyn Iterator<Item = &(f64, Bytes)>> =
            if options.reverse { Box::new(found.iter().rev()) } else { Box::new(found.iter()) };
        let mut flat = Vec::new();
        for (score, member) in ordered.skip(offset).take(count) {
            flat.push(CommandReply::bulk(member));
            if options.with_scores {
                flat.push(CommandReply::float(*score));
            }
        }
        Ok(CommandReply::List(flat))
    }

    /// `ZRANGEBYLEX key min max [LIMIT offset count]`, for members with equal scores.
    pub(super) fn zrangebylex(&mut self, args: &[&[u8]]) -> CommandResult<'_> {
        let [key, min, max, words @ ..] = args else { return Err(CommandError::ARITY) };
        let (min, max) = (LexBound::parse(min)?, LexBound::parse(max)?);
        let (offset, count) = match words {
            [] => (0, -1),
            [limit, offset, count] if limit.eq_ignore_ascii_case(b"LIMIT") => (integer(offset)?, integer(count)?),
            _ => return Err(CommandError::SYNTAX),
        };
        let Some(set) = self.sorted_set(key)? else { return Ok(CommandReply::List(Vec::new())) };
        let set = &*set;
        let found = set.order.get(set.lex_indexes(&min, &max)).unwrap_or_default();
        let limited = found.iter().skip(to_usize(offset)).take(to_usize(count));
        Ok(CommandReply::List(limited.map(|(_, member)| CommandReply::bulk(member)).collect()))
    }

    /// `ZLEXCOUNT key min max`, for members with equal scores.
    pub(super) fn zlexcount(&mut self, args: &[&[u8]]) -> CommandResult<'_> {
        let [key, min, max] = args else { return Err(CommandError::ARITY) };
        let (min, max) = (LexBound::parse(min)?, LexBound::parse(max)?);
        Ok(CommandReply::count(self.sorted_set(key)?.map_or(0, |set| set.lex_indexes(&min, &max).len())))
    }

    pub(super) fn zremrangebyscore(&mut self, args: &[&[u8]]) -> CommandResult<'_> {
        let [key, min, max] = args else { return Err(CommandError::ARITY) };
        let bounds = ScoreBounds::parse(min, max)?;
        if self.sorted_set(key)?.is_none() {
            return Ok(CommandReply::Int(0));
        }
        let (set, changes) = self.sorted_set_mut(key)?;
        let indexes = set.indexes(&bounds);
        let removed = indexes.len();
        for (_, member) in set.order.drain(indexes) {
            set.scores.remove(&member);
            changes.set_part(key, &member, None);
        }
        self.remove_if_empty(key);
        Ok(CommandReply::count(removed))
    }
}

/// An offset or a count. A negative one is the maximum.
fn to_usize(number: i64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
