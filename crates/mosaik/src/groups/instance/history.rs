//! The history that a member takes part in: beginning it, taking it up again, continuing it as
//! another one, and giving it up.

use std::sync::{Arc, atomic::Ordering};

use super::{
    core::Instance,
    peers::BondedPeers,
    persistent_identity::{Identity, PersistentIdentity},
};
use crate::{
    groups::{
        Cursor, Index, Membership,
        bond::core::BondCore,
        consensus::{
            Inheritance, Node, NodeCore, NodeOptions, Stopped, pending_commands::CommandRoute,
        },
        model::{
            event::Event,
            lineage::{Ancestry, Branch, Lineage, MemberId},
            member_info::LineageStanding,
        },
        store::StoreError,
    },
    primitives::ShortFmtExt,
};

impl Instance {
    /// The consensus instance that something is meant for: this member's in a history. A member
    /// without history takes part from now on.
    ///
    /// A node that has given a history up may come to it again, but as another member: messages to
    /// the former one are not for it.
    pub(crate) async fn core_of(&self, lineage: Lineage, to: MemberId) -> Option<Arc<NodeCore>> {
        let node = match self.node() {
            Some(node) => node,
            None if to == self.member() => self.take_part(lineage).await?,
            None => return None,
        };
        (node.lineage() == lineage && node.member() == to).then(|| node.core().clone())
    }

    /// As [`core_of`](Self::core_of), for a bonded peer: a guest brings no history along.
    pub(crate) async fn core_for(
        &self,
        bond: &BondCore,
        lineage: Lineage,
        to: MemberId,
    ) -> Option<Arc<NodeCore>> {
        if self.is_guest(bond) && self.node().is_none() {
            return None;
        }
        self.core_of(lineage, to).await
    }

    /// Begins to take part in a history, unless this member belongs to one already.
    pub(crate) async fn take_part(&self, lineage: Lineage) -> Option<Node> {
        let _switching = self.switch.lock().await;
        if let Some(node) = self.node() {
            return (node.lineage() == lineage).then_some(node);
        }
        // After a failure there is no log to go on from, or no vote: begun anew, the same member would
        // vote twice.
        if self.is_leaving() || self.failure().is_some() {
            return None;
        }
        if let Some(keeper) = &self.keeper
            && !keeper.begin(lineage).await.ok()?
        {
            return None;
        }
        self.start(lineage, None).await
    }

    /// Starts a consensus instance. The switch is held.
    async fn start(&self, lineage: Lineage, inheritance: Option<Inheritance>) -> Option<Node> {
        let options = NodeOptions {
            member: self.member(),
            lineage,
            group: self.id(),
            network: *self.host.discovery.network_id(),
            timing: self.timing,
            preference: self.preference.clone(),
            replica: self.replica.clone(),
            commands: self.commands.clone(),
            store: self.keeper.as_ref().and_then(PersistentIdentity::store),
            pending_commands: self.pending_commands.clone(),
            status: self.status.clone(),
            undecodable: self.metrics.undecodable.clone(),
            inheritance,
            peers: Arc::new(BondedPeers {
                instance: self.this.clone(),
                member: self.member(),
                lineage,
            }),
        };
        match Node::start(options, &self.scope).await {
            Ok(node) => {
                tracing::debug!(
                    group = %self.id().short(), lineage = %lineage.short(),
                    member = %node.member(), "taking part in a history"
                );
                *self.node.write() = Some(node.clone());
                // It may lead by now: who has handed over a command meanwhile found no node that would
                // have taken it.
                node.propose_pending();
                self.tell_soon(Event::HistoryChanged);
                Some(node)
            }
            Err(error) => {
                tracing::error!(group = %self.id().short(), %error, "consensus does not start");
                self.fail(&error.to_string());
                None
            }
        }
    }

    pub(crate) fn is_durable(&self) -> bool {
        self.keeper.is_some()
    }

    /// Takes up what a durable member was before its node stopped.
    pub(crate) async fn restore(&self) -> Result<(), StoreError> {
        let Some(keeper) = &self.keeper else {
            return Ok(());
        };
        if let Some(failure) = keeper.failure() {
            return Err(failure);
        }
        keeper.settle(self.member()).await?;
        if let Some(lineage) = keeper.restored() {
            self.take_part(lineage).await;
        }
        Ok(())
    }

    /// The history that a durable member has brought along from before its node stopped.
    pub(crate) fn restored(&self) -> Option<Lineage> {
        self.keeper.as_ref()?.restored()
    }

