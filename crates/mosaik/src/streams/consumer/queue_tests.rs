use futures::FutureExt;

use super::*;

type Value = (u64, u64);

fn begin(reader: &mut QueueReader<Value>) -> Option<usize> {
    core::future::poll_fn(|cx| reader.poll_begin(false, cx)).now_or_never()
}

fn credit(reader: &mut QueueReader<Value>) -> Option<usize> {
    core::future::poll_fn(|cx| reader.poll_credit(cx)).now_or_never()
}

fn reader(queue: &Arc<Queue<Value>>) -> QueueReader<Value> {
    queue.state.lock().readers += 1;
    QueueReader {
        slot: queue.room.slot(),
        batch: VecDeque::new(),
        allowance: Allowance::new(0),
        quota: 0,
        window: FIRST_CREDIT_BYTES,
        queue: queue.clone(),
    }
}

/// Receives as many of the smallest frames as the producer may send: the worst case.
fn flood(reader: &mut QueueReader<Value>) -> usize {
    let left = reader.allowance.left();
    let mut datums = 0;
    while reader.allowance.take(0).is_ok() {
        reader.batch.push_back((0, (0, 0)));
        datums += 1;
    }
    reader.settle(left, 0);
    datums
}

fn take_all(queue: &Queue<Value>) -> usize {
    let mut fetched = VecDeque::new();
    let _ = queue.poll_fetch(None, &mut fetched);
    queue.release(fetched.len() * Queue::<Value>::cost(0));
    fetched.len()
}

const MAX_BYTES: usize = 8 * 1024 * 1024;
/// Cost that a chunk beyond the credit may come to.
const CHUNK_BYTES: usize = wire::MAX_CHUNK_BYTES * Queue::<Value>::WEIGHT;

#[test]
fn what_is_queued_and_promised_stays_within_the_limit() {
    for readers in [1, 2, 7] {
        let queue = Queue::new(MAX_BYTES);
        let mut readers: Vec<_> = (0..readers).map(|_| reader(&queue)).collect();
        for reader in &mut readers {
            assert_eq!(begin(reader), Some(FIRST_CREDIT_BYTES));
        }
        for _ in 0..100 {
            for reader in &mut readers {
                let held = queue.state.lock().bytes;
                if credit(reader).is_some() {
                    assert!(held < MAX_BYTES, "no credit while the queue is full");
                }
                flood(reader);
            }
        }
        let held = queue.state.lock().bytes;
        assert!(held <= MAX_BYTES + readers.len() * CHUNK_BYTES, "{held}");
        assert!(held >= MAX_BYTES, "it is used");
        take_all(&queue);
        for reader in &mut readers {
            assert!(credit(reader).is_some(), "there is room again");
        }
        drop(readers);
        let state = queue.state.lock();
        assert_eq!((state.promised, state.readers), (0, 0));
    }
}

#[test]
fn the_credit_of_one_that_is_used_grows() {
    let queue = Queue::new(MAX_BYTES);
    let (mut busy, mut idle) = (reader(&queue), reader(&queue));
    assert_eq!(begin(&mut idle), Some(FIRST_CREDIT_BYTES));
    assert_eq!(begin(&mut busy), Some(FIRST_CREDIT_BYTES));
    let mut most = 0;
    for _ in 0..10 {
        flood(&mut busy);
        take_all(&queue);
        most = most.max(credit(&mut busy).unwrap());
    }
    assert!(most > 3 * FIRST_CREDIT_BYTES, "{most}");
    assert!(!idle.owes_credit(), "it has used nothing");
}

#[test]
fn a_full_queue_begins_nothing_and_one_that_was_too_slow_must_catch_up() {
    let queue = Queue::new(1);
    let (mut one, mut two) = (reader(&queue), reader(&queue));
    assert_eq!(
        begin(&mut one),
        Some(1),
        "the least, with which a chunk may come"
    );
    flood(&mut one);
    assert_eq!(begin(&mut two), None);
    take_all(&queue);
    assert_eq!(begin(&mut two), Some(1));

    let queue = Queue::new(1000);
    let mut slow = reader(&queue);
    let datum = Queue::<Value>::cost(0);
    let half = |reader: &mut QueueReader<Value>| {
        core::future::poll_fn(|cx| reader.poll_begin(true, cx)).now_or_never()
    };
    queue.state.lock().bytes = 500 + datum;
    assert_eq!(half(&mut slow), None);
    assert!(begin(&mut slow).is_some(), "another reason");
    queue.release(datum);
    assert!(half(&mut slow).is_some());
}

#[test]
fn one_datum_of_any_size_may_come() {
    let queue = Queue::new(1000);
    let mut reader = reader(&queue);
    begin(&mut reader).unwrap();
    let left = reader.allowance.left();
    reader.allowance.take(1 << 20).unwrap();
    reader.batch.push_back((1 << 20, (0, 0)));
    reader.settle(left, 1 << 20);
    assert_eq!(credit(&mut reader), None, "the queue is full");
    queue.release(Queue::<Value>::cost(1 << 20));
    let given = credit(&mut reader).unwrap();
    assert!(given > 1 << 20 && reader.allowance.left() > 0);
}
