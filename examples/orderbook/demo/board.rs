//! Board of the demo: its view of the fleet, and the output of it.

use std::collections::{BTreeMap, HashMap};

use anyhow::ensure;
use mosaik::{PeerId, UniqueId, primitives::ShortFmtExt};

use super::{fleet::Fleet, process::Role};
use crate::{
    book::Totals,
    order::Fill,
    report::{Report, Timed, now_ms},
    seen::Seen,
};

/// Interval between outputs of the totals, in ms.
const TOTALS_EVERY_MS: u64 = 500;

/// The state of the fleet, from its reports.
pub(super) struct Board {
    started_ms: u64,
    orders: u64,
    names: HashMap<PeerId, Role>,
    formed: BTreeMap<Role, u64>,
    leader: Option<PeerId>,
    sent: BTreeMap<Role, u64>,
    books: BTreeMap<Role, (Totals, UniqueId)>,
    printed: BTreeMap<Role, Printed>,
    shown_ms: u64,
}

/// Totals of the fills that a reporter has printed.
#[derive(Default)]
struct Printed {
    seen: Seen,
    fills: u64,
    quantity: u64,
    /// Fills that were printed again.
    twice: u64,
    /// Fills that the reporter was sent again and did not print.
    set_aside: u64,
}

impl Printed {
    fn enter(&mut self, fill: &Fill) {
        if self.seen.insert(fill.id) {
            self.fills += 1;
            self.quantity += u64::from(fill.quantity.get());
        } else {
            self.twice += 1;
        }
    }
}

impl Board {
    pub(super) fn new(orders: u64) -> Self {
        Self {
            started_ms: now_ms(),
            orders,
            names: HashMap::new(),
            formed: BTreeMap::new(),
            leader: None,
            sent: BTreeMap::new(),
            books: BTreeMap::new(),
            printed: BTreeMap::new(),
            shown_ms: 0,
        }
    }

    /// Takes reports in until a condition holds.
    pub(super) async fn until(
        &mut self,
        fleet: &mut Fleet,
        condition: impl Fn(&Self) -> bool,
    ) -> anyhow::Result<()> {
        while !condition(self) {
            self.step(fleet).await?;
        }
        Ok(())
    }

    /// Takes one report in and shows it. Returns the address of a node that is ready.
    pub(super) async fn step(&mut self, fleet: &mut Fleet) -> anyhow::Result<Option<String>> {
        let (role, Timed { at_ms, report }) = fleet.report().await?;
        let mut address = None;
        match report {
            Report::Ready { peer, address: own } => {
                self.names.insert(peer, role);
                self.show(at_ms, role, &format!("is ready as {}", peer.short()));
                address = Some(own);
            }
            Report::Found { peer, role: found } => {
                self.show(at_ms, role, &format!("found {}", self.name(&peer, &found)));
            }
            Report::Lost { peer } => {
                self.show(at_ms, role, &format!("lost {}", self.name(&peer, "peer")));
            }
            Report::Subscribed { stream, producer } => {
                let name = self.name(&producer, "peer");
                self.show(at_ms, role, &format!("receives {stream} from {name}"));
            }
            Report::Leader { peer } => {
                self.leader = peer.or(self.leader);
                let leader = peer.map_or("nobody".into(), |peer| self.name(&peer, "matcher"));
                self.show(at_ms, role, &format!("follows {leader}"));
            }
            Report::Sent { orders, done } => {
                self.sent.insert(role, orders);
                if done {
                    self.show(at_ms, role, &format!("has sent all its {orders} orders"));
                }
            }
            Report::Book { totals, digest } => drop(self.books.insert(role, (totals, digest))),
            Report::Fill { fill } => self.printed.entry(role).or_default().enter(&fill),
            Report::Printed { repeated, .. } => {
                self.printed.entry(role).or_default().set_aside = repeated;
            }
            Report::Formed => {
                self.formed.insert(role, at_ms);
                self.show(at_ms, role, "holds fills of both traders");
            }
        }
        self.show_totals(at_ms);
        Ok(address)
    }

    /// Returns whether both reporters hold a fill of an order of each trader.
    pub(super) fn is_formed(&self) -> bool {
        self.formed.len() >= 2
    }

    pub(super) fn say_formed(&self) {
        let last = self.formed.values().max().copied().unwrap_or_default();
        let elapsed = last.saturating_sub(self.started_ms);
        println!("{}   ── formed in {elapsed} ms", self.clock(last));
    }

