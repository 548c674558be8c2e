//! Watches the events of nodes.

use std::{collections::HashMap, sync::Arc};

use mosaik::{
    Network, PeerId,
    discovery::{Event, PeerEntryVersion},
};
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
        let known: Vec<_> = node.discovery().catalog().peers().cloned().collect();
        // Those found between the two lines above come as events as well.
        let mut told: HashMap<_, _> = known.iter().map(|e| (*e.id(), e.version())).collect();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let record = seen.clone();
        let task = tokio::spawn(async move {
            let mut rules: [Box<dyn Rule>; 2] = [
                Box::new(Alternation::default()),
                Box::new(Progress::default()),
            ];
            let mut known = known.into_iter().map(Event::PeerDiscovered);
            loop {
                if let Some(event) = known.next() {
                    record.lock().take(event, &mut rules);
                    continue;
                }
                match events.recv().await {
                    Ok(event) if !was_told(&mut told, &event) => {
                        record.lock().take(event, &mut rules);
                    }
                    Ok(_) => {}
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

/// Returns whether the catalog at the start of the watch held what an event tells. From the first event
/// of a peer that tells more, none of it does.
fn was_told(told: &mut HashMap<PeerId, PeerEntryVersion>, event: &Event) -> bool {
    let (peer, version) = match event {
        Event::PeerDiscovered(entry) | Event::PeerUpdated(entry) => {
            (*entry.id(), Some(entry.version()))
        }
        Event::PeerDeparted(peer) => (*peer, None),
    };
    let is_old = version.is_some_and(|version| told.get(&peer).is_some_and(|t| version <= *t));
    if !is_old {
        told.remove(&peer);
    }
    is_old
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
