//! Making bonds: whom to dial, when, and when again.

use std::{collections::HashMap, sync::Arc, time::Duration};

use rand::Rng;
use tokio::{sync::mpsc, time::Instant};

use super::{handshake, reader};
use crate::{
    groups::{
        Error,
        bond::close::{IdentityInUse, InvalidProof},
        instance::Instance,
    },
    net::close::UnknownPeer,
    primitives::{PeerId, ShortFmtExt},
};

/// The larger id gives the smaller one this much time to dial first: crossing dials cost both.
const COURTESY: Duration = Duration::from_millis(40);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);
/// The same where only an operator can help.
const FIRST_REFUSED_RETRY: Duration = Duration::from_secs(1);
const LAST_REFUSED_RETRY: Duration = Duration::from_secs(60);
/// Attempts at renewing a bond that a founding waits for. The first may come before the peer has seen the
/// end of the old one.
const RENEWALS: u32 = 3;
/// Attempts under way at once.
const MAX_RUNNING: usize = 32;
/// The same limit for peers that have not proved the key: any peer may list the group.
const MAX_UNPROVEN: usize = 24;
/// An attempt ends at the latest after this.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);

/// The peers that this member wants bonds with.
pub(crate) struct Dials {
    instance: Arc<Instance>,
    wanted: HashMap<PeerId, Wanted>,
    outcomes: mpsc::Sender<(PeerId, Outcome)>,
    ended: mpsc::Receiver<(PeerId, Outcome)>,
    running: usize,
    /// It was said that another process has this node's identity.
    told_of_duplicate: bool,
}

/// The outcome of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Bonded,
    Failed,
    /// The peer has not proven the key: it has another one, or none.
    Unproven,
    /// The peer has a bond with another process that has this node's identity.
    IdentityInUse,
}

impl Outcome {
    /// Longest wait after this many attempts of which the last ended like this.
    fn wait(self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(10);
        let (first, last) = match self {
            Self::Unproven | Self::IdentityInUse => (FIRST_REFUSED_RETRY, LAST_REFUSED_RETRY),
            Self::Bonded | Self::Failed => (FIRST_RETRY, LAST_RETRY),
        };
        (first * 2u32.pow(doublings)).min(last)
    }
}

#[derive(Debug)]
struct Wanted {
    attempts: u32,
    due: Instant,
    running: bool,
    /// It has had a bond.
    proven: bool,
    /// Its bond was ended here, to be made anew.
    renewed: bool,
}

impl Dials {
    pub(crate) fn new(instance: Arc<Instance>) -> Self {
        let (outcomes, ended) = mpsc::channel(MAX_RUNNING);
        Self {
            instance,
            wanted: HashMap::new(),
            outcomes,
            ended,
            running: 0,
            told_of_duplicate: false,
        }
    }

    /// Wants a bond with this peer; returns whether that is new.
    pub(crate) fn want(&mut self, peer: PeerId) -> bool {
        if self.wanted.contains_key(&peer) || self.instance.is_leaving() {
            return false;
        }
        let wait = if self.instance.local() < peer {
            Duration::ZERO
        } else {
            COURTESY
        };
        let due = Instant::now() + wait;
        self.wanted.insert(
            peer,
            Wanted {
                attempts: 0,
                due,
                running: false,
                proven: false,
                renewed: false,
            },
        );
        self.start_due(Instant::now());
        true
    }

    /// No longer wants a bond with this peer.
    pub(crate) fn forget(&mut self, peer: &PeerId) {
        if self.wanted.get(peer).is_some_and(|wanted| !wanted.running) {
            self.wanted.remove(peer);
        }
    }

    /// Notes that a bond with this peer exists, on whichever side it was dialled.
    pub(crate) fn succeeded(&mut self, peer: &PeerId) {
        if let Some(wanted) = self.wanted.get_mut(peer) {
            wanted.attempts = 0;
        }
        self.forget(peer);
    }

    /// A bond was lost: it is made again while the peer lists the group.
    pub(crate) fn lost(&mut self, peer: PeerId) {
        let catalog = self.instance.discovery().catalog();
        let listed = catalog.get(&peer).is_some_and(|entry| {
            entry.groups().contains(&self.instance.id()) && self.instance.authorize(entry).is_ok()
        });
        if listed
            && self.want(peer)
            && let Some(wanted) = self.wanted.get_mut(&peer)
            && !wanted.running
        {
            wanted.due = Instant::now() + FIRST_RETRY;
            wanted.attempts = 1;
            wanted.proven = true;
        }
    }

