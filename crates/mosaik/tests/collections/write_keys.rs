//! Collections that only holders of a key write.

use std::{fmt::Debug, future::Future, time::Duration};

use mosaik::{
    CollectionReader, CollectionWriter, Digest, Network,
    collections::{CollectionConfig, Error, Event, Ingredient, Map, MapWriter, Version, WriteKey},
};

use super::{fleet, until};
use crate::support::{
    bonded::{
        APPEND, Bonded, FORWARD, HEARTBEAT, Lineage, PRE_VOTE, READ_INDEX, REFUSED, Reply,
        SNAPSHOT, forward, higher_vote,
    },
    node, random_network, within,
};

mosaik::collection!(Guarded = Map<u32, u32>, "guarded", write_key: "a secret of the declaration");

/// Close code of a peer that is not allowed to do what it asks for.
const NOT_ALLOWED: u64 = 30_403;

fn config(key: WriteKey) -> CollectionConfig {
    CollectionConfig::default().with_write_key(key)
}

fn writer(node: &Network, key: WriteKey) -> MapWriter<u32, u32> {
    Map::writer_with_config(node, "guarded", config(key))
}

fn keyless(node: &Network) -> MapWriter<u32, u32> {
    Map::writer(node, "guarded")
}

/// Waits until so many vote, as a writer knows that writes meanwhile.
async fn until_voters(writer: &MapWriter<u32, u32>, count: usize) {
    within(10, async {
        while writer.status().membership.voters.len() != count {
            // While the membership changes it may fail.
            let _ = writer.insert(0, 0).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Waits until a writer is refused, as those with the key or those without write already.
async fn until_refused(writer: &MapWriter<u32, u32>) {
    let refused = settled(|| writer.insert(0, 0)).await;
    assert!(
        matches!(refused, Err(Error::WriteRefused((0, 0)))),
        "{refused:?}"
    );
    assert!(!writer.status().may_write && !writer.status().is_online);
}

/// Repeats a mutation until it ends in another way than `Offline`: nothing tells when a node has
/// met those who refuse it.
async fn settled<T: Debug, F: Future<Output = Result<Version, Error<T>>>>(
    mutation: impl Fn() -> F,
) -> Result<Version, Error<T>> {
    within(10, async {
        loop {
            match mutation().await {
                // It comes back at once; there is no condition to wait for.
                Err(Error::Offline(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
                outcome => return outcome,
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_key_writes_and_who_has_not_reads() {
    let nodes = fleet(4).await;
    let key = WriteKey::random();
    let (one, two) = (writer(&nodes[0], key), writer(&nodes[1], key));
    let reader = Map::<u32, u32>::reader(&nodes[2], "guarded");
    let verified = Map::<u32, u32>::reader_with_config(&nodes[3], "guarded", config(key));
    for when in [one.when(), two.when(), reader.when(), verified.when()] {
        within(10, when.online()).await;
    }
    assert_eq!(
        reader.group_id(),
        one.group_id(),
        "the key is no ingredient"
    );
    one.insert(1, 1).await.unwrap();
    let version = two.insert(2, 2).await.unwrap();
    for reader in [&reader, &verified] {
        within(10, reader.when().reaches(version)).await;
        assert_eq!((reader.get(&1), reader.get(&2)), (Some(1), Some(2)));
        within(10, reader.sync()).await.unwrap();
    }
    assert!(one.status().may_write && two.status().may_write);
    assert!(!reader.status().may_write && verified.status().may_write);
    let voters = one.status().membership.voters;
    assert!(!voters.contains(&nodes[2].local().id()));
}

/// A leader feeds four, and those without the key are of no use to the one that has it.
#[tokio::test(flavor = "multi_thread")]
async fn readers_without_the_key_take_no_place_from_one_that_has_it() {
    let nodes = fleet(2).await;
    let key = WriteKey::random();
    let one = writer(&nodes[0], key);
    within(10, one.when().online()).await;
    let mut fed = Vec::new();
    for _ in 0..4 {
        let (guest, lineage) = bonded(&one, &nodes[0]).await;
        let stream = guest.fed(lineage).await;
        fed.push((guest, stream));
    }
    let verified = Map::<u32, u32>::reader_with_config(&nodes[1], "guarded", config(key));
    within(10, verified.when().online()).await;
    let version = one.insert(1, 1).await.unwrap();
    within(10, verified.when().reaches(version)).await;
    // The last of them has lost its place.
    let (_guest, (_send, mut recv)) = fed.pop().unwrap();
    within(10, async {
        while !matches!(recv.read(&mut [0; 1024]).await, Ok(None) | Err(_)) {}
    })
    .await;
}

/// Each name once took a place of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_goes_by_many_names_takes_no_place_from_readers() {
    let nodes = fleet(2).await;
    let one = Map::<u32, u32>::writer(&nodes[0], "guarded");
    within(10, one.when().online()).await;
    let (mut greedy, lineage) = bonded(&one, &nodes[0]).await;
    let mut fed = Vec::new();
    for incarnation in 1..=17 {
        greedy.own.incarnation = incarnation;
        fed.push(greedy.fed(lineage).await);
    }
    let reader = Map::<u32, u32>::reader(&nodes[1], "guarded");
    within(10, reader.when().online()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_without_the_key_reads_and_neither_writes_nor_votes_nor_leads() {
    let nodes = fleet(3).await;
    let key = WriteKey::random();
    let (one, two) = (writer(&nodes[0], key), writer(&nodes[1], key));
    within(10, one.when().online()).await;
    within(10, two.when().online()).await;
    let without = Map::<u32, u32>::writer(&nodes[2], "guarded");
    within(10, without.when().online()).await;
    let refused = settled(|| without.insert(7, 7)).await;
    assert!(
        matches!(refused, Err(Error::WriteRefused((7, 7)))),
        "{refused:?}"
    );
    let refused = without.insert_returning(7, 7).await;
    assert!(
        matches!(refused, Err(Error::WriteRefused((7, 7)))),
        "{refused:?}"
    );
    assert!(!without.status().may_write && without.status().is_online);
    let version = one.insert(1, 1).await.unwrap();
    within(10, without.when().reaches(version)).await;
    assert_eq!(without.get(&1), Some(1));
    let outsider = nodes[2].local().id();
    assert!(!one.status().membership.voters.contains(&outsider));

    // Also when the leader leaves, it is the other holder of the key that leads.
    let (led, other) = if one.status().leader == Some(nodes[0].local().id()) {
        (one, two)
    } else {
        (two, one)
    };
    drop(led);
    let version = settled(|| other.insert(2, 2)).await.unwrap();
    within(10, without.when().reaches(version)).await;
    assert_eq!(without.len(), 2);
    drop(other);
    within(10, without.when().offline()).await;
    assert!(without.insert(3, 3).await.is_err(), "nobody leads");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_with_another_key_is_told_and_disturbs_nobody() {
    let nodes = fleet(2).await;
    let right = writer(&nodes[0], WriteKey::random());
    within(10, right.when().online()).await;
    right.insert(1, 1).await.unwrap();
    let wrong = writer(&nodes[1], WriteKey::random());
    let refused = settled(|| wrong.insert(7, 7)).await;
    assert!(
        matches!(refused, Err(Error::WriteRefused((7, 7)))),
        "{refused:?}"
    );
    assert!(!wrong.status().may_write && !wrong.status().is_online);
    assert_eq!(wrong.version(), Version::default());
    within(10, right.insert(2, 2)).await.unwrap();
    assert!(right.status().may_write && right.len() == 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_does_not_take_a_collection_over_that_is_in_operation_without() {
    let nodes = fleet(2).await;
    let open = Map::<u32, u32>::writer(&nodes[0], "guarded");
    within(10, open.when().online()).await;
    open.insert(1, 1).await.unwrap();
    let late = writer(&nodes[1], WriteKey::random());
    let refused = settled(|| late.insert(7, 7)).await;
    assert!(
        matches!(refused, Err(Error::WriteRefused(_))),
        "{refused:?}"
    );
    within(10, open.insert(2, 2)).await.unwrap();
    assert!(open.status().may_write);
}

/// Those that were restarted with the key once began a second, empty content as soon as there were
/// two of them, while the last one without it went on with the first.
#[tokio::test(flavor = "multi_thread")]
async fn writers_that_are_restarted_with_a_key_wait_for_the_last_one_without_it() {
    let nodes = fleet(3).await;
    let [one, two, three] = [0, 1, 2].map(|n| keyless(&nodes[n]));
    for writer in [&one, &two, &three] {
        within(10, writer.when().online()).await;
    }
    for n in 1..=20 {
        one.insert(n, n).await.unwrap();
    }
    let key = WriteKey::random();
    drop(one);
    settled(|| three.insert(21, 0)).await.unwrap();
    let one = writer(&nodes[0], key);
    until_refused(&one).await;
    drop(two);
    settled(|| three.insert(22, 0)).await.unwrap();
    let two = writer(&nodes[1], key);
    until_refused(&two).await;
    until_refused(&one).await;
    settled(|| three.insert(23, 0)).await.unwrap();
    assert_eq!((one.len(), two.len(), three.len()), (0, 0, 23));
    assert!(three.status().is_online && three.status().may_write);

    // Once it has left, its content is nobody's any more.
    drop(three);
    within(10, one.when().online()).await;
    within(10, two.when().online()).await;
    settled(|| two.insert(1, 1)).await.unwrap();
    assert!(one.status().may_write && two.status().may_write);
}

#[tokio::test(flavor = "multi_thread")]
async fn holders_of_a_key_wait_while_a_writer_that_has_forgotten_it_writes() {
    let nodes = fleet(3).await;
    let forgetful = keyless(&nodes[0]);
    within(10, forgetful.when().online()).await;
    for n in 1..=10 {
        forgetful.insert(n, n).await.unwrap();
    }
    let key = WriteKey::random();
    let holders = [1, 2].map(|n| writer(&nodes[n], key));
    for holder in &holders {
        until_refused(holder).await;
    }
    let peer = nodes[0].local().id();
    for holder in &holders {
        until_refused(holder).await;
        assert!(holder.is_empty());
        let mismatches = holder.status().mismatches;
        assert_eq!((mismatches.len(), mismatches[0].peer), (1, peer));
        assert_eq!(mismatches[0].ingredients, [Ingredient::WriteKey]);
    }
    settled(|| forgetful.insert(11, 11)).await.unwrap();
    assert_eq!(forgetful.len(), 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_without_a_key_gives_way_to_that_of_a_holder_which_it_meets() {
    let network = random_network();
    let nodes = [node(network).await, node(network).await];
    let open = keyless(&nodes[0]);
    let holder = writer(&nodes[1], WriteKey::random());
    within(10, open.when().online()).await;
    within(10, holder.when().online()).await;
    for n in 0..20 {
        open.insert(n, n).await.unwrap();
    }
    holder.insert(100, 100).await.unwrap();
    nodes[1].discovery().dial(nodes[0].local().addr());
    until(20, open.when(), || open.get(&100) == Some(100)).await;
    within(10, open.when().online()).await;
    let refused = settled(|| open.insert(7, 7)).await;
    assert!(
        matches!(refused, Err(Error::WriteRefused(_))),
        "{refused:?}"
    );
    within(10, holder.insert(101, 101)).await.unwrap();
    assert_eq!((holder.len(), holder.status().may_write), (2, true));
    assert!(!open.status().may_write);
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_that_bring_a_key_to_running_writers_introduce_it_without_a_loss() {
    let nodes = fleet(3).await;
    let open = [0, 1, 2].map(|n| keyless(&nodes[n]));
    for writer in &open {
        within(10, writer.when().online()).await;
    }
    for n in 0..20 {
        open[n % 3].insert(n as u32, 0).await.unwrap();
    }
    let key = WriteKey::random();
    let keyed = [0, 1, 2].map(|n| writer(&nodes[n], key));
    for (n, writer) in (20..).zip(&keyed) {
        let written = within(20, async {
            loop {
                match writer.insert(n, 0).await {
                    // Until a majority has the key, and each has proven it on new bonds.
                    Err(Error::Offline(_) | Error::WriteRefused(_)) => {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    outcome => return outcome,
                }
            }
        });
        written.await.unwrap();
    }
    for writer in &keyed {
        until(10, writer.when(), || writer.len() == 23).await;
        assert!(writer.status().may_write);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_handle_brings_the_key_to_its_node() {
    let nodes = fleet(2).await;
    let key = WriteKey::random();
    let one = writer(&nodes[0], key);
    within(10, one.when().online()).await;
    let reader = Map::<u32, u32>::reader(&nodes[1], "guarded");
    within(10, reader.when().online()).await;
    assert!(!reader.status().may_write);
    let two = writer(&nodes[1], key);
    let written = within(10, async {
        loop {
            match two.insert(1, 1).await {
                // Proven on a new bond, which takes a moment.
                Err(Error::Offline(_) | Error::WriteRefused(_)) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                outcome => return outcome,
            }
        }
    })
    .await;
    within(10, one.when().reaches(written.unwrap())).await;
    assert_eq!((one.get(&1), reader.get(&1)), (Some(1), Some(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declaration_brings_its_key() {
    let nodes = fleet(2).await;
    let declared = within(10, Guarded::online_writer(&nodes[0])).await;
    let without = within(10, async {
        let without = Map::<u32, u32>::writer(&nodes[1], "guarded");
        without.when().online().await;
        without
    })
    .await;
    let refused = settled(|| without.insert(7, 7)).await;
    assert!(
        matches!(refused, Err(Error::WriteRefused(_))),
        "{refused:?}"
    );
    let reader = Guarded::reader(&nodes[1]);
    assert_eq!(reader.group_id(), declared.group_id());
}

/// With the bond of a peer that has the group's key: the store id.
async fn bonded(map: &MapWriter<u32, u32>, node: &Network) -> (Bonded, Digest) {
    let key = Digest::from("guarded");
    let peer = Bonded::with(node, *map.group_id(), key, Some([9; 32])).await;
    let lineage = peer.theirs.lineage.expect("a history").id;
    (peer, lineage)
}

/// A forwarded `clear`.
fn clear() -> impl serde::Serialize {
    forward(&[0, 4])
}

fn pre_vote() -> impl serde::Serialize {
    (PRE_VOTE, Some((u64::MAX, u64::MAX)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_lies_about_the_key_changes_nothing() {
    let node = node(random_network()).await;
    let map = writer(&node, WriteKey::random());
    within(10, map.when().online()).await;
    map.insert(1, 1).await.unwrap();
    let (mut peer, lineage) = bonded(&map, &node).await;
    for channel in [APPEND, SNAPSHOT] {
        let refused = peer.open(lineage, channel, &()).await;
        assert_eq!(refused, Reply::Closed(NOT_ALLOWED));
    }
    let refused = peer.open(lineage, FORWARD, &clear()).await;
    assert_eq!(refused, Reply::Closed(NOT_ALLOWED));
    assert_eq!(peer.ask(lineage, &pre_vote()).await, Some(vec![REFUSED]));
    peer.dissolve(lineage).await;
    // It may ask for a read; as to anybody, a leader may refuse one for a moment.
    let read = async {
        loop {
            let read = peer.ask(lineage, &(READ_INDEX, None::<u64>)).await;
            match read.expect("an answer") {
                refused if refused == [REFUSED] => tokio::task::yield_now().await,
                read => return read[0],
            }
        }
    };
    assert_eq!(within(10, read).await, 5);
    assert!(peer.ask(Digest::random(), &pre_vote()).await.is_none());
    map.insert(2, 2).await.unwrap();
    assert!(map.len() == 2 && map.status().may_write);
}

/// Control: the messages of the peer above take effect where no key is in use.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_a_collection_without_a_key_may_do_all_that() {
    let node = node(random_network()).await;
    let map = Map::<u32, u32>::writer(&node, "guarded");
    within(10, map.when().online()).await;
    map.insert(1, 1).await.unwrap();
    let mut watch = map.watch();
    let (mut peer, lineage) = bonded(&map, &node).await;
    let taken = peer.open(lineage, FORWARD, &clear()).await;
    assert_eq!(taken, Reply::Answered);
    let cleared = within(10, futures::StreamExt::next(&mut watch)).await;
    assert!(
        matches!(cleared, Some(Event::Changed { .. })),
        "{cleared:?}"
    );
    let response = peer.ask(lineage, &pre_vote()).await.expect("an answer");
    assert_ne!(response, [REFUSED]);
    let answer = higher_vote(1_000, peer.own);
    peer.answer(HEARTBEAT, &answer).await;
    within(10, map.when().offline()).await;
    peer.dissolve(lineage).await;
    let discarded = within(10, futures::StreamExt::next(&mut watch)).await;
    assert!(
        matches!(discarded, Some(Event::Reset { .. })),
        "{discarded:?}"
    );
}

/// An answer that told of a higher vote once took the leadership from the one who had asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_the_key_deposes_no_leader_by_its_answers() {
    for term in [1_000, u64::MAX] {
        let node = node(random_network()).await;
        let map = writer(&node, WriteKey::random());
        within(10, map.when().online()).await;
        map.insert(1, 1).await.unwrap();
        let leader = map.status().leader;
        let key = Digest::from("guarded");
        let mut peer = Bonded::with(&node, *map.group_id(), key, None).await;
        let answer = higher_vote(term, peer.own);
        // It is asked again only after its last answer was dealt with.
        for _ in 0..3 {
            peer.answer(HEARTBEAT, &answer).await;
        }
        within(10, map.insert(2, 2)).await.unwrap();
        assert_eq!(map.status().leader, leader);
    }
}

/// Each name was once one more entry of everybody's log, which listed all the names before.
#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_comes_as_ever_new_members_is_not_added_each_time() {
    const NAMES: u32 = 300;
    let node = node(random_network()).await;
    let map = writer(&node, WriteKey::random());
    within(10, map.when().online()).await;
    let (mut guest, _) = bonded(&map, &node).await;
    for n in 1..=NAMES {
        guest.comes_as(u64::from(n) + 1).await;
        // Time enough for a change of the membership.
        within(5, map.insert(1, n)).await.unwrap();
    }
    assert!(map.status().membership.learners.len() <= 1);
    let (late, _) = bonded(&map, &node).await;
    let last = late.theirs.lineage.and_then(|own| own.last);
    let others = last.expect("a log").index - u64::from(NAMES);
    assert!(others < 50, "{others} entries without a mutation");
}

/// Bonds are made anew when a handle brings the key; meanwhile its node once knew of no content, and
/// began an empty one that would have replaced the last copy of the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_becomes_a_writer_begins_nothing_beside_a_halted_content() {
    let nodes = fleet(4).await;
    let key = WriteKey::random();
    let writers = [0, 1, 2].map(|n| writer(&nodes[n], key));
    for writer in &writers {
        within(10, writer.when().online()).await;
    }
    until_voters(&writers[0], 3).await;
    let version = settled(|| writers[0].insert(1, 1)).await.unwrap();
    within(10, writers[0].when().reaches(version)).await;
    for lost in &nodes[1..3] {
        lost.local().endpoint().close().await;
    }
    within(10, writers[0].when().offline()).await;
    let _reader = Map::<u32, u32>::reader(&nodes[3], "guarded");
    // Nothing tells when it has a bond, or that its wait for others is over.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let late = writer(&nodes[3], key);
    // Longer than a founding waits.
    let begun = tokio::time::timeout(Duration::from_secs(2), late.when().online()).await;
    assert!(begun.is_err(), "it has begun a content of its own");
    let reformed = async { while !writers[0].reform().await {} };
    within(10, reformed).await;
    until(10, late.when(), || late.get(&1) == Some(1)).await;
    within(10, late.when().online()).await;
}

/// Term numbers are added up: the highest one once ended the group.
#[tokio::test(flavor = "multi_thread")]
async fn an_impossible_term_is_believed_of_no_member() {
    let node = node(random_network()).await;
    let map = keyless(&node);
    within(10, map.when().online()).await;
    map.insert(1, 1).await.unwrap();
    let key = Digest::from("guarded");
    let mut peer = Bonded::with(&node, *map.group_id(), key, None).await;
    let answer = higher_vote(u64::MAX, peer.own);
    for _ in 0..3 {
        peer.answer(HEARTBEAT, &answer).await;
    }
    within(10, map.insert(2, 2)).await.unwrap();
}

/// It once left before anybody had taken its vote, without which the other one had no majority.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_the_key_hurries_no_writer_out() {
    let nodes = fleet(2).await;
    let key = WriteKey::random();
    let (leaving, staying) = (writer(&nodes[0], key), writer(&nodes[1], key));
    within(10, leaving.when().online()).await;
    within(10, staying.when().online()).await;
    until_voters(&staying, 2).await;
    let secret = Digest::from("guarded");
    let mut peer = Bonded::with(&nodes[0], *leaving.group_id(), secret, None).await;
    let member = peer.theirs.member;
    let hurrying = tokio::spawn(async move {
        let mut pauses = tokio::time::interval(Duration::from_millis(1));
        while peer.remove(member).await {
            pauses.tick().await;
        }
    });
    drop(leaving);
    until_voters(&staying, 1).await;
    settled(|| staying.insert(2, 2)).await.unwrap();
    within(10, hurrying).await.unwrap();
}

/// Readers say nothing about who writes what they have; the holder of the right key was once told
/// that it is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_knows_only_a_reader_of_a_live_content_is_offline_and_not_refused() {
    const OBSERVER: u8 = 3;
    let node = node(random_network()).await;
    // So that it begins nothing before it has met anybody.
    let config = config(WriteKey::random()).with_min_writers(2);
    let map = Map::<u32, u32>::writer_with_config(&node, "guarded", config);
    let live = Lineage {
        id: Digest::random(),
        parent: None,
        committed: 5,
        last: None,
        alive: true,
        leading: false,
    };
    let (group, key) = (*map.group_id(), Digest::from("guarded"));
    let reader = Bonded::introduced(&node, group, key, None, |standing| {
        standing.willingness = OBSERVER;
        standing.lineage = Some(live);
    });
    let _reader = reader.await;
    let offline = map.insert(1, 1).await;
    assert!(
        matches!(offline, Err(Error::Offline((1, 1)))),
        "{offline:?}"
    );
    assert!(map.status().may_write && map.status().mismatches.is_empty());

    // Control: a writer that claims the same.
    let writer = Bonded::introduced(&node, group, key, None, |standing| {
        standing.lineage = Some(live);
    });
    let mut writer = writer.await;
    let own = writer.own;
    let talking = tokio::spawn(async move {
        let mut pauses = tokio::time::interval(Duration::from_millis(50));
        while writer.remove(own).await {
            pauses.tick().await;
        }
    });
    until_refused(&map).await;
    assert_eq!(map.status().mismatches.len(), 1);
    drop(map);
    within(10, talking).await.unwrap();
}
