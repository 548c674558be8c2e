use super::*;
use crate::status::{
    BondReport, CutReport, GroupStorage, LinkReport, MismatchReport, NodeReport, SubscriptionReport,
};

fn peer(n: u8) -> PeerId {
    iroh::SecretKey::from_bytes(&[n; 32]).public()
}

fn id(n: u8) -> Digest {
    Digest::from_bytes([n; 32])
}

/// A healthy node.
fn node(n: u8) -> Report {
    Report {
        node: NodeReport {
            peer: peer(n),
            build: "0.1.0".into(),
            uptime_ms: 60_000,
            clock_ms: 0,
            clock_ahead_ms: Some(0),
            asked_us: None,
            tags: Vec::new(),
            addresses: Vec::new(),
            relay: None,
            peers: 3,
            neighbours: 2,
            entry_bytes: 500,
            max_entry_bytes: 262_144,
            tickets: 0,
            refused_entries: Vec::new(),
            max_clock_drift_ms: 10_000,
            identity_conflicts: 0,
            duplicate: None,
            has_storage: false,
            storage_failure: None,
        },
        links: Vec::new(),
        streams: Vec::new(),
        functions: Vec::new(),
        groups: Vec::new(),
        collections: Vec::new(),
        left_off: 0,
    }
}

fn link(n: u8, path: LinkPath) -> LinkReport {
    LinkReport {
        peer: peer(n),
        rtt_us: Some(100),
        path,
        address: String::new(),
        connections: 1,
        bytes_sent: 0,
        bytes_received: 0,
        packets_lost: 0,
        observes: false,
    }
}

fn stream(side: StreamSide) -> StreamReport {
    StreamReport {
        stream: id(1),
        label: Some("orders".into()),
        datum: "Order".into(),
        side,
        online: true,
        datums: 0,
        bytes: 0,
        dropped: 0,
        undecodable: 0,
        accepted: 0,
        refused: 0,
        not_allowed: 0,
        cuts: 0,
        producers_known: 1,
        buffer: 1024,
        waiting: false,
        subscriptions: vec![subscription(9)],
        left_off: 0,
        cut: Vec::new(),
        not_allowed_ago_ms: None,
        undecodable_ago_ms: None,
    }
}

fn subscription(n: u8) -> SubscriptionReport {
    SubscriptionReport {
        peer: peer(n),
        state: SubscriptionState::Connected,
        datums: 0,
        bytes: 0,
        dropped: 0,
        uptime_ms: Some(1),
        lag: 0,
        held_up_ms: 0,
    }
}

fn function(side: FunctionSide) -> FunctionReport {
    FunctionReport {
        function: id(2),
        label: Some("price".into()),
        types: "Order -> Quote".into(),
        side,
        answered: 0,
        failed: 0,
        refused: 0,
        not_allowed: 0,
        running: 0,
        max_running: Some(4),
        attempts: 0,
        eligible: 1,
        handlers_known: 1,
        refused_ago_ms: None,
        not_allowed_ago_ms: None,
    }
}

/// One of three members.
fn group(role: GroupRole) -> GroupReport {
    GroupReport {
        group: id(3),
        label: Some("book".into()),
        machine: "OrderBook".into(),
        lineage: Some(id(4)),
        role,
        online: true,
        halted: false,
        catching_up: false,
        leader: Some(peer(1)),
        term: 1,
        voters: vec![peer(1), peer(2), peer(3)],
        learners: Vec::new(),
        missing: Vec::new(),
        committed: 5000,
        log: 5000,
        discarded: 0,
        storage: GroupStorage::Memory,
        failure: None,
        min_members: 3,
        max_voters: 5,
        bonds: Vec::new(),
        left_off: 0,
        joined_ms: 60_000,
        clock_ms: 0,
        ancestry: Vec::new(),
    }
}

fn bond(n: u8) -> BondReport {
    BondReport {
        peer: peer(n),
        lineage: Some(id(9)),
        rival: false,
        committed: 1,
        catching_up: false,
        observes: false,
    }
}

/// A healthy network of three, on which each part of the reports occurs.
fn network() -> [Report; 3] {
    let mut nodes = [node(1), node(2), node(3)];
    let roles = [GroupRole::Leader, GroupRole::Voter, GroupRole::Voter];
    for (node, role) in nodes.iter_mut().zip(roles) {
        node.groups.push(group(role));
        node.links.push(link(1, LinkPath::Direct));
    }
    nodes[0].streams.push(stream(StreamSide::Producer));
    nodes[1].streams.push(stream(StreamSide::Consumer));
    nodes[0].functions.push(function(FunctionSide::Handler));
    nodes[1].functions.push(function(FunctionSide::Caller));
    nodes[2].collections.push(CollectionReport {
        group: id(3),
        label: Some("prices".into()),
        kind: "map".into(),
        types: "String, u64".into(),
        reads_only: false,
        entries: 0,
        version: 0,
        watchers: 0,
        mismatches: Vec::new(),
        left_off: 0,
    });
    nodes
}

