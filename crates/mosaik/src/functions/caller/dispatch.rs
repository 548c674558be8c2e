//! One call: attempt after attempt, until there is an answer or the budget is used up.

use std::{sync::Arc, time::Duration};

use futures::future::{Either, select};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    attempt::{Answer, Miss, Request, attempt},
    balance::choose,
    config::Config,
    introduction::{deliver_own_entry, introduce},
    line::{Line, Turn},
    measure::measure_near,
    search::{Failure, Search},
};
use crate::{
    functions_layer::{
        candidates::{Candidate, Candidates},
        close::NotAllowed,
        core::Core,
        metrics::CallerMetrics,
        wire::Kind,
    },
    net::close::UnknownPeer,
    primitives::{Digest, Scope},
};

/// Time within which a handler at its limit of concurrent calls refuses, beside a round trip.
const REFUSED_WITHIN: Duration = Duration::from_millis(100);

/// Makes the calls of one caller, whatever their types.
#[derive(Debug)]
pub(super) struct Dispatcher {
    pub(super) core: Arc<Core>,
    pub(super) config: Arc<Config>,
    pub(super) candidates: Candidates,
    pub(super) metrics: CallerMetrics,
    pub(super) line: Arc<Line>,
    pub(super) scope: Scope,
}

impl Dispatcher {
    /// Finds a handler for a request, and its answer.
    pub(super) async fn dispatch(&self, request: &Request) -> Result<Answer, Failure> {
        let mut search = Search::default();
        let mut turn = None;
        loop {
            if self.scope.is_cancelled() {
                return Err(Failure::Unavailable);
            }
            let Some(candidate) = self.next_candidate(&mut search, request).await else {
                match self.wait(&mut search, &mut turn, request.deadline).await {
                    Waited::Changed => continue,
                    Waited::OutOfTime => return Err(search.give_up()),
                    Waited::ShutDown => return Err(Failure::Unavailable),
                }
            };
            let refused_within = REFUSED_WITHIN + candidate.route.distance().value;
            let attempt = self.attempt(&mut search, candidate, request);
            let (candidate, result) = if turn.is_none() {
                attempt.await
            } else {
                Box::pin(in_turn(attempt, &mut turn, refused_within)).await
            };
            match result {
                Ok(answer) => {
                    if let Some(turn) = turn {
                        turn.answered();
                    }
                    self.metrics.completed.increment(1);
                    self.measure_now_and_then(&candidate);
                    return Ok(answer);
                }
                Err(Miss::OutOfTime(error)) => return Err(search.give_up_after(error)),
                Err(Miss::TooLarge(error)) => return Err(Failure::TooLarge(error)),
                Err(Miss::ShutDown) => return Err(Failure::Unavailable),
                Err(Miss::Idle) => search.retry_idle(candidate),
                Err(miss) => {
                    self.move_on(&mut search, &candidate, miss, request).await?;
                }
            }
        }
    }

    /// Decides what comes after a failed attempt.
    async fn move_on(
        &self,
        search: &mut Search,
        candidate: &Arc<Candidate>,
        miss: Miss,
        request: &Request,
    ) -> Result<(), Failure> {
        let (is_unknown, is_denied) = match &miss {
            Miss::Refused { close, .. } => (UnknownPeer == *close, NotAllowed == *close),
            _ => (false, false),
        };
        match miss {
            Miss::Lost {
                error,
                may_have_run: true,
            } if !self.config.is_idempotent => {
                candidate.route.failed(Instant::now());
                return Err(Failure::Transport(error));
            }
            Miss::Refused {
                close,
                has_run: true,
            } if !self.config.is_idempotent => {
                return Err(Failure::Rejected(close));
            }
            _ => {}
        }
        let is_first = !search.is_tried(candidate);
        search.note(candidate, miss, self.own_content());
        if is_first && is_unknown {
            introduce(&self.core, candidate, request.deadline).await;
            search.again = Some(candidate.clone());
        } else if is_first
            && is_denied
            && deliver_own_entry(&self.core, candidate, request.deadline).await
        {
            search.again = Some(candidate.clone());
        }
        Ok(())
    }

    /// Keeps the distances current among which calls are spread.
    fn measure_now_and_then(&self, candidate: &Candidate) {
        if candidate.route.is_measurement_due(Instant::now()) && self.has_others() {
            measure_near(&self.core, &self.candidates.snapshot().candidates);
        }
    }

    fn has_others(&self) -> bool {
        self.candidates
            .look(|snapshot| snapshot.candidates.len() > 1)
    }

    fn own_content(&self) -> Digest {
        *self.core.discovery.me().content()
    }

    /// One attempt, or two at the same time when calls are hedged.
    async fn attempt(
        &self,
        search: &mut Search,
        first: Arc<Candidate>,
        request: &Request,
    ) -> (Arc<Candidate>, Result<Answer, Miss>) {
        let hedge_after = self.config.hedge_after;
        match hedge_after.filter(|_| self.config.is_idempotent && request.kind == Kind::Call) {
            None => {
                let result = self.ask(&first, request).await;
                (first, result)
            }
            Some(delay) => Box::pin(self.hedged(search, first, request, delay)).await,
        }
    }

    /// One attempt at one handler, whose tickets are checked against its current entry.
    async fn ask(&self, candidate: &Arc<Candidate>, request: &Request) -> Result<Answer, Miss> {
        if !self.is_authorized(candidate) {
            return Err(Miss::Unauthorized);
        }
        self.metrics.attempts.increment(1);
        let has_others = self.has_others();
        attempt(&self.core, &self.scope, candidate, request, has_others).await
    }

