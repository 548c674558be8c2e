//! `mosaik peers`, `streams`, `functions`, `groups` and `collections`: what is there.

use std::time::Duration;

use mosaik::{
    Digest, PeerId,
    primitives::ShortFmtExt,
    status::{
        CollectionReport, FunctionReport, FunctionSide, GroupReport, LinkPath, LinkReport,
        NodeReport, Report, StreamReport, StreamSide, findings::Observed,
    },
};
use serde::Serialize;

use crate::{
    observe::{self, Observer},
    output::{Table, is_styled, json_line, print},
    stop::Stop,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    observe: observe::Options,

    /// Print one line of JSON for each item, with all that is known.
    #[arg(long)]
    json: bool,

    /// Print the list again and again, every so many seconds, until interrupted.
    #[arg(short, long, value_name = "SECS", num_args = 0..=1, default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    watch: Option<u64>,
}

/// A kind of list.
#[derive(Debug, Clone, Copy)]
pub(crate) enum List {
    Peers,
    Streams,
    Functions,
    Groups,
    Collections,
}

pub(crate) async fn run(list: List, options: Options) -> anyhow::Result<()> {
    let mut stop = Stop::listen()?;
    let observer = Observer::join(&options.observe).await?;
    let shown = tokio::select! {
        shown = show(list, &options, &observer) => shown,
        () = stop.requested() => Ok(()),
    };
    observer.leave().await;
    shown
}

async fn show(list: List, options: &Options, observer: &Observer) -> anyhow::Result<()> {
    let mut former = None;
    loop {
        let observed = observer.observe().await;
        anyhow::ensure!(
            options.watch.is_some() || !observed.reports.is_empty() || !observed.silent.is_empty(),
            "no node was found: is the name of the network right, and the peer's address?"
        );
        for (peer, reason) in &observed.silent {
            eprintln!("{}: {reason}", peer.short());
        }
        let text = if options.json {
            json(list, &observed)?
        } else {
            table(list, &observed, former.as_ref()).render(is_styled())
        };
        let clear = options.watch.is_some() && is_styled() && !options.json;
        let text = if clear {
            format!("\u{1b}[2J\u{1b}[H{text}")
        } else {
            text
        };
        let goes_on = print(&text)?;
        let Some(seconds) = options.watch.filter(|_| goes_on) else {
            return Ok(());
        };
        if !clear && !options.json && !print("\n")? {
            return Ok(());
        }
        former = Some(observed);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}

fn json(list: List, observed: &Observed) -> anyhow::Result<String> {
    let mut text = String::new();
    for report in &observed.reports {
        let peer = &report.node.peer;
        match list {
            List::Peers => {
                let line = PeerLine {
                    node: &report.node,
                    links: &report.links,
                };
                text += &json_line(peer, &line)?;
            }
            List::Streams => {
                for stream in &report.streams {
                    text += &json_line(peer, stream)?;
                }
            }
            List::Functions => {
                for function in &report.functions {
                    text += &json_line(peer, function)?;
                }
            }
            List::Groups => {
                for group in &report.groups {
                    text += &json_line(peer, group)?;
                }
            }
            List::Collections => {
                for collection in &report.collections {
                    text += &json_line(peer, collection)?;
                }
            }
        }
    }
    Ok(text)
}

/// A node with its links.
#[derive(Serialize)]
struct PeerLine<'r> {
    #[serde(flatten)]
    node: &'r NodeReport,
    links: &'r [LinkReport],
}

fn table(list: List, observed: &Observed, former: Option<&Observed>) -> Table {
    match list {
        List::Peers => peers(observed),
        List::Streams => streams(observed, former),
        List::Functions => functions(observed, former),
        List::Groups => groups(observed),
        List::Collections => collections(observed),
    }
}

