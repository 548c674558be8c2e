//! `mosaik watch`: what changes in a network, as it happens.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
    time::{Duration, SystemTime},
};

use mosaik::{
    GroupId, PeerId,
    primitives::ShortFmtExt,
    status::{
        GroupReport, GroupRole, Report, StreamSide,
        findings::{self, Finding, Observed},
        printable,
    },
};
use serde::Serialize;

use crate::{
    lists::{named, tags},
    observe::{self, Observer, look_on},
    output::{json, print},
};

/// Word for a node that tells nothing.
const STATE: &str = "state";

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    observe: observe::Options,

    /// Seconds between two looks at the network.
    #[arg(long, value_name = "SECS", default_value_t = 1,
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,

    /// Print one line of JSON for each change.
    #[arg(long)]
    json: bool,
}

/// A change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Change {
    /// `came`, `went`, `changed`, `leader`, `found` or `solved`.
    event: &'static str,
    /// The node, group or rule that it is about.
    about: String,
    text: String,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    look_on(&options.observe, true, async |observer| {
        watch(&options, observer).await
    })
    .await
}

async fn watch(options: &Options, observer: &Observer) -> anyhow::Result<ExitCode> {
    let mut former = Picture::default();
    loop {
        let picture = Picture::of(&observer.observe().await).after(&former);
        for change in former.changes(&picture) {
            let at = humantime::format_rfc3339_seconds(SystemTime::now());
            let line = if options.json {
                #[derive(Serialize)]
                struct Line<'c> {
                    at: String,
                    #[serde(flatten)]
                    change: &'c Change,
                }
                json(&Line {
                    at: at.to_string(),
                    change: &change,
                })?
            } else {
                let Change { event, about, text } = change;
                format!(
                    "{at}  {event:7}  {}\n",
                    printable(&format!("{about}  {text}"))
                )
            };
            if !print(&line)? {
                return Ok(ExitCode::SUCCESS);
            }
        }
        former = picture;
        tokio::time::sleep(Duration::from_secs(options.every)).await;
    }
}

/// The part of a network that is watched.
#[derive(Debug, Default)]
struct Picture {
    nodes: BTreeMap<PeerId, Node>,
    groups: BTreeMap<GroupId, Group>,
    findings: BTreeMap<FindingKey, String>,
}

/// Number, node, text without figures, and which of several that are alike.
type FindingKey = (&'static str, PeerId, String, usize);

/// A node, in the words that are shown when one of them changes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    facts: BTreeMap<&'static str, String>,
    uptime_ms: Option<u64>,
    /// True if it did not answer at this look, and is shown as before.
    missed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    name: String,
    leader: Option<PeerId>,
    voters: BTreeSet<PeerId>,
}

impl Picture {
    fn of(observed: &Observed) -> Self {
        let mut picture = Self::default();
        let mut groups = BTreeMap::<GroupId, Vec<&GroupReport>>::new();
        for report in &observed.reports {
            picture.nodes.insert(report.node.peer, Node::of(report));
            for group in &report.groups {
                groups.entry(group.group).or_default().push(group);
            }
        }
        for (id, reports) in groups {
            picture
                .groups
                .extend(Group::of(&reports).map(|group| (id, group)));
        }
        for (peer, why) in observe::unheard(observed) {
            let node = Node {
                facts: BTreeMap::from([(STATE, why.to_owned())]),
                uptime_ms: None,
                missed: false,
            };
            picture.nodes.insert(*peer, node);
        }
        for finding in findings::examine(observed) {
            // Alike but for figures, as of streams whose names are numbered, they are told apart by
            // their order.
            let mut of_kind = (0..).map(|n| key(&finding, n));
            let free = of_kind.find(|key| !picture.findings.contains_key(key));
            picture.findings.extend(free.map(|key| (key, finding.text)));
        }
        picture
    }

    /// The picture that follows on another. A node that misses one look is taken to be as before: its
    /// answer may have been lost.
    fn after(mut self, before: &Self) -> Self {
        let has_missed = |peer: &PeerId, node: &Node| {
            let former = before.nodes.get(peer);
            node.is_unheard() && former.is_some_and(|former| !former.is_unheard() && !former.missed)
        };
        let missing = self
            .nodes
            .iter()
            .filter(|(peer, node)| has_missed(peer, node));
        let missing: BTreeSet<_> = missing.map(|(peer, _)| *peer).collect();
        if missing.is_empty() {
            return self;
        }
        for peer in &missing {
            if let Some(former) = before.nodes.get(peer) {
                let missed = Node {
                    missed: true,
                    ..former.clone()
                };
                self.nodes.insert(*peer, missed);
            }
        }
        self.findings.retain(|key, _| !missing.contains(&key.1));
        let findings = before.findings.iter();
        let kept = findings.filter(|(key, _)| missing.contains(&key.1));
        self.findings
            .extend(kept.map(|(key, text)| (key.clone(), text.clone())));
        for (id, group) in &before.groups {
            self.groups.entry(*id).or_insert_with(|| group.clone());
        }
        self
    }

