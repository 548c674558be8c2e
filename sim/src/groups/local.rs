//! A member of the group, wherever it runs.

use std::{
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures::{FutureExt, future::BoxFuture};
use mosaik::{
    Consistency, Group, GroupKey, Network, Strong, Weak, groups::ConsensusConfig,
    network::NetworkBuilder,
};
use parking_lot::Mutex;

use super::{
    Answer, Bank, Command, Query,
    control::{GroupSetup, Tenure},
};
use crate::task::Task;

/// How often a member looks whether it leads.
const LOOK: Duration = Duration::from_millis(5);

/// What clients use a member through.
pub(super) trait Site: Send + Sync {
    /// Carries out a command: its index, if that was acknowledged.
    fn execute(&self, command: Command) -> BoxFuture<'static, Option<u64>>;

    /// Asks: the answer, and the position of the state that it was made from.
    fn query(&self, query: Query, strong: bool) -> BoxFuture<'static, Option<(Answer, u64)>>;
}

/// A clock that is wrong by so many milliseconds.
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

/// A running node that is a member of the group, or has left it.
pub(super) struct Member {
    node: Mutex<Option<Network>>,
    group: Arc<Mutex<Option<Group<Bank>>>>,
    setup: GroupSetup,
    durable: bool,
    _watch: Task,
}

impl Member {
    /// Starts the node and joins. `leads` is told whenever it leads, for each term at least once.
    pub(super) async fn start(
        builder: NetworkBuilder,
        setup: GroupSetup,
        durable: bool,
        leads: impl Fn(Tenure) + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let node = builder.build().await?;
        let group = Arc::default();
        let member = Self {
            node: Mutex::new(Some(node)),
            _watch: Task::spawn(watch(Arc::clone(&group), leads)),
            group,
            setup,
            durable,
        };
        member.join()?;
        Ok(member)
    }

    /// Joins the group, if it has left it.
    pub(super) fn join(&self) -> anyhow::Result<()> {
        let (node, mut group) = (self.node.lock(), self.group.lock());
        if let (Some(node), None) = (&*node, &*group) {
            *group = Some(join(node, &self.setup, self.durable)?);
        }
        Ok(())
    }

    /// Leaves the group.
    pub(super) fn leave(&self) {
        self.group.lock().take();
    }

    /// Founds a new history from this member's, if it knows no leader.
    pub(super) fn reform(&self) -> BoxFuture<'static, ()> {
        let group = self.group.lock();
        let reformed = group.as_ref().map(Group::reform);
        async move {
            if let Some(reformed) = reformed {
                reformed.await;
            }
        }
        .boxed()
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
        let group = self.group.lock();
        let done = group.as_ref().map(|group| group.execute(command));
        async move { Some(done?.await.ok()?.0) }.boxed()
    }

    fn query(&self, query: Query, strong: bool) -> BoxFuture<'static, Option<(Answer, u64)>> {
        let consistency: Consistency = if strong { Strong } else { Weak };
        let group = self.group.lock();
        let answer = group.as_ref().map(|group| group.query(query, consistency));
        async move {
            let answer = answer?.await.ok()?;
            let position = answer.state_position().0;
            Some((answer.into(), position))
        }
        .boxed()
    }
}

fn join(node: &Network, setup: &GroupSetup, durable: bool) -> anyhow::Result<Group<Bank>> {
    let consensus = ConsensusConfig::builder()
        .with_min_members(setup.founders)
        .with_evict_after(Duration::from_millis(setup.evict_after_ms))
        .build()?;
    let interval = NonZero::new(setup.snapshot_interval).unwrap_or(NonZero::<u64>::MIN);
    let builder = node
        .groups()
        .with_key(GroupKey::from_secret(setup.key))
        .with_consensus_config(consensus)
        .with_state_machine(Bank::new(interval));
    Ok(if durable { builder.durable()? } else { builder }.join())
}

async fn watch(group: Arc<Mutex<Option<Group<Bank>>>>, leads: impl Fn(Tenure) + Send) {
    let mut last = None;
    loop {
        let tenure = group.lock().as_ref().and_then(|group| group.__tenure());
        let tenure = tenure.map(|(history, term)| Tenure {
            history: *history.as_bytes(),
            term: term.0,
        });
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
