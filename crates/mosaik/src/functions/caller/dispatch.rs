//! One call: attempt after attempt, until there is an answer or the budget is used up.

use std::{sync::Arc, time::Duration};

use futures::future::{Either, select};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    attempt::{Answer, Outcome, Request, attempt},
    balance::choose,
    config::Config,
    introduction::{deliver_own_entry, introduce},
    search::{Failure, Search},
};
use crate::{
    functions_layer::{
        candidates::{Candidate, Candidates},
        core::Core,
        metrics::CallerMetrics,
        wire::{Kind, NotAllowed},
    },
    net::close::UnknownPeer,
    primitives::Scope,
};

/// Makes the calls of one caller, whatever their types.
#[derive(Debug)]
pub(super) struct Dispatcher {
    pub(super) core: Arc<Core>,
    pub(super) config: Arc<Config>,
    pub(super) candidates: Candidates,
    pub(super) metrics: CallerMetrics,
    pub(super) scope: Scope,
}

impl Dispatcher {
    /// Finds a handler for a request, and its answer.
    pub(super) async fn dispatch(&self, request: &Request) -> Result<Answer, Failure> {
        let mut search = Search::default();
        loop {
            if self.scope.is_cancelled() {
                return Err(Failure::Unavailable);
            }
            let Some(candidate) = self.next_candidate(&mut search, request).await else {
                match self.wait(&mut search, request.deadline).await {
                    Waited::Changed => continue,
                    Waited::OutOfTime => return Err(search.give_up()),
                    Waited::ShutDown => return Err(Failure::Unavailable),
                }
            };
            let (candidate, outcome) = self.attempt(&mut search, candidate, request).await;
            match outcome {
                Outcome::Answered(answer) => {
                    self.metrics.completed.increment(1);
                    return Ok(answer);
                }
                Outcome::OutOfTime => return Err(search.give_up()),
                Outcome::ShutDown => return Err(Failure::Unavailable),
                Outcome::Idle => search.again = Some(candidate),
                outcome => {
                    self.move_on(&mut search, &candidate, outcome, request)
                        .await?
                }
            }
        }
    }

    /// Decides what comes after a failed attempt.
    async fn move_on(
        &self,
        search: &mut Search,
        candidate: &Arc<Candidate>,
        outcome: Outcome,
        request: &Request,
    ) -> Result<(), Failure> {
        let is_second = search.is_tried(candidate);
        match outcome {
            Outcome::Lost {
                error,
                may_have_run: true,
            } if !self.config.is_idempotent => {
                candidate.route.failed(Instant::now());
                return Err(Failure::Transport(error));
            }
            Outcome::Refused {
                close,
                has_run: true,
            } if !self.config.is_idempotent => {
                return Err(Failure::Rejected(close));
            }
            _ => {}
        }
        let is_unknown =
            matches!(&outcome, Outcome::Refused { close, .. } if UnknownPeer == *close);
        let is_denied = matches!(&outcome, Outcome::Refused { close, .. } if NotAllowed == *close);
        search.note(candidate, outcome, *self.core.discovery.me().content());
        if is_unknown && !is_second {
            introduce(&self.core, candidate, request.deadline).await;
            search.again = Some(candidate.clone());
        } else if is_denied
            && !is_second
            && deliver_own_entry(&self.core, candidate, request.deadline).await
        {
            search.again = Some(candidate.clone());
        }
        Ok(())
    }

    /// One attempt, or two at the same time when calls are hedged.
    async fn attempt(
        &self,
        search: &mut Search,
        first: Arc<Candidate>,
        request: &Request,
    ) -> (Arc<Candidate>, Outcome) {
        let hedge_after = self.config.hedge_after;
        match hedge_after.filter(|_| self.config.is_idempotent && request.kind == Kind::Call) {
            None => {
                let outcome = self.ask(&first, request).await;
                (first, outcome)
            }
            Some(delay) => Box::pin(self.hedged(search, first, request, delay)).await,
        }
    }

    async fn ask(&self, candidate: &Arc<Candidate>, request: &Request) -> Outcome {
        self.metrics.attempts.increment(1);
        let has_others = self
            .candidates
            .look(|snapshot| snapshot.candidates.len() > 1);
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
    ) -> (Arc<Candidate>, Outcome) {
        let mut primary = Box::pin(self.ask(&first, request));
        tokio::select! {
            biased;
            outcome = &mut primary => return (first.clone(), outcome),
            () = sleep(delay) => {}
        }
        let Some(second) = self.choose(search, Some(&first)) else {
            let outcome = primary.await;
            return (first, outcome);
        };
        let backup = Box::pin(self.ask(&second, request));
        let own_content = || *self.core.discovery.me().content();
        match select(primary, backup).await {
            Either::Left((outcome, _)) if outcome.is_final() => (first.clone(), outcome),
            Either::Right((outcome, _)) if outcome.is_final() => (second.clone(), outcome),
            Either::Left((outcome, backup)) => {
                search.note(&first, outcome, own_content());
                (second.clone(), backup.await)
            }
            Either::Right((outcome, primary)) => {
                search.note(&second, outcome, own_content());
                (first.clone(), primary.await)
            }
        }
    }

    /// The candidate to ask next, its tickets checked against its current entry.
    async fn next_candidate(
        &self,
        search: &mut Search,
        request: &Request,
    ) -> Option<Arc<Candidate>> {
        if let Some(again) = search.again.take() {
            return Some(again);
        }
        loop {
            let candidate = self.choose(search, None)?;
            if search.forgive(&candidate) {
                deliver_own_entry(&self.core, &candidate, request.deadline).await;
            }
            if self.is_authorized(&candidate) {
                return Some(candidate);
            }
            search.set_tried(candidate.peer());
        }
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

    /// Waits until it makes sense to ask again.
    async fn wait(&self, search: &mut Search, deadline: Instant) -> Waited {
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
        let again_at = match self
            .candidates
            .look(|snapshot| snapshot.candidates.is_empty())
        {
            true => deadline,
            false => deadline.min(Instant::now() + search.pause()),
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

enum Waited {
    Changed,
    OutOfTime,
    ShutDown,
}
