use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::{
    groups::catch_up::wire::{SnapshotId, frames},
    primitives::{PeerId, Scope},
};

const PATIENCE: Duration = Duration::from_secs(25);
/// A rate that sets no limit.
const RATE: u64 = 1 << 40;

/// Behaviour of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Honest,
    /// Sends something else from its third piece on.
    Lies,
    /// Takes requests and sends nothing.
    Stalls,
    /// Ends every stream after three pieces.
    Dies,
    Lacks,
    Unreachable,
    /// Answers with bytes that mean nothing.
    Babbles,
}

/// Sources with the manners given, of pieces that hold one unit each.
struct Crowd {
    members: Vec<(MemberId, Manner)>,
    pieces: Arc<Vec<Bytes>>,
    /// Pieces that each source has sent.
    sent: Arc<Mutex<Vec<usize>>>,
    /// Bytes per second to fetch.
    rate: u64,
    /// Frames that have come.
    arrived: AtomicUsize,
    /// Time until which nothing is asked for, as was said last.
    paused: Mutex<Option<Instant>>,
    scope: Scope,
}

impl Crowd {
    fn new(count: usize, len: usize, manners: &[Manner]) -> (Self, Plan) {
        let members = manners.iter().map(|manner| {
            let peer: PeerId = iroh::SecretKey::generate().public();
            (MemberId::fresh(peer), *manner)
        });
        let piece = |n: usize| Bytes::from(vec![u8::try_from(n % 251).unwrap(); len + n % 7]);
        let pieces: Vec<_> = (0..count).map(piece).collect();
        let described = pieces.iter().map(|bytes| Piece::of(1, bytes).unwrap());
        let id = SnapshotId { term: 1, index: 2 };
        let plan = Plan::new(Whole::Snapshot(id), 0, described.collect()).unwrap();
        let crowd = Self {
            members: members.collect(),
            pieces: Arc::new(pieces),
            sent: Arc::new(Mutex::new(vec![0; manners.len()])),
            rate: RATE,
            arrived: AtomicUsize::new(0),
            paused: Mutex::default(),
            scope: Scope::new(),
        };
        (crowd, plan)
    }

    fn ids(&self) -> Vec<MemberId> {
        self.members.iter().map(|(member, _)| *member).collect()
    }

    fn sent(&self) -> Vec<usize> {
        self.sent.lock().clone()
    }

    fn order<'a>(&self, plan: &'a Plan) -> Order<'a> {
        Order {
            plan,
            from_piece: 0,
            rate: self.rate,
            patience: PATIENCE,
        }
    }

    async fn fetch(
        &self,
        plan: &Plan,
        last_resort: Option<usize>,
    ) -> Result<Vec<Bytes>, FetchFailed> {
        let mut members = self.ids();
        let last_resort = last_resort.map(|place| members.remove(place));
        let (tx, mut rx) = mpsc::channel::<Fetched>(1);
        let taking = async {
            let mut taken = Vec::new();
            while let Some(fetched) = rx.recv().await {
                taken.push(fetched.bytes);
            }
            taken
        };
        let fetching = fetch(self.order(plan), self, &members, last_resort, tx);
        let both = async { tokio::join!(fetching, taking) };
        let (fetched, taken) = timeout(Duration::from_secs(200), both).await.unwrap();
        fetched.map(|()| taken)
    }
}

impl Sources for Crowd {
    fn open(&self, member: MemberId) -> BoxFuture<'static, Result<MemberStream, Gone>> {
        let place = self.members.iter().position(|(other, _)| *other == member);
        let place = place.unwrap();
        let manner = self.members[place].1;
        if manner == Manner::Unreachable {
            return async { Err(Gone) }.boxed();
        }
        let (ours, theirs) = MemberStream::pair();
        let (pieces, sent) = (self.pieces.clone(), self.sent.clone());
        self.scope.spawn(async move {
            // The other side ends it.
            let _ = serve(theirs, manner, &pieces, &sent, place).await;
        });
        async { Ok(ours) }.boxed()
    }

    fn arrived(&self) {
        self.arrived.fetch_add(1, Ordering::Relaxed);
    }

    fn pauses(&self, until: Instant) {
        *self.paused.lock() = Some(until);
    }
}

