//! Findings: rules over the reports of nodes that name what is wrong, and a way on.
//!
//! The table [`RULES`] is the only source: what `mosaik doctor` and `mosaik check` say comes from it,
//! and the book's appendix is compared with it. A rule looks at reports alone, and so comes to the
//! same result wherever these are looked at.
//!
//! Numbers never change their meaning, and none is used again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde::Serialize;

use super::{
    CollectionReport, FunctionReport, FunctionSide, GroupReport, GroupRole, LinkPath, Report,
    StreamReport, StreamSide, SubscriptionState,
};
use crate::primitives::{Digest, GroupId, PeerId, ShortFmtExt, text::printable};

/// Reports that were collected from a network at about the same time.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Observed {
    /// Reports of the nodes that have answered.
    pub reports: Vec<Report>,
    /// Nodes that have not answered, and the reason.
    pub silent: Vec<(PeerId, String)>,
    /// Nodes that have answered that they tell this asker nothing, and the reason.
    pub refused: Vec<(PeerId, String)>,
}

impl Observed {
    /// Collects reports.
    pub fn new(reports: Vec<Report>) -> Self {
        Self {
            reports,
            ..Self::default()
        }
    }

    /// Returns whether no node was found.
    pub fn is_empty(&self) -> bool {
        self.reports.is_empty() && self.silent.is_empty() && self.refused.is_empty()
    }

    /// Adds a node that has not answered.
    #[must_use]
    pub fn with_silent(mut self, peer: PeerId, reason: impl Into<String>) -> Self {
        self.silent.push((peer, printable(&reason.into())));
        self
    }

    /// Adds a node that has answered that it tells this asker nothing.
    #[must_use]
    pub fn with_refused(mut self, peer: PeerId, reason: impl Into<String>) -> Self {
        self.refused.push((peer, printable(&reason.into())));
        self
    }
}

/// Severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Severity {
    /// Worth to know.
    Notice,
    /// Something works worse than it could, or will fail with the next fault.
    Warning,
    /// Something does not work.
    Error,
}

impl Severity {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that is wrong, at one node.
///
/// # Examples
///
/// ```
/// use mosaik::status::findings::{self, Observed};
///
/// # fn example(report: mosaik::status::Report) {
/// for finding in findings::examine(&Observed::new(vec![report])) {
///     println!("{finding}");
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// Number of the rule.
    pub number: &'static str,
    /// Severity of the rule.
    pub severity: Severity,
    /// The node that it is about.
    pub peer: PeerId,
    /// Sentence about this instance.
    pub text: String,
    /// Way on: the next thing to do.
    pub way_on: &'static str,
}

impl core::fmt::Display for Finding {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self {
            number,
            peer,
            text,
            way_on,
            ..
        } = self;
        write!(f, "{number} {}: {text}. {way_on}", peer.short())
    }
}

/// One rule of the table.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Rule {
    /// Its number.
    pub number: &'static str,
    /// Severity of its findings.
    pub severity: Severity,
    /// The condition, in words.
    pub condition: &'static str,
    /// Way on: the next thing to do.
    pub way_on: &'static str,
    find: fn(&Observed) -> Vec<Instance>,
}

impl core::fmt::Debug for Rule {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Rule")
            .field("number", &self.number)
            .field("severity", &self.severity)
            .field("condition", &self.condition)
            .finish_non_exhaustive()
    }
}

/// The node that something is wrong at, and the sentence about it.
type Instance = (PeerId, String);

/// Time after which a node should have found others.
const SETTLED_MS: u64 = 10_000;
/// Time in which a node that was just started finds the peers of its streams, functions and groups.
const STARTED_MS: u64 = 5_000;
/// Time after which a member of a group should be online.
const ONLINE_MS: u64 = 30_000;
/// Age from which on an event is no news.
const RECENT_MS: u64 = 60_000;
/// Time for which a consumer may hold up others before that is worth a word.
const HOLD_UP_MS: u64 = 250;
/// Commands by which a member may be behind another.
const BEHIND: u64 = 1000;
/// Commands that a group may commit in a millisecond, for the time between two reports: more than any
/// does.
const COMMITTED_PER_MS: u64 = 1000;
/// Longest sentence of a finding, in characters.
const MAX_TEXT_CHARS: usize = 1000;
/// An entry is nearly full from this percentage on.
const FULL_PERCENT: u64 = 80;
/// Names that one sentence lists.
const LISTED: usize = 5;