/// Numbers and sentences of all findings after a change of a healthy network, with the nodes.
fn found(change: impl FnOnce(&mut [Report; 3])) -> Vec<(&'static str, u8, String)> {
    let mut reports = network();
    change(&mut reports);
    let findings = examine(&Observed::new(reports.to_vec()));
    let number = |peer_id: PeerId| (1..10).find(|n| peer(*n) == peer_id).unwrap();
    findings
        .into_iter()
        .map(|finding| (finding.number, number(finding.peer), finding.text))
        .collect()
}

/// Exactly one thing is found, at this node.
#[track_caller]
fn is_found(number: &str, at: u8, text: &str, change: impl FnOnce(&mut [Report; 3])) {
    let found = found(change);
    let [(found_number, found_at, found_text)] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!((*found_number, *found_at), (number, at), "{found_text}");
    assert_eq!(found_text, text);
}

fn short(n: u8) -> String {
    peer(n).short().to_string()
}

#[test]
fn nothing_is_wrong_with_a_healthy_network() {
    assert_eq!(found(|_| {}), []);
    assert_eq!(examine(&Observed::default()), []);
}

#[test]
fn numbers_are_in_order_and_texts_are_complete() {
    assert!(RULES.is_sorted_by(|one, next| one.number < next.number));
    for rule in RULES {
        assert!(rule.condition.ends_with('.') && rule.way_on.ends_with('.'));
        assert!(!rule.condition.contains("  ") && !rule.way_on.contains("  "));
    }
}

#[test]
fn m100_a_node_is_silent() {
    let observed = Observed::new(network().to_vec()).with_silent(peer(7), "timed out");
    let findings = examine(&observed);
    assert_eq!(findings.len(), 1);
    let text = format!(
        "M100 {}: the node does not answer: timed out. Look whether its process runs, and whether \
         UDP reaches it.",
        short(7)
    );
    assert_eq!(findings[0].to_string(), text);
}

#[test]
fn m107_a_node_tells_nothing() {
    let observed = Observed::new(network().to_vec()).with_refused(peer(7), "not\u{1b}[2J\nallowed");
    let findings = examine(&observed);
    let [found] = &findings[..] else {
        panic!("{findings:?}");
    };
    assert_eq!((found.number, found.severity), ("M107", Severity::Notice));
    assert_eq!(found.text, "the node tells nothing: not[2Jallowed");
}

#[test]
fn m101_no_neighbours() {
    is_found("M101", 2, "the node knows no other node", |nodes| {
        nodes[1].node.peers = 0;
    });
    let text = "the node knows 3 others, and has no neighbour in gossip";
    is_found("M101", 1, text, |nodes| nodes[0].node.neighbours = 0);
    let young = found(|nodes| {
        nodes[1].node.peers = 0;
        nodes[1].node.uptime_ms = 500;
    });
    assert_eq!(young, []);
}

#[test]
fn m102_clock_drift() {
    let text = "the clock is 14 s ahead of 2 of 2 peers: entries are refused";
    is_found("M102", 3, text, |nodes| {
        nodes[2].node.clock_ahead_ms = Some(14_000);
    });
    let text = "the clock is 14 s behind 2 of 2 peers: entries are refused";
    is_found("M102", 3, text, |nodes| {
        nodes[2].node.clock_ahead_ms = Some(-13_500);
    });
    // It is the asker's own clock that is wrong.
    is_found("M102", 1, text, |nodes| {
        nodes[0].node.clock_ahead_ms = None;
        nodes[1].node.clock_ahead_ms = Some(14_000);
        nodes[2].node.clock_ahead_ms = Some(14_000);
    });
    let slight = found(|nodes| nodes[2].node.clock_ahead_ms = Some(9000));
    assert_eq!(slight, []);
}

#[test]
fn m103_version_mix() {
    let text = "the node runs version 0.2.0, and 2 of 3 run 0.1.0";
    is_found("M103", 2, text, |nodes| {
        nodes[1].node.build = "0.2.0".into();
    });
}

#[test]
fn m104_entry_nearly_full() {
    is_found("M104", 2, "the entry has 210000 of 262144 bytes", |nodes| {
        nodes[1].node.entry_bytes = 210_000;
    });
}

