//! One call: attempt after attempt, until there is an answer or the budget is used up.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::future::{BoxFuture, Either, select};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::Span;

use super::{
    attempt::{Answer, Miss, Request, attempt},
    balance::choose,
    config::Config,
    follower::Follower,
    introduction::{deliver_own_entry, introduce},
    line::{Line, Turn},
    measure::measure_near,
    profile::Profile,
    search::{Failure, Search},
};
use crate::{
    functions_layer::{
        candidates::{Candidate, Candidates},
        close::NotAllowed,
        core::{Core, Described},
        metrics::CallerMetrics,
        status::When,
        tenure::until_denied,
        wire::Kind,
    },
    net::{close::UnknownPeer, link::SendError},
    primitives::{Bytes, Digest, Opaque, PeerId, Scope, ShortFmtExt, TraceParent},
};

/// A budget that is too large for the clock is cut at this.
const MAX_TIMEOUT: Duration = Duration::from_hours(365 * 24);
/// Time within which a handler at its limit of concurrent calls refuses, beside a round trip.
const REFUSED_WITHIN: Duration = Duration::from_millis(100);

/// Makes the calls of one caller, whatever their types.
#[derive(Debug)]
pub(super) struct Dispatcher {
    pub(super) core: Arc<Core>,
    pub(super) config: Arc<Config>,
    pub(super) candidates: Candidates,
    pub(super) metrics: Arc<CallerMetrics>,
    pub(super) line: Arc<Line>,
    pub(super) scope: Scope,
    /// Entry among the callers of the node.
    pub(super) _profile: Arc<Profile>,
}

/// One call, counted as running until it is dropped.
struct Running<'m> {
    metrics: &'m CallerMetrics,
    is_answered: bool,
}

impl<'m> Running<'m> {
    fn begin(metrics: &'m CallerMetrics) -> Self {
        metrics.running.fetch_add(1, Ordering::Relaxed);
        Self {
            metrics,
            is_answered: false,
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.metrics.running.fetch_sub(1, Ordering::Relaxed);
        if !self.is_answered {
            self.metrics.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Dispatcher {
    /// Opens a caller: begins to follow the catalog for it.
    pub(super) fn open(
        core: &Arc<Core>,
        config: Config,
        label: Option<String>,
        types: String,
    ) -> (Self, When) {
        let (core, config, scope) = (core.clone(), Arc::new(config), core.scope.child());
        let candidates = Candidates::new(*core.discovery.me().content());
        let follower = Follower::new(
            core.clone(),
            config.clone(),
            candidates.clone(),
            scope.clone(),
        );
        scope.spawn_orderly(follower.run());
        let when = When::new(candidates.clone(), &config.online_when);
        let metrics = CallerMetrics::register(core.discovery.network_id(), &config.function_id);
        let metrics = Arc::new(metrics);
        let profile = Arc::new(Profile {
            function: config.function_id,
            label,
            types,
            candidates: candidates.clone(),
            metrics: metrics.clone(),
        });
        let described: Arc<dyn Described> = profile.clone();
        core.enter(Arc::downgrade(&described));
        let dispatcher = Self {
            core,
            config,
            candidates,
            metrics,
            line: Arc::default(),
            scope,
            _profile: profile,
        };
        (dispatcher, when)
    }

    /// Resolves when a handler no longer holds its tickets; nothing if it needs none.
    pub(super) fn until_denied(&self, handler: PeerId) -> Option<BoxFuture<'static, ()>> {
        let (core, config) = (self.core.clone(), self.config.clone());
        if config.handler_auth.is_empty() {
            return None;
        }
        Some(Box::pin(async move {
            until_denied(&core.discovery, handler, &config.handler_auth).await;
        }))
    }

    /// A call that is ready to be made.
    pub(super) fn request(
        &self,
        kind: Kind,
        frame: Bytes,
        payload_bytes: usize,
        timeout: Duration,
        span: &Span,
    ) -> Request {
        Request {
            kind,
            function: self.config.function_id,
            frame,
            payload_bytes,
            deadline: Instant::now() + timeout.min(MAX_TIMEOUT),
            trace: TraceParent::of(span),
            schema: self.config.schema.clone(),
        }
    }

    /// Error of a request that has this many bytes.
    pub(super) fn too_large(&self, len: usize) -> SendError {
        let max = self.core.config.max_message_bytes;
        SendError::FrameTooLarge { len, max }
    }

    /// The span of a call.
    pub(super) fn span(&self) -> Span {
        tracing::info_span!("call", function = %self.config.function_id.short())
    }

    /// Finds a handler for a request, and its answer.
    pub(super) fn dispatch(&self, request: Request) -> Opaque<'_, Result<Answer, Failure>> {
        Opaque::new(async move {
            let mut running = Running::begin(&self.metrics);
            let result = self.search(&request).await;
            running.is_answered = result.is_ok();
            result
        })
    }

    async fn search(&self, request: &Request) -> Result<Answer, Failure> {
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
