//! Findings of one call about its candidates.

use std::{sync::Arc, time::Duration};

use iroh::endpoint::ApplicationClose;
use tokio::{sync::watch, time::Instant};

use super::attempt::Miss;
use crate::{
    functions_layer::{
        candidates::{Candidate, Snapshot},
        close::{NoCapacity, NotAllowed, SchemaMismatch},
    },
    net::{
        close::{DifferentNetwork, ProtocolViolation},
        link::{LinkError, RecvError},
    },
    primitives::{Digest, PeerId},
};

/// The first pause after all candidates failed; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause when handlers had no place free.
const MAX_PAUSE_WHEN_FULL: Duration = Duration::from_millis(100);

/// Reasons for which a call has no answer.
#[derive(Debug)]
pub(super) enum Failure {
    Timeout,
    Unavailable,
    Rejected(ApplicationClose),
    Transport(Box<LinkError>),
    /// The reply is larger than this node accepts.
    TooLarge(RecvError),
}

/// The state of a call that was not answered at the first attempt.
#[derive(Default)]
pub(super) struct Search {
    /// Asked in this round.
    tried: Vec<PeerId>,
    /// Not asked again in this call.
    excluded: Vec<PeerId>,
    /// Asked again only when one of the two entries has changed.
    denied: Vec<Denied>,
    /// Candidate to be asked again now.
    pub(super) again: Option<Arc<Candidate>>,
    pub(super) had_candidate: bool,
    refusal: Option<ApplicationClose>,
    loss: Option<Box<LinkError>>,
    pauses: u32,
    pub(super) watch: Option<watch::Receiver<Arc<Snapshot>>>,
}

struct Denied {
    peer: PeerId,
    theirs: Digest,
    ours: Digest,
}

impl Search {
    /// Returns whether a candidate is not to be asked now.
    pub(super) fn is_excluded(&self, candidate: &Candidate, own_content: Digest) -> bool {
        let peer = candidate.peer();
        self.tried.contains(&peer)
            || self.excluded.contains(&peer)
            || self.denied.iter().any(|denied| {
                denied.peer == peer
                    && denied.ours == own_content
                    && denied.theirs == candidate.info.entry().content_digest()
            })
    }

    /// Forgets a candidate's refusal; returns whether there was one.
    pub(super) fn forgive(&mut self, candidate: &Candidate) -> bool {
        let before = self.denied.len();
        self.denied.retain(|denied| denied.peer != candidate.peer());
        self.denied.len() != before
    }

    /// Returns whether a candidate was asked in this round.
    pub(super) fn is_tried(&self, candidate: &Candidate) -> bool {
        self.tried.contains(&candidate.peer())
    }

    /// Takes in how an attempt failed.
    pub(super) fn note(&mut self, candidate: &Candidate, miss: Miss, own_content: Digest) {
        let (peer, now) = (candidate.peer(), Instant::now());
        self.tried.push(peer);
        match miss {
            Miss::Lost { error, .. } => {
                candidate.route.failed(now);
                self.loss = Some(error);
            }
            Miss::Refused { close, has_run } => {
                if NotAllowed == close {
                    let theirs = candidate.info.entry().content_digest();
                    self.denied.push(Denied {
                        peer,
                        theirs,
                        ours: own_content,
                    });
                } else if NoCapacity == close {
                    candidate.route.was_full(now);
                } else if has_run
                    || DifferentNetwork == close
                    || ProtocolViolation == close
                    || SchemaMismatch == close
                {
                    self.excluded.push(peer);
                }
                self.refusal = Some(close);
            }
            Miss::Unauthorized
            | Miss::Idle
            | Miss::TooLarge(_)
            | Miss::OutOfTime(_)
            | Miss::ShutDown => {}
        }
    }

    /// Asks a candidate again whose connection was idle, once in a round.
    pub(super) fn retry_idle(&mut self, candidate: Arc<Candidate>) {
        if !self.is_tried(&candidate) {
            self.tried.push(candidate.peer());
            self.again = Some(candidate);
        }
    }

    /// Asks all again.
    pub(super) fn start_over(&mut self) {
        self.tried.clear();
    }

    /// Returns whether the last handler that was asked was at its limit of concurrent calls.
    pub(super) fn is_full(&self) -> bool {
        self.refusal
            .as_ref()
            .is_some_and(|close| NoCapacity == *close)
    }

    /// Pause before all are asked again, if nothing changes before.
    pub(super) fn pause(&mut self) -> Duration {
        let max = if self.is_full() {
            MAX_PAUSE_WHEN_FULL
        } else {
            MAX_PAUSE
        };
        let pause = FIRST_PAUSE
            .saturating_mul(1 << self.pauses.min(16))
            .min(max);
        self.pauses += 1;
        // Calls that failed together do not come back together.
        pause.mul_f64(0.5 + 0.5 * rand::random::<f64>())
    }

    /// Result of a call that runs out of budget while it tries to reach a handler.
    pub(super) fn give_up_after(mut self, error: Option<Box<LinkError>>) -> Failure {
        self.loss = error.or(self.loss);
        self.give_up()
    }

    /// Result of a call that runs out of budget.
    pub(super) fn give_up(self) -> Failure {
        if !self.had_candidate {
            return Failure::Unavailable;
        }
        match (self.refusal, self.loss) {
            (Some(close), _) => Failure::Rejected(close),
            (None, Some(error)) => Failure::Transport(error),
            (None, None) => Failure::Timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_from_25_ms_to_a_second() {
        let mut search = Search::default();
        for longest in [25, 50, 100, 200, 400, 800, 1000, 1000] {
            let (pause, longest) = (search.pause(), Duration::from_millis(longest));
            assert!(longest / 2 <= pause && pause <= longest, "{pause:?}");
        }
    }

    #[test]
    fn a_place_is_asked_for_every_100_ms() {
        let mut search = Search {
            refusal: Some(NoCapacity.into()),
            ..Search::default()
        };
        let longest = (0..20).map(|_| search.pause()).max();
        assert!(longest <= Some(MAX_PAUSE_WHEN_FULL));
    }
}
