//! Contents of reports, compared with what was done.

use futures::SinkExt;
use mosaik::{
    CallContext, Digest, Network,
    collections::{CollectionConfig, Map, MapReader},
    groups::ConsensusConfig,
    status::{
        FunctionSide, GroupRole, GroupStorage, LinkPath, OBSERVER_TAG, Report, StreamSide,
        SubscriptionState,
        findings::{self, Observed},
    },
};

use super::{asked, asked_until, joined};
use crate::{
    groups::machines::Ledger,
    support::{builder, node, random_network, until_catalog, within},
};

mosaik::stream!(Ticks = u8);
mosaik::collection!(Prices = Map<String, u64>, "status/prices");

#[tokio::test(flavor = "multi_thread")]
async fn a_node_tells_about_itself_and_its_links() {
    let id = random_network();
    let discovery = mosaik::discovery::Config::builder().with_tags(["matcher", "spare"]);
    let a = builder(id, discovery).build().await.unwrap();
    let b = joined(id, &a).await;
    let report = asked(&b, &a).await;
    let node = &report.node;
    assert_eq!(node.peer, a.local().id());
    assert_eq!(node.build, env!("CARGO_PKG_VERSION"));
    assert_eq!(node.peers, 1);
    assert!(node.clock_ahead_ms.unwrap().abs() < 5000, "{node:?}");
    assert!(node.uptime_ms > 0 && node.asked_us.unwrap() > 0);
    assert!(node.addresses[0].starts_with("127.0.0.1:"), "{node:?}");
    assert_eq!((node.has_storage, &node.storage_failure), (false, &None));
    assert!(node.entry_bytes > 0 && node.entry_bytes < node.max_entry_bytes);
    let mut tags: Vec<_> = node
        .tags
        .iter()
        .filter_map(|t| t.label.as_deref())
        .collect();
    tags.sort_unstable();
    assert_eq!(tags, ["matcher", "spare"]);
    assert_eq!(report.label_of(&Digest::from("spare")), Some("spare"));

    let link = report.links.iter().find(|link| link.peer == b.local().id());
    let link = link.unwrap();
    assert_eq!(link.path, LinkPath::Direct);
    assert!(link.rtt_us.is_some() && link.bytes_received > 0 && link.connections > 0);
    assert_eq!(report.left_off, 0);

    let own = a.status();
    assert_eq!((own.node.peer, own.node.clock_ahead_ms), (node.peer, None));
    let by_id = within(12, a.status_of(a.local().id())).await.unwrap();
    assert_eq!(by_id.node.peer, a.local().id(), "oneself needs no way");
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_looks_on_is_no_peer() {
    let id = random_network();
    let a = node(id).await;
    let discovery = mosaik::discovery::Config::builder()
        .with_tags(OBSERVER_TAG)
        .with_bootstrap(a.local().addr());
    let observer = builder(id, discovery).build().await.unwrap();
    let syncing = observer.discovery().sync_with(a.local().addr());
    within(5, syncing).await.unwrap();
    let is_neighbour = |report: &Report| report.links.iter().any(|link| link.observes);
    let report = asked_until(&observer, &a, is_neighbour).await;
    assert_eq!((report.node.peers, report.node.neighbours), (0, 0));
    let b = joined(id, &a).await;
    let report = asked_until(&b, &a, |report| report.node.neighbours == 1).await;
    assert_eq!(report.node.peers, 1);
    for node in [observer, a, b] {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_keeps_no_producer() {
    let a = node(random_network()).await;
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = a.status();
            }
        });
        let mut refused = None;
        for buffer in 1..500 {
            let producer = a.streams().producer::<u8>().with_stream_id("status/again");
            let built = producer.with_buffer_size(buffer).build();
            refused = refused.or(built.err());
        }
        is_done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(refused.is_none(), "{refused:?}");
    });
    a.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_of_a_stream_are_told_with_totals_and_labels() {
    let id = random_network();
    let a = node(id).await;
    let b = joined(id, &a).await;
    let producer = a.streams().producer::<String>();
    let mut producer = producer.with_stream_id("status/orders").build().unwrap();
    let consumer = b.streams().consumer::<String>();
    let mut consumer = consumer
        .with_stream_id("status/orders")
        .with_label("all orders")
        .build();
    for n in 0..10 {
        within(5, producer.send(n.to_string())).await.unwrap();
    }
    for _ in 0..10 {
        within(5, consumer.recv()).await.unwrap();
    }
    let report = asked_until(&b, &a, |report| report.streams[0].datums == 10).await;
    let stream = &report.streams[0];
    assert_eq!(stream.stream, Digest::from("status/orders"));
    assert_eq!(stream.label.as_deref(), Some("status/orders"));
    assert_eq!(
        (&stream.datum[..], stream.side),
        ("String", StreamSide::Producer)
    );
    assert!(stream.online && stream.bytes > 0);
    assert_eq!((stream.accepted, stream.refused, stream.cuts), (1, 0, 0));
    let subscription = &stream.subscriptions[0];
    assert_eq!(subscription.peer, b.local().id());
    assert_eq!(subscription.state, SubscriptionState::Connected);
    assert_eq!((subscription.datums, subscription.lag), (10, 0));

    let report = asked(&a, &b).await;
    let stream = &report.streams[0];
    assert_eq!(stream.side, StreamSide::Consumer);
    assert_eq!(stream.label.as_deref(), Some("all orders"));
    assert_eq!(
        (stream.datums, stream.dropped, stream.producers_known),
        (10, 0, 1)
    );
    assert_eq!(stream.subscriptions[0].peer, a.local().id());

    // A declared stream has the name of its declaration.
    let _ticks = <Ticks as mosaik::StreamProducer>::producer(&a);
    let own = a.status();
    assert!(
        own.streams
            .iter()
            .any(|s| s.label.as_deref() == Some("Ticks"))
    );

    drop(consumer);
    asked_until(&b, &a, |report| {
        let orders = report.streams.iter().find(|s| s.accepted == 1).unwrap();
        orders.subscriptions.is_empty() && orders.datums == 10
    })
    .await;
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_consumer_that_lags_is_named() {
    let id = random_network();
    let a = node(id).await;
    let (b, c) = (joined(id, &a).await, joined(id, &a).await);
    let producer = a.streams().producer::<Vec<u8>>().with_stream_id("lag");
    let producer = producer
        .with_buffer_size(8)
        .with_lag_policy(mosaik::streams::producer::LagPolicy::Wait)
        .build()
        .unwrap();
    let consume = |node: &Network| {
        let consumer = node.streams().consumer::<Vec<u8>>().with_stream_id("lag");
        consumer.with_receive_buffer_bytes(64 * 1024).build()
    };
    let (mut fast, stuck) = (consume(&b), consume(&c));
    within(5, producer.when().subscribed().minimum_of(2)).await;
    let mut sending = producer.clone();
    let sender =
        tokio::spawn(async move { while sending.send(vec![0; 64 * 1024]).await.is_ok() {} });
    let reader = tokio::spawn(async move { while fast.recv().await.is_some() {} });
    let stuck_at = c.local().id();
    let is_named = |finding: &findings::Finding| {
        finding.number == "M121" && finding.text.contains(&stuck_at.fmt_short().to_string())
    };
    let report = asked_until(&b, &a, |report| {
        let found = findings::examine(&Observed::new(vec![report.clone()]));
        found.iter().any(is_named)
    })
    .await;
    let worst = &report.streams[0].subscriptions[0];
    assert_eq!(worst.peer, stuck_at, "the one that lags most comes first");
    assert!(worst.lag >= 4, "{worst:?}");
    drop(stuck);
    drop(producer);
    sender.abort();
    for node in [a, b, c] {
        node.shutdown().await;
    }
    within(5, reader).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_and_callers_are_told_with_their_totals() {
    let id = random_network();
    let a = node(id).await;
    let b = joined(id, &a).await;
    let handler = a.functions().handler().with_function_id("status/double");
    let handler = handler
        .with_max_concurrent(7)
        .serve(|n: u64, _: CallContext| async move { Ok::<_, ()>(n * 2) })
        .unwrap();
    let caller = b.functions().caller::<u64, u64, ()>();
    let caller = caller.with_function_id("status/double").build();
    let nobody = b.functions().caller::<u64, u64, ()>();
    let nobody = nobody.with_function_id("status/nobody").build();
    for n in 0..3 {
        assert_eq!(within(5, caller.call(n)).await.unwrap(), n * 2);
    }
    let late = nobody.call_with_timeout(1, std::time::Duration::from_millis(20));
    assert!(within(5, late).await.is_err());

    let report = asked_until(&b, &a, |report| report.functions[0].running == 0).await;
    let function = &report.functions[0];
    assert_eq!(function.function, *handler.function_id());
    assert_eq!(function.label.as_deref(), Some("status/double"));
    assert_eq!(
        (&function.types[..], function.side),
        ("u64 -> u64", FunctionSide::Handler)
    );
    assert_eq!(
        (function.answered, function.failed, function.refused),
        (3, 0, 0)
    );
    assert_eq!(function.max_running, Some(7));

    let report = asked(&a, &b).await;
    let of = |label: &str| {
        let mut all = report.functions.iter();
        all.find(|f| f.label.as_deref() == Some(label)).unwrap()
    };
    let double = of("status/double");
    assert_eq!(double.side, FunctionSide::Caller);
    assert_eq!((double.answered, double.attempts, double.failed), (3, 3, 0));
    assert_eq!((double.eligible, double.handlers_known), (1, 1));
    let missing = of("status/nobody");
    assert_eq!(
        (missing.failed, missing.eligible, missing.handlers_known),
        (1, 0, 0)
    );
    // As if the node had had its time to find others.
    let mut report = report.clone();
    report.node.uptime_ms = 60_000;
    let found = findings::examine(&Observed::new(vec![report]));
    let texts: Vec<_> = found
        .iter()
        .map(|finding| (finding.number, &finding.text[..]))
        .collect();
    assert!(
        texts.contains(&("M131", "nobody serves function status/nobody")),
        "{texts:?}"
    );
    drop((caller, nobody, handler));
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_told_with_its_leader_and_who_is_missing() {
    let id = random_network();
    let a = node(id).await;
    let nodes = [joined(id, &a).await, joined(id, &a).await, a];
    let join = |node: &Network| {
        let consensus = ConsensusConfig::builder()
            .with_min_members(3)
            .build()
            .unwrap();
        let group = node.groups().with_key("status secret").with_label("ledger");
        let group = group.with_consensus_config(consensus);
        group.with_state_machine(Ledger::default()).join()
    };
    let groups: Vec<_> = nodes.iter().map(join).collect();
    for group in &groups {
        within(20, group.when().online()).await;
    }
    within(10, groups[0].execute(1)).await.unwrap();
    let [b, c, a] = &nodes;
    let report = asked_until(b, a, |report| {
        let group = &report.groups[0];
        group.voters.len() == 3 && group.committed == 1
    })
    .await;
    let group = &report.groups[0];
    assert_eq!(group.group, *groups[0].id());
    assert_eq!(
        (group.label.as_deref(), &group.machine[..]),
        (Some("ledger"), "Ledger")
    );
    assert!(group.online && !group.halted && group.term > 0 && group.lineage.is_some());
    assert_eq!(group.leader, groups[0].leader());
    assert_eq!(
        (group.storage, group.min_members),
        (GroupStorage::Memory, 3)
    );
    assert_eq!((&group.missing[..], group.bonds.len()), (&[][..], 2));
    let json = serde_json::to_string(&report).unwrap();
    assert!(!json.contains("status secret"));

    let roles = [b.status(), c.status(), a.status()].map(|report| report.groups[0].role);
    let leaders = roles
        .iter()
        .filter(|role| **role == GroupRole::Leader)
        .count();
    let voters = roles
        .iter()
        .filter(|role| **role == GroupRole::Voter)
        .count();
    assert_eq!((leaders, voters), (1, 2), "{roles:?}");

    // Two vanish at once: no majority is left that could go on without them.
    let [b, c, a] = nodes;
    let gone = [b.local().id(), c.local().id()];
    for node in [&b, &c] {
        node.local().endpoint().close().await;
    }
    within(30, async {
        loop {
            let report = a.status();
            let found = findings::examine(&Observed::new(vec![report.clone()]));
            let halted = found.iter().find(|finding| finding.number == "M141");
            if let Some(halted) = halted
                && report.groups[0].missing.len() == 2
            {
                let named = gone
                    .iter()
                    .filter(|peer| halted.text.contains(&peer.fmt_short().to_string()));
                assert_eq!(named.count(), 2, "{halted}");
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    drop(groups);
    for node in [a, b, c] {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_are_told_without_their_secrets() {
    let id = random_network();
    let a = node(id).await;
    let b = joined(id, &a).await;
    let writer = <Prices as mosaik::CollectionWriter>::writer(&a);
    let limited = CollectionConfig::default()
        .with_max_entries(3)
        .with_label("few");
    let other = MapReader::<String, u64>::reader_with_config(&b, "status/prices", limited);
    within(10, writer.when().online()).await;
    within(10, writer.insert("wheat".into(), 3)).await.unwrap();
    let watch = writer.watch();
    let report = asked_until(&b, &a, |report| {
        report
            .collections
            .first()
            .is_some_and(|one| one.entries == 1)
    })
    .await;
    let collection = &report.collections[0];
    assert_eq!(collection.label.as_deref(), Some("Prices"));
    assert_eq!(
        (&collection.kind[..], &collection.types[..]),
        ("map", "String, u64")
    );
    assert_eq!((collection.version, collection.watchers), (1, 1));
    assert!(!collection.reads_only);
    assert_eq!(report.groups[0].group, collection.group);
    let json = serde_json::to_string(&report).unwrap();
    let secrets = [
        Digest::from("status/prices").to_string(),
        "status/prices".into(),
        id.to_string(),
    ];
    for secret in secrets {
        assert!(!json.contains(&secret), "{json}");
    }
    drop(watch);

    until_catalog(5, &b, |catalog| {
        let entry = catalog.get(&a.local().id());
        entry.is_some_and(|entry| !entry.tickets().is_empty())
    })
    .await;
    let report = asked(&a, &b).await;
    let collection = &report.collections[0];
    assert_eq!(
        (collection.label.as_deref(), collection.reads_only),
        (Some("few"), true)
    );
    let found = findings::examine(&Observed::new(vec![report.clone()]));
    assert!(
        found.iter().any(|finding| finding.number == "M151"),
        "{found:?}"
    );
    drop((writer, other));
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_lists_come_in_pages() {
    const STREAMS: usize = 700;
    let id = random_network();
    let a = node(id).await;
    let b = joined(id, &a).await;
    let producers: Vec<_> = (0..STREAMS)
        .map(|n| {
            let producer = a.streams().producer::<u8>();
            producer
                .with_stream_id(format!("status/stream number {n}").as_str())
                .open()
        })
        .collect();
    let report = asked(&b, &a).await;
    assert_eq!((report.streams.len(), report.left_off), (STREAMS, 0));
    assert!(
        report
            .streams
            .is_sorted_by(|one, next| one.stream < next.stream)
    );
    drop(producers);
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_ahead_is_found() {
    let id = random_network();
    let a = node(id).await;
    let clock = || std::time::SystemTime::now() + std::time::Duration::from_secs(14);
    let ahead = builder(id, mosaik::discovery::Config::builder()).with_clock(clock);
    let b = ahead.build().await.unwrap();
    let report = asked(&a, &b).await;
    let found = findings::examine(&Observed::new(vec![a.status(), report]));
    let drift: Vec<_> = found
        .iter()
        .filter(|finding| finding.number == "M102")
        .collect();
    assert!(
        drift
            .iter()
            .any(|finding| finding.peer == b.local().id()
                && finding.text.contains("ahead of 1 of 1")),
        "{found:?}"
    );
    a.shutdown().await;
    b.shutdown().await;
}
