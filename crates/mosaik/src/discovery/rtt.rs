//! Smoothed round-trip times.

use std::time::Duration;

/// A round-trip time smoothed as in RFC 6298, section 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rtt {
    smoothed: Duration,
    variation: Duration,
}

impl Rtt {
    /// The first sample is taken as it is.
    pub(crate) fn first(sample: Duration) -> Self {
        Self {
            smoothed: sample,
            variation: sample / 2,
        }
    }

    /// Takes another sample in.
    pub(crate) fn update(&mut self, sample: Duration) {
        self.variation = self.variation * 3 / 4 + self.smoothed.abs_diff(sample) / 4;
        self.smoothed = self.smoothed * 7 / 8 + sample / 8;
    }

    pub(crate) const fn smoothed(&self) -> Duration {
        self.smoothed
    }

    /// Returns whether decisions taken with `other` should be taken again: the value moved by more
    /// than an eighth.
    pub(crate) fn differs_materially(&self, other: Duration) -> bool {
        self.smoothed.abs_diff(other) > other / 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_follows_the_rfc() {
        let mut rtt = Rtt::first(Duration::from_millis(80));
        rtt.update(Duration::from_millis(160));
        assert_eq!(rtt.smoothed(), Duration::from_millis(90));
        assert_eq!(rtt.variation, Duration::from_millis(50));
        assert!(rtt.differs_materially(Duration::from_millis(79)));
        assert!(!rtt.differs_materially(Duration::from_millis(88)));
    }
}