    fn changes(&self, next: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut add = |event, about: String, text: String| {
            changes.push(Change { event, about, text });
        };
        for (peer, node) in &next.nodes {
            let about = peer.short().to_string();
            match self.nodes.get(peer) {
                None => add("came", about, node.to_string()),
                Some(before) => {
                    if let Some(text) = before.difference(node) {
                        add("changed", about, text);
                    }
                }
            }
        }
        for (peer, node) in &self.nodes {
            if !next.nodes.contains_key(peer) {
                add("went", peer.short().to_string(), node.to_string());
            }
        }
        for (id, group) in &next.groups {
            let before = self.groups.get(id);
            let leader = |group: &Group| {
                let leader = group.leader.as_ref();
                leader.map_or_else(|| "none".to_owned(), |peer| peer.short().to_string())
            };
            match before {
                None => add(
                    "leader",
                    group.name.clone(),
                    format!("{}, of {} voters", leader(group), group.voters.len()),
                ),
                Some(before) if before != group => add(
                    "leader",
                    group.name.clone(),
                    format!(
                        "{} -> {}, of {} voters",
                        leader(before),
                        leader(group),
                        group.voters.len()
                    ),
                ),
                Some(_) => {}
            }
        }
        for (key, text) in &next.findings {
            if !self.findings.contains_key(key) {
                add(
                    "found",
                    key.0.to_owned(),
                    format!("{}: {text}", key.1.short()),
                );
            }
        }
        for (key, text) in &self.findings {
            if !next.findings.contains_key(key) {
                add(
                    "solved",
                    key.0.to_owned(),
                    format!("{}: {text}", key.1.short()),
                );
            }
        }
        changes
    }
}

impl Group {
    /// A group by the word of the leader of the latest term, or else of the member that is furthest:
    /// they agree but for a moment.
    fn of(reports: &[&GroupReport]) -> Option<Self> {
        let rank = |report: &&&GroupReport| {
            let is_observer = report.voters.is_empty();
            (!is_observer, report.term, report.role == GroupRole::Leader)
        };
        let report = reports.iter().max_by_key(rank)?;
        Some(Self {
            name: named(report.label.as_deref(), &report.group),
            leader: report.leader,
            voters: report.voters.iter().copied().collect(),
        })
    }
}

impl Node {
    fn is_unheard(&self) -> bool {
        self.facts.contains_key(STATE)
    }

    fn of(report: &Report) -> Self {
        let streams = |side| report.streams.iter().filter(|one| one.side == side).count();
        let facts = BTreeMap::from([
            ("tags", tags(report)),
            ("version", report.node.build.clone()),
            ("produces", streams(StreamSide::Producer).to_string()),
            ("consumes", streams(StreamSide::Consumer).to_string()),
            ("functions", report.functions.len().to_string()),
            ("groups", report.groups.len().to_string()),
            ("collections", report.collections.len().to_string()),
        ]);
        Self {
            facts,
            uptime_ms: Some(report.node.uptime_ms),
            missed: false,
        }
    }

    /// The difference to the next picture, if there is one.
    fn difference(&self, next: &Self) -> Option<String> {
        match (self.facts.get(STATE), next.facts.get(STATE)) {
            (before, Some(now)) => return (before != Some(now)).then(|| now.clone()),
            (Some(_), None) => return Some(format!("answers again: {next}")),
            (None, None) => {}
        }
        let is_restarted = matches!((self.uptime_ms, next.uptime_ms),
            (Some(before), Some(now)) if now < before);
        let words: BTreeSet<_> = self.facts.keys().chain(next.facts.keys()).collect();
        let nothing = "-".to_owned();
        let differing = words.into_iter().filter_map(|word| {
            let before = self.facts.get(word).unwrap_or(&nothing);
            let now = next.facts.get(word).unwrap_or(&nothing);
            (before != now).then(|| format!("{word} {before} -> {now}"))
        });
        let restarted = is_restarted.then(|| "restarted".to_owned());
        let all: Vec<_> = restarted.into_iter().chain(differing).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let facts = self
            .facts
            .iter()
            .filter(|(_, fact)| *fact != "0" && *fact != "-");
        let facts: Vec<_> = facts.map(|(word, fact)| format!("{word} {fact}")).collect();
        f.write_str(&facts.join(", "))
    }
}