    pub(super) fn say(&self, text: &str) {
        println!("{}   {text}", self.clock(now_ms()));
    }

    /// Share of the orders that is in the fullest book, in per cent.
    pub(super) fn percent_in(&self) -> u64 {
        let most = self.books.values().map(|(totals, _)| totals.accepted).max();
        most.unwrap_or_default() * 100 / self.orders
    }

    pub(super) fn leader(&self) -> Option<Role> {
        self.leader.and_then(|peer| self.names.get(&peer).copied())
    }

    /// A process goes: what it reported no longer counts.
    pub(super) fn forget(&mut self, role: Role) {
        self.books.remove(&role);
        self.names.retain(|_, other| *other != role);
    }

    /// Returns whether every order is in every book, and every fill is printed by both reporters.
    pub(super) fn is_complete(&self, matchers: usize) -> bool {
        let full = self
            .books
            .values()
            .filter(|(totals, _)| totals.accepted == self.orders);
        let Some((totals, _)) = self.books.values().next() else {
            return false;
        };
        full.count() == matchers
            && self
                .printed
                .values()
                .filter(|printed| printed.fills == totals.fills)
                .count()
                == 2
    }

    /// Shows where everything ended up.
    pub(super) fn summary(&self, matchers: usize) {
        println!(
            "\nsummary after {} ms",
            now_ms().saturating_sub(self.started_ms)
        );
        println!(
            "  orders   {} in the file, {} sent",
            self.orders,
            self.sent.values().sum::<u64>()
        );
        for (role, (totals, digest)) in &self.books {
            println!(
                "  {role:<10} {} orders in, {} fills out, {} traded, book {}",
                totals.accepted,
                totals.fills,
                totals.traded,
                digest.short()
            );
        }
        for (role, printed) in &self.printed {
            println!(
                "  {role:<10} {} fills printed, {} twice, {} traded, {} repeats set aside",
                printed.fills, printed.twice, printed.quantity, printed.set_aside
            );
        }
        println!("  expected   {matchers} identical books, nothing lost, nothing twice");
    }

    /// Fails unless nothing was lost or duplicated.
    pub(super) fn verdict(&self, matchers: usize) -> anyhow::Result<()> {
        ensure!(
            self.books.len() == matchers,
            "{} of {matchers} books",
            self.books.len()
        );
        let Some((totals, digest)) = self.books.values().next() else {
            anyhow::bail!("no book");
        };
        for (role, (other, other_digest)) in &self.books {
            ensure!(
                other.accepted == self.orders,
                "{role} has {} orders",
                other.accepted
            );
            ensure!(digest == other_digest, "the book of {role} differs");
        }
        ensure!(
            self.printed.len() == 2,
            "{} of 2 reporters",
            self.printed.len()
        );
        for (role, printed) in &self.printed {
            ensure!(
                printed.fills == totals.fills,
                "{role} printed {} of {} fills",
                printed.fills,
                totals.fills
            );
            ensure!(
                printed.quantity == totals.traded,
                "{role} printed {} of {}",
                printed.quantity,
                totals.traded
            );
            ensure!(
                printed.twice == 0,
                "{role} printed {} fills twice",
                printed.twice
            );
        }
        println!("  verdict    all books identical; nothing lost, nothing twice");
        Ok(())
    }

    fn name(&self, peer: &PeerId, role: &str) -> String {
        match self.names.get(peer) {
            Some(name) => name.to_string(),
            None => format!("{role} {}", peer.short()),
        }
    }

    fn show(&self, at_ms: u64, role: Role, text: &str) {
        println!("{}   {role:<10} {text}", self.clock(at_ms));
    }

    fn clock(&self, at_ms: u64) -> String {
        let elapsed = at_ms.saturating_sub(self.started_ms);
        format!("{:>3}.{:03} s", elapsed / 1000, elapsed % 1000)
    }

    fn show_totals(&mut self, at_ms: u64) {
        if !self.is_formed() || at_ms.saturating_sub(self.shown_ms) < TOTALS_EVERY_MS {
            return;
        }
        self.shown_ms = at_ms;
        let sent: u64 = self.sent.values().sum();
        let books: Vec<_> = self
            .books
            .values()
            .map(|(totals, _)| totals.accepted)
            .collect();
        let fills: Vec<_> = self.printed.values().map(|printed| printed.fills).collect();
        println!(
            "{}   sent {sent}, in the books {books:?}, fills printed {fills:?}",
            self.clock(at_ms)
        );
    }
}
