//! Summaries of samples.

use std::{fmt, time::Duration};

/// The distribution of some durations.
#[derive(Debug, Clone, Default)]
pub struct Spread(Vec<Duration>);

impl Spread {
    /// The sample below which this share of all lies, by nearest rank; zero without samples.
    pub fn quantile(&self, share: f64) -> Duration {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index of a list that fits into memory"
        )]
        let rank = (share.clamp(0.0, 1.0) * self.0.len() as f64).ceil() as usize;
        self.0
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    }

    /// The greatest sample.
    pub fn max(&self) -> Duration {
        self.quantile(1.0)
    }
}

impl FromIterator<Duration> for Spread {
    fn from_iter<I: IntoIterator<Item = Duration>>(samples: I) -> Self {
        let mut samples: Vec<_> = samples.into_iter().collect();
        samples.sort_unstable();
        Self(samples)
    }
}

/// All samples of several distributions.
impl FromIterator<Spread> for Spread {
    fn from_iter<I: IntoIterator<Item = Self>>(parts: I) -> Self {
        parts.into_iter().flat_map(|part| part.0).collect()
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| Millis(self.quantile(share)));
        write!(
            f,
            "p50 {p50}, p99 {p99}, max {max} ({} samples)",
            self.0.len()
        )
    }
}

/// A duration in milliseconds, or in seconds when it is long.
#[derive(Debug, Clone, Copy)]
pub struct Millis(pub Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < Duration::from_secs(10) {
            write!(f, "{:.1} ms", self.0.as_secs_f64() * 1000.0)
        } else {
            write!(f, "{:.1} s", self.0.as_secs_f64())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let spread: Spread = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(spread.quantile(0.5), Duration::from_millis(50));
        assert_eq!(spread.quantile(0.99), Duration::from_millis(99));
        assert_eq!(spread.max(), Duration::from_millis(100));
        assert_eq!(Spread::default().max(), Duration::ZERO);
    }
}