/// All rules, in the order of their numbers.
pub const RULES: &[Rule] = &[
    Rule {
        number: "M100",
        severity: Severity::Error,
        condition: "A node of the catalog does not answer.",
        way_on: "Look whether its process runs, and whether UDP reaches it.",
        find: |observed| {
            let silent = observed.silent.iter();
            silent
                .map(|(peer, reason)| (*peer, format!("the node does not answer: {reason}")))
                .collect()
        },
    },
    Rule {
        number: "M101",
        severity: Severity::Error,
        condition: "A node that has run for 10 s knows no other node, or has no neighbour in gossip.",
        way_on: "Give it the address of a running node as bootstrap, and compare the network's name.",
        find: |observed| {
            in_each(&observed.reports, |report, found| {
                found.extend(no_neighbours(report));
            })
        },
    },
    Rule {
        number: "M102",
        severity: Severity::Error,
        condition: "A node's clock differs from those of most others by more than its `max_time_drift`.",
        way_on: "Set the clock, and keep it right with NTP.",
        find: clock_drift,
    },
    Rule {
        number: "M103",
        severity: Severity::Notice,
        condition: "Nodes run different versions of the library.",
        way_on: "Upgrade the rest, unless an upgrade is under way.",
        find: version_mix,
    },
    Rule {
        number: "M104",
        severity: Severity::Warning,
        condition: "A node's signed entry has 80 % of the size that it may have.",
        way_on: "Remove tags and tickets, or spread streams and functions over more nodes.",
        find: |observed| {
            in_each(&observed.reports, |report, found| {
                let (len, max) = (report.node.entry_bytes, report.node.max_entry_bytes);
                if max > 0 && len.saturating_mul(100) >= max.saturating_mul(FULL_PERCENT) {
                    found.push(format!("the entry has {len} of {max} bytes"));
                }
            })
        },
    },
    Rule {
        number: "M105",
        severity: Severity::Error,
        condition: "Two processes ran with one secret key within the last minutes.",
        way_on: "Stop one of them, or give it a key of its own.",
        find: |observed| {
            in_each(&observed.reports, |report, found| {
                if let Some(address) = &report.node.duplicate {
                    found.push(format!(
                        "another process, at {address}, runs with this node's secret key"
                    ));
                }
            })
        },
    },
    Rule {
        number: "M106",
        severity: Severity::Error,
        condition: "A node's storage has failed.",
        way_on: "Free or replace the disk and restart the node: its durable members have stopped.",
        find: |observed| {
            in_each(&observed.reports, |report, found| {
                if let Some(failure) = &report.node.storage_failure {
                    found.push(format!("the storage has failed: {failure}"));
                }
            })
        },
    },
    Rule {
        number: "M107",
        severity: Severity::Notice,
        condition: "A node tells nothing about itself to this asker.",
        way_on: "Present a ticket if the node wants one, or ask less often; a node may also be set to \
                 tell nobody.",
        find: |observed| {
            let refused = observed.refused.iter();
            refused
                .map(|(peer, reason)| (*peer, format!("the node tells nothing: {reason}")))
                .collect()
        },
    },
    Rule {
        number: "M111",
        severity: Severity::Warning,
        condition: "All connections of a node that has run for 10 s go through relays.",
        way_on: "Let UDP through the firewall on both sides, or give the node's external address.",
        find: |observed| {
            in_each(&observed.reports, |report, found| {
                found.extend(relay_only(report));
            })
        },
    },
    Rule {
        number: "M121",
        severity: Severity::Warning,
        condition: "A consumer holds up the others of its stream.",
        way_on: "Make that consumer faster, or choose another lag policy for the producer.",
        find: |observed| {
            in_streams(&observed.reports, StreamSide::Producer, |stream, found| {
                found.extend(slow_consumers(stream));
            })
        },
    },
    Rule {
        number: "M122",
        severity: Severity::Warning,
        condition: "A producer has cut off a consumer within the last minute.",
        way_on: "If it was too slow, make it faster or choose another lag policy; if it was not \
                 allowed, look at its tickets.",
        find: |observed| {
            in_streams(&observed.reports, StreamSide::Producer, |stream, found| {
                found.extend(recent_cuts(stream));
            })
        },
    },
    Rule {
        number: "M123",
        severity: Severity::Warning,
        condition: "A consumer finds no producer, on a node that has run for 5 s.",
        way_on: "Start a producer, and compare the stream's id on both sides.",
        find: |observed| {
            in_streams(started(observed), StreamSide::Consumer, |stream, found| {
                if stream.producers_known == 0 {
                    found.push(format!("nobody produces stream {}", stream_name(stream)));
                }
            })
        },
    },
    Rule {
        number: "M124",
        severity: Severity::Warning,
        condition: "A consumer is subscribed to none of the producers that it knows, on a node that has \
                    run for 5 s.",
        way_on: "Look at the requirements and tickets of both sides, and whether they reach each other.",
        find: |observed| {
            in_streams(started(observed), StreamSide::Consumer, |stream, found| {
                let is_connected = stream
                    .subscriptions
                    .iter()
                    .any(|one| one.state == SubscriptionState::Connected);
                if stream.producers_known > 0 && !is_connected {
                    found.push(format!(
                        "stream {} has {} producers, and this consumer is subscribed to none",
                        stream_name(stream),
                        stream.producers_known
                    ));
                }
            })
        },
    },
    Rule {
        number: "M125",
        severity: Severity::Warning,
        condition: "A consumer has received datums within the last minute that it can't decode.",
        way_on: "Compare the datum types of both sides; a schema tag tells such a difference earlier.",
        find: |observed| {
            in_streams(&observed.reports, StreamSide::Consumer, |stream, found| {
                if is_recent(stream.undecodable_ago_ms) {
                    found.push(format!(
                        "{} datums of stream {} could not be decoded as {}",
                        stream.undecodable,
                        stream_name(stream),
                        stream.datum
                    ));
                }
            })
        },
    },
    Rule {
        number: "M131",
        severity: Severity::Error,
        condition: "A caller finds no handler, on a node that has run for 5 s.",
        way_on: "Start a handler, and compare id, types and tickets of both sides: all are part of \
                 the function's identity.",
        find: no_handlers,
    },
    Rule {
        number: "M132",
        severity: Severity::Warning,
        condition: "A producer or handler has refused peers within the last minute that lack a ticket or \
                    do not meet its requirements, or a caller may call none of the handlers that it \
                    knows.",
        way_on: "Give the peers the tickets that are required, and look when they expire.",
        find: |observed| in_each(&observed.reports, tickets_refused),
    },
    Rule {
        number: "M133",
        severity: Severity::Warning,
        condition: "A handler runs as many calls as it may, and has refused others within the last minute.",
        way_on: "Start further handlers, or raise `with_max_concurrent`.",
        find: |observed| {
            in_functions(
                &observed.reports,
                FunctionSide::Handler,
                |function, found| {
                    if let Some(max) = function.max_running
                        && function.running >= max
                        && is_recent(function.refused_ago_ms)
                    {
                        found.push(format!(
                        "function {} runs {max} calls, which is its limit; {} were refused so far",
                        function_name(function),
                        function.refused
                    ));
                    }
                },
            )
        },
    },
    Rule {
        number: "M141",
        severity: Severity::Error,
        condition: "A group has halted: no leader can be elected.",
        way_on: "Bring a majority of the voters back. If they are lost for good, call \
                 `Group::reform` on one survivor after the other until one answers `true`.",
        find: |observed| in_groups(observed, halted),
    },
    Rule {
        number: "M142",
        severity: Severity::Warning,
        condition: "A group has fewer voters than its `min_members`, or waits for as many before it \
                    begins. A collection with fewer than its `with_min_writers` takes no mutations.",
        way_on: "Start the missing members.",
        find: |observed| in_groups(observed, |group, found| found.extend(too_few(group))),
    },
    Rule {
        number: "M143",
        severity: Severity::Warning,
        condition: "A group has two voters, which survive no crash.",
        way_on: "Add a third member.",
        find: |observed| {
            in_groups(observed, |group, found| {
                if group.voters.len() == 2 {
                    found.push(format!(
                        "group {} has two voters: it halts when either fails",
                        group_name(group)
                    ));
                }
            })
        },
    },
    Rule {
        number: "M144",
        severity: Severity::Warning,
        condition: "A member is 1000 commands or more behind another of its group, and as many more for \
                    each millisecond between the two reports.",
        way_on: "Look at that node's load, disk and connection.",
        find: lagging_members,
    },
    Rule {
        number: "M145",
        severity: Severity::Error,
        condition: "Members of one group have different histories.",
        way_on: "Keep one: call `Group::abandon_history` on the members whose history is to go. Set \
                 `min_members` so that it can't happen again.",
        find: rival_histories,
    },
    Rule {
        number: "M146",
        severity: Severity::Error,
        condition: "A member can't take part in its group.",
        way_on: "See the sentence; the node's log has the rest.",
        find: |observed| {
            // Of each member, not of each group.
            in_each(&observed.reports, |report, found| {
                for group in &report.groups {
                    if let Some(failure) = &group.failure {
                        found.push(format!(
                            "the member of group {} can't go on: {failure}",
                            group_name(group)
                        ));
                    }
                }
            })
        },
    },
    Rule {
        number: "M147",
        severity: Severity::Warning,
        condition: "A voter is out of reach of another member, which joined 5 s ago or earlier.",
        way_on: "Look whether that node runs; the group goes on as long as a majority does.",
        find: |observed| {
            in_groups(observed, |group, found| {
                let has_met = group.joined_ms >= STARTED_MS;
                if has_met && !group.halted && !group.missing.is_empty() {
                    found.push(format!(
                        "group {} does not reach {} of {} voters: {}",
                        group_name(group),
                        group.missing.len(),
                        group.voters.len(),
                        list(group.missing.iter().map(|peer| peer.short().to_string()))
                    ));
                }
            })
        },
    },
    Rule {
        number: "M148",
        severity: Severity::Notice,
        condition: "A member has given up commands, because another history won.",
        way_on: "Set `min_members` to a majority of the intended voters.",
        find: |observed| {
            in_each(&observed.reports, |report, found| {
                for group in report.groups.iter().filter(|group| group.discarded > 0) {
                    found.push(format!(
                        "{} commands of group {} were given up",
                        group.discarded,
                        group_name(group)
                    ));
                }
            })
        },
    },
    Rule {
        number: "M149",
        severity: Severity::Error,
        condition: "A member is not online 30 s after it joined, although its group has not halted.",
        way_on: "Look whether it reaches the other members, and has the tickets and the key that they \
                 want; readers and observers need a writer.",
        find: |observed| {
            in_each(&observed.reports, |report, found| {
                found.extend(report.groups.iter().filter_map(not_online));
            })
        },
    },
    Rule {
        number: "M151",
        severity: Severity::Error,
        condition: "Nodes have opened different collections under one store id.",
        way_on: "Make kind, types and configuration equal, or take another store id.",
        find: |observed| {
            in_each(&observed.reports, |report, found| {
                found.extend(report.collections.iter().filter_map(mismatch));
            })
        },
    },
];