/// Key of a finding, by which it is the same one at the next look: its figures may have changed.
fn key(finding: &Finding, n: usize) -> FindingKey {
    let text = finding.text.chars().filter(|c| !c.is_ascii_digit());
    (finding.number, finding.peer, text.collect(), n)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(facts: &[(&'static str, &str)], uptime_ms: u64) -> Node {
        Node {
            facts: facts
                .iter()
                .map(|(word, fact)| (*word, (*fact).to_owned()))
                .collect(),
            uptime_ms: Some(uptime_ms),
            missed: false,
        }
    }

    fn peer(n: u8) -> PeerId {
        mosaik::SecretKey::from_bytes(&[n; 32]).public()
    }

    fn changes(before: &Picture, next: &Picture) -> Vec<(&'static str, String)> {
        let changes = before.changes(next).into_iter();
        changes.map(|change| (change.event, change.text)).collect()
    }

    #[test]
    fn nodes_come_change_and_go() {
        let picture = |nodes: &[(u8, Node)]| Picture {
            nodes: nodes
                .iter()
                .map(|(n, node)| (peer(*n), node.clone()))
                .collect(),
            ..Picture::default()
        };
        let one = picture(&[(1, node(&[("tags", "a"), ("groups", "0")], 10))]);
        assert_eq!(
            changes(&Picture::default(), &one),
            [("came", "tags a".to_owned())]
        );
        assert_eq!(changes(&one, &one), []);
        let other = picture(&[(1, node(&[("tags", "b"), ("groups", "0")], 5))]);
        let text = "restarted, tags a -> b".to_owned();
        assert_eq!(changes(&one, &other), [("changed", text)]);
        assert_eq!(
            changes(&one, &Picture::default()),
            [("went", "tags a".to_owned())]
        );
    }

    #[test]
    fn a_node_may_fall_silent_and_answer_again() {
        let (told, silent) = (
            node(&[("tags", "a")], 10),
            node(&[(STATE, "does not answer")], 10),
        );
        assert_eq!(told.difference(&silent).unwrap(), "does not answer");
        assert_eq!(silent.difference(&told).unwrap(), "answers again: tags a");
        assert_eq!(silent.difference(&silent), None);
    }

    #[test]
    fn one_answer_that_is_lost_is_no_news() {
        let of = |node: Node, finding: &'static str| Picture {
            nodes: BTreeMap::from([(peer(1), node)]),
            findings: BTreeMap::from([((finding, peer(1), String::new(), 0), finding.to_owned())]),
            ..Picture::default()
        };
        let told = of(node(&[("tags", "a")], 10), "M123");
        let silent = || of(node(&[(STATE, "does not answer")], 10), "M100");
        let once = silent().after(&told);
        assert_eq!(changes(&told, &once), []);
        let twice = silent().after(&once);
        let events: Vec<_> = once
            .changes(&twice)
            .iter()
            .map(|change| change.event)
            .collect();
        assert_eq!(events, ["changed", "found", "solved"]);
    }

    #[test]
    fn leaders_and_findings_are_told_when_they_change() {
        let group = |leader: u8| Group {
            name: "book".to_owned(),
            leader: Some(peer(leader)),
            voters: BTreeSet::from([peer(1), peer(2)]),
        };
        let picture = |leader: u8, lag: &str| Picture {
            groups: BTreeMap::from([(mosaik::Digest::from_bytes([3; 32]), group(leader))]),
            findings: BTreeMap::from([(
                ("M121", peer(1), "lags".to_owned(), 0),
                format!("lags {lag}"),
            )]),
            ..Picture::default()
        };
        assert_eq!(changes(&picture(1, "7"), &picture(1, "9")), []);
        let text = format!("{} -> {}, of 2 voters", peer(1).short(), peer(2).short());
        assert_eq!(
            changes(&picture(1, "7"), &picture(2, "7")),
            [("leader", text)]
        );
        let none = Picture::default();
        assert_eq!(changes(&none, &picture(1, "7"))[1].0, "found");
        assert_eq!(changes(&picture(1, "7"), &none)[0].0, "solved");
    }
}
