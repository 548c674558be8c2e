use super::*;

const FIT: Sight = Sight::Fit { look_again: None };
const OVER: Outcome = Outcome {
    established: true,
    end: End::Over,
};
const REFUSED: Outcome = Outcome {
    established: false,
    end: End::NotAllowed,
};

fn peer() -> PeerId {
    iroh::SecretKey::generate().public()
}

fn print(n: u8) -> Fingerprint {
    (1, Digest::from_u8(n))
}

fn opened(effects: &[Effect]) -> (u64, bool) {
    match effects {
        [
            Effect::Open {
                generation,
                deliver,
                ..
            },
        ] => (*generation, *deliver),
        other => panic!("expected one attempt: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_fit_producer_is_opened_once_and_closed_when_it_fails() {
    let (mut book, peer, now) = (Book::default(), peer(), Instant::now());
    opened(&book.observe(peer, FIT, print(1), now));
    assert!(book.observe(peer, FIT, print(2), now).is_empty());
    let close = [Effect::Close { peer }];
    assert_eq!(book.observe(peer, Sight::Unfit, print(3), now), close);
    opened(&book.observe(peer, FIT, print(4), now));
    assert_eq!(book.observe(peer, Sight::Absent, print(0), now), close);
    assert_eq!(book.next_deadline(), None);
}

#[tokio::test(start_paused = true)]
async fn an_ended_one_rests_until_its_entry_changes_or_time_passes() {
    let (mut book, peer, mut now) = (Book::default(), peer(), Instant::now());
    let (generation, _) = opened(&book.observe(peer, FIT, print(1), now));
    assert!(book.finished(peer, generation, OVER, now).is_empty());
    assert!(
        book.observe(peer, FIT, print(1), now).is_empty(),
        "nothing changed"
    );
    let (generation, deliver) = opened(&book.observe(peer, FIT, print(2), now));
    assert!(!deliver);
    let never = Outcome {
        established: false,
        ..OVER
    };
    let mut generation = generation;
    let mut rests = Vec::new();
    for _ in 0..9 {
        assert!(book.finished(peer, generation, never, now).is_empty());
        let retry = book.next_deadline().unwrap();
        rests.push((retry - now).as_millis());
        assert!(book.due(now).is_empty());
        now = retry;
        assert_eq!(book.due(now), [peer]);
        generation = opened(&book.observe(peer, FIT, print(2), now)).0;
    }
    assert_eq!(
        rests,
        [1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000]
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_answered_once_with_our_current_entry() {
    let (mut book, peer, now) = (Book::default(), peer(), Instant::now());
    let (generation, deliver) = opened(&book.observe(peer, FIT, print(1), now));
    assert!(!deliver);
    let look = [Effect::Look(peer)];
    assert_eq!(book.finished(peer, generation, REFUSED, now), look);
    let (generation, deliver) = opened(&book.observe(peer, FIT, print(1), now));
    assert!(deliver);
    assert!(
        book.finished(peer, generation, REFUSED, now).is_empty(),
        "it knows our entry"
    );
    assert_eq!(book.own_entry_changed(now), look);
    let (generation, deliver) = opened(&book.observe(peer, FIT, print(1), now));
    assert!(deliver);
    assert!(book.finished(peer, generation, REFUSED, now).is_empty());
    assert_eq!(book.own_entry_changed(now), look);
    opened(&book.observe(peer, FIT, print(1), now));
    assert!(
        book.own_entry_changed(now).is_empty(),
        "an attempt is under way"
    );
}

/// Regression: a change of our own entry subscribed to peers that had been fit at the last check,
/// and their tickets were not judged again.
#[tokio::test(start_paused = true)]
async fn who_rests_is_judged_before_it_is_opened_again() {
    let (mut book, peer, now) = (Book::default(), peer(), Instant::now());
    let (generation, _) = opened(&book.observe(peer, FIT, print(1), now));
    book.finished(peer, generation, OVER, now);
    let look = [Effect::Look(peer)];
    assert_eq!(book.own_entry_changed(now), look);
    let unauthorized = book.observe(peer, Sight::Unauthorized, print(1), now);
    assert!(unauthorized.is_empty());
    assert!(book.own_entry_changed(now).is_empty(), "it is unfit");
    let look_again = Some(now + Duration::from_secs(1));
    opened(&book.observe(peer, Sight::Fit { look_again }, print(1), now));
    assert_eq!(book.next_deadline(), look_again);
}

#[tokio::test(start_paused = true)]
async fn the_late_end_of_a_former_subscription_is_ignored() {
    let (mut book, peer, now) = (Book::default(), peer(), Instant::now());
    let (former, _) = opened(&book.observe(peer, FIT, print(1), now));
    book.observe(peer, Sight::Unfit, print(2), now);
    let (current, _) = opened(&book.observe(peer, FIT, print(3), now));
    assert!(book.finished(peer, former, OVER, now).is_empty());
    assert!(
        book.observe(peer, FIT, print(4), now).is_empty(),
        "still active"
    );
    book.finished(peer, current, OVER, now);
    opened(&book.observe(peer, FIT, print(5), now));
}

#[tokio::test(start_paused = true)]
async fn an_unmeasured_peer_is_measured_and_measured_again() {
    let (mut book, peer, now) = (Book::default(), peer(), Instant::now());
    let look = |book: &mut Book, now| book.observe(peer, Sight::Unmeasured, print(1), now);
    assert_eq!(look(&mut book, now), [Effect::Measure(peer)]);
    assert!(look(&mut book, now).is_empty(), "one measurement at a time");
    let again = book.next_deadline().unwrap();
    let both = [Effect::Measure(peer), Effect::MeasureByLink(peer)];
    assert_eq!(look(&mut book, again), both);
    assert!(book.next_deadline().unwrap() > again);
    opened(&book.observe(peer, FIT, print(1), again));
}

#[tokio::test(start_paused = true)]
async fn expiring_tickets_and_undecodable_datums_set_their_deadlines() {
    let (mut book, peer, now) = (Book::default(), peer(), Instant::now());
    let look_again = Some(now + Duration::from_secs(7));
    let fit = Sight::Fit { look_again };
    let (generation, _) = opened(&book.observe(peer, fit, print(1), now));
    assert_eq!(book.next_deadline(), look_again);
    let undecodable = Outcome {
        established: true,
        end: End::Violation,
    };
    book.finished(peer, generation, undecodable, now);
    assert_eq!(book.next_deadline(), Some(now + MAX_REST));
}

/// Regression: after five minutes of refusals a freed place could stay unused for another one.
#[tokio::test(start_paused = true)]
async fn who_found_no_room_asks_again_soon() {
    let (mut book, peer, mut now) = (Book::default(), peer(), Instant::now());
    let no_room = Outcome {
        established: false,
        end: End::NoCapacity,
    };
    let (mut generation, _) = opened(&book.observe(peer, FIT, print(1), now));
    for _ in 0..10 {
        book.finished(peer, generation, no_room, now);
        now += MAX_CAPACITY_WAIT;
        assert_eq!(book.next_deadline(), Some(now));
        (generation, _) = opened(&book.observe(peer, FIT, print(1), now));
    }
}

/// Regression: a ticket that was not valid yet was looked at again only when something else changed.
#[tokio::test(start_paused = true)]
async fn refused_tickets_are_looked_at_again() {
    let (mut book, peer, mut now) = (Book::default(), peer(), Instant::now());
    let mut waits = Vec::new();
    for _ in 0..5 {
        let unauthorized = book.observe(peer, Sight::Unauthorized, print(1), now);
        assert!(unauthorized.is_empty());
        let again = book.next_deadline().unwrap();
        assert!(book.due(now).is_empty());
        waits.push((again - now).as_secs());
        now = again;
        assert_eq!(book.due(now), [peer]);
    }
    assert_eq!(waits, [1, 2, 4, 8, 8]);
    opened(&book.observe(peer, FIT, print(1), now));
    let close = [Effect::Close { peer }];
    assert_eq!(
        book.observe(peer, Sight::Unauthorized, print(1), now),
        close
    );
}