#[test]
fn m105_identity_used_twice() {
    let text = "another process, at 10.0.0.1:1, runs with this node's secret key";
    is_found("M105", 2, text, |nodes| {
        nodes[1].node.duplicate = Some("10.0.0.1:1".into());
        nodes[1].node.identity_conflicts = 2;
    });
    // One that has been ended is not told any more, and a former run was none.
    assert_eq!(found(|nodes| nodes[1].node.identity_conflicts = 2), []);
}

#[test]
fn m106_storage_failed() {
    is_found("M106", 2, "the storage has failed: disk full", |nodes| {
        nodes[1].node.storage_failure = Some("disk full".into());
    });
}

#[test]
fn m111_relay_only() {
    let text = "all 2 peers are connected through relays";
    is_found("M111", 1, text, |nodes| {
        nodes[0].links = vec![link(2, LinkPath::Relay), link(3, LinkPath::Relay)];
    });
    let one_direct = found(|nodes| nodes[0].links.push(link(3, LinkPath::Relay)));
    assert_eq!(one_direct, []);
    // The link of who looks on says nothing, in either way.
    is_found("M111", 1, text, |nodes| {
        nodes[0].links = vec![link(2, LinkPath::Relay), link(3, LinkPath::Relay)];
        nodes[0].links.push(LinkReport {
            observes: true,
            ..link(8, LinkPath::Direct)
        });
    });
    let observed_only = found(|nodes| {
        nodes[0].links = vec![LinkReport {
            observes: true,
            ..link(8, LinkPath::Relay)
        }];
    });
    assert_eq!(observed_only, []);
}

#[test]
fn m121_a_stream_lags_with_the_culprit() {
    let text = format!(
        "consumer {} of stream orders has not taken 900 datums and holds up the others",
        short(8)
    );
    is_found("M121", 1, &text, |nodes| {
        let stream = &mut nodes[0].streams[0];
        stream.waiting = true;
        stream.subscriptions.push(SubscriptionReport {
            lag: 900,
            ..subscription(8)
        });
    });
    is_found("M121", 1, &text, |nodes| {
        nodes[0].streams[0].subscriptions.push(SubscriptionReport {
            lag: 900,
            held_up_ms: 400,
            ..subscription(8)
        });
    });
    let alone = found(|nodes| {
        let stream = &mut nodes[0].streams[0];
        stream.waiting = true;
        stream.subscriptions[0].lag = 900;
    });
    assert_eq!(alone, [], "plain back-pressure");
    let all_alike = found(|nodes| {
        let stream = &mut nodes[0].streams[0];
        stream.waiting = true;
        stream.subscriptions[0].lag = 900;
        stream.subscriptions.push(SubscriptionReport {
            lag: 800,
            ..subscription(8)
        });
    });
    assert_eq!(all_alike, []);
}

#[test]
fn nodes_that_have_just_started_may_look_for_their_peers() {
    let young = found(|nodes| {
        nodes[1].node.uptime_ms = 500;
        nodes[1].streams[0].producers_known = 0;
        nodes[1].functions[0].handlers_known = 0;
        let mut connecting = stream(StreamSide::Consumer);
        connecting.subscriptions[0].state = SubscriptionState::Connecting;
        nodes[1].streams.push(connecting);
        let mut unmeasured = function(FunctionSide::Caller);
        unmeasured.eligible = 0;
        nodes[1].functions.push(unmeasured);
        nodes[1].links = vec![link(1, LinkPath::Relay)];
    });
    assert_eq!(young, []);
}

#[test]
fn what_happened_long_ago_is_no_finding() {
    let past = found(|nodes| {
        let produced = &mut nodes[0].streams[0];
        (produced.not_allowed, produced.not_allowed_ago_ms) = (3, Some(600_000));
        let consumed = &mut nodes[1].streams[0];
        (consumed.undecodable, consumed.undecodable_ago_ms) = (5, Some(600_000));
        let handled = &mut nodes[0].functions[0];
        (handled.not_allowed, handled.not_allowed_ago_ms) = (3, Some(600_000));
        (handled.running, handled.refused_ago_ms) = (4, Some(600_000));
    });
    assert_eq!(past, []);
}

#[test]
fn m122_a_consumer_was_cut_off() {
    let cut = |ago_ms| CutReport {
        peer: peer(8),
        reason: "too_slow".into(),
        ago_ms,
    };
    let text = format!(
        "consumer {} of stream orders was cut off 3 s ago: too slow",
        short(8)
    );
    is_found("M122", 1, &text, |nodes| {
        nodes[0].streams[0].cut = vec![cut(3000), cut(90_000)];
    });
}

