//! Lets the faults of a plan happen.

use std::{sync::Arc, time::Duration};

use futures::future::try_join_all;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, sleep_until},
};

use super::{Fault, Plan, Planned, Target, cluster::Cluster};

/// Directions in which nothing passes: members from, members to.
type Cuts = Vec<(Vec<usize>, Vec<usize>)>;

/// Cuts of the network. Several faults may do so at once; each ends on its own.
struct Network<'a> {
    cluster: &'a Cluster,
    cuts: Mutex<Vec<Arc<Cuts>>>,
}

/// Carries out all faults of a plan. Afterwards the network is whole and all members run.
pub(super) async fn happen(plan: &Plan, cluster: &Cluster) -> anyhow::Result<()> {
    let start = Instant::now();
    let network = Network {
        cluster,
        cuts: Mutex::default(),
    };
    let all = plan.faults.iter().map(|Planned { at, lasts, fault }| {
        let network = &network;
        async move {
            sleep_until(start + *at).await;
            tracing::info!(?fault, ?lasts, "fault");
            network.one(fault, *lasts).await
        }
    });
    try_join_all(all).await.map(drop)
}

impl Network<'_> {
    async fn one(&self, fault: &Fault, lasts: Duration) -> anyhow::Result<()> {
        let cluster = self.cluster;
        let who = |target: &Target| cluster.resolve(*target);
        let all_but = |members: &[usize]| {
            let others = (0..cluster.len()).filter(|n| !members.contains(n));
            others.collect::<Vec<_>>()
        };
        let cuts = match fault {
            Fault::Split(side) => {
                let others = all_but(side);
                vec![(side.clone(), others.clone()), (others, side.clone())]
            }
            Fault::Separate(one, other) => {
                let (one, other) = (vec![who(one)], vec![who(other)]);
                vec![(one.clone(), other.clone()), (other, one)]
            }
            Fault::OneWay(from, to) => vec![(vec![who(from)], vec![who(to)])],
            Fault::Mute(one) => vec![(vec![who(one)], all_but(&[who(one)]))],
            Fault::Deafen(one) => vec![(all_but(&[who(one)]), vec![who(one)])],
            Fault::Weather(conditions) => {
                cluster.weather(Some(*conditions)).await?;
                sleep(lasts).await;
                return cluster.weather(None).await;
            }
            Fault::CrashAll => {
                let all = (0..cluster.len()).map(|n| self.crash(n, false, lasts));
                return try_join_all(all).await.map(drop);
            }
            Fault::Crash { target, wipe } => return self.crash(who(target), *wipe, lasts).await,
            Fault::Pause(target) => {
                if let Some(unit) = cluster.control(who(target)) {
                    cluster.pause(&unit)?;
                    sleep(lasts).await;
                    cluster.resume(&unit)?;
                }
                return Ok(());
            }
            Fault::Leave(target) => {
                if let Some(mut unit) = cluster.control(who(target)) {
                    unit.leave();
                    sleep(lasts).await;
                    unit.join()?;
                }
                return Ok(());
            }
            Fault::Skew(target, ms) => {
                if let Some(mut unit) = cluster.control(who(target)) {
                    unit.skew(*ms);
                }
                return Ok(());
            }
        };
        self.cut(cuts, lasts).await
    }

    async fn crash(&self, member: usize, wipe: bool, lasts: Duration) -> anyhow::Result<()> {
        let Some(mut unit) = self.cluster.control(member) else {
            return Ok(());
        };
        if self.cluster.crash(&mut unit).await? {
            sleep(lasts).await;
            if wipe {
                self.cluster.wipe(&mut unit).await?;
            }
            self.cluster.start(&mut unit).await?;
        }
        Ok(())
    }

    async fn cut(&self, cuts: Cuts, lasts: Duration) -> anyhow::Result<()> {
        let cuts = Arc::new(cuts);
        {
            let mut all = self.cuts.lock().await;
            all.push(cuts.clone());
            self.apply(&all).await?;
        }
        sleep(lasts).await;
        let mut left = self.cuts.lock().await;
        left.retain(|other| !Arc::ptr_eq(other, &cuts));
        self.apply(&left).await
    }

    /// Cuts what is to be cut, and nothing else.
    async fn apply(&self, all: &[Arc<Cuts>]) -> anyhow::Result<()> {
        let each = all.iter().flat_map(|cuts| cuts.iter());
        let pairs = each.flat_map(|(from, to)| {
            from.iter()
                .flat_map(move |from| to.iter().map(move |to| (*from, *to)))
        });
        self.cluster.cut(pairs.collect()).await
    }
}
