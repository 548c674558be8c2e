//! Plan of a run, all of it drawn from a seed.

use std::{fmt, num::NonZeroU64, time::Duration};

use rand::{Rng, SeedableRng, rngs::SmallRng, seq::index};

use crate::Conditions;

/// Largest error of a clock, in milliseconds: two of them stay within the ten seconds that
/// discovery accepts.
const MAX_SKEW_MS: i64 = 4500;
/// The library's default.
pub(super) const BOOTSTRAP_DELAY: Duration = Duration::from_secs(1);

/// Sets what is drawn about the setting of a run apart from what happens in it.
const SETTING: u64 = 0x5e77_1296;

/// Options of all runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Members run in processes of their own, and keep their part on disk.
    pub processes: bool,
    /// Those are in network namespaces of their own, with a firewall between them.
    pub firewall: bool,
    /// Number of members; drawn if not given.
    pub members: Option<usize>,
    /// Time for which faults go on; five seconds if not given.
    pub length: Option<Duration>,
}

/// A run.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "circumstances that are drawn apart from each other"
)]
pub struct Plan {
    /// Seed from which everything follows.
    pub seed: u64,
    /// Number of members.
    pub members: usize,
    /// Number of members that must be there for the group to be founded.
    pub founders: usize,
    /// Time for which a member waits at most for others before it founds.
    pub bootstrap_delay: Duration,
    /// True if they run in processes of their own.
    pub processes: bool,
    /// True if those are in network namespaces of their own, with a firewall between them.
    pub firewall: bool,
    /// True if they keep their part on disk.
    pub durable: bool,
    /// Number of commands between two snapshots.
    pub snapshot_interval: u64,
    /// Time after which an unreachable member is removed.
    pub evict_after: Duration,
    /// Members that may lose all they have, or leave: never so many that the others have no
    /// majority.
    pub forgetful: Vec<usize>,
    /// Lead of each member's clock, in milliseconds.
    pub skews_ms: Vec<i64>,
    /// Number of clients.
    pub clients: usize,
    /// Conditions of the network without faults.
    pub conditions: Conditions,
    /// Time that a command takes to be applied.
    pub pace: Duration,
    /// True if newcomers are brought up to date with the log alone.
    pub replayed: bool,
    /// Limit on the voters.
    pub max_voters: usize,
    /// Members that neither vote nor lead.
    pub observers: Vec<usize>,
    /// Members that keep nothing on disk where others do; all of them forgetful.
    pub volatile: Vec<usize>,
    /// The faults, in the order in which they begin.
    pub faults: Vec<Planned>,
}

/// A fault, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// Time of its beginning.
    pub at: Duration,
    /// Its length, from the beginning to the end.
    pub lasts: Duration,
    /// Fault that occurs.
    pub fault: Fault,
}

/// Kinds of faults.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// Nothing passes between these members and the others.
    Split(Vec<usize>),
    /// Nothing passes between two members, who both reach all others.
    Separate(Target, Target),
    /// Nothing passes from one member to another; the way back is open.
    OneWay(Target, Target),
    /// Nothing passes from a member to all others; it hears them.
    Mute(Target),
    /// Nothing passes from all others to a member; they hear it.
    Deafen(Target),
    /// Packets are lost and delayed, everywhere. A firewall only loses them.
    Weather(Conditions),
    /// A member is suspended (SIGSTOP for processes), and resumed afterwards.
    Pause(Target),
    /// A member is killed (SIGKILL for processes), and started anew afterwards, possibly without
    /// what it had on disk.
    Crash {
        /// Member that crashes.
        target: Target,
        /// True if it forgets everything.
        wipe: bool,
    },
    /// All members are killed, and started anew afterwards.
    CrashAll,
    /// A member leaves the group, and joins it again afterwards.
    Leave(Target),
    /// A member's clock is set.
    Skew(Target, i64),
}

