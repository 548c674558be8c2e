//! Follows the catalog for one caller: who may be called now.

use core::panic::AssertUnwindSafe;
use std::{collections::HashMap, panic::catch_unwind, sync::Arc, time::Duration};

use tokio::{
    sync::broadcast::{
        Receiver,
        error::{RecvError, TryRecvError},
    },
    time::{Instant, MissedTickBehavior, interval_at},
};

use super::{
    config::Config,
    measure::{measure, measure_near},
};
use crate::{
    functions_layer::{
        candidates::{Candidate, Candidates, Snapshot},
        core::Core,
    },
    primitives::{Digest, PeerId, Scope, ShortFmtExt},
    tickets::PeerInfo,
};

/// Interval at which peers are judged again that change by themselves: tickets expire or become
/// valid, and measurements fail.
const TICK: Duration = Duration::from_secs(1);
/// A handler that doesn't answer pings is measured on a call connection after this many ticks, and
/// each time after twice as many, up to the other number.
const MEASURE_TICKS: u32 = 4;
const MAX_MEASURE_TICKS: u32 = 64;
/// Changes that are taken in before the candidates are published.
const MAX_BATCH: usize = 1024;

/// Keeps the candidates of one caller current.
pub(super) struct Follower {
    core: Arc<Core>,
    config: Arc<Config>,
    candidates: Candidates,
    scope: Scope,
    changes: Receiver<PeerId>,
    members: HashMap<PeerId, Arc<Candidate>>,
    /// Peers that offer the function and are not eligible yet.
    waiting: HashMap<PeerId, Waiting>,
    own_content: Digest,
}

/// A peer that may become eligible without a change of its entry.
enum Waiting {
    /// Its tickets may become valid.
    Unauthorized,
    /// Its distance is not known after this many ticks.
    Unmeasured(u32),
}

/// Verdict on a peer.
enum Verdict {
    Eligible(PeerInfo, Duration),
    Unmeasured,
    Unauthorized,
    No,
}

impl Follower {
    /// Takes in what is known already, so that a new caller is online at once.
    pub(super) fn new(
        core: Arc<Core>,
        config: Arc<Config>,
        candidates: Candidates,
        scope: Scope,
    ) -> Self {
        let mut follower = Self {
            changes: core.discovery.changes(),
            own_content: *core.discovery.me().content(),
            core,
            config,
            candidates,
            scope,
            members: HashMap::new(),
            waiting: HashMap::new(),
        };
        follower.rescan();
        follower
    }

    /// Follows the catalog until the caller or the node ends.
    pub(super) async fn run(mut self) {
        let scope = self.scope.clone();
        let mut ticks = interval_at(Instant::now() + TICK, TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let needs_ticks = !self.waiting.is_empty() || !self.members.is_empty();
            tokio::select! {
                biased;
                () = scope.cancelled() => break,
                change = self.changes.recv() => match change {
                    Ok(peer) => self.on_changes(peer),
                    Err(RecvError::Lagged(_)) => self.rescan(),
                    Err(RecvError::Closed) => break,
                },
                _ = ticks.tick(), if needs_ticks => self.on_tick(),
            }
        }
        self.candidates.close();
    }

