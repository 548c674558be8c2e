//! Credit that a producer has left, as its consumer counts it.

use crate::{net::link::FRAME_HEADER_BYTES, streams_layer::wire::MAX_CHUNK_BYTES};

/// The credit that a producer has not used up, in bytes of frames; overdrawn when negative.
#[derive(Debug)]
pub(super) struct Allowance(i64);

/// A producer has sent more than it may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overdrawn;

impl Allowance {
    pub(super) fn new(credit: usize) -> Self {
        let mut allowance = Self(0);
        allowance.give(credit);
        allowance
    }

    /// Gives more. Called before the producer can hear of it.
    pub(super) fn give(&mut self, credit: usize) {
        self.0 = self.0.saturating_add_unsigned(credit as u64);
    }

    /// Credit left.
    pub(super) const fn left(&self) -> i64 {
        self.0
    }

    /// Takes a frame with this many bytes of payload.
    ///
    /// What overdraws the credit is one chunk: a single frame of any size, or several that are
    /// together no larger than a chunk.
    pub(super) fn take(&mut self, payload_bytes: usize) -> Result<(), Overdrawn> {
        let is_first = self.0 > 0;
        self.0 = self
            .0
            .saturating_sub_unsigned((payload_bytes + FRAME_HEADER_BYTES) as u64);
        let is_allowed = is_first || self.0.unsigned_abs() <= MAX_CHUNK_BYTES as u64;
        is_allowed.then_some(()).ok_or(Overdrawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = 10 * MAX_CHUNK_BYTES;

    #[test]
    fn one_frame_of_any_size_may_overdraw() {
        let mut allowance = Allowance::new(1);
        assert_eq!(allowance.take(LARGE), Ok(()));
        assert_eq!(allowance.take(0), Err(Overdrawn));
        let mut allowance = Allowance::new(1);
        assert_eq!(allowance.take(LARGE), Ok(()));
        allowance.give(LARGE);
        assert_eq!(allowance.take(0), Ok(()), "within a chunk of the credit");
        allowance.give(1000);
        assert_eq!(allowance.take(LARGE), Ok(()), "there is credit again");
        assert_eq!(allowance.take(LARGE), Err(Overdrawn));
    }

    #[test]
    fn small_frames_may_overdraw_by_a_chunk() {
        let frames = MAX_CHUNK_BYTES / 64;
        let mut allowance = Allowance::new(1);
        for _ in 0..frames {
            assert_eq!(allowance.take(64 - FRAME_HEADER_BYTES), Ok(()));
        }
        assert_eq!(allowance.take(64 - FRAME_HEADER_BYTES), Err(Overdrawn));
    }

    #[test]
    fn a_producer_that_waits_is_never_overdrawn() {
        let mut allowance = Allowance::new(LARGE);
        for _ in 0..100 {
            let chunk = [100; MAX_CHUNK_BYTES / 104];
            for payload in chunk {
                assert_eq!(allowance.take(payload), Ok(()));
            }
            allowance.give(chunk.len() * 104);
        }
    }
}