/// Examines reports; the worst findings come first.
pub fn examine(observed: &Observed) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in RULES {
        let instances = (rule.find)(observed).into_iter();
        findings.extend(instances.map(|(peer, text)| Finding {
            number: rule.number,
            severity: rule.severity,
            peer,
            text: text.chars().take(MAX_TEXT_CHARS).collect(),
            way_on: rule.way_on,
        }));
    }
    findings.sort_by_key(|finding| (core::cmp::Reverse(finding.severity), finding.number));
    findings
}

/// The table as the book has it.
#[doc(hidden)]
pub fn table() -> String {
    let mut table = String::from("| number | severity | condition | way on |\n|---|---|---|---|\n");
    for rule in RULES {
        let _ = writeln!(
            table,
            "| {} | {} | {} | {} |",
            rule.number,
            rule.severity.as_str(),
            rule.condition,
            rule.way_on
        );
    }
    table
}

// ---- nodes

fn no_neighbours(report: &Report) -> Option<String> {
    let node = &report.node;
    if node.uptime_ms < SETTLED_MS {
        return None;
    }
    if node.peers == 0 {
        Some("the node knows no other node".to_owned())
    } else if node.neighbours == 0 {
        let peers = node.peers;
        Some(format!(
            "the node knows {peers} others, and has no neighbour in gossip"
        ))
    } else {
        None
    }
}