async fn serve(
    mut stream: MemberStream,
    manner: Manner,
    pieces: &[Bytes],
    sent: &Mutex<Vec<usize>>,
    place: usize,
) -> Result<(), Gone> {
    let encode = |answer| encoding::try_serialize(&answer).unwrap();
    let mut session = 0;
    loop {
        let ask: Ask = encoding::deserialize(stream.rx.recv().await?).unwrap();
        let Ask::Pieces { from, ends, .. } = ask else {
            continue;
        };
        match manner {
            Manner::Stalls => continue,
            Manner::Lacks => stream.tx.send(&encode(Answer::Missing)).await?,
            Manner::Babbles => stream.tx.send(&Bytes::from_static(b"babble")).await?,
            _ => stream.tx.send(&encode(Answer::Coming)).await?,
        }
        let from = usize::try_from(from).unwrap();
        for piece in &pieces[from..from + ends.len()] {
            session += 1;
            let late = session > 3;
            match manner {
                Manner::Dies if late => return Ok(()),
                Manner::Lies if late => {
                    let mut wrong = piece.to_vec();
                    wrong[0] ^= 1;
                    stream.tx.send(&wrong.into()).await?;
                }
                _ => {
                    for frame in frames(piece.clone()) {
                        stream.tx.send(&frame).await?;
                    }
                }
            }
            sent.lock()[place] += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn several_sources_share_the_work() {
    let (crowd, plan) = Crowd::new(300, 1000, &[Manner::Honest; 3]);
    assert_eq!(crowd.fetch(&plan, None).await.unwrap(), *crowd.pieces);
    let sent = crowd.sent();
    assert!(sent.iter().all(|sent| *sent >= 60), "{sent:?}");
    assert_eq!(sent.iter().sum::<usize>(), 300, "nothing is sent twice");
}

#[tokio::test(start_paused = true)]
async fn one_good_source_makes_up_for_all_others() {
    use Manner::{Babbles, Dies, Honest, Lacks, Lies, Stalls, Unreachable};
    for bad in [Lies, Stalls, Dies, Lacks, Unreachable, Babbles] {
        let (crowd, plan) = Crowd::new(200, 1000, &[bad, Honest]);
        let started = Instant::now();
        assert_eq!(
            crowd.fetch(&plan, None).await.unwrap(),
            *crowd.pieces,
            "{bad:?}"
        );
        assert!(
            started.elapsed() < Duration::from_secs(3),
            "{bad:?} costs too much"
        );
    }
    let manners = [Lies, Stalls, Dies, Honest, Lacks, Unreachable, Babbles];
    let (crowd, plan) = Crowd::new(200, 1000, &manners);
    assert_eq!(crowd.fetch(&plan, None).await.unwrap(), *crowd.pieces);
    assert!(crowd.sent()[0] < 10, "a liar is asked once");
}

#[tokio::test(start_paused = true)]
async fn the_last_resort_is_left_alone_unless_it_is_needed() {
    use Manner::{Dies, Honest, Lies, Stalls};
    let (crowd, plan) = Crowd::new(200, 1000, &[Honest, Honest]);
    assert_eq!(crowd.fetch(&plan, Some(0)).await.unwrap(), *crowd.pieces);
    assert_eq!(crowd.sent(), [0, 200]);
    for bad in [Dies, Lies, Stalls] {
        let (crowd, plan) = Crowd::new(200, 1000, &[Honest, bad]);
        assert_eq!(crowd.fetch(&plan, Some(0)).await.unwrap(), *crowd.pieces);
        assert!(crowd.sent()[0] > 150, "{bad:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_good_source_it_fails() {
    use Manner::{Lacks, Lies, Stalls, Unreachable};
    let (crowd, plan) = Crowd::new(20, 1000, &[Lies, Unreachable, Lacks, Stalls]);
    assert_eq!(crowd.fetch(&plan, None).await, Err(FetchFailed::NoSource));
    let (crowd, plan) = Crowd::new(20, 1000, &[]);
    assert_eq!(crowd.fetch(&plan, None).await, Err(FetchFailed::NoSource));
    let (crowd, plan) = Crowd::new(0, 0, &[]);
    assert_eq!(
        crowd.fetch(&plan, None).await,
        Ok(Vec::new()),
        "nothing is to be fetched"
    );
}

#[tokio::test(start_paused = true)]
async fn no_more_than_a_window_is_under_way() {
    let (crowd, plan) = Crowd::new(100, 1024 * 1024, &[Manner::Honest; 3]);
    let (tx, mut rx) = mpsc::channel::<Fetched>(1);
    let members = crowd.ids();
    let order = crowd.order(&plan);
    let fetching = fetch(order, &crowd, &members, None, tx);
    let taking = async {
        // Nobody takes anything for a while.
        sleep(Duration::from_secs(10)).await;
        let sent = crowd.sent().iter().sum::<usize>();
        assert!((5..12).contains(&sent), "{sent} pieces of a MiB");
        let mut taken = 0;
        while rx.recv().await.is_some() {
            taken += 1;
        }
        taken
    };
    let (fetched, taken) = tokio::join!(fetching, taking);
    assert_eq!((fetched, taken), (Ok(()), 100));
}

/// A frame of a mebibyte took longer, on a slow line, than an observer waits for anything.
#[tokio::test(start_paused = true)]
async fn a_large_piece_arrives_little_by_little() {
    let (crowd, plan) = Crowd::new(2, 1024 * 1024, &[Manner::Honest]);
    assert_eq!(crowd.fetch(&plan, None).await.unwrap(), *crowd.pieces);
    let frames = crowd.arrived.load(Ordering::Relaxed);
    assert!(frames >= 32, "{frames}");
}

/// The receiver's own rate is no fault of its sources.
#[tokio::test(start_paused = true)]
async fn who_keeps_to_its_rate_says_until_when_it_asks_for_nothing() {
    let (mut crowd, plan) = Crowd::new(4, 100_000, &[Manner::Honest]);
    crowd.rate = 20_000;
    let started = Instant::now();
    assert_eq!(crowd.fetch(&plan, None).await.unwrap(), *crowd.pieces);
    let paused = crowd.paused.lock().unwrap() - started;
    assert!(paused >= Duration::from_secs(14), "{paused:?}");
}

#[tokio::test(start_paused = true)]
async fn it_is_no_faster_than_its_rate_from_the_first_piece_on() {
    let (mut crowd, plan) = Crowd::new(200, 1000, &[Manner::Honest; 3]);
    crowd.rate = 10_000;
    let (tx, mut rx) = mpsc::channel::<Fetched>(1);
    let members = crowd.ids();
    let started = Instant::now();
    let fetching = fetch(crowd.order(&plan), &crowd, &members, None, tx);
    let taking = async {
        let mut taken = 0;
        while let Some(fetched) = rx.recv().await {
            taken += fetched.bytes.len();
            // A request is for eight pieces at most.
            let most = 8_100 + started.elapsed().as_millis() * 10_100 / 1000;
            assert!(
                taken as u128 <= most,
                "{taken} B in {:?}",
                started.elapsed()
            );
        }
    };
    let (fetched, ()) = tokio::join!(fetching, taking);
    assert_eq!(fetched, Ok(()));
    let took = started.elapsed();
    assert!(
        (Duration::from_secs(18)..Duration::from_secs(23)).contains(&took),
        "200 kB at 10 kB/s took {took:?}"
    );
}

#[test]
fn plans_that_can_not_be_are_refused() {
    let piece = Piece::of(1, b"piece").unwrap();
    let plan = |pieces| Plan::new(Whole::Log, 5, pieces);
    let good = plan(vec![piece, Piece { units: 3, ..piece }]).unwrap();
    assert_eq!(
        (good.begin(0), good.begin(1), good.ends),
        (5, 6, vec![6, 9])
    );
    assert!(plan(vec![Piece { units: 0, ..piece }]).is_none());
    assert!(
        plan(vec![Piece {
            units: u64::MAX,
            ..piece
        }])
        .is_none()
    );
    assert!(
        plan(vec![Piece {
            bytes: u32::MAX,
            ..piece
        }])
        .is_none()
    );
}