    /// The member leaves: another joining on this node must not take it up again.
    pub(crate) fn retire(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.retire();
        }
    }

    /// The member has left.
    pub(crate) async fn forget(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.forget().await;
        }
    }

    /// Deletes what a durable member could not go on from, once it has ended here.
    pub(crate) async fn abandon_kept(&self) -> bool {
        self.scope.cancelled().await;
        match &self.keeper {
            Some(keeper) => keeper.abandon().await,
            None => false,
        }
    }

    /// Makes the change to a history that continues the old one permanent.
    async fn succeed(&self, lineage: Lineage, inheritance: &Inheritance) -> Result<(), Stopped> {
        let Some(keeper) = &self.keeper else {
            return Ok(());
        };
        let identity = Identity {
            member: self.member(),
            lineage,
            ancestry: self.ancestry.lock().clone(),
        };
        let rewrite = inheritance.rewrite()?;
        keeper
            .succeed(identity, rewrite)
            .await
            .map_err(Stopped::because)
    }

    /// Founds a new history from this member's state, when the old one has lost its majority.
    pub(crate) async fn reform(&self) -> bool {
        let _switching = self.switch.lock().await;
        let Some(old) = self.node() else { return false };
        // An observer would be the only voter, and never stand for election.
        let able = !self.preference().is_observer() && !self.replica.is_stale();
        let is_led = self.lineage_standing().is_some_and(|own| own.alive);
        if !able || self.is_leaving() || is_led {
            return false;
        }
        *self.node.write() = None;
        let ended = old.shutdown().await;
        *self.member.lock() = MemberId::fresh(self.local);
        self.pending_commands.set_route(CommandRoute::Hold);
        let lineage = Lineage::random();
        let branch = Branch {
            lineage: old.lineage(),
            last: old.last_entry(),
            position: self.status.log_position(),
        };
        let ancestry = self.ancestry.lock().extended(branch);
        *self.ancestry.lock() = ancestry;
        let inherited = async {
            let inheritance = ended.bequeath().await?;
            inheritance.claim(self.member())?;
            self.succeed(lineage, &inheritance).await?;
            Ok::<_, Stopped>(inheritance)
        };
        let inheritance = match inherited.await {
            Ok(inheritance) => inheritance,
            Err(error) => {
                tracing::error!(group = %self.id().short(), %error, "the group can't be reformed");
                self.fail(&error.to_string());
                return false;
            }
        };
        tracing::warn!(
            group = %self.id().short(), lineage = %old.lineage().short(),
            "the group is reformed from this member's state"
        );
        self.start(lineage, Some(inheritance)).await.is_some()
    }

    /// Follows a history that continues this member's own, if every command that was applied here is
    /// part of it: the machine keeps its state. Returns whether that was possible.
    pub(crate) async fn follow(&self, heir: &LineageStanding) -> bool {
        let _switching = self.switch.lock().await;
        let Some(old) = self.node() else { return false };
        let Some(branch) = heir.ancestry.branch_from(&old.lineage()) else {
            return false;
        };
        // Decided while the old history still goes on: whoever can't follow keeps what it has, and
        // may yet see its majority again.
        if !old.stop_for(branch).await {
            return false;
        }
        let ended = old.shutdown().await;
        *self.node.write() = None;
        *self.member.lock() = MemberId::fresh(self.local);
        self.pending_commands.set_route(CommandRoute::Hold);
        *self.ancestry.lock() = heir.ancestry.clone();
        let inherited = async {
            let inheritance = ended.bequeath_to(branch).await?;
            self.succeed(heir.id, &inheritance).await?;
            Ok::<_, Stopped>(inheritance)
        };
        match inherited.await {
            Ok(inheritance) => self.start(heir.id, Some(inheritance)).await.is_some(),
            Err(error) => {
                tracing::error!(group = %self.id().short(), %error, "the log can't be taken over");
                self.fail(&error.to_string());
                false
            }
        }
    }

    /// Stops what is left of a consensus instance whose library has panicked, until it
    /// [resumes](Self::resume).
    pub(crate) async fn suspend(&self) {
        let _switching = self.switch.lock().await;
        let Some(node) = self.node() else { return };
        node.shutdown().await;
        self.interrupted();
    }

    /// There is no leader for this member before its next consensus instance finds one.
    fn interrupted(&self) {
        self.status.set_online(false);
        self.status.set_leader(None);
        self.pending_commands.set_route(CommandRoute::Hold);
    }

    /// Starts the consensus instance again, whose library has panicked: with the log, the vote and the
    /// state that it had, as after a restart of the process. Returns whether that was possible.
    pub(crate) async fn resume(&self) -> bool {
        let _switching = self.switch.lock().await;
        let Some(old) = self.node() else { return false };
        let ended = old.shutdown().await;
        self.interrupted();
        let resumed = ended.resume().await;
        *self.node.write() = None;
        match resumed {
            Ok(inheritance) => self.start(old.lineage(), Some(inheritance)).await.is_some(),
            Err(error) => {
                tracing::error!(group = %self.id().short(), %error, "consensus can't start again");
                // With the switch held: nobody begins anew in between.
                self.fail(&error.to_string());
                false
            }
        }
    }

    /// Gives up the current history: its commands are discarded here, and the machine is reset.
    pub(crate) async fn abandon(&self, lineage: Lineage) {
        let _switching = self.switch.lock().await;
        let Some(node) = self.node().filter(|node| node.lineage() == lineage) else {
            return;
        };
        *self.node.write() = None;
        let ended = node.shutdown().await;
        let discarded = ended.applied_commands();
        self.status.set_online(false);
        self.status.set_leader(None);
        if !discarded.is_zero() {
            self.metrics.discarded.increment(discarded.0);
            self.status.add_discarded(discarded.0);
            tracing::warn!(
                group = %self.id().short(), lineage = %lineage.short(), commands = discarded.0,
                "this member's history has lost against a rival one: its commands are discarded"
            );
        }
        if !self.replica.reset() {
            tracing::error!(
                group = %self.id().short(),
                "the state machine can't be reset: this member stays offline and answers no query"
            );
        }
        self.pending_commands.set_route(CommandRoute::Hold);
        self.status.set_committed(Index::zero());
        self.status.set_log_position(Cursor::zero());
        self.status.set_membership(Membership::default());
        *self.ancestry.lock() = Ancestry::default();
        let member = MemberId::fresh(self.local);
        if let Some(keeper) = &self.keeper
            && let Err(error) = keeper.renew(member).await
        {
            tracing::error!(group = %self.id().short(), %error, "the store does not work");
        }
        *self.member.lock() = member;
        self.catching_up.store(true, Ordering::Release);
        self.tell_soon(Event::HistoryChanged);
    }

    /// Waits until a change of history that is under way is done, and keeps others from starting.
    pub(crate) async fn freeze(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.switch.lock().await
    }
}
