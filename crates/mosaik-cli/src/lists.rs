//! `mosaik peers`, `streams`, `functions`, `groups` and `collections`: what is there.

use std::{process::ExitCode, time::Duration};

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
    archive,
    observe::{self, Observer, look_on},
    output::{Table, is_styled, json_of, note, print},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    observe: observe::Options,

    #[command(flatten)]
    from: archive::From,

    /// Print one line of JSON for each item, with all that is known.
    #[arg(long)]
    json: bool,

    /// Print the list again and again, every so many seconds, until interrupted.
    #[arg(short, long, value_name = "SECS", num_args = 0..=1, default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..=3600), conflicts_with = "from")]
    watch: Option<u64>,
}

/// A kind of list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    Peers,
    Streams,
    Functions,
    Groups,
    Collections,
}

pub(crate) async fn run(list: List, options: Options) -> anyhow::Result<ExitCode> {
    if let Some(archive) = options.from.read()? {
        let (former, observed) = archive.last_two();
        print(&shown(list, &options, observed, former)?)?;
        return Ok(code(observed));
    }
    look_on(
        &options.observe,
        options.watch.is_some(),
        async |observer| show(list, &options, observer).await,
    )
    .await
}

async fn show(list: List, options: &Options, observer: &Observer) -> anyhow::Result<ExitCode> {
    let mut former = None;
    loop {
        let observed = observer.observe().await;
        anyhow::ensure!(
            options.watch.is_some() || !observed.is_empty(),
            "no node was found: is the name of the network right, and the peer's address?"
        );
        let text = shown(list, options, &observed, former.as_ref())?;
        let clear = options.watch.is_some() && is_styled() && !options.json;
        let text = if clear {
            format!("\u{1b}[2J\u{1b}[H{text}")
        } else {
            text
        };
        let goes_on = print(&text)?;
        let Some(seconds) = options.watch.filter(|_| goes_on) else {
            return Ok(code(&observed));
        };
        if !clear && !options.json && !print("\n")? {
            return Ok(ExitCode::SUCCESS);
        }
        former = Some(observed);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}

/// Without an answer, an empty list would say that there is nothing.
fn code(observed: &Observed) -> ExitCode {
    ExitCode::from(u8::from(observed.reports.is_empty()))
}

/// The list as it is printed; what can't be in it is said on standard error.
fn shown(
    list: List,
    options: &Options,
    observed: &Observed,
    former: Option<&Observed>,
) -> anyhow::Result<String> {
    for (peer, reason) in observed.silent.iter().chain(&observed.refused) {
        note(&format!("{}: {reason}", peer.short()));
    }
    for report in observed.reports.iter().filter(|report| report.left_off > 0) {
        let (peer, left_off) = (report.node.peer.short(), report.left_off);
        note(&format!("{peer}: {left_off} further items are not told"));
    }
    if options.json {
        json(list, observed)
    } else {
        Ok(table(list, observed, former).render(is_styled()))
    }
}

fn json(list: List, observed: &Observed) -> anyhow::Result<String> {
    fn lines<T: Serialize>(peer: &PeerId, items: &[T]) -> anyhow::Result<String> {
        items.iter().map(|item| json_of(peer, item)).collect()
    }
    let of_report = |report: &Report| {
        let peer = &report.node.peer;
        match list {
            List::Peers => json_of(
                peer,
                &PeerLine {
                    node: &report.node,
                    links: &report.links,
                    left_off: report.left_off,
                },
            ),
            List::Streams => lines(peer, &report.streams),
            List::Functions => lines(peer, &report.functions),
            List::Groups => lines(peer, &report.groups),
            List::Collections => lines(peer, &report.collections),
        }
    };
    let mut text: String = observed
        .reports
        .iter()
        .map(of_report)
        .collect::<anyhow::Result<_>>()?;
    let mut without_report = observed.silent.iter().chain(&observed.refused);
    if list == List::Peers {
        text += &without_report.try_fold(String::new(), |text, (peer, error)| {
            anyhow::Ok(text + &json_of(peer, &NoReport { error })?)
        })?;
    }
    Ok(text)
}

/// A node with its links.
#[derive(Serialize)]
struct PeerLine<'r> {
    #[serde(flatten)]
    node: &'r NodeReport,
    links: &'r [LinkReport],
    left_off: u64,
}

/// A node that tells nothing.
#[derive(Serialize)]
struct NoReport<'r> {
    error: &'r str,
}