fn peers(observed: &Observed) -> Table {
    let headings = [
        "node",
        "tags",
        "version",
        "up",
        "rtt",
        "peers",
        "links",
        "streams",
        "functions",
        "groups",
        "address",
    ];
    let mut table = Table::new(&headings);
    for report in &observed.reports {
        let node = &report.node;
        let tags = node
            .tags
            .iter()
            .map(|tag| named(tag.label.as_deref(), &tag.tag));
        let relayed = report
            .links
            .iter()
            .filter(|link| link.path == LinkPath::Relay);
        let links = match (report.links.len(), relayed.count()) {
            (all, 0) => all.to_string(),
            (all, relayed) => format!("{all} ({relayed} by relay)"),
        };
        table.row([
            short(&node.peer),
            or_dash(tags.collect::<Vec<_>>().join(",")),
            node.build.clone(),
            duration(node.uptime_ms),
            node.asked_us.map_or_else(dash, milliseconds),
            node.peers.to_string(),
            links,
            report.streams.len().to_string(),
            report.functions.len().to_string(),
            report.groups.len().to_string(),
            node.addresses.first().cloned().unwrap_or_else(dash),
        ]);
    }
    for (peer, _) in &observed.silent {
        let cells = [short(peer), "does not answer".to_owned()];
        table.row(
            cells
                .into_iter()
                .chain(headings[2..].iter().map(|_| dash())),
        );
    }
    table
}

fn streams(observed: &Observed, former: Option<&Observed>) -> Table {
    let mut table = Table::new(&[
        "stream", "side", "node", "datum", "peers", "datums", "per s", "bytes", "dropped", "lag",
        "slowest",
    ]);
    let before = |peer: &PeerId, stream: &StreamReport| -> Option<(u64, u64)> {
        let report = find(former?, peer)?;
        let mut all = report.streams.iter();
        let earlier = all.find(|s| s.stream == stream.stream && s.side == stream.side)?;
        Some((report.node.clock_ms, earlier.datums))
    };
    for (report, stream) in each(observed, |report| &report.streams) {
        let now = (report.node.clock_ms, stream.datums);
        let slowest = stream.subscriptions.first().filter(|one| one.lag > 0);
        table.row([
            named(stream.label.as_deref(), &stream.stream),
            stream.side.to_string(),
            short(&report.node.peer),
            stream.datum.clone(),
            match stream.side {
                StreamSide::Consumer => {
                    format!("{}/{}", stream.subscriptions.len(), stream.producers_known)
                }
                _ => (stream.subscriptions.len() as u64 + stream.left_off).to_string(),
            },
            stream.datums.to_string(),
            rate(before(&report.node.peer, stream), now),
            bytes(stream.bytes),
            stream.dropped.to_string(),
            slowest.map_or_else(|| "0".to_owned(), |one| one.lag.to_string()),
            slowest.map_or_else(dash, |one| short(&one.peer)),
        ]);
    }
    table
}

fn functions(observed: &Observed, former: Option<&Observed>) -> Table {
    let mut table = Table::new(&[
        "function", "side", "node", "types", "answered", "per s", "running", "failed", "refused",
        "handlers",
    ]);
    let before = |peer: &PeerId, function: &FunctionReport| -> Option<(u64, u64)> {
        let report = find(former?, peer)?;
        let mut all = report.functions.iter();
        let earlier = all.find(|f| f.function == function.function && f.side == function.side)?;
        Some((report.node.clock_ms, earlier.answered))
    };
    for (report, function) in each(observed, |report| &report.functions) {
        let now = (report.node.clock_ms, function.answered);
        table.row([
            named(function.label.as_deref(), &function.function),
            function.side.to_string(),
            short(&report.node.peer),
            function.types.clone(),
            function.answered.to_string(),
            rate(before(&report.node.peer, function), now),
            match function.max_running {
                Some(max) => format!("{}/{max}", function.running),
                None => function.running.to_string(),
            },
            function.failed.to_string(),
            function.refused.to_string(),
            match function.side {
                FunctionSide::Caller => {
                    format!("{}/{}", function.eligible, function.handlers_known)
                }
                _ => dash(),
            },
        ]);
    }
    table
}

fn groups(observed: &Observed) -> Table {
    let mut table = Table::new(&[
        "group",
        "machine",
        "node",
        "role",
        "leader",
        "term",
        "voters",
        "committed",
        "log",
        "storage",
        "state",
    ]);
    for (report, group) in each(observed, |report| &report.groups) {
        let voters = group.voters.len();
        table.row([
            named(group.label.as_deref(), &group.group),
            machine(report, group),
            short(&report.node.peer),
            group.role.to_string(),
            group.leader.as_ref().map_or_else(dash, short),
            group.term.to_string(),
            match group.missing.len() {
                0 => voters.to_string(),
                missing => format!("{voters} ({missing} missing)"),
            },
            group.committed.to_string(),
            group.log.to_string(),
            group.storage.to_string(),
            state(group).to_owned(),
        ]);
    }
    table
}