fn clock_drift(observed: &Observed) -> Vec<Instance> {
    // All against the asker's clock, which is also that of its own report.
    let ahead = |report: &Report| report.node.clock_ahead_ms.unwrap_or(0);
    let reports = &observed.reports;
    let mut found = Vec::new();
    for (index, report) in reports.iter().enumerate() {
        let limit = report.node.max_clock_drift_ms;
        let others = reports
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index);
        let differences: Vec<i64> = others
            .map(|(_, other)| ahead(report).saturating_sub(ahead(other)))
            .collect();
        let too_far = |difference: &&i64| difference.unsigned_abs() > limit;
        let apart: Vec<i64> = differences.iter().filter(too_far).copied().collect();
        if apart.is_empty() || apart.len() * 2 <= differences.len() {
            continue;
        }
        let nearest = apart.iter().copied().min_by_key(|d| d.unsigned_abs());
        let nearest = nearest.unwrap_or_default();
        let way = if nearest > 0 { "ahead of" } else { "behind" };
        let peers = (apart.len(), differences.len());
        found.push((
            report.node.peer,
            format!(
                "the clock is {} s {way} {} of {} peers: entries are refused",
                nearest.unsigned_abs().div_ceil(1000),
                peers.0,
                peers.1
            ),
        ));
    }
    found
}