    /// Asks a second handler when the first one takes long; the first answer counts, and the other
    /// call is dropped.
    async fn hedged(
        &self,
        search: &mut Search,
        first: Arc<Candidate>,
        request: &Request,
        delay: Duration,
    ) -> (Arc<Candidate>, Result<Answer, Miss>) {
        let mut primary = Box::pin(self.ask(&first, request));
        tokio::select! {
            biased;
            result = &mut primary => {
                drop(primary);
                return (first, result);
            }
            () = sleep(delay) => {}
        }
        let Some(second) = self.choose(search, Some(&first)) else {
            let result = primary.await;
            return (first, result);
        };
        let backup = Box::pin(self.ask(&second, request));
        match select(primary, backup).await {
            Either::Left((result, _)) if is_final(&result) => (first.clone(), result),
            Either::Right((result, _)) if is_final(&result) => (second.clone(), result),
            Either::Left((Err(miss), backup)) => {
                search.note(&first, miss, self.own_content());
                (second.clone(), backup.await)
            }
            Either::Right((Err(miss), primary)) => {
                search.note(&second, miss, self.own_content());
                (first.clone(), primary.await)
            }
            // An answer is final.
            Either::Left((result, _)) => (first.clone(), result),
            Either::Right((result, _)) => (second.clone(), result),
        }
    }

    /// The candidate to ask next.
    async fn next_candidate(
        &self,
        search: &mut Search,
        request: &Request,
    ) -> Option<Arc<Candidate>> {
        if let Some(again) = search.again.take() {
            return Some(again);
        }
        let candidate = self.choose(search, None)?;
        if search.forgive(&candidate) {
            deliver_own_entry(&self.core, &candidate, request.deadline).await;
        }
        Some(candidate)
    }

    fn choose(&self, search: &mut Search, but: Option<&Arc<Candidate>>) -> Option<Arc<Candidate>> {
        let now = Instant::now();
        self.candidates.look(|snapshot| {
            search.had_candidate |= !snapshot.candidates.is_empty();
            let is_excluded = |candidate: &Candidate| {
                but.is_some_and(|but| but.peer() == candidate.peer())
                    || search.is_excluded(candidate, snapshot.own_content)
            };
            choose(&snapshot.candidates, is_excluded, now, rand::random)
        })
    }

    fn is_authorized(&self, candidate: &Candidate) -> bool {
        let validators = &self.config.handler_auth;
        validators.is_empty()
            || self
                .core
                .discovery
                .info(&candidate.peer())
                .is_some_and(|info| self.core.discovery.authorize(&info, validators).is_ok())
    }

    /// Waits until it makes sense to ask again. Where all places are taken, calls do so in turns.
    async fn wait(
        &self,
        search: &mut Search,
        turn: &mut Option<Turn>,
        deadline: Instant,
    ) -> Waited {
        let Some(watch) = &mut search.watch else {
            // What changed before is not missed: there is another look before the first wait.
            search.watch = Some(self.candidates.watch());
            return if self.is_closed() {
                Waited::ShutDown
            } else {
                Waited::Changed
            };
        };
        let mut watch = watch.clone();
        let mut is_due = false;
        if search.is_full() {
            let next = async {
                match turn.take() {
                    None => self.line.turn().await,
                    Some(turn) => self.line.again(turn).await,
                }
            };
            let next = tokio::select! {
                biased;
                next = next => next,
                () = self.scope.cancelled() => return Waited::ShutDown,
                () = sleep_until(deadline) => return Waited::OutOfTime,
            };
            *turn = Some(next.turn);
            is_due = next.was_waited_for;
        } else {
            // What it waits for now concerns no other call.
            *turn = None;
        }
        let has_candidates = self
            .candidates
            .look(|snapshot| !snapshot.candidates.is_empty());
        let again_at = match (has_candidates, is_due) {
            (true, true) => Instant::now(),
            (true, false) => deadline.min(Instant::now() + search.pause()),
            (false, _) => deadline,
        };
        tokio::select! {
            biased;
            // The sender lives as long as this dispatcher.
            _ = watch.changed() => {}
            () = self.scope.cancelled() => return Waited::ShutDown,
            () = sleep_until(again_at) => {}
        }
        if self.is_closed() {
            return Waited::ShutDown;
        }
        if Instant::now() >= deadline {
            return Waited::OutOfTime;
        }
        watch.mark_unchanged();
        search.watch = Some(watch);
        search.start_over();
        Waited::Changed
    }

    fn is_closed(&self) -> bool {
        self.candidates.look(|snapshot| snapshot.is_closed)
    }
}

/// Makes an attempt whose turn it is. A call that is not refused soon is admitted: the next may
/// ask.
async fn in_turn<T>(
    attempt: impl Future<Output = T>,
    turn: &mut Option<Turn>,
    refused_within: Duration,
) -> T {
    let mut attempt = core::pin::pin!(attempt);
    tokio::select! {
        biased;
        outcome = &mut attempt => return outcome,
        () = sleep(refused_within) => *turn = None,
    }
    attempt.await
}

/// Returns whether the result of one attempt makes the other attempt pointless.
fn is_final(result: &Result<Answer, Miss>) -> bool {
    result.as_ref().err().is_none_or(Miss::is_final)
}

enum Waited {
    Changed,
    OutOfTime,
    ShutDown,
}