    /// A bond was ended here, to be made anew: the peer is there, and what it told is to be heard
    /// again.
    pub(crate) fn renew(&mut self, peer: PeerId) {
        self.lost(peer);
        if let Some(wanted) = self.wanted.get_mut(&peer) {
            wanted.renewed = true;
        }
    }

    /// Returns whether there is a peer with which no attempt has ended yet, or a bond is to be renewed:
    /// a founding waits for that.
    pub(crate) fn is_first_attempt_pending(&self) -> bool {
        let is_pending = |wanted: &Wanted| {
            wanted.attempts == 0 || (wanted.renewed && wanted.attempts <= RENEWALS)
        };
        self.wanted.values().any(is_pending)
    }

    pub(crate) fn tick(&mut self, now: Instant) {
        self.start_due(now);
    }

    /// Resolves when an attempt has ended; returns whether it has told something new: a peer that
    /// fails again has not.
    pub(crate) async fn next(&mut self) -> bool {
        loop {
            let running = |wanted: &&Wanted| wanted.running && !wanted.proven;
            let full = self.wanted.values().filter(running).count() >= MAX_UNPROVEN;
            let first = self
                .wanted
                .values()
                .filter(|wanted| !wanted.running && (wanted.proven || !full))
                .map(|wanted| wanted.due)
                .min();
            let due = async {
                match first {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ended = self.ended.recv() => {
                    if let Some((peer, outcome)) = ended {
                        return self.on_ended(peer, outcome);
                    }
                }
                () = due, if self.running < MAX_RUNNING => self.start_due(Instant::now()),
            }
        }
    }

    fn on_ended(&mut self, peer: PeerId, outcome: Outcome) -> bool {
        self.running = self.running.saturating_sub(1);
        if outcome == Outcome::IdentityInUse && !self.told_of_duplicate {
            self.told_of_duplicate = true;
            tracing::error!(
                group = %self.instance.id().short(), own = %self.instance.local(),
                peer = %peer.short(),
                "another process runs with this node's identity, and was in the group first: this \
                 one is refused. Give each process a key of its own"
            );
        }
        let Some(wanted) = self.wanted.get_mut(&peer) else {
            return true;
        };
        wanted.running = false;
        if outcome == Outcome::Bonded || self.instance.bonds().contains(&peer) {
            self.wanted.remove(&peer);
            return true;
        }
        wanted.attempts = wanted.attempts.saturating_add(1);
        let wait = outcome.wait(wanted.attempts);
        wanted.due = Instant::now() + wait.mul_f64(rand::rng().random_range(0.5..1.0));
        wanted.attempts == 1
    }

    fn start_due(&mut self, now: Instant) {
        let instance = self.instance.clone();
        self.wanted
            .retain(|peer, wanted| wanted.running || !instance.bonds().contains(peer));
        for peer in turns(&self.wanted, self.running, now) {
            if let Some(wanted) = self.wanted.get_mut(&peer) {
                wanted.running = true;
            }
            self.running += 1;
            let (instance, outcomes) = (instance.clone(), self.outcomes.clone());
            instance.clone().scope().spawn(async move {
                let attempt = tokio::time::timeout(ATTEMPT_TIMEOUT, attempt(&instance, peer));
                let outcome = attempt.await.unwrap_or(Outcome::Failed);
                // The worker has ended: nobody needs to know.
                let _ = outcomes.send((peer, outcome)).await;
            });
        }
    }
}

/// The peers to be dialled now, of those that are due: as many as there is room for.
fn turns(wanted: &HashMap<PeerId, Wanted>, running: usize, now: Instant) -> Vec<PeerId> {
    let unproven = |wanted: &&Wanted| wanted.running && !wanted.proven;
    let room = MAX_UNPROVEN.saturating_sub(wanted.values().filter(unproven).count());
    let mut due: Vec<_> = wanted
        .iter()
        .filter(|(_, wanted)| !wanted.running && wanted.due <= now)
        .collect();
    // Everybody has their turn.
    due.sort_unstable_by_key(|(_, wanted)| wanted.due);
    let (proven, others): (Vec<_>, Vec<_>) = due.into_iter().partition(|(_, wanted)| wanted.proven);
    proven
        .into_iter()
        .chain(others.into_iter().take(room))
        .take(MAX_RUNNING.saturating_sub(running))
        .map(|(peer, _)| *peer)
        .collect()
}

/// One attempt.
async fn attempt(instance: &Arc<Instance>, peer: PeerId) -> Outcome {
    let dialling = instance.dialling(peer);
    let error = match handshake::dial(instance, peer).await {
        Ok(bonded) => {
            reader::spawn(instance, bonded);
            return Outcome::Bonded;
        }
        Err(error) => error,
    };
    drop(dialling);
    tracing::debug!(
        group = %instance.id().short(), peer = %peer.short(), %error, "no bond yet"
    );
    if let Error::InvalidGroupKeyProof = error {
        return Outcome::Unproven;
    }
    if let Error::Link(link) = &error
        && let Some(reason) = link.close_reason()
    {
        if *reason == IdentityInUse {
            return Outcome::IdentityInUse;
        }
        if *reason == InvalidProof {
            return Outcome::Unproven;
        }
        if *reason == UnknownPeer {
            // The peer learns this node's entry with it. What matters is the next attempt.
            if let Err(error) = instance.discovery().sync_with(peer).await {
                let error = Error::Discovery(error);
                tracing::debug!(
                    group = %instance.id().short(), peer = %peer.short(), %error, "no sync"
                );
            }
        }
    }
    if instance.bonds().contains(&peer) {
        Outcome::Bonded
    } else {
        Outcome::Failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the book says: after 1 s, then ever later, up to 60 s.
    #[test]
    fn who_is_refused_for_its_identity_tries_ever_more_rarely() {
        let waits = [1, 2, 3, 6, 7, 1000].map(|n| Outcome::IdentityInUse.wait(n).as_secs());
        assert_eq!(waits, [1, 2, 4, 32, 60, 60]);
        assert!(Outcome::Failed.wait(1000) < Outcome::IdentityInUse.wait(1000));
        let unproven = [1, 2, 7, 1000].map(|n| Outcome::Unproven.wait(n).as_secs());
        assert_eq!(
            unproven,
            [1, 2, 60, 60],
            "who lists the group and lacks its key"
        );
    }

    /// Any peer may list the group: those that only do so kept the members from being dialled.
    #[tokio::test(start_paused = true)]
    async fn peers_that_have_not_proven_the_key_leave_room_for_members() {
        let peer = |n: u8| iroh::SecretKey::from_bytes(&[n; 32]).public();
        let now = Instant::now();
        let one = |proven: bool, due: Instant| Wanted {
            attempts: 1,
            due,
            running: false,
            proven,
            renewed: false,
        };
        let strangers: Vec<_> = (0..100).map(peer).collect();
        let members: Vec<_> = (100..110).map(peer).collect();
        let mut wanted = HashMap::new();
        // The strangers are due before, the first of them last.
        for (n, stranger) in (0..).zip(&strangers) {
            wanted.insert(*stranger, one(false, now - Duration::from_millis(1 + n)));
        }
        let longest: Vec<_> = strangers.iter().rev().copied().collect();
        assert_eq!(turns(&wanted, 0, now), longest[..MAX_UNPROVEN]);
        for member in &members {
            wanted.insert(*member, one(true, now));
        }
        let first = turns(&wanted, 0, now);
        assert_eq!(first.len(), MAX_RUNNING);
        let (proven, others) = first.split_at(members.len());
        assert!(members.iter().all(|member| proven.contains(member)));
        assert_eq!(others, &longest[..MAX_RUNNING - members.len()]);

        // All places of strangers are taken, for as long as their attempts take.
        for stranger in &longest[..MAX_UNPROVEN] {
            wanted.get_mut(stranger).unwrap().running = true;
        }
        let next = turns(&wanted, MAX_UNPROVEN, now);
        assert_eq!(next.len(), MAX_RUNNING - MAX_UNPROVEN);
        assert!(next.iter().all(|peer| members.contains(peer)));
        let early = one(true, now + Duration::from_millis(1));
        let alone = HashMap::from([(peer(200), early)]);
        assert!(turns(&alone, 0, now).is_empty(), "it is not due");
    }
}
