use core::task::{Context, Waker};

use futures::{FutureExt, task::noop_waker};

use super::*;
use crate::{net::link::FRAME_HEADER_BYTES, streams_layer::producer::backlog::OWN_CHUNK_BYTES};

/// More than any test queues.
const MANY_BYTES: usize = 1 << 30;

fn log(buffer: usize) -> Log {
    Log::new(buffer, MANY_BYTES, Signal::default())
}

fn attach(log: &Log) -> CursorId {
    log.attach().0
}

fn frame(payload: &[u8]) -> BytesMut {
    let len = u32::try_from(payload.len()).unwrap();
    [&len.to_le_bytes(), payload].concat().as_slice().into()
}

fn push(log: &Log, payload: &[u8]) -> Option<Appended> {
    log.try_reserve()
        .then(|| log.slot().append(&mut frame(payload)))
}

/// Takes what there is: payloads, and how many datums that was.
fn take(log: &Log, id: CursorId) -> Option<(Vec<Vec<u8>>, usize)> {
    let mut chunks = Vec::new();
    let mut cx = Context::from_waker(futures::task::noop_waker_ref());
    match log.poll_take(id, &mut cx, &mut chunks) {
        Poll::Ready(true) => {}
        Poll::Ready(false) | Poll::Pending => return None,
    }
    let datums = chunks.iter().map(|chunk| chunk.datums).sum();
    let payload_bytes: usize = chunks.iter().map(Chunk::payload_bytes).sum();
    let mut payloads = Vec::new();
    for chunk in chunks {
        let mut rest = &chunk.bytes[..];
        while let Some((header, after)) = rest.split_first_chunk::<FRAME_HEADER_BYTES>() {
            let (payload, after) = after.split_at(u32::from_le_bytes(*header) as usize);
            payloads.push(payload.to_vec());
            rest = after;
        }
    }
    assert_eq!(payloads.len(), datums);
    assert_eq!(payloads.iter().map(Vec::len).sum::<usize>(), payload_bytes);
    Some((payloads, datums))
}

fn taken(log: &Log, id: CursorId) -> Vec<Vec<u8>> {
    take(log, id).map_or(Vec::new(), |(payloads, datums)| {
        let bytes: usize = payloads.iter().map(Vec::len).sum();
        log.written(id, datums, bytes + datums * FRAME_HEADER_BYTES);
        payloads
    })
}

#[test]
fn everybody_gets_everything_from_their_own_start_in_order() {
    let log = log(100);
    assert!(!push(&log, b"before anybody").unwrap().selected);
    let a = attach(&log);
    push(&log, b"1");
    let b = attach(&log);
    push(&log, b"");
    let large = vec![9; OWN_CHUNK_BYTES];
    push(&log, &large);
    push(&log, b"4");
    assert_eq!(taken(&log, b), [b"".to_vec(), large.clone(), b"4".to_vec()]);
    push(&log, b"5");
    let all = [
        b"1".to_vec(),
        b"".to_vec(),
        large,
        b"4".to_vec(),
        b"5".to_vec(),
    ];
    assert_eq!(taken(&log, a), all);
    assert_eq!(taken(&log, b), [b"5"]);
    assert!(log.state.lock().chunks.is_empty(), "nothing is kept");
    log.end();
    let waker = noop_waker();
    let mut cx = Context::from_waker(&waker);
    let end = log.poll_take(a, &mut cx, &mut Vec::new());
    assert_eq!(end, Poll::Ready(false));
}

#[test]
fn slots_are_what_keeps_the_largest_backlog_within_the_buffer() {
    let log = log(2);
    for _ in 0..5 {
        push(&log, b"nobody listens, nothing is kept").unwrap();
    }
    let (a, b) = (attach(&log), attach(&log));
    push(&log, b"1").unwrap();
    push(&log, b"2").unwrap();
    assert!(push(&log, b"3").is_none());
    assert_eq!(taken(&log, a).len(), 2);
    assert!(push(&log, b"3").is_none(), "b is full");
    let (_, datums) = take(&log, b).unwrap();
    assert!(push(&log, b"3").is_none(), "taken is not written");
    log.written(b, datums, datums * 5);
    push(&log, b"3").unwrap();
    assert!(log.try_reserve());
    assert!(!log.try_reserve(), "a reservation counts");
    log.release();
    assert!(log.try_reserve());
    log.release();
    log.detach(a);
    log.detach(b);
    for _ in 0..5 {
        push(&log, b"free again").unwrap();
    }
    assert_eq!(log.slots.load(Ordering::SeqCst), 2);
}

