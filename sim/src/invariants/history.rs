//! Watches the events of nodes.

use std::sync::Arc;

use mosaik::{Network, PeerId, discovery::Event};
use parking_lot::Mutex;
use tokio::{sync::broadcast::error::RecvError, task::JoinHandle};

use super::{Violation, alternation::Alternation, progress::Progress};

/// An invariant of the events that one node sees.
pub trait Rule: Send + 'static {
    /// Looks at the next event.
    ///
    /// # Errors
    ///
    /// When the event must not follow on those before.
    fn observe(&mut self, event: &Event) -> Result<(), Violation>;
}

/// Checks the events of one node against all rules, from when it is made. Ends on drop.
#[derive(Debug)]
pub struct History {
    observer: PeerId,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    events: Vec<Event>,
    violation: Option<Violation>,
}

impl History {
    /// Starts to watch a node, which should have just been built.
    #[expect(
        clippy::disallowed_methods,
        reason = "the handle owns the task and aborts it"
    )]
    pub fn of(node: &Network) -> Self {
        let mut events = node.discovery().events();
        // Peers that were found before anybody could watch.
        let known: Vec<_> = node
            .discovery()
            .catalog()
            .peers()
            .cloned()
            .map(Event::PeerDiscovered)
            .collect();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let record = seen.clone();
        let task = tokio::spawn(async move {
            let mut rules: [Box<dyn Rule>; 2] = [
                Box::new(Alternation::default()),
                Box::new(Progress::default()),
            ];
            let mut known = known.into_iter();
            loop {
                let next = match known.next() {
                    Some(event) => Ok(event),
                    None => events.recv().await,
                };
                match next {
                    Ok(event) => record.lock().take(event, &mut rules),
                    Err(RecvError::Lagged(lost)) => {
                        record.lock().violation = Some(Violation(format!("{lost} events missed")));
                    }
                    Err(RecvError::Closed) => return,
                }
            }
        });
        Self {
            observer: node.local().id(),
            seen,
            task,
        }
    }

    /// All events so far.
    pub fn events(&self) -> Vec<Event> {
        self.seen.lock().events.clone()
    }

    /// The verdict so far.
    ///
    /// # Errors
    ///
    /// The first violation seen.
    pub fn check(&self) -> Result<(), Violation> {
        match &self.seen.lock().violation {
            None => Ok(()),
            Some(violation) => Err(Violation(format!(
                "{}: {violation}",
                self.observer.fmt_short()
            ))),
        }
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    fn take(&mut self, event: Event, rules: &mut [Box<dyn Rule>]) {
        for rule in rules {
            if let Err(violation) = rule.observe(&event) {
                self.violation.get_or_insert(violation);
            }
        }
        self.events.push(event);
    }
}
