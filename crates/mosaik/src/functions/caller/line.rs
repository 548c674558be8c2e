//! Queue of the calls that found every handler at its limit.
//!
//! A handler that is full refuses, and does not queue. If every call that waits asked again by
//! itself, many waiting ones would keep handlers busy with refusing. So they ask in turns, first
//! come first served: as many at once as were admitted of late, one at least. The number grows with
//! each call that is answered at once and shrinks with each refusal, as the windows of transports
//! do, so that places which become free are taken without many questions.

use std::{collections::VecDeque, fmt, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// The line of one caller.
#[derive(Default)]
pub(super) struct Line(Mutex<State>);

struct State {
    /// Limit on the concurrent requests.
    limit: usize,
    /// Answers since the limit last grew.
    answers: usize,
    /// True if none was refused yet, so that the limit grows with each answer.
    is_probing: bool,
    asking: usize,
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            limit: 1,
            answers: 0,
            is_probing: true,
            asking: 0,
            waiting: VecDeque::new(),
        }
    }
}

/// Allows to ask, until it is dropped.
pub(super) struct Turn(Option<Arc<Line>>);

/// A turn, and whether it had to be waited for: then it is time to ask.
pub(super) struct Granted {
    pub(super) turn: Turn,
    pub(super) was_waited_for: bool,
}

impl Line {
    /// Waits for a turn at the end of the line.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the line.
    pub(super) async fn turn(self: &Arc<Self>) -> Granted {
        let waiting = {
            let mut state = self.0.lock();
            if state.asking < state.limit {
                state.asking += 1;
                return Granted::at_once(Turn(Some(self.clone())));
            }
            state.forget_gone();
            let (sender, waiting) = oneshot::channel();
            state.waiting.push_back(sender);
            waiting
        };
        Self::wait(waiting).await
    }

    /// Takes in that who had a turn was refused, and waits for the next one at the front.
    ///
    /// # Cancel safety
    ///
    /// As [`turn`](Self::turn).
    pub(super) async fn again(self: &Arc<Self>, mut turn: Turn) -> Granted {
        let waiting = {
            let mut state = self.0.lock();
            state.is_probing = false;
            state.answers = 0;
            state.limit = (state.limit - 1).max(1);
            if state.asking <= state.limit {
                return Granted::at_once(turn);
            }
            turn.0 = None;
            state.asking -= 1;
            let (sender, waiting) = oneshot::channel();
            state.waiting.push_front(sender);
            waiting
        };
        Self::wait(waiting).await
    }

    async fn wait(waiting: oneshot::Receiver<Turn>) -> Granted {
        // A sender leaves the line only to send, or when nobody waits for it.
        Granted {
            turn: waiting.await.unwrap_or(Turn(None)),
            was_waited_for: true,
        }
    }

    /// Lets others ask.
    fn advance(self: &Arc<Self>) {
        loop {
            let next = {
                let mut state = self.0.lock();
                if state.asking >= state.limit {
                    return;
                }
                let Some(next) = state.waiting.pop_front() else {
                    return;
                };
                state.asking += 1;
                next
            };
            if let Err(mut unsent) = next.send(Turn(Some(self.clone()))) {
                // Who waited has left meanwhile.
                unsent.0 = None;
                self.0.lock().asking -= 1;
            }
        }
    }
}

impl State {
    /// Drops those who have left, whenever that may spare the line to grow.
    fn forget_gone(&mut self) {
        if self.waiting.len() == self.waiting.capacity() {
            self.waiting.retain(|waiting| !waiting.is_closed());
        }
    }
}

impl Granted {
    const fn at_once(turn: Turn) -> Self {
        Self {
            turn,
            was_waited_for: false,
        }
    }
}

impl Turn {
    /// Reports an answer, which may raise the limit.
    pub(super) fn answered(self) {
        let Some(line) = &self.0 else { return };
        let mut state = line.0.lock();
        state.answers += 1;
        if state.is_probing || state.answers >= state.limit {
            state.answers = 0;
            state.limit = state.limit.saturating_add(1);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(line) = self.0.take() {
            line.0.lock().asking -= 1;
            line.advance();
        }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock();
        f.debug_struct("Line")
            .field("limit", &state.limit)
            .field("asking", &state.asking)
            .field("waiting", &state.waiting.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, future::BoxFuture};

    fn enter(line: &Arc<Line>) -> BoxFuture<'static, Turn> {
        let line = line.clone();
        let mut turn = async move { line.turn().await.turn }.boxed();
        // Stands in line from the first poll on.
        match (&mut turn).now_or_never() {
            Some(turn) => std::future::ready(turn).boxed(),
            None => turn,
        }
    }

    #[test]
    fn turns_come_in_order_and_more_with_success() {
        let line = Arc::new(Line::default());
        let mut first = enter(&line);
        let mut others: Vec<_> = (0..4).map(|_| enter(&line)).collect();
        let turn = (&mut first).now_or_never().unwrap();
        assert!(others.iter_mut().all(|turn| turn.now_or_never().is_none()));
        turn.answered();
        let turns: Vec<_> = others
            .iter_mut()
            .map_while(|turn| turn.now_or_never())
            .collect();
        assert_eq!(turns.len(), 2, "one after it, and one more");
        drop(turns);
        assert!((&mut others[2]).now_or_never().is_some());
    }

    #[test]
    fn who_is_refused_stays_at_the_front() {
        let line = Arc::new(Line::default());
        enter(&line).now_or_never().unwrap().answered();
        let one = enter(&line).now_or_never().unwrap();
        let two = enter(&line).now_or_never().unwrap();
        let mut behind = enter(&line);
        let mut again = line.again(two).map(|granted| granted.turn).boxed();
        assert!((&mut again).now_or_never().is_none(), "only one may ask");
        let granted = line.again(one).now_or_never().unwrap();
        assert!(!granted.was_waited_for);
        let one = granted.turn;
        one.answered();
        assert!((&mut again).now_or_never().is_some());
        assert!((&mut behind).now_or_never().is_some());
    }

    #[test]
    fn who_leaves_holds_up_nobody() {
        let line = Arc::new(Line::default());
        let turn = enter(&line).now_or_never().unwrap();
        for _ in 0..10_000 {
            drop(enter(&line));
        }
        assert!(line.0.lock().waiting.capacity() < 100);
        let gone: Vec<_> = (0..1_000).map(|_| enter(&line)).collect();
        let mut last = enter(&line);
        drop(gone);
        drop(turn);
        let turn = (&mut last).now_or_never().unwrap();
        let unread = enter(&line);
        drop(turn);
        // It was given the turn, and leaves without having looked.
        drop(unread);
        assert_eq!(line.0.lock().asking, 0);
        assert!(enter(&line).now_or_never().is_some());
    }
}
