//! A member of the group, wherever it runs.

use std::{
    collections::BTreeSet,
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures::{FutureExt, future::BoxFuture};
use mosaik::{
    Consistency, Group, GroupKey, Network, PeerId, Strong, Weak,
    groups::{ConsensusConfig, StateMachine},
    network::NetworkBuilder,
};
use parking_lot::Mutex;

use super::{
    Answer, Bank, Command, Query,
    control::{Belief, GroupSetup, Tenure},
};
use crate::task::Task;

/// Interval at which a member checks whether it leads.
const LOOK: Duration = Duration::from_millis(5);

/// Access of clients to a member.
pub(super) trait Site: Send + Sync {
    /// Carries out a command: its index, if that was acknowledged.
    fn execute(&self, command: Command) -> BoxFuture<'static, Option<u64>>;

    /// Asks: the answer, and the position of the state that it was made from.
    fn query(&self, query: Query, strong: bool) -> BoxFuture<'static, Option<(Answer, u64)>>;
    /// Puts a command into the log: its index, if the leader has accepted it.
    fn feed(&self, command: Command) -> BoxFuture<'static, Option<u64>>;
    /// Says who leads, and so on; none if it is in no group, or does not run any more.
    fn belief(&self) -> BoxFuture<'static, Option<Belief>>;
}

/// A handle of the group, whichever machine it replicates.
trait Handle: Site {
    fn reform(&self) -> BoxFuture<'static, bool>;
    fn tenure(&self) -> Option<Tenure>;
}

/// A clock that is wrong by this many milliseconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Skew(Arc<AtomicI64>);

impl Skew {
    pub(super) fn new(ms: i64) -> Self {
        Self(Arc::new(AtomicI64::new(ms)))
    }

    pub(super) fn set(&self, ms: i64) {
        self.0.store(ms, Ordering::Relaxed);
    }

    /// Makes a node use this clock.
    pub(super) fn apply(&self, builder: NetworkBuilder) -> NetworkBuilder {
        let skew = self.clone();
        builder.with_clock(move || {
            let ms = skew.0.load(Ordering::Relaxed);
            let by = Duration::from_millis(ms.unsigned_abs());
            if ms < 0 {
                SystemTime::now() - by
            } else {
                SystemTime::now() + by
            }
        })
    }
}

/// The handle of a member, while it takes part.
type Seat = Arc<Mutex<Option<Arc<dyn Handle>>>>;

/// A running node that is a member of the group, or has left it.
pub(super) struct Member {
    node: Mutex<Option<Network>>,
    group: Seat,
    setup: GroupSetup,
    durable: bool,
    observes: bool,
    _watch: Task,
}

impl Member {
    /// Starts the node and joins. `leads` is told whenever it leads, for each term at least once.
    pub(super) async fn start(
        builder: NetworkBuilder,
        setup: GroupSetup,
        durable: bool,
        observes: bool,
        leads: impl Fn(Tenure) + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let node = builder.build().await?;
        let group = Seat::default();
        let member = Self {
            node: Mutex::new(Some(node)),
            _watch: Task::spawn(watch(Arc::clone(&group), leads)),
            group,
            setup,
            durable,
            observes,
        };
        member.join()?;
        Ok(member)
    }

    /// Joins the group, if it has left it.
    pub(super) fn join(&self) -> anyhow::Result<()> {
        let (node, mut group) = (self.node.lock(), self.group.lock());
        if let (Some(node), None) = (&*node, &*group) {
            *group = Some(self.handle(node)?);
        }
        Ok(())
    }

    /// Leaves the group.
    pub(super) fn leave(&self) {
        self.group.lock().take();
    }

    /// Founds a new history from this member's, if it knows no leader.
    pub(super) fn reform(&self) -> BoxFuture<'static, ()> {
        let reformed = self.group.lock().as_ref().map(|group| group.reform());
        async move {
            if let Some(reformed) = reformed {
                reformed.await;
            }
        }
        .boxed()
    }

    fn handle(&self, node: &Network) -> anyhow::Result<Arc<dyn Handle>> {
        let setup = &self.setup;
        let interval = NonZero::new(setup.snapshot_interval).unwrap_or(NonZero::<u64>::MIN);
        let bank = Bank::new(interval)
            .with_pace(Duration::from_micros(setup.pace_us))
            .observing(self.observes);
        Ok(if setup.replayed {
            Arc::new(self.join_with(node, bank.replayed())?)
        } else {
            Arc::new(self.join_with(node, bank)?)
        })
    }

    fn join_with<M: StateMachine>(&self, node: &Network, machine: M) -> anyhow::Result<Group<M>> {
        let setup = &self.setup;
        let consensus = ConsensusConfig::builder()
            .with_min_members(setup.founders)
            .with_bootstrap_delay(Duration::from_millis(setup.bootstrap_delay_ms))
            .with_max_voters(setup.max_voters)
            .with_evict_after(Duration::from_millis(setup.evict_after_ms))
            .build()?;
        let builder = node
            .groups()
            .with_key(GroupKey::from_secret(setup.key))
            .with_consensus_config(consensus)
            .with_state_machine(machine);
        Ok(if self.durable {
            builder.durable()?
        } else {
            builder
        }
        .join())
    }

    /// Drops the node and the handle at once: the member goes in order, by itself.
    pub(super) fn vanish(&self) {
        let node = self.node.lock().take();
        drop((node, self.group.lock().take()));
    }

    /// Ends the node. A durable member stays a member.
    pub(super) async fn shutdown(&self) {
        let node = self.node.lock().take();
        if let Some(node) = node {
            node.shutdown().await;
        }
        self.group.lock().take();
    }
}