#[test]
fn a_waiting_sender_is_woken_once_it_is_worth_it_and_by_a_stalled_writer() {
    let room = Signal::default();
    let log = Log::new(8, MANY_BYTES, room.clone());
    let slot = room.slot();
    let (waker, woken) = futures_test_waker();
    let a = attach(&log);
    while push(&log, b"x").is_some() {}
    slot.register(&waker);
    log.want_room();
    take(&log, a).unwrap();
    log.written(a, 2, 10);
    assert!(!woken(), "two of eight");
    log.wake_senders();
    assert!(woken(), "the writer waits for the transport");
    slot.register(&waker);
    log.want_room();
    log.written(a, 2, 10);
    assert!(woken(), "half of them");
}

fn futures_test_waker() -> (Waker, impl Fn() -> bool) {
    use std::sync::{Arc, atomic::AtomicBool};
    struct Flag(AtomicBool);
    impl futures::task::ArcWake for Flag {
        fn wake_by_ref(flag: &Arc<Self>) {
            flag.0.store(true, Ordering::SeqCst);
        }
    }
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = futures::task::waker(flag.clone());
    (waker, move || flag.0.swap(false, Ordering::SeqCst))
}

/// The subscriptions that lag after this many checks, each preceded by some work.
async fn looks(log: &Log, count: usize, mut work: impl FnMut()) -> Vec<CursorId> {
    let mut watch = log.watch(Instant::now());
    let mut lagging = Vec::new();
    for _ in 0..count {
        work();
        log.want_room();
        tokio::time::advance(LOOK_EVERY).await;
        lagging = log.look(&mut watch, Instant::now()).unwrap();
    }
    lagging
}

const SECOND: usize = 20;

#[tokio::test(start_paused = true)]
async fn one_that_is_full_while_another_starves_lags_after_a_second() {
    let log = log(4);
    let (slow, fast) = (attach(&log), attach(&log));
    while push(&log, b"x").is_some() {}
    log.want_room();
    assert!(log.pressure().now_or_never().is_some());
    assert!(
        looks(&log, 3 * SECOND, || {}).await.is_empty(),
        "nobody starves"
    );
    taken(&log, fast);
    assert!(
        looks(&log, SECOND - 1, || {}).await.is_empty(),
        "not a second"
    );
    assert_eq!(looks(&log, SECOND, || {}).await, [slow]);
    taken(&log, slow);
    assert!(
        looks(&log, SECOND, || {}).await.is_empty(),
        "nobody is full"
    );
    let mut watch = log.watch(Instant::now());
    log.wake_senders();
    log.look(&mut watch, Instant::now());
    assert_eq!(
        log.look(&mut watch, Instant::now()),
        None,
        "the pressure is gone"
    );
}