/// Member that a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The n-th member.
    Member(usize),
    /// Latest leader when the fault begins.
    Leader,
}

impl Plan {
    /// The run of a seed.
    pub fn draw(seed: u64, options: Options) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut setting = SmallRng::seed_from_u64(seed ^ SETTING);
        let large = setting.random_bool(0.15);
        let members = random.random_range(0..10);
        let members = options.members.unwrap_or(match members {
            _ if large => setting.random_range(6..=7),
            0..6 => 3,
            6..7 => 4,
            _ => 5,
        });
        let observers = if members > 3 && setting.random_bool(0.25) {
            vec![setting.random_range(0..members)]
        } else {
            Vec::new()
        };
        let max_voters = if setting.random_bool(0.3) { 3 } else { 5 };
        let voters = max_voters.min(members - observers.len());
        let processes = options.processes || options.firewall;
        let durable = random.random_bool(0.7) || processes;
        // A group may shrink by evictions, or members may forget and leave: with both, what is left
        // could be too few.
        let evicts = durable && random.random_bool(0.25);
        let forgetful = if evicts { 0 } else { (voters - 1) / 2 };
        let forgetful = index::sample(&mut random, members, forgetful).into_vec();
        let volatile = if durable && setting.random_bool(0.3) {
            forgetful.clone()
        } else {
            Vec::new()
        };
        let mut plan = Self {
            seed,
            members,
            founders: members - observers.len(),
            bootstrap_delay: BOOTSTRAP_DELAY,
            processes,
            firewall: options.firewall,
            durable,
            snapshot_interval: [40, 300, 1_000_000][random.random_range(0..3)],
            evict_after: Duration::from_millis(if evicts { 1500 } else { 30_000 }),
            forgetful,
            skews_ms: (0..members)
                .map(|_| random.random_range(-MAX_SKEW_MS..=MAX_SKEW_MS))
                .collect(),
            clients: random.random_range(6..=12),
            conditions: Self::draw_conditions(&mut setting),
            pace: if setting.random_bool(0.2) {
                Duration::from_millis(setting.random_range(1..=5))
            } else {
                Duration::ZERO
            },
            replayed: setting.random_bool(0.25),
            max_voters,
            observers,
            volatile,
            faults: Vec::new(),
        };
        let length = options.length.unwrap_or(Duration::from_secs(5));
        let mut at = Duration::ZERO;
        loop {
            at += Duration::from_millis(random.random_range(50..900));
            if at >= length {
                return plan;
            }
            let fault = plan.draw_fault(&mut random);
            plan.faults.push(Planned {
                at,
                lasts: Duration::from_millis(random.random_range(100..2200)),
                fault,
            });
        }
    }

    /// Near or far, and now and then narrow.
    fn draw_conditions(random: &mut SmallRng) -> Conditions {
        let far = random.random_bool(0.25);
        let narrow = random.random_bool(0.1);
        let latency = Duration::from_millis(random.random_range(75..=200));
        let bandwidth = NonZeroU64::new(random.random_range(64..=256) * 1024);
        Conditions {
            latency: if far { latency } else { Duration::ZERO },
            jitter: if far { latency / 20 } else { Duration::ZERO },
            loss: 0.0,
            bandwidth: bandwidth.filter(|_| narrow),
        }
    }

    /// Timeout, after all faults have ended, for every member to serve again.
    pub(super) fn recovery(&self) -> Duration {
        let ordinary = self.conditions == Conditions::default() && self.pace.is_zero();
        crate::bound(Duration::from_secs(if ordinary { 20 } else { 40 }))
    }

    /// The client's part of the seed.
    pub(super) fn client_seed(&self, client: usize) -> u64 {
        let mut hasher = blake3::Hasher::new_derive_key("mosaik sim client");
        hasher
            .update(&self.seed.to_le_bytes())
            .update(&(client as u64).to_le_bytes());
        let mut seed = [0; 8];
        seed.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        u64::from_le_bytes(seed)
    }

    fn draw_fault(&self, random: &mut SmallRng) -> Fault {
        loop {
            let [one, other] = [self.draw_target(random), self.draw_target(random)];
            return match random.random_range(0..100) {
                0..14 => {
                    let count = random.random_range(1..self.members);
                    Fault::Split(index::sample(random, self.members, count).into_vec())
                }
                14..22 if one != other => Fault::Separate(one, other),
                22..30 if one != other => Fault::OneWay(one, other),
                30..36 => Fault::Mute(one),
                36..42 => Fault::Deafen(one),
                42..54 => Fault::Weather(Conditions {
                    latency: Duration::from_millis(random.random_range(0..60)),
                    jitter: Duration::from_millis(random.random_range(0..60)),
                    loss: random.random_range(0.0..0.25),
                    bandwidth: None,
                }),
                54..66 => Fault::Pause(one),
                66..84 if self.durable => Fault::Crash {
                    target: one,
                    wipe: false,
                },
                84..88 if self.durable => Fault::CrashAll,
                78..93 if !self.forgetful.is_empty() => Fault::Crash {
                    target: self.draw_forgetful(random),
                    wipe: true,
                },
                93..97 if !self.forgetful.is_empty() => Fault::Leave(self.draw_forgetful(random)),
                97.. => Fault::Skew(one, random.random_range(-MAX_SKEW_MS..=MAX_SKEW_MS)),
                _ => continue,
            };
        }
    }

    fn draw_target(&self, random: &mut SmallRng) -> Target {
        if random.random_bool(0.4) {
            Target::Leader
        } else {
            Target::Member(random.random_range(0..self.members))
        }
    }

    fn draw_forgetful(&self, random: &mut SmallRng) -> Target {
        Target::Member(self.forgetful[random.random_range(0..self.forgetful.len())])
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.firewall {
            "processes behind a firewall"
        } else if self.processes {
            "processes"
        } else {
            "in one process"
        };
        let kept = if self.durable { "on disk" } else { "in memory" };
        let Self {
            conditions,
            pace,
            replayed,
            max_voters,
            observers,
            volatile,
            ..
        } = self;
        writeln!(
            f,
            "seed {}: {} members, {place}, {kept}, {} clients, a snapshot every {} commands, \
             evicted after {:?}, clocks {:?} ms",
            self.seed,
            self.members,
            self.clients,
            self.snapshot_interval,
            self.evict_after,
            self.skews_ms
        )?;
        writeln!(
            f,
            "  {conditions:?}, {pace:?} a command, replayed: {replayed}, {max_voters} voters, \
             observers {observers:?}, in memory {volatile:?}"
        )?;
        for Planned { at, lasts, fault } in &self.faults {
            writeln!(f, "  {at:>9.3?} for {lasts:>9.3?}: {fault:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_everything() {
        let options = Options::default();
        assert_eq!(Plan::draw(7, options), Plan::draw(7, options));
        assert_ne!(Plan::draw(7, options).faults, Plan::draw(8, options).faults);
    }

    #[test]
    fn those_who_remember_are_a_majority() {
        for seed in 0..500 {
            let plan = Plan::draw(seed, Options::default());
            let voters = plan.max_voters.min(plan.members - plan.observers.len());
            assert!(plan.forgetful.len() * 2 < voters);
            assert!(plan.volatile.iter().all(|n| plan.forgetful.contains(n)));
            for Planned { fault, .. } in &plan.faults {
                match fault {
                    Fault::Crash { target, wipe: true } | Fault::Leave(target) => {
                        let Target::Member(member) = target else {
                            panic!("{target:?} may be anybody")
                        };
                        assert!(plan.forgetful.contains(member));
                    }
                    Fault::Crash { .. } | Fault::CrashAll => assert!(plan.durable),
                    _ => {}
                }
            }
        }
    }
}
