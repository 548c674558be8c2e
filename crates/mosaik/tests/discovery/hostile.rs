//! Peers that break the rules of the transport: each is turned away, counted, and harms nobody.

use mosaik::{
    Network, NetworkId, PeerId, SecretKey,
    discovery::Error,
    iroh::endpoint::RecvStream,
    network::close::{DifferentNetwork, InvalidAlpn, ProtocolViolation},
};

use crate::support::{
    intruder::{
        ANNOUNCE_ALPN, Intruder, PING_ALPN, SYNC_ALPN, closing, end_of, frame, header, hello, say,
    },
    metrics::{count, counted},
    node, random_network, until_catalog, within,
};

async fn target() -> (Network, NetworkId) {
    count();
    let id = random_network();
    (node(id).await, id)
}

/// The node still does what it is there for.
async fn is_undisturbed(target: &Network) {
    let friend = node(*target.network_id()).await;
    let syncing = friend.discovery().sync_with(target.local().addr());
    within(2, syncing).await.unwrap();
    until_catalog(2, target, |c| c.get(&friend.local().id()).is_some()).await;
    friend.shutdown().await;
}

fn refused(id: &NetworkId, reason: &str) -> u64 {
    counted(id, "mosaik.network.connections.refused", Some(reason))
}

fn violated(id: &NetworkId, reason: &str) -> u64 {
    counted(id, "mosaik.network.links.violated", Some(reason))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_proof_of_the_network_is_refused() {
    let (a, id) = target().await;
    let intruder = Intruder::new().await;
    for alpn in [SYNC_ALPN, PING_ALPN] {
        let connection = intruder.connect(&a, alpn).await;
        let (_send, mut recv) = say(&connection, &frame(&(1u16, [7u8; 32]))).await;
        assert_eq!(DifferentNetwork, closing(&connection).await);
        // The stream may have ended before the connection did.
        let disclosed = recv.read_to_end(1024).await.unwrap_or_default();
        assert!(disclosed.is_empty(), "nothing is disclosed");
    }
    assert_eq!(refused(&id, "different_network"), 2);
    assert_eq!(a.discovery().catalog().peers_count(), 0);

    let connection = intruder.connect(&a, SYNC_ALPN).await;
    let _streams = say(&connection, &frame(&(2u16, [7u8; 32]))).await;
    assert_eq!(ProtocolViolation, closing(&connection).await);
    assert_eq!(refused(&id, "protocol_violation"), 1, "another version");
    is_undisturbed(&a).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_can_not_prove_to_be_of_the_network_is_not_synced_with() {
    let (a, _) = target().await;
    let intruder = Intruder::new().await;
    let syncing = a.discovery().sync_with(intruder.addr());
    let foreign = random_network();
    let (outcome, _connection) = tokio::join!(within(5, syncing), intruder.accept(&foreign));
    assert!(
        matches!(&outcome, Err(Error::DifferentNetwork { local_network, .. })
            if local_network == a.network_id()),
        "{outcome:?}"
    );
    assert_eq!(a.discovery().catalog().peers_count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_instead_of_a_proof_is_refused() {
    let (a, id) = target().await;
    let intruder = Intruder::new().await;
    let garbage: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 4096],
        &header(1025),
        &frame(&[1u8; 7]),
    ];
    for bytes in garbage {
        let connection = intruder.connect(&a, SYNC_ALPN).await;
        let _streams = say(&connection, bytes).await;
        assert_eq!(ProtocolViolation, closing(&connection).await);
    }
    // A beginning without an end.
    let connection = intruder.connect(&a, SYNC_ALPN).await;
    let (mut send, _recv) = say(&connection, &header(33)).await;
    send.finish().unwrap();
    assert_eq!(ProtocolViolation, closing(&connection).await);
    assert_eq!(refused(&id, "protocol_violation"), 5);
    is_undisturbed(&a).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_protocol_is_refused() {
    let (a, id) = target().await;
    let intruder = Intruder::new().await;
    let connecting = intruder.endpoint.connect(a.local().addr(), b"/mosaik/none");
    // By TLS itself, or, once it stands, by the node.
    match within(5, connecting).await {
        Err(_) => {}
        Ok(connection) => assert_eq!(InvalidAlpn, closing(&connection).await),
    }
    let counted = refused(&id, "unfinished") + refused(&id, "invalid_alpn");
    assert_eq!(counted, 1);
    is_undisturbed(&a).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_frames_end_their_stream_alone() {
    let (a, id) = target().await;
    let intruder = Intruder::new().await;
    for (alpn, limit) in [(SYNC_ALPN, 16 << 10), (PING_ALPN, 512 << 10)] {
        let connection = intruder.join(&a, alpn).await;
        // Opened before, and still good after.
        let (mut patient, mut answered) = say(&connection, &[]).await;

        let (_send, mut recv) = say(&connection, &header(limit + 1)).await;
        assert_eq!(end_of(&mut recv).await, Some(400), "too large");
        let (_send, mut recv) = say(&connection, &frame(&vec![0xffu8; 64])).await;
        assert_eq!(end_of(&mut recv).await, Some(400), "undecodable");
        let (mut send, mut recv) = say(&connection, &header(100)).await;
        send.write_all(&[1; 10]).await.unwrap();
        send.finish().unwrap();
        assert_eq!(end_of(&mut recv).await, Some(400), "truncated");
        let (_send, mut recv) = say(&connection, &[0, 0, 0, 0x80]).await;
        assert_eq!(end_of(&mut recv).await, Some(400), "a close without a code");

        // An empty turn, and a ping: both are one zero after the other.
        let question = if alpn == SYNC_ALPN {
            frame(&[0u8; 4])
        } else {
            frame(&0u8)
        };
        patient.write_all(&question).await.unwrap();
        let mut answer = [0; 4];
        within(5, answered.read_exact(&mut answer)).await.unwrap();
        assert!(u32::from_le_bytes(answer) >= 1, "an answer, not a close");
        assert!(connection.close_reason().is_none());
    }
    assert_eq!(violated(&id, "too_large"), 2);
    assert_eq!(violated(&id, "undecodable"), 4);
    assert_eq!(violated(&id, "truncated"), 2);
    is_undisturbed(&a).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_not_waited_for() {
    const STREAMS: usize = 40;
    let (a, id) = target().await;
    let intruder = Intruder::new().await;
    let mute = intruder.connect(&a, SYNC_ALPN).await;
    let connection = intruder.join(&a, SYNC_ALPN).await;
    let pinging = intruder.join(&a, PING_ALPN).await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        // The stream exists for the target when something is sent on it: half a header.
        streams.push(say(&connection, &[0, 0]).await);
    }
    let (_send, mut pinged) = say(&pinging, &[0, 0]).await;
    is_undisturbed(&a).await;

    assert_eq!(ProtocolViolation, closing(&mute).await);
    assert_eq!(refused(&id, "silent"), 1);
    assert_eq!(end_of(&mut pinged).await, Some(102));
    for (_send, recv) in &mut streams {
        assert_eq!(end_of(recv).await, Some(102));
    }
    assert_eq!(violated(&id, "silent"), STREAMS as u64 + 1);
    assert!(connection.close_reason().is_none());
    is_undisturbed(&a).await;
}

/// Regression: an answer that was not read held its task and its stream for ever.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_read_is_given_up() {
    let (a, _) = target().await;
    // The target's proof fits, its entry does not.
    let intruder = Intruder::with_window(64).await;
    let connection = intruder.join(&a, PING_ALPN).await;
    const PING: u8 = 0;
    let (_send, mut recv) = say(&connection, &frame(&PING)).await;
    let reset = within(15, recv.received_reset()).await.unwrap();
    assert_eq!(reset.map(|code| code.into_inner()), Some(102));
    assert!(connection.close_reason().is_none());
    is_undisturbed(&a).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_accepts_and_says_nothing_fails_the_sync() {
    let (a, id) = target().await;
    let intruder = Intruder::new().await;
    let syncing = a.discovery().sync_with(intruder.addr());
    let (outcome, connection) = tokio::join!(within(10, syncing), intruder.accept(&id));
    assert!(matches!(outcome, Err(Error::Link(_))), "{outcome:?}");
    assert_eq!(violated(&id, "silent"), 1);
    drop(connection);
    is_undisturbed(&a).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_without_end_is_ended() {
    let (a, id) = target().await;
    let intruder = Intruder::new().await;
    let syncing = a.discovery().sync_with(intruder.addr());
    let endless = async {
        let connection = intruder.accept(&id).await;
        let (mut send, mut recv) = connection.accept_bi().await.unwrap();
        tokio::spawn(async move { while let Ok(Some(_)) = recv.read(&mut [0; 4096]).await {} });
        // Wants what nobody has, again and again.
        let nobody = Intruder::new().await.id();
        let turn = (0u8, vec![nobody], 0u8, 0u8);
        while send.write_all(&frame(&turn)).await.is_ok() {}
        connection
    };
    let (outcome, _connection) = tokio::join!(within(11, syncing), endless);
    assert!(matches!(outcome, Err(Error::Link(_))), "{outcome:?}");
    is_undisturbed(&a).await;
}

/// A range of ids, and what its sender has there.
type Range = ([u8; 32], Option<[u8; 32]>, Listed);
/// The tag of a list, and its items.
type Listed = (u8, Vec<(PeerId, (u64, u64))>);

fn range(from: u8, to: Option<u8>, items: Vec<(PeerId, (u64, u64))>) -> Range {
    ([from; 32], to.map(|to| [to; 32]), (1, items))
}

/// The next message of the target.
async fn answer(recv: &mut RecvStream) -> Vec<u8> {
    let mut header = [0; 4];
    within(5, recv.read_exact(&mut header)).await.unwrap();
    let mut answer = vec![0; u32::from_le_bytes(header) as usize];
    within(5, recv.read_exact(&mut answer)).await.unwrap();
    answer
}

/// Regression: each range of a turn was answered with all entries in it, so a small turn that
/// repeats one range cost the memory of as many catalogs.
#[tokio::test(flavor = "multi_thread")]
async fn ranges_that_no_catalog_has_are_refused() {
    let (a, id) = target().await;
    let intruder = Intruder::new().await;
    let connection = intruder.join(&a, SYNC_ALPN).await;
    let everything = || range(0, None, Vec::new());
    let peer = |_| (SecretKey::generate().public(), (1, 1));
    let mut crowd: Vec<_> = (0..17).map(peer).collect();
    crowd.sort_by_key(|(peer, _)| *peer);
    let mut disorder = crowd[..16].to_vec();
    disorder.swap(3, 4);
    let narrow = |n: u16| {
        let at = |n: u16| {
            let mut id = [0; 32];
            id[..2].copy_from_slice(&n.to_be_bytes());
            id
        };
        (at(n), Some(at(n + 1)), (1, Vec::new()))
    };
    let turns: [(&str, Vec<Range>); 7] = [
        ("repeated", vec![everything(); 1000]),
        (
            "overlapping",
            vec![range(0, Some(9), vec![]), range(8, None, vec![])],
        ),
        (
            "descending",
            vec![range(8, None, vec![]), range(0, Some(8), vec![])],
        ),
        ("empty", vec![range(8, Some(8), vec![])]),
        ("crowded", vec![range(0, None, crowd)]),
        ("in disorder", vec![range(0, None, disorder)]),
        ("too many", (0..=1 << 15).map(narrow).collect()),
    ];
    for (number, (what, ranges)) in turns.into_iter().enumerate() {
        // The first turn is always a small one.
        let opening = frame(&(vec![everything()], 0u8, 0u8, 0u8));
        let (mut send, mut recv) = say(&connection, &opening).await;
        answer(&mut recv).await;
        let turn = frame(&(ranges, 0u8, 0u8, 0u8));
        let _ = send.write_all(&turn).await;
        assert_eq!(end_of(&mut recv).await, Some(400), "{what}");
        assert_eq!(violated(&id, "undecodable"), number as u64 + 1, "{what}");
    }
    is_undisturbed(&a).await;
}

/// A peer that asks for one entry many times gets it once.
#[tokio::test(flavor = "multi_thread")]
async fn a_sync_sends_each_entry_once() {
    let (a, id) = target().await;
    let intruder = Intruder::new().await;
    let connection = intruder.join(&a, SYNC_ALPN).await;
    let wanted = vec![a.local().id(); 400];
    let (_send, mut recv) = say(&connection, &frame(&(0u8, wanted, 0u8, 0u8))).await;
    let answer = answer(&mut recv).await;
    let entry = postcard::to_stdvec(&a.discovery().me()).unwrap();
    assert_eq!(answer.len(), entry.len() + 4, "the entry, and four lengths");
    assert_eq!(violated(&id, "undecodable"), 0);
    is_undisturbed(&a).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_has_a_limited_number_of_connections() {
    let (a, id) = target().await;
    let intruder = Intruder::new().await;
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(intruder.join(&a, PING_ALPN).await);
    }
    let one_more = intruder.connect(&a, PING_ALPN).await;
    let _answer = hello(&one_more, &id).await;
    assert_eq!(ProtocolViolation, closing(&one_more).await);
    assert_eq!(refused(&id, "too_many"), 1);
    assert!(held.iter().all(|c| c.close_reason().is_none()));
    is_undisturbed(&a).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_a_gossip_connection_ends_it() {
    let (a, id) = target().await;
    let intruder = Intruder::new().await;
    // A message begins with its length, in big-endian order; the first of a stream is the topic.
    let topic = [&32u32.to_be_bytes()[..], id.as_bytes()].concat();
    let garbage: [(&str, Vec<u8>); 5] = [
        ("noise", vec![0xff; 4096]),
        ("an oversized topic", vec![0xff; 4]),
        ("an empty topic", vec![0; 8]),
        (
            "an oversized message",
            [&topic[..], &8193u32.to_be_bytes()].concat(),
        ),
        ("an undecodable message", {
            [&topic[..], &100u32.to_be_bytes(), &[0xff; 100]].concat()
        }),
    ];
    for (number, (what, bytes)) in garbage.into_iter().enumerate() {
        let connection = intruder.join(&a, ANNOUNCE_ALPN).await;
        let mut send = connection.open_uni().await.unwrap();
        let _ = send.write_all(&bytes).await;
        let _ = send.finish();
        assert_eq!(ProtocolViolation, closing(&connection).await, "{what}");
        let refused = counted(&id, "mosaik.discovery.entries.refused", Some("undecodable"));
        assert_eq!(refused, number as u64 + 1, "{what}");
        is_undisturbed(&a).await;
    }
}