/// The machine, or the collection that it replicates.
fn machine(report: &Report, group: &GroupReport) -> String {
    let mut collections = report.collections.iter();
    let collection = collections.find(|collection| collection.group == group.group);
    collection.map_or_else(
        || group.machine.clone(),
        |collection| format!("{}<{}>", collection.kind, collection.types),
    )
}

fn state(group: &GroupReport) -> &'static str {
    if group.failure.is_some() {
        "failed"
    } else if group.halted {
        "halted"
    } else if group.catching_up {
        "catching up"
    } else if group.online {
        "online"
    } else {
        "offline"
    }
}

fn collections(observed: &Observed) -> Table {
    let mut table = Table::new(&[
        "collection",
        "kind",
        "node",
        "types",
        "access",
        "entries",
        "version",
        "watchers",
        "others under this name",
    ]);
    for (report, collection) in each(observed, |report| &report.collections) {
        let CollectionReport {
            group,
            label,
            kind,
            types,
            entries,
            version,
            watchers,
            mismatches,
            ..
        } = collection;
        table.row([
            named(label.as_deref(), group),
            kind.clone(),
            short(&report.node.peer),
            types.clone(),
            if collection.reads_only {
                "read"
            } else {
                "write"
            }
            .to_owned(),
            entries.to_string(),
            version.to_string(),
            watchers.to_string(),
            or_dash(
                mismatches
                    .iter()
                    .map(|m| short(&m.peer))
                    .collect::<Vec<_>>()
                    .join(","),
            ),
        ]);
    }
    table
}

/// All items of a kind, ordered by name.
fn each<'o, T: 'o>(
    observed: &'o Observed,
    items: impl Fn(&'o Report) -> &'o Vec<T>,
) -> impl Iterator<Item = (&'o Report, &'o T)> {
    let reports = observed.reports.iter();
    reports.flat_map(move |report| items(report).iter().map(move |item| (report, item)))
}

fn find<'o>(observed: &'o Observed, peer: &PeerId) -> Option<&'o Report> {
    observed
        .reports
        .iter()
        .find(|report| report.node.peer == *peer)
}

/// Rate of what was counted between two times in milliseconds; none without an earlier count, or after
/// a restart.
fn rate(before: Option<(u64, u64)>, (at, count): (u64, u64)) -> String {
    let per_second = before.and_then(|(earlier, counted)| {
        let passed = at.checked_sub(earlier).filter(|passed| *passed > 0)?;
        Some(count.checked_sub(counted)?.saturating_mul(1000) / passed)
    });
    per_second.map_or_else(dash, |rate| rate.to_string())
}

fn short(peer: &PeerId) -> String {
    peer.short().to_string()
}

fn named(label: Option<&str>, id: &Digest) -> String {
    label.map_or_else(|| id.short().to_string(), str::to_owned)
}

fn dash() -> String {
    "-".to_owned()
}

fn or_dash(text: String) -> String {
    if text.is_empty() { dash() } else { text }
}

fn duration(millis: u64) -> String {
    let seconds = Duration::from_secs(millis / 1000);
    let text = humantime::format_duration(seconds).to_string();
    // The two largest units say enough.
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

fn milliseconds(micros: u64) -> String {
    format!("{}.{:02} ms", micros / 1000, micros % 1000 / 10)
}

fn bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [
        ("TB", 1_000_000_000_000),
        ("GB", 1_000_000_000),
        ("MB", 1_000_000),
        ("kB", 1000),
    ];
    let unit = UNITS.iter().find(|(_, size)| bytes >= *size);
    unit.map_or_else(
        || format!("{bytes} B"),
        |(unit, size)| format!("{}.{} {unit}", bytes / size, bytes % size * 10 / size),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_550_000), "1.5 MB");
        assert_eq!(milliseconds(1234), "1.23 ms");
        assert_eq!(duration(90_061_000), "1day 1h");
        assert_eq!(duration(10), "0s");
    }

    #[test]
    fn rates_are_differences() {
        assert_eq!(rate(Some((1000, 10)), (3000, 30)), "10");
        assert_eq!(rate(Some((1000, 10)), (1000, 30)), "-", "one moment");
        assert_eq!(rate(Some((1000, 10)), (3000, 3)), "-", "a restart");
        assert_eq!(rate(None, (3000, 30)), "-");
    }
}