#[test]
fn m123_nobody_produces() {
    is_found("M123", 2, "nobody produces stream orders", |nodes| {
        nodes[1].streams[0].producers_known = 0;
        nodes[1].streams[0].subscriptions.clear();
    });
}

#[test]
fn m124_subscribed_to_none() {
    let text = "stream orders has 1 producers, and this consumer is subscribed to none";
    is_found("M124", 2, text, |nodes| {
        nodes[1].streams[0].subscriptions[0].state = SubscriptionState::Connecting;
    });
}

#[test]
fn m125_undecodable_datums() {
    let text = "5 datums of stream orders could not be decoded as Order";
    is_found("M125", 2, text, |nodes| {
        nodes[1].streams[0].undecodable = 5;
        nodes[1].streams[0].undecodable_ago_ms = Some(1000);
    });
}

#[test]
fn m131_no_handler() {
    let alone = |nodes: &mut [Report; 3]| {
        nodes[1].functions[0].handlers_known = 0;
        nodes[1].functions[0].eligible = 0;
    };
    is_found("M131", 2, "nobody serves function price", |nodes| {
        alone(nodes);
        nodes[0].functions.clear();
    });
    let text = format!(
        "nobody serves function price with these tickets; {} serves one of this name with other \
         tickets",
        short(1)
    );
    is_found("M131", 2, &text, |nodes| {
        alone(nodes);
        nodes[0].functions[0].function = id(7);
    });
    let text = format!(
        "nobody serves function price (Order -> Quote); {} serves one of this name with Order -> u8",
        short(1)
    );
    is_found("M131", 2, &text, |nodes| {
        alone(nodes);
        nodes[0].functions[0].function = id(7);
        nodes[0].functions[0].types = "Order -> u8".into();
    });
}

#[test]
fn m132_tickets_refused() {
    let text = "3 calls of function price were not allowed";
    is_found("M132", 1, text, |nodes| {
        nodes[0].functions[0].not_allowed = 3;
        nodes[0].functions[0].not_allowed_ago_ms = Some(1000);
    });
    let text = "3 subscriptions to stream orders were not allowed";
    is_found("M132", 1, text, |nodes| {
        nodes[0].streams[0].not_allowed = 3;
        nodes[0].streams[0].not_allowed_ago_ms = Some(1000);
    });
    let text = "none of 1 handlers of function price meets this caller's requirements";
    is_found("M132", 2, text, |nodes| nodes[1].functions[0].eligible = 0);
}

#[test]
fn m133_handler_at_its_limit() {
    let text = "function price runs 4 calls, which is its limit; 2 were refused so far";
    is_found("M133", 1, text, |nodes| {
        nodes[0].functions[0].running = 4;
        nodes[0].functions[0].refused = 2;
        nodes[0].functions[0].refused_ago_ms = Some(1000);
    });
}

#[test]
fn m141_group_halted_and_who_is_missing() {
    let text = format!(
        "group book has halted: 2 of 3 voters are missing ({}, {}), 2 must meet",
        short(2),
        short(3)
    );
    is_found("M141", 1, &text, |nodes| {
        nodes[1].groups.clear();
        nodes[2].groups.clear();
        let group = &mut nodes[0].groups[0];
        group.halted = true;
        group.role = GroupRole::Voter;
        group.missing = vec![peer(2), peer(3)];
    });
}

#[test]
fn m142_fewer_voters_than_intended() {
    let text = "group book has 3 of 5 intended voters";
    is_found("M142", 1, text, |nodes| nodes[0].groups[0].min_members = 5);
    // Before it has begun, a group has no voters at all.
    let text = "group book waits for 3 members before it begins, and 2 have met";
    let waiting = |nodes: &mut [Report; 3]| {
        nodes[2].groups.clear();
        for node in &mut nodes[..2] {
            let group = &mut node.groups[0];
            (group.role, group.lineage, group.online) = (GroupRole::Joining, None, false);
            (group.voters, group.committed) = (Vec::new(), 0);
            group.bonds = vec![bond(2)];
            group.bonds[0].lineage = None;
        }
    };
    is_found("M142", 1, text, waiting);
    let just_joined = found(|nodes| {
        waiting(nodes);
        nodes[0].groups[0].joined_ms = 500;
        nodes[1].groups[0].joined_ms = 500;
    });
    assert_eq!(just_joined, []);
}