fn version_mix(observed: &Observed) -> Vec<Instance> {
    let mut counts = BTreeMap::<&str, usize>::new();
    for report in &observed.reports {
        *counts.entry(&report.node.build).or_default() += 1;
    }
    let Some((usual, count)) = counts.iter().max_by_key(|(_, count)| **count) else {
        return Vec::new();
    };
    let all = observed.reports.len();
    let others = observed.reports.iter().filter(|r| r.node.build != **usual);
    others
        .map(|report| {
            let own = &report.node.build;
            let text = format!("the node runs version {own}, and {count} of {all} run {usual}");
            (report.node.peer, text)
        })
        .collect()
}

fn relay_only(report: &Report) -> Option<String> {
    let by_relay = |path| path == LinkPath::Relay;
    // Who looks on may be near, or behind a relay of its own.
    let of_members = report.links.iter().filter(|link| !link.observes);
    let links = of_members.clone().count();
    let settled = report.node.uptime_ms >= SETTLED_MS;
    let all = settled && links > 0 && of_members.clone().all(|link| by_relay(link.path));
    all.then(|| format!("all {links} peers are connected through relays"))
}

// ---- streams

fn slow_consumers(stream: &StreamReport) -> Vec<String> {
    // Without others that could go on, it is plain back-pressure.
    let somebody_starves = stream.subscriptions.iter().any(|one| one.lag == 0);
    let slow = stream.subscriptions.iter().filter(|one| {
        let is_full = stream.waiting && one.lag.saturating_mul(2) >= stream.buffer && one.lag > 0;
        one.held_up_ms >= HOLD_UP_MS || (is_full && somebody_starves)
    });
    slow.map(|one| {
        format!(
            "consumer {} of stream {} has not taken {} datums and holds up the others",
            one.peer.short(),
            stream_name(stream),
            one.lag
        )
    })
    .collect()
}