    fn on_changes(&mut self, first: PeerId) {
        let mut is_change = self.evaluate(first);
        for _ in 0..MAX_BATCH {
            match self.changes.try_recv() {
                Ok(peer) => is_change |= self.evaluate(peer),
                Err(TryRecvError::Lagged(_)) => return self.rescan(),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        self.publish(is_change);
    }

    /// Looks at the whole catalog.
    fn rescan(&mut self) {
        let catalog = self.core.discovery.catalog();
        let offering = catalog
            .peers()
            .filter(|peer| self.is_offered_by(peer))
            .map(|p| *p.id());
        let known = self.members.keys().chain(self.waiting.keys()).copied();
        let peers: Vec<PeerId> = offering.chain(known).chain([catalog.local_id()]).collect();
        let changes = peers.into_iter().map(|peer| self.evaluate(peer));
        let is_change = changes.fold(false, |any, change| any | change);
        self.publish(is_change);
    }

    /// Looks at those that may have changed by themselves.
    fn on_tick(&mut self) {
        let members = self
            .members
            .keys()
            .filter(|_| !self.config.handler_auth.is_empty());
        let peers: Vec<PeerId> = self.waiting.keys().chain(members).copied().collect();
        let mut is_change = false;
        for peer in peers {
            is_change |= self.evaluate(peer);
            if let Some(Waiting::Unmeasured(ticks)) = self.waiting.get_mut(&peer) {
                *ticks += 1;
                if is_measured_after(*ticks) {
                    measure(&self.core, self.core.routes.to(peer));
                }
            }
        }
        self.publish(is_change);
    }

    /// Decides about a peer anew; `true` if that makes a difference to others.
    fn evaluate(&mut self, peer: PeerId) -> bool {
        if peer == self.core.discovery.catalog().local_id() {
            let content = *self.core.discovery.me().content();
            return core::mem::replace(&mut self.own_content, content) != content;
        }
        let verdict = match self.core.discovery.info(&peer) {
            Some(info) => self.judge(info),
            None => Verdict::No,
        };
        match verdict {
            Verdict::Eligible(info, rtt) => {
                self.waiting.remove(&peer);
                let route = self.core.routes.to(peer);
                route.started(info.version().start_ms());
                route.hint(rtt, Instant::now());
                let candidate = Arc::new(Candidate::new(info, route));
                let content = candidate.info.entry().content_digest();
                let before = self.members.insert(peer, candidate);
                before.is_none_or(|before| before.info.entry().content_digest() != content)
            }
            Verdict::Unmeasured => {
                let known = self.waiting.get(&peer);
                if !matches!(known, Some(Waiting::Unmeasured(_))) {
                    self.waiting.insert(peer, Waiting::Unmeasured(0));
                }
                self.members.remove(&peer).is_some()
            }
            Verdict::Unauthorized => {
                self.waiting.insert(peer, Waiting::Unauthorized);
                self.members.remove(&peer).is_some()
            }
            Verdict::No => {
                self.waiting.remove(&peer);
                self.members.remove(&peer).is_some()
            }
        }
    }

    fn judge(&self, info: PeerInfo) -> Verdict {
        if !self.is_offered_by(&info) {
            return Verdict::No;
        }
        // Only then can a requirement on it be checked.
        let Some(rtt) = info.rtt() else {
            self.core.discovery.request_rtt(*info.id());
            return Verdict::Unmeasured;
        };
        let accepts = catch_unwind(AssertUnwindSafe(|| (self.config.require)(&info)));
        match accepts {
            Ok(true) => {}
            Ok(false) => return Verdict::No,
            Err(_) => {
                tracing::error!(function = %self.config.function_id.short(),
                    peer = %info.id().short(), "a requirement on handlers panicked");
                return Verdict::No;
            }
        }
        match self
            .core
            .discovery
            .authorize(&info, &self.config.handler_auth)
        {
            Ok(_) => Verdict::Eligible(info, rtt),
            Err(_) => Verdict::Unauthorized,
        }
    }

    fn is_offered_by(&self, peer: &crate::tickets::PeerEntry) -> bool {
        peer.functions().contains(&self.config.function_id)
    }

    fn publish(&self, is_change: bool) {
        let mut candidates: Vec<_> = self.members.values().cloned().collect();
        candidates.sort_by_key(|candidate| candidate.route.distance().value);
        // While nothing changes it is the calls that keep the distances current: without any, the
        // connections may close.
        if is_change {
            measure_near(&self.core, &candidates);
        }
        let snapshot = Snapshot {
            candidates,
            own_content: self.own_content,
            is_closed: false,
        };
        self.candidates.publish(snapshot, is_change);
    }
}

/// Returns whether to measure a peer that has stayed unmeasured for this many ticks; the intervals
/// grow.
const fn is_measured_after(ticks: u32) -> bool {
    if ticks > MAX_MEASURE_TICKS {
        ticks.is_multiple_of(MAX_MEASURE_TICKS)
    } else {
        ticks >= MEASURE_TICKS && ticks.is_power_of_two()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_not_be_measured_is_asked_ever_less() {
        let asked: Vec<u32> = (1..200).filter(|ticks| is_measured_after(*ticks)).collect();
        assert_eq!(asked, [4, 8, 16, 32, 64, 128, 192]);
    }
}