#[test]
fn m149_a_member_is_not_online() {
    let text = "the member of group book is not online, as observer";
    let offline = |nodes: &mut [Report; 3]| {
        let group = &mut nodes[2].groups[0];
        (group.role, group.online) = (GroupRole::Observer, false);
    };
    is_found("M149", 3, text, offline);
    let just_joined = found(|nodes| {
        offline(nodes);
        nodes[2].groups[0].joined_ms = 20_000;
    });
    assert_eq!(just_joined, []);
}

#[test]
fn one_report_does_not_decide_about_a_group() {
    let text = format!(
        "group book has halted: 1 of 3 voters are missing ({}), 2 must meet",
        short(3)
    );
    is_found("M141", 1, &text, |nodes| {
        nodes[0].groups[0].role = GroupRole::Voter;
        for node in &mut nodes[..2] {
            node.groups[0].halted = true;
            node.groups[0].missing = vec![peer(3)];
        }
        // It is no voter by anyone's word but its own.
        let liar = &mut nodes[2];
        liar.node.peer = peer(9);
        liar.groups[0].role = GroupRole::Leader;
        liar.groups[0].voters.push(peer(9));
        liar.groups[0].lineage = Some(id(9));
        liar.groups[0].ancestry = vec![id(4)];
        liar.groups[0].committed = u64::MAX;
    });
}

#[test]
fn m143_two_voters() {
    let text = "group book has two voters: it halts when either fails";
    is_found("M143", 1, text, |nodes| {
        nodes[0].groups[0].voters.pop();
        nodes[0].groups[0].min_members = 1;
    });
}

#[test]
fn m144_member_behind() {
    let text = "the member of group book is 4000 commands behind";
    is_found("M144", 3, text, |nodes| {
        nodes[2].groups[0].committed = 1000;
    });
    // The group has gone on between the two reports.
    let busy = found(|nodes| {
        nodes[2].groups[0].committed = 1000;
        nodes[0].groups[0].clock_ms = 200;
        nodes[1].groups[0].clock_ms = 200;
    });
    assert_eq!(busy, []);
    // That the other's clock is ahead does not make its report a later one.
    is_found("M144", 3, text, |nodes| {
        nodes[2].groups[0].committed = 1000;
        nodes[0].groups[0].clock_ms = 200;
        nodes[0].node.clock_ahead_ms = Some(200);
    });
    let catching_up = found(|nodes| {
        nodes[2].groups[0].committed = 1000;
        nodes[2].groups[0].catching_up = true;
    });
    assert_eq!(catching_up, []);
}

#[test]
fn m145_rival_histories() {
    is_found("M145", 1, "group book has 2 histories", |nodes| {
        nodes[2].groups[0].lineage = Some(id(9));
    });
    let text = format!("group book has a rival history at {}", short(3));
    is_found("M145", 1, &text, |nodes| {
        nodes[0].groups[0].bonds.push(BondReport {
            rival: true,
            ..bond(3)
        });
    });
    let follows_soon = found(|nodes| {
        nodes[0].groups[0].lineage = Some(id(9));
        nodes[0].groups[0].ancestry = vec![id(4)];
    });
    assert_eq!(follows_soon, []);
}

#[test]
fn m146_member_failed() {
    let text = "the member of group book can't go on: disk";
    is_found("M146", 3, text, |nodes| {
        nodes[2].groups[0].failure = Some("disk".into());
    });
}

#[test]
fn m147_voter_out_of_reach() {
    let text = format!("group book does not reach 1 of 3 voters: {}", short(3));
    is_found("M147", 1, &text, |nodes| {
        nodes[0].groups[0].missing = vec![peer(3)];
    });
}

#[test]
fn m148_commands_given_up() {
    is_found(
        "M148",
        3,
        "7 commands of group book were given up",
        |nodes| {
            nodes[2].groups[0].discarded = 7;
        },
    );
}

#[test]
fn m151_other_ingredients() {
    let text = format!("collection prices is another one on {} (limits)", short(1));
    is_found("M151", 3, &text, |nodes| {
        nodes[2].collections[0].mismatches.push(MismatchReport {
            peer: peer(1),
            differing: vec!["limits".into()],
        });
    });
}

#[test]
fn the_worst_comes_first() {
    let found = found(|nodes| {
        nodes[0].node.build = "0.2.0".into();
        nodes[1].node.storage_failure = Some("disk".into());
        nodes[0].groups[0].voters.pop();
        nodes[0].groups[0].min_members = 1;
    });
    let numbers: Vec<_> = found.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, ["M106", "M143", "M103"]);
}

#[test]
fn the_table_in_the_book_is_this_one() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("../../book/src/findings.md")).unwrap();
    let table = table();
    assert!(page.contains(&table), "the table must be:\n{table}");
}