fn recent_cuts(stream: &StreamReport) -> Vec<String> {
    let recent = stream.cut.iter().filter(|cut| cut.ago_ms < RECENT_MS);
    recent
        .map(|cut| {
            format!(
                "consumer {} of stream {} was cut off {} s ago: {}",
                cut.peer.short(),
                stream_name(stream),
                cut.ago_ms / 1000,
                cut.reason.replace('_', " ")
            )
        })
        .collect()
}

// ---- functions

fn no_handlers(observed: &Observed) -> Vec<Instance> {
    // Handlers of the same name under another id show what differs.
    let served: Vec<_> = observed
        .reports
        .iter()
        .flat_map(|report| report.functions.iter().map(|f| (report.node.peer, f)))
        .filter(|(_, function)| function.side == FunctionSide::Handler)
        .collect();
    in_functions(
        started(observed),
        FunctionSide::Caller,
        |function, found| {
            if function.handlers_known > 0 {
                return;
            }
            let is_alike = |other: &FunctionReport| {
                function.label.is_some()
                    && other.label == function.label
                    && other.function != function.function
            };
            let name = function_name(function);
            found.push(match served.iter().find(|(_, other)| is_alike(other)) {
            Some((peer, other)) if other.types != function.types => format!(
                "nobody serves function {name} ({}); {} serves one of this name with {}",
                function.types,
                peer.short(),
                other.types
            ),
            Some((peer, _)) => format!(
                "nobody serves function {name} with these tickets; {} serves one of this name with \
                 other tickets",
                peer.short()
            ),
            None => format!("nobody serves function {name}"),
        });
        },
    )
}

fn tickets_refused(report: &Report, found: &mut Vec<String>) {
    for stream in report
        .streams
        .iter()
        .filter(|stream| is_recent(stream.not_allowed_ago_ms))
    {
        let (count, name) = (stream.not_allowed, stream_name(stream));
        found.push(format!(
            "{count} subscriptions to stream {name} were not allowed"
        ));
    }
    for function in &report.functions {
        let name = function_name(function);
        if is_recent(function.not_allowed_ago_ms) {
            let count = function.not_allowed;
            found.push(format!("{count} calls of function {name} were not allowed"));
        }
        let is_shut_out = has_started(report)
            && function.side == FunctionSide::Caller
            && function.eligible == 0
            && function.handlers_known > 0;
        if is_shut_out {
            let count = function.handlers_known;
            found.push(format!(
                "none of {count} handlers of function {name} meets this caller's requirements"
            ));
        }
    }
}

// ---- groups

fn too_few(group: &GroupReport) -> Option<String> {
    let (voters, name) = (group.voters.len(), group_name(group));
    let intended = group.min_members;
    if voters > 0 {
        let text = format!("group {name} has {voters} of {intended} intended voters");
        return ((voters as u64) < intended).then_some(text);
    }
    let waits = group.role == GroupRole::Joining
        && group.lineage.is_none()
        && group.joined_ms >= SETTLED_MS;
    let met = 1 + group.bonds.iter().filter(|bond| !bond.observes).count() as u64;
    (waits && met < intended).then(|| {
        format!("group {name} waits for {intended} members before it begins, and {met} have met")
    })
}

fn not_online(group: &GroupReport) -> Option<String> {
    // Other rules say why it is not.
    let is_explained = group.halted || group.failure.is_some() || too_few(group).is_some();
    let is_late = group.joined_ms >= ONLINE_MS && !group.online && !group.catching_up;
    (is_late && !is_explained).then(|| {
        let role = group.role;
        format!(
            "the member of group {} is not online, as {role}",
            group_name(group)
        )
    })
}

fn halted(group: &GroupReport, found: &mut Vec<String>) {
    if !group.halted {
        return;
    }
    let missing = list(group.missing.iter().map(|peer| peer.short().to_string()));
    found.push(format!(
        "group {} has halted: {} of {} voters are missing ({missing}), {} must meet",
        group_name(group),
        group.missing.len(),
        group.voters.len(),
        group.voters.len() / 2 + 1,
    ));
}