pub(crate) fn table(list: List, observed: &Observed, former: Option<&Observed>) -> Table {
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
        // As for `peers`: who only looks on is not counted.
        let members = report.links.iter().filter(|link| !link.observes);
        let relayed = members.clone().filter(|link| link.path == LinkPath::Relay);
        let links = match (members.count(), relayed.count()) {
            (all, 0) => all.to_string(),
            (all, relayed) => format!("{all} ({relayed} by relay)"),
        };
        table.row([
            short(&node.peer),
            tags(report),
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
    for (peer, why) in observe::unheard(observed) {
        let cells = [short(peer), why.to_owned()];
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
    for (report, index, stream) in each(observed, |report| &report.streams) {
        let per_second = former.and_then(|former| {
            let before = find(former, &report.node.peer)?;
            let id = |one: &StreamReport| (one.stream, one.side);
            let earlier = same(&before.streams, &report.streams, index, id)?;
            rate(
                (before.node.uptime_ms, earlier.datums),
                (report.node.uptime_ms, stream.datums),
            )
        });
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
                _ => (stream.subscriptions.len() as u64)
                    .saturating_add(stream.left_off)
                    .to_string(),
            },
            stream.datums.to_string(),
            per_second.map_or_else(dash, |rate| rate.to_string()),
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
    for (report, index, function) in each(observed, |report| &report.functions) {
        let per_second = former.and_then(|former| {
            let before = find(former, &report.node.peer)?;
            let id = |one: &FunctionReport| (one.function, one.side);
            let earlier = same(&before.functions, &report.functions, index, id)?;
            rate(
                (before.node.uptime_ms, earlier.answered),
                (report.node.uptime_ms, function.answered),
            )
        });
        table.row([
            named(function.label.as_deref(), &function.function),
            function.side.to_string(),
            short(&report.node.peer),
            function.types.clone(),
            function.answered.to_string(),
            per_second.map_or_else(dash, |rate| rate.to_string()),
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
    for (report, _, group) in each(observed, |report| &report.groups) {
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
    for (report, _, collection) in each(observed, |report| &report.collections) {
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

/// All items of a kind, node by node, each with its place in the node's list.
fn each<'o, T: 'o>(
    observed: &'o Observed,
    items: impl Fn(&'o Report) -> &'o Vec<T>,
) -> impl Iterator<Item = (&'o Report, usize, &'o T)> {
    let reports = observed.reports.iter();
    reports.flat_map(move |report| {
        let items = items(report).iter().enumerate();
        items.map(move |(index, item)| (report, index, item))
    })
}

/// The same item in an earlier report. Several of one id, as two consumers of a stream, are told in the order in
/// which they were opened: with as many as before, each is where it was.
fn same<'b, T, I: PartialEq>(
    before: &'b [T],
    now: &[T],
    index: usize,
    id: impl Fn(&T) -> I,
) -> Option<&'b T> {
    let own = id(now.get(index)?);
    let alike = |all: &'b [T]| all.iter().filter(|one| id(one) == own);
    let count = now.iter().filter(|one| id(one) == own).count();
    let place = now[..index].iter().filter(|one| id(one) == own).count();
    let mut earlier = alike(before);
    (earlier.clone().count() == count).then(|| earlier.nth(place))?
}

fn find<'o>(observed: &'o Observed, peer: &PeerId) -> Option<&'o Report> {
    observed
        .reports
        .iter()
        .find(|report| report.node.peer == *peer)
}

/// Rate of what was counted between two times of a node's run, in milliseconds; none if it has been
/// started or opened anew.
fn rate((earlier, counted): (u64, u64), (at, count): (u64, u64)) -> Option<u64> {
    let passed = at.checked_sub(earlier).filter(|passed| *passed > 0)?;
    Some(count.checked_sub(counted)?.saturating_mul(1000) / passed)
}

fn short(peer: &PeerId) -> String {
    peer.short().to_string()
}

/// Tags of a node.
pub(crate) fn tags(report: &Report) -> String {
    let tags = report.node.tags.iter();
    let names = tags.map(|tag| named(tag.label.as_deref(), &tag.tag));
    or_dash(names.collect::<Vec<_>>().join(","))
}

pub(crate) fn named(label: Option<&str>, id: &Digest) -> String {
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
        assert_eq!(rate((1000, 10), (3000, 30)), Some(10));
        assert_eq!(rate((1000, 10), (1000, 30)), None, "one moment");
        assert_eq!(rate((3000, 10), (1000, 30)), None, "a restart");
        assert_eq!(rate((1000, 10), (3000, 3)), None, "opened anew");
    }

    #[test]
    fn each_of_several_ends_is_compared_with_itself() {
        let (before, now) = ([("a", 10), ("a", 1_000_000)], [("a", 20), ("a", 1_000_010)]);
        let id = |one: &(&'static str, u64)| one.0;
        assert_eq!(same(&before, &now, 0, id), Some(&("a", 10)));
        assert_eq!(same(&before, &now, 1, id), Some(&("a", 1_000_000)));
        assert_eq!(same(&before[..1], &now, 1, id), None, "one has come");
    }
}
