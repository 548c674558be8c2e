//! Askers that break the rules, or ask without end, are turned away and harm nobody; nor do nodes
//! that answer with lies.

use mosaik::{
    Network, NetworkId,
    iroh::endpoint::{Connection, RecvStream, SendStream},
    streams::Producer,
};

use super::{asked, joined};
use crate::support::{
    intruder::{Intruder, STATUS_ALPN, end_of, frame, header, say},
    metrics::{count, counted},
    node, random_network, within,
};

const STREAMS: u8 = 2;
const PROTOCOL_VIOLATION: Option<u64> = Some(400);
const TOO_MANY_REQUESTS: Option<u64> = Some(12_429);

async fn target() -> (Network, NetworkId, Intruder, Connection) {
    count();
    let id = random_network();
    let target = node(id).await;
    let intruder = Intruder::new().await;
    let connection = intruder.join(&target, STATUS_ALPN).await;
    (target, id, intruder, connection)
}

/// More streams than fit on a page.
fn produce_many(node: &Network) -> Vec<Producer<u8>> {
    let open = |n: u32| {
        let producer = node.streams().producer();
        producer.with_stream_id(n.to_string().as_str()).open()
    };
    (0..1000).map(open).collect()
}

/// Others are answered as before.
async fn is_undisturbed(target: &Network) {
    let friend = joined(*target.network_id(), target).await;
    assert_eq!(asked(&friend, target).await.node.peer, target.local().id());
    friend.shutdown().await;
}