fn lagging_members(observed: &Observed) -> Vec<Instance> {
    let mut members = BTreeMap::<(GroupId, Digest), Vec<(&Report, &GroupReport)>>::new();
    for report in &observed.reports {
        for group in &report.groups {
            if let Some(lineage) = group.lineage {
                let members = members.entry((group.group, lineage)).or_default();
                members.push((report, group));
            }
        }
    }
    in_each(&observed.reports, |report, found| {
        for group in report.groups.iter().filter(|group| !group.catching_up) {
            let lineage = group.lineage.map(|lineage| (group.group, lineage));
            let others = lineage
                .and_then(|id| members.get(&id))
                .into_iter()
                .flatten();
            let own = (report, group);
            let behind = others.filter_map(|other| behind(own, *other)).max();
            if let Some(behind) = behind {
                found.push(format!(
                    "the member of group {} is {behind} commands behind",
                    group_name(group)
                ));
            }
        }
    })
}

/// Commands by which a member is behind another, if these are too many. The other may have been asked
/// later, and the group goes on meanwhile.
fn behind(own: (&Report, &GroupReport), other: (&Report, &GroupReport)) -> Option<u64> {
    // By the asker's clock; the difference of clocks is right to half a round trip.
    let at = |(report, group): (&Report, &GroupReport)| {
        let ahead_ms = i128::from(report.node.clock_ahead_ms.unwrap_or(0));
        i128::from(group.clock_ms) - ahead_ms
    };
    let doubt_us = |(report, _): (&Report, &GroupReport)| report.node.asked_us.unwrap_or(0) / 2;
    let doubt_ms = doubt_us(own).saturating_add(doubt_us(other)) / 1000;
    let later_ms = at(other) - at(own) + i128::from(doubt_ms);
    let later_ms = u64::try_from(later_ms.max(0)).unwrap_or(u64::MAX);
    let allowed = BEHIND.saturating_add(later_ms.saturating_mul(COMMITTED_PER_MS));
    let behind = other.1.committed.saturating_sub(own.1.committed);
    (behind >= allowed).then_some(behind)
}

fn rival_histories(observed: &Observed) -> Vec<Instance> {
    let mut belonging = BTreeMap::<GroupId, Vec<&GroupReport>>::new();
    for group in observed.reports.iter().flat_map(groups_of) {
        // Who is on the way into a history, or out of one, is no rival.
        let belongs = matches!(group.role, GroupRole::Leader | GroupRole::Voter);
        if belongs && group.lineage.is_some() {
            belonging.entry(group.group).or_default().push(group);
        }
    }
    in_groups(observed, |group, found| {
        let members = belonging.get(&group.group).map_or(&[][..], Vec::as_slice);
        // A history that another one continues goes over into that.
        let ends = |lineage: &Digest| !members.iter().any(|m| m.ancestry.contains(lineage));
        let histories: BTreeSet<_> = members
            .iter()
            .filter_map(|m| m.lineage)
            .filter(ends)
            .collect();
        let rivals: Vec<_> = group.bonds.iter().filter(|bond| bond.rival).collect();
        if !rivals.is_empty() {
            let rivals = list(rivals.iter().map(|bond| bond.peer.short().to_string()));
            let name = group_name(group);
            found.push(format!("group {name} has a rival history at {rivals}"));
        } else if histories.len() > 1 {
            let (name, apart) = (group_name(group), histories.len());
            found.push(format!("group {name} has {apart} histories"));
        }
    })
}

// ---- collections

fn mismatch(collection: &CollectionReport) -> Option<String> {
    if collection.mismatches.is_empty() {
        return None;
    }
    let peers = collection.mismatches.iter().map(|mismatch| {
        format!(
            "{} ({})",
            mismatch.peer.short(),
            mismatch.differing.join(", ")
        )
    });
    let name = match &collection.label {
        Some(label) => label.clone(),
        None => format!("{} of group {}", collection.kind, collection.group.short()),
    };
    Some(format!(
        "collection {name} is another one on {}",
        list(peers)
    ))
}

// ---- what rules share

fn has_started(report: &Report) -> bool {
    report.node.uptime_ms >= STARTED_MS
}

/// The reports of nodes that had time to find their peers.
fn started(observed: &Observed) -> impl Iterator<Item = &Report> {
    observed.reports.iter().filter(|report| has_started(report))
}