/// Regression: each step, be it as small as can be, gave a slow one another second, for ever.
#[tokio::test(start_paused = true)]
async fn one_that_makes_little_progress_lags_as_well() {
    for (taken_per_look, lags) in [(1, true), (30, false)] {
        let log = log(100);
        let (slow, fast) = (attach(&log), attach(&log));
        let work = || {
            while push(&log, b"x").is_some() {}
            log.written(slow, taken_per_look, taken_per_look * 5);
            taken(&log, fast);
        };
        let lagging = looks(&log, 2 * SECOND, work).await;
        assert_eq!(lagging == [slow], lags, "{taken_per_look}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reservation_that_is_not_used_makes_nobody_lag() {
    let log = log(1);
    let _a = attach(&log);
    let _b = attach(&log);
    assert!(log.try_reserve());
    assert!(looks(&log, 2 * SECOND, || {}).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_single_one_never_lags() {
    let log = log(1);
    let _only = attach(&log);
    push(&log, b"x");
    assert!(looks(&log, 100 * SECOND, || {}).await.is_empty());
}

/// Regression: nobody told a waiting sender that the one that held it up no longer did.
#[test]
fn withholding_wakes_senders() {
    let room = Signal::default();
    let log = Log::new(8, 1000, room.clone());
    let (slow, other) = (attach(&log), attach(&log));
    push(&log, b"1");
    taken(&log, other);
    while push(&log, b"2").is_some() {}
    let slot = room.slot();
    let (waker, woken) = futures_test_waker();
    slot.register(&waker);
    log.want_room();
    log.withhold(slow);
    assert_eq!(
        log.slots.load(Ordering::SeqCst),
        1,
        "too few to wake for by themselves"
    );
    assert!(woken());
}

#[test]
fn bytes_are_bounded_as_well_as_datums_and_one_datum_of_any_size_passes() {
    let log = Log::new(100, 1000, Signal::default());
    let id = attach(&log);
    push(&log, &[7; 5000]).unwrap();
    assert!(push(&log, b"").is_none());
    taken(&log, id);
    push(&log, &[7; 900]).unwrap();
    push(&log, &[7; 900]).unwrap();
    assert!(push(&log, b"").is_none());
    assert!(!log.try_reserve_patiently());
}

#[tokio::test(start_paused = true)]
async fn senders_need_not_be_patient_with_a_backlog_that_hardly_moves() {
    let log = log(1024);
    let id = attach(&log);
    while log.try_reserve_patiently() {
        log.slot().append(&mut frame(&[7; 64 * 1024]));
    }
    looks(&log, 1, || {}).await;
    assert!(log.try_reserve_patiently(), "it stands still");
    log.release();
    taken(&log, id);
    while log.try_reserve_patiently() {
        log.slot().append(&mut frame(&[7; 64 * 1024]));
        if log.queued_bytes.load(Ordering::SeqCst) > 2 * PATIENT_BYTES {
            break;
        }
    }
    looks(&log, 1, || {
        log.written(id, 8, 8 * (64 * 1024 + 4));
    })
    .await;
    assert!(!log.try_reserve_patiently(), "it moves");
}

#[test]
fn a_flush_waits_for_the_last_subscription() {
    let log = log(8);
    let (one, two) = (attach(&log), attach(&log));
    let slot = log.flush_slot();
    let (waker, woken) = futures_test_waker();
    let cx = Context::from_waker(&waker);
    assert!(log.poll_left(log.head(), &slot, &cx).is_ready());
    push(&log, b"1");
    push(&log, b"2");
    let position = log.head();
    assert!(log.poll_left(position, &slot, &cx).is_pending());
    taken(&log, one);
    assert!(log.poll_left(position, &slot, &cx).is_pending() && !woken());
    push(&log, b"3");
    take(&log, two).unwrap();
    log.written(two, 2, 10);
    assert!(woken());
    assert!(
        log.poll_left(position, &slot, &cx).is_ready(),
        "3 came later"
    );
    assert!(log.poll_left(log.head(), &slot, &cx).is_pending());
    log.detach(two);
    taken(&log, one);
    assert!(woken());
    assert!(log.poll_left(log.head(), &slot, &cx).is_ready(), "gone");
}

#[test]
fn nothing_is_accepted_after_the_end() {
    let log = log(8);
    let only = attach(&log);
    assert!(push(&log, b"1").unwrap().accepted);
    log.end();
    assert!(!push(&log, b"2").unwrap().accepted);
    assert_eq!(taken(&log, only), [b"1"]);
}

#[test]
fn a_lagging_one_keeps_its_backlog_and_misses_what_comes_until_it_took_it() {
    let log = log(2);
    let (slow, fast) = (attach(&log), attach(&log));
    push(&log, b"1");
    push(&log, b"2");
    taken(&log, fast);
    log.withhold(slow);
    for n in [b"3", b"4", b"5"] {
        let appended = push(&log, n).unwrap();
        assert_eq!(
            appended,
            Appended {
                accepted: true,
                selected: true,
                withheld: 1
            }
        );
        assert_eq!(taken(&log, fast), [n]);
    }
    assert_eq!(taken(&log, slow), [b"1", b"2"]);
    let mut notice = Vec::new();
    let mut cx = Context::from_waker(futures::task::noop_waker_ref());
    assert!(log.poll_take(slow, &mut cx, &mut notice).is_ready());
    assert_eq!((notice.len(), notice[0].withheld), (1, 3), "it is back");
    assert_eq!((notice[0].log_bytes(), notice[0].payload_bytes()), (0, 0));
    assert_eq!(push(&log, b"6").unwrap().withheld, 0);
    assert_eq!(taken(&log, slow), [b"6"]);
    assert_eq!(taken(&log, fast), [b"6"]);
    assert_eq!(log.slots.load(Ordering::SeqCst), 2);
}

#[test]
fn withholding_from_all_frees_the_producer() {
    let log = log(1);
    let only = attach(&log);
    push(&log, b"1");
    assert!(push(&log, b"2").is_none());
    log.withhold(only);
    let appended = push(&log, b"2").unwrap();
    assert!(appended.selected, "it is withheld, not undelivered");
    assert_eq!(taken(&log, only), [b"1"]);
    log.detach(only);
    assert!(!push(&log, b"3").unwrap().selected);
}

#[test]
fn senders_that_can_wait_do_so_while_large_datums_are_queued() {
    let log = log(1024);
    let id = attach(&log);
    let payload = vec![7; 200 * 1024];
    for _ in 0..3 {
        assert!(log.try_reserve_patiently());
        log.slot().append(&mut frame(&payload));
    }
    assert!(!log.try_reserve_patiently());
    assert!(log.try_reserve(), "others are only bound by the buffer");
    log.release();
    assert_eq!(taken(&log, id).len(), 3);
    assert!(log.try_reserve_patiently(), "all was written");
    log.release();
    log.detach(id);
    assert_eq!(log.queued_bytes.load(Ordering::SeqCst), 0);
}