/// Asks on an open stream; the sequence number and the rest of the answer.
async fn page(send: &mut SendStream, recv: &mut RecvStream, question: &[u8]) -> Option<Vec<u8>> {
    send.write_all(question).await.ok()?;
    let mut len = [0; 4];
    within(10, recv.read_exact(&mut len)).await.ok()?;
    let len = u32::from_le_bytes(len);
    if len & (1 << 31) != 0 {
        return None;
    }
    let mut answer = vec![0; len as usize];
    within(10, recv.read_exact(&mut answer)).await.ok()?;
    Some(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_a_violation() {
    let (target, id, _intruder, connection) = target().await;
    let mut endless = frame(&());
    endless[..4].copy_from_slice(&header(65));
    endless.extend([0; 65]);
    let overlong = [&header(11)[..], &[0xff; 11]].concat();
    for nonsense in [endless, overlong] {
        let (_send, mut recv) = say(&connection, &nonsense).await;
        assert_eq!(end_of(&mut recv).await, PROTOCOL_VIOLATION);
    }
    assert_eq!(counted(&id, "mosaik.network.links.violated", None), 2);
    is_undisturbed(&target).await;
    target.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sections_of_later_versions_are_empty() {
    let (target, _, _intruder, connection) = target().await;
    let (mut send, mut recv) = say(&connection, &[]).await;
    // With a field that this version does not know.
    let later = frame(&(99u8, 0u32, 7u64));
    let answer = page(&mut send, &mut recv, &later).await.unwrap();
    assert_eq!(
        answer,
        [0, 0, 0, 0],
        "nothing available, nothing left off, no items"
    );
    let beyond = page(&mut send, &mut recv, &frame(&(STREAMS, u32::MAX)))
        .await
        .unwrap();
    assert_eq!(beyond.last(), Some(&0), "no items");
    drop((send, recv));
    is_undisturbed(&target).await;
    target.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_has_few_streams_at_a_time() {
    let (target, id, _intruder, connection) = target().await;
    let mut open = Vec::new();
    for _ in 0..4 {
        let (mut send, mut recv) = say(&connection, &[]).await;
        assert!(
            page(&mut send, &mut recv, &frame(&(STREAMS, 0u32)))
                .await
                .is_some()
        );
        open.push((send, recv));
    }
    let (_send, mut recv) = say(&connection, &frame(&(STREAMS, 0u32))).await;
    assert_eq!(end_of(&mut recv).await, TOO_MANY_REQUESTS);
    assert_eq!(counted(&id, "mosaik.status.requests.refused", None), 1);
    is_undisturbed(&target).await;
    target.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_without_end_is_turned_away() {
    let (target, _, _intruder, connection) = target().await;
    let _streams = produce_many(&target);
    let question = frame(&(STREAMS, 0u32));
    let mut bytes = 0;
    within(30, async {
        loop {
            let (mut send, mut recv) = say(&connection, &[]).await;
            let before = bytes;
            while let Some(answer) = page(&mut send, &mut recv, &question).await {
                bytes += answer.len();
            }
            if bytes == before {
                return;
            }
        }
    })
    .await;
    // As much as it may take at once, and what it has earned meanwhile.
    assert!((1 << 22..20 << 20).contains(&bytes), "{bytes}");
    is_undisturbed(&target).await;
    target.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_asked_nothing_takes_no_place() {
    let (target, _, _intruder, connection) = target().await;
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(say(&connection, &[]).await);
    }
    let (mut send, mut recv) = say(&connection, &[]).await;
    let answer = page(&mut send, &mut recv, &frame(&(STREAMS, 0u32))).await;
    assert!(answer.is_some());
    drop(silent);
    target.shutdown().await;
}

/// The sequence number of an answer.
fn sequence(answer: &[u8]) -> u64 {
    postcard::take_from_bytes(answer).unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_one_asker_are_of_one_moment() {
    let (target, _, _intruder, connection) = target().await;
    let _streams = produce_many(&target);
    let (mut send, mut recv) = say(&connection, &[]).await;
    let first = page(&mut send, &mut recv, &frame(&(STREAMS, 0u32))).await;
    let first = sequence(&first.unwrap());
    // Until the node has looked at itself again, for somebody else.
    let (mut other_send, mut other_recv) = say(&connection, &[]).await;
    within(10, async {
        loop {
            let question = frame(&(STREAMS, 0u32));
            let answer = page(&mut other_send, &mut other_recv, &question).await;
            if sequence(&answer.unwrap()) != first {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    let next = page(&mut send, &mut recv, &frame(&(STREAMS, 100u32))).await;
    assert_eq!(sequence(&next.unwrap()), first);
    target.shutdown().await;
}

/// Answers all questions on one stream: with these items of the node, and of each other section.
async fn answer(connection: &Connection, node: &[Vec<u8>], others: &[Vec<u8>]) -> Option<()> {
    let (mut send, mut recv) = connection.accept_bi().await.ok()?;
    loop {
        let mut len = [0; 4];
        recv.read_exact(&mut len).await.ok()?;
        let mut question = vec![0; u32::from_le_bytes(len) as usize];
        recv.read_exact(&mut question).await.ok()?;
        let items = if question[0] == 0 { node } else { others };
        let page = frame(&(1u64, u32::MAX, 0u64, items));
        send.write_all(&page).await.ok()?;
    }
}

/// A text that would clear a terminal, and fill it.
fn hostile_text() -> String {
    format!("\u{1b}[2J\n\u{202e}{}", "x".repeat(70_000))
}

#[tokio::test]
async fn who_answers_with_lies_costs_little() {
    // A consumer with thousands of subscriptions, of which each is one byte; who decodes it takes a
    // point on a curve for each.
    let mut stream = vec![0; 32 + 15];
    stream.extend([0x80, 0x20]);
    stream.extend([[1, 0]; 4096].concat());
    let id = random_network();
    let asker = node(id).await;
    let liar = Intruder::new().await;
    // Later fields are missing, and so zero.
    let node = postcard::to_stdvec(&(liar.id().as_bytes(), hostile_text())).unwrap();
    let items = vec![stream; 31];
    let lying = async {
        let connection = liar.accept(&id).await;
        answer(&connection, &[node], &items).await;
        connection.closed().await;
    };
    let longest_pause = async {
        let mut longest = std::time::Duration::ZERO;
        let mut last = std::time::Instant::now();
        loop {
            tokio::task::yield_now().await;
            longest = longest.max(last.elapsed());
            last = std::time::Instant::now();
            if longest.as_millis() > 500 {
                return longest;
            }
        }
    };
    tokio::select! {
        answered = within(15, asker.status_of(liar.addr())) => drop(answered),
        () = lying => panic!("the asker has gone"),
        pause = longest_pause => panic!("other tasks waited for {pause:?}"),
    }
    asker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_of_others_are_bounded_and_can_be_shown() {
    let id = random_network();
    let asker = node(id).await;
    let liar = Intruder::new().await;
    let node = postcard::to_stdvec(&(liar.id().as_bytes(), hostile_text())).unwrap();
    let lying = async {
        let connection = liar.accept(&id).await;
        answer(&connection, &[node], &[]).await;
        connection.closed().await;
    };
    let report = tokio::select! {
        answered = within(15, asker.status_of(liar.addr())) => answered.unwrap(),
        () = lying => panic!("the asker has gone"),
    };
    assert_eq!(report.node.peer, liar.id());
    assert_eq!(report.node.build.chars().count(), 256);
    assert!(report.node.build.starts_with("[2Jxxx"));
    assert_eq!(report.left_off, 5 * u64::from(u32::MAX), "by its word");
    asker.shutdown().await;
}
