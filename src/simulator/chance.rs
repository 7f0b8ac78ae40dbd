//! Seeded chance: the same seed draws the same jitter and latency, in order of arrival.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::settings::Spread;

/// A sequence of 64-bit figures (`SplitMix64`) that threads can share.
#[derive(Debug)]
pub struct Chance(AtomicU64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    pub fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        mixed(self.0.fetch_add(STEP, Relaxed).wrapping_add(STEP))
    }

    /// In [0, 1).
    pub fn fraction(&self) -> f64 {
        f64::from(u32::try_from(self.next() >> 32).unwrap_or(0)) / 4_294_967_296.0
    }

    /// 0..=most.
    pub fn up_to(&self, most: u64) -> u64 {
        if most == 0 { 0 } else { self.next() % (most + 1) }
    }

    pub fn draw(&self, spread: Spread) -> f64 {
        match spread {
            Spread::Fixed(figure) => figure,
            Spread::Between { min, max } => min + (max - min) * self.fraction(),
            Spread::Skewed { median, p99 } => {
                // Twelve uniform draws less six are near enough to a normal one.
                let normal: f64 = (0..12).map(|_| self.fraction()).sum::<f64>() - 6.0;
                median * ((p99 / median).ln() / 2.326 * normal).exp()
            }
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a length in tokens")]
    pub fn draw_whole(&self, spread: Spread) -> i64 {
        self.draw(spread).round() as i64
    }
}

/// The finish of `SplitMix64`: also makes further figures out of one.
pub fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_within_their_spread() {
        let chance = Chance::new(7);
        let between = Spread::Between { min: 5.0, max: 6.0 };
        assert!((0..1_000).all(|_| (5.0..6.0).contains(&chance.draw(between))));
        let skewed = Spread::Skewed { median: 100.0, p99: 400.0 };
        let mut drawn: Vec<f64> = (0..2_000).map(|_| chance.draw(skewed)).collect();
        drawn.sort_by(f64::total_cmp);
        assert!((90.0..110.0).contains(&drawn[1_000]), "{}", drawn[1_000]);
        assert!((320.0..480.0).contains(&drawn[1_980]), "{}", drawn[1_980]);
    }

    #[test]
    fn one_seed_one_sequence() {
        let draw = |seed| (0..4).map(|_| 0).scan(Chance::new(seed), |c, _: u8| Some(c.next())).collect::<Vec<_>>();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
