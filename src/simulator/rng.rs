//! Seeded rng: the same seed draws the same jitter and latency, in order of arrival.

use parking_lot::Mutex;

use super::settings::Spread;

/// A seeded generator that threads can share.
#[derive(Debug)]
pub(super) struct Rng(Mutex<fastrand::Rng>);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(Mutex::new(fastrand::Rng::with_seed(seed)))
    }

    pub(super) fn next(&self) -> u64 {
        self.0.lock().u64(..)
    }

    /// In [0, 1).
    pub(super) fn fraction(&self) -> f64 {
        self.0.lock().f64()
    }

    /// 0..=most.
    pub(super) fn up_to(&self, most: u64) -> u64 {
        self.0.lock().u64(..=most)
    }

    pub(super) fn draw(&self, spread: Spread) -> f64 {
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
    pub(super) fn draw_whole(&self, spread: Spread) -> i64 {
        self.draw(spread).round() as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_within_their_spread() {
        let rng = Rng::new(7);
        let between = Spread::Between { min: 5.0, max: 6.0 };
        assert!((0..1_000).all(|_| (5.0..6.0).contains(&rng.draw(between))));
        let skewed = Spread::Skewed { median: 100.0, p99: 400.0 };
        let mut drawn: Vec<f64> = (0..2_000).map(|_| rng.draw(skewed)).collect();
        drawn.sort_by(f64::total_cmp);
        assert!((90.0..110.0).contains(&drawn[1_000]), "{}", drawn[1_000]);
        assert!((320.0..480.0).contains(&drawn[1_980]), "{}", drawn[1_980]);
    }

    #[test]
    fn one_seed_one_sequence() {
        let draw = |seed| (0..4).map(|_| 0).scan(Rng::new(seed), |c, _: u8| Some(c.next())).collect::<Vec<_>>();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
