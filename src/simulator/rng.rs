//! Seeded random numbers: one seed draws the same jitter and latency, in order of arrival.

use parking_lot::Mutex;

use super::settings::Spread;

/// A seeded generator that threads share.
#[derive(Debug)]
pub(crate) struct Rng(Mutex<fastrand::Rng>);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(fastrand::Rng::with_seed(seed)))
    }

    pub(crate) fn next(&self) -> u64 {
        self.0.lock().u64(..)
    }

    /// A number in [0, 1).
    pub(crate) fn fraction(&self) -> f64 {
        self.0.lock().f64()
    }

    /// A number in 0..=most.
    pub(crate) fn up_to(&self, most: u64) -> u64 {
        self.0.lock().u64(..=most)
    }

    pub(crate) fn draw(&self, spread: Spread) -> f64 {
        match spread {
            Spread::Fixed(figure) => figure,
            Spread::Uniform { min, max } => min + (max - min) * self.fraction(),
            Spread::LogNormal { median, p99 } => {
                // Box and Muller's transform of two uniform numbers; 2.326 is the normal distribution's 99th percentile.
                let (radius, angle) = ((1.0 - self.fraction()).ln() * -2.0, self.fraction() * std::f64::consts::TAU);
                let normal = radius.sqrt() * angle.cos();
                median * ((p99 / median).ln() / 2.326 * normal).exp()
            }
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a length in tokens")]
    pub(crate) fn draw_whole(&self, spread: Spread) -> i64 {
        self.draw(spread).round() as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_within_their_spread() {
        let rng = Rng::new(7);
        let uniform = Spread::Uniform { min: 5.0, max: 6.0 };
        assert!((0..1_000).all(|_| (5.0..6.0).contains(&rng.draw(uniform))));
        let log_normal = Spread::LogNormal { median: 100.0, p99: 400.0 };
        let mut drawn: Vec<f64> = (0..4_000).map(|_| rng.draw(log_normal)).collect();
        drawn.sort_by(f64::total_cmp);
        assert!((90.0..110.0).contains(&drawn[2_000]), "{}", drawn[2_000]);
        assert!((320.0..480.0).contains(&drawn[3_960]), "{}", drawn[3_960]);
    }

    #[test]
    fn one_seed_draws_one_sequence() {
        let draw = |seed| (0..4).map(|_| 0).scan(Rng::new(seed), |rng, _: u8| Some(rng.next())).collect::<Vec<_>>();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