fn is_recent(ago_ms: Option<u64>) -> bool {
    ago_ms.is_some_and(|ago_ms| ago_ms < RECENT_MS)
}

/// Looks at each report.
fn in_each<'o>(
    reports: impl IntoIterator<Item = &'o Report>,
    mut find: impl FnMut(&Report, &mut Vec<String>),
) -> Vec<Instance> {
    let mut found = Vec::new();
    for report in reports {
        let mut texts = Vec::new();
        find(report, &mut texts);
        found.extend(texts.into_iter().map(|text| (report.node.peer, text)));
    }
    found
}

fn in_streams<'o>(
    reports: impl IntoIterator<Item = &'o Report>,
    side: StreamSide,
    mut find: impl FnMut(&StreamReport, &mut Vec<String>),
) -> Vec<Instance> {
    in_each(reports, |report, found| {
        let streams = report.streams.iter().filter(|stream| stream.side == side);
        streams.for_each(|stream| find(stream, found));
    })
}

fn in_functions<'o>(
    reports: impl IntoIterator<Item = &'o Report>,
    side: FunctionSide,
    mut find: impl FnMut(&FunctionReport, &mut Vec<String>),
) -> Vec<Instance> {
    in_each(reports, |report, found| {
        let functions = report.functions.iter().filter(|one| one.side == side);
        functions.for_each(|function| find(function, found));
    })
}

/// The groups of a report, each once: a node has one member of each.
fn groups_of(report: &Report) -> impl Iterator<Item = &GroupReport> {
    let mut seen = BTreeSet::new();
    let groups = report.groups.iter();
    groups.filter(move |group| seen.insert(group.group))
}

/// Looks at each group once, as the leader sees it, or else the member that knows most; observers
/// speak only where no member does. Where others name the voters, nobody else speaks for the group:
/// one report proves nothing.
fn in_groups(
    observed: &Observed,
    mut find: impl FnMut(&GroupReport, &mut Vec<String>),
) -> Vec<Instance> {
    let mut members = BTreeMap::<GroupId, Vec<(&Report, &GroupReport)>>::new();
    for report in &observed.reports {
        for group in groups_of(report) {
            members
                .entry(group.group)
                .or_default()
                .push((report, group));
        }
    }
    let mut found = Vec::new();
    for reported in members.into_values() {
        let rank = |(report, group): &(&Report, &GroupReport)| {
            let peer = report.node.peer;
            let others = || reported.iter().filter(|(other, _)| other.node.peer != peer);
            let is_named = others().any(|(_, other)| other.voters.contains(&peer));
            let is_alone = others().all(|(_, other)| other.voters.is_empty());
            let role = match group.role {
                GroupRole::Leader => 3,
                GroupRole::Voter => 2,
                GroupRole::Learner => 1,
                _ => 0,
            };
            (is_named || is_alone, role, group.committed)
        };
        // The first of equals, so that the result does not depend on the order of their ids.
        let first = reported.iter().rev().max_by_key(|one| rank(one));
        if let Some((report, group)) = first {
            let mut texts = Vec::new();
            find(group, &mut texts);
            found.extend(texts.into_iter().map(|text| (report.node.peer, text)));
        }
    }
    found
}

fn stream_name(stream: &StreamReport) -> String {
    name(stream.label.as_deref(), &stream.stream)
}

fn function_name(function: &FunctionReport) -> String {
    name(function.label.as_deref(), &function.function)
}

fn group_name(group: &GroupReport) -> String {
    name(group.label.as_deref(), &group.group)
}

fn name(label: Option<&str>, id: &Digest) -> String {
    label.map_or_else(|| id.short().to_string(), str::to_owned)
}

fn list(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<_> = names.collect();
    let left_off = names.len().saturating_sub(LISTED);
    names.truncate(LISTED);
    let mut text = names.join(", ");
    if left_off > 0 {
        let _ = write!(text, " and {left_off} more");
    }
    text
}

#[cfg(test)]
#[path = "findings_tests.rs"]
mod tests;
