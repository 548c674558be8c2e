//! Faults of a run, as they are drawn.

use std::time::Duration;

use rand::{Rng, rngs::SmallRng};

use crate::Conditions;

/// Faults, of which one follows the other.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// Nothing passes between the place and the others.
    Cut,
    /// All that the place sends and is sent comes later.
    Pause,
    /// Packets are lost and delayed, everywhere.
    Weather(Conditions),
    /// The node ends and starts again.
    Restart {
        crash: bool,
    },
    /// All nodes do, which are all down at once.
    RestartAll {
        crash: bool,
    },
    /// The collection is closed and opened again.
    Reopen,
    Calm,
}

impl Fault {
    pub(super) fn draw(random: &mut SmallRng, durable: bool) -> Self {
        match random.random_range(0..12) {
            0..3 => Self::Cut,
            3 => Self::Pause,
            4..6 => Self::Weather(Conditions {
                latency: Duration::from_millis(random.random_range(0..40)),
                jitter: Duration::from_millis(random.random_range(0..40)),
                loss: random.random_range(0.0..0.2),
                bandwidth: None,
            }),
            6..8 => Self::Restart {
                crash: random.random_bool(0.5),
            },
            8 if durable => Self::RestartAll {
                crash: random.random_bool(0.5),
            },
            8..11 => Self::Reopen,
            _ => Self::Calm,
        }
    }

    /// Returns whether a writer that has it loses what it had.
    pub(super) fn forgets(self, durable: bool) -> bool {
        match self {
            Self::Reopen => true,
            Self::Restart { .. } => !durable,
            _ => false,
        }
    }
}
