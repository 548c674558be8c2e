//! Leadership confirmations, shared by concurrent strong reads.

use std::collections::VecDeque;

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;

use crate::groups::model::member_stream::Gone;

/// Confirmations that may be under way at once; further reads wait, and share the next.
const MAX_ROUNDS: usize = 4;

/// Answers with the consensus index up to which must be applied, exclusively.
pub(crate) type Round = Shared<BoxFuture<'static, Result<u64, Gone>>>;

/// The rounds of one member. A round that began before a read is of no use to it.
#[derive(Default)]
pub(crate) struct LeadershipConfirmations(Mutex<Rounds>);

#[derive(Default)]
struct Rounds {
    running: VecDeque<Round>,
    /// The round after the oldest one, for reads that come while enough are running.
    waiting: Option<Round>,
}

impl LeadershipConfirmations {
    /// Takes part in a round that begins now, by `begin`, or later, by `begin_later`.
    pub(crate) fn join(
        &self,
        begin: impl FnOnce() -> BoxFuture<'static, Result<u64, Gone>>,
        begin_later: impl FnOnce() -> BoxFuture<'static, Result<u64, Gone>> + Send + 'static,
    ) -> Round {
        let mut rounds = self.0.lock();
        rounds.running.retain(|round| round.peek().is_none());
        if let Some(waiting) = &rounds.waiting {
            return waiting.clone();
        }
        let oldest = rounds.running.front();
        let Some(oldest) = oldest.filter(|_| rounds.running.len() >= MAX_ROUNDS) else {
            let round = begin().shared();
            rounds.running.push_back(round.clone());
            return round;
        };
        let oldest = oldest.clone();
        let waiting = async move {
            // Its outcome does not matter: it began too early.
            let _ = oldest.await;
            begin_later().await
        };
        let waiting = waiting.boxed().shared();
        rounds.waiting = Some(waiting.clone());
        waiting
    }

    /// Notes that the waiting round begins: reads that come from now on need another one.
    pub(crate) fn begin_waiting(&self) {
        let mut rounds = self.0.lock();
        if let Some(round) = rounds.waiting.take() {
            rounds.running.push_back(round);
        }
    }
}