impl Site for Member {
    fn execute(&self, command: Command) -> BoxFuture<'static, Option<u64>> {
        self.through(|group| group.execute(command))
    }

    fn query(&self, query: Query, strong: bool) -> BoxFuture<'static, Option<(Answer, u64)>> {
        self.through(|group| group.query(query, strong))
    }

    fn feed(&self, command: Command) -> BoxFuture<'static, Option<u64>> {
        self.through(|group| group.feed(command))
    }

    fn belief(&self) -> BoxFuture<'static, Option<Belief>> {
        self.through(|group| group.belief())
    }
}

impl Member {
    fn through<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn Handle) -> BoxFuture<'static, Option<T>>,
    ) -> BoxFuture<'static, Option<T>> {
        let answer = self.group.lock().as_deref().map(call);
        async move { answer?.await }.boxed()
    }
}

impl<M> Site for Group<M>
where
    M: StateMachine<Command = Command, Query = Query, QueryResult = Answer>,
{
    fn execute(&self, command: Command) -> BoxFuture<'static, Option<u64>> {
        let done = Self::execute(self, command);
        async move { Some(done.await.ok()?.0) }.boxed()
    }

    fn query(&self, query: Query, strong: bool) -> BoxFuture<'static, Option<(Answer, u64)>> {
        let consistency: Consistency = if strong { Strong } else { Weak };
        let answer = Self::query(self, query, consistency);
        async move {
            let answer = answer.await.ok()?;
            let position = answer.state_position().0;
            Some((answer.into(), position))
        }
        .boxed()
    }

    fn feed(&self, command: Command) -> BoxFuture<'static, Option<u64>> {
        let fed = Self::feed(self, command);
        async move { Some(fed.await.ok()?.0) }.boxed()
    }

    fn belief(&self) -> BoxFuture<'static, Option<Belief>> {
        let bytes = |peers: &BTreeSet<PeerId>| peers.iter().map(|p| *p.as_bytes()).collect();
        let membership = self.membership();
        let belief = Belief {
            online: self.when().online().now_or_never().is_some(),
            leads: self.is_leader(),
            leader: self.leader().map(|leader| *leader.as_bytes()),
            voters: bytes(&membership.voters),
            learners: bytes(&membership.learners),
        };
        async move { Some(belief) }.boxed()
    }
}

impl<M> Handle for Group<M>
where
    M: StateMachine<Command = Command, Query = Query, QueryResult = Answer>,
{
    fn reform(&self) -> BoxFuture<'static, bool> {
        Self::reform(self).boxed()
    }

    fn tenure(&self) -> Option<Tenure> {
        let (history, term) = self.__tenure()?;
        Some(Tenure {
            history: *history.as_bytes(),
            term: term.0,
        })
    }
}

async fn watch(group: Seat, leads: impl Fn(Tenure) + Send) {
    let mut last = None;
    loop {
        let tenure = group.lock().as_ref().and_then(|group| group.tenure());
        if let Some(tenure) = tenure
            && last != Some(tenure)
        {
            leads(tenure);
            last = Some(tenure);
        }
        // Elections take far longer than this.
        tokio::time::sleep(LOOK).await;
    }
}
