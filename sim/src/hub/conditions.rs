//! Conditions that every packet meets.

use std::{num::NonZeroU64, time::Duration};

use rand::{Rng, rngs::SmallRng};

/// Bytes of an IP and UDP header, which a real link would carry with each packet.
const HEADER_BYTES: u64 = 28;

/// The quality of the network, alike between all nodes. Default: perfect.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Conditions {
    /// Travel time of each packet.
    pub latency: Duration,
    /// Each packet travels up to this much longer, so that packets overtake each other.
    pub jitter: Duration,
    /// The share of packets that are lost, from 0 to 1.
    pub loss: f64,
    /// Bytes per second that each node can send; `None` is without limit.
    pub bandwidth: Option<NonZeroU64>,
}

impl Conditions {
    /// Decides whether a packet gets lost, and how long it travels otherwise.
    pub(super) fn travel(&self, random: &mut SmallRng) -> Option<Duration> {
        // Always draws twice: what one packet meets doesn't depend on the others' fate.
        let (fate, delay) = (random.random::<f64>(), random.random::<f64>());
        (fate >= self.loss).then(|| self.latency + self.jitter.mul_f64(delay))
    }

    /// Time that a node needs to send a packet of this size.
    pub(super) fn transmission(&self, bytes: u64) -> Duration {
        let Some(bandwidth) = self.bandwidth else {
            return Duration::ZERO;
        };
        Duration::from_nanos((bytes + HEADER_BYTES).saturating_mul(1_000_000_000) / bandwidth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn the_same_seed_gives_the_same_fates() {
        let conditions = Conditions {
            latency: Duration::from_millis(50),
            jitter: Duration::from_millis(10),
            loss: 0.1,
            bandwidth: None,
        };
        let fates = |seed| {
            let mut random = SmallRng::seed_from_u64(seed);
            (0..1000)
                .map(|_| conditions.travel(&mut random))
                .collect::<Vec<_>>()
        };
        assert_eq!(fates(7), fates(7));
        assert_ne!(fates(7), fates(8));
        let lost = fates(7).iter().filter(|fate| fate.is_none()).count();
        assert!((60..140).contains(&lost), "{lost} of 1000 lost");
    }

    #[test]
    fn bandwidth_counts_headers() {
        let slow = Conditions {
            bandwidth: NonZeroU64::new(1000),
            ..Conditions::default()
        };
        assert_eq!(slow.transmission(972), Duration::from_secs(1));
        assert_eq!(Conditions::default().transmission(972), Duration::ZERO);
    }
}
