//! All know all, and agree about everybody.
//!
//! Source: "the topology is stable; every later change is announced immediately" (how a node
//! joins), and "the entry equals the one the owner itself shows".

use std::collections::BTreeSet;

use mosaik::{Network, PeerId};

use super::Violation;

/// Every node's catalog holds exactly the nodes given, each with the content that its owner shows.
///
/// # Errors
///
/// The first difference found.
pub fn check(nodes: &[Network]) -> Result<(), Violation> {
    let expected: BTreeSet<PeerId> = nodes.iter().map(|node| node.local().id()).collect();
    for node in nodes {
        let observer = node.local().id().fmt_short();
        let catalog = node.discovery().catalog();
        let known: BTreeSet<PeerId> = catalog.iter_signed().map(|entry| *entry.id()).collect();
        if known != expected {
            let missing: Vec<_> = expected.difference(&known).collect();
            let extra: Vec<_> = known.difference(&expected).collect();
            return Err(Violation(format!(
                "{observer} lacks {missing:?} and has {extra:?} too much"
            )));
        }
        for owner in nodes {
            let own = owner.discovery().me();
            let seen = catalog.get_signed(own.id());
            let agrees = seen.is_some_and(|seen| {
                (
                    seen.tags(),
                    seen.streams(),
                    seen.functions(),
                    seen.groups(),
                    seen.tickets(),
                ) == (
                    own.tags(),
                    own.streams(),
                    own.functions(),
                    own.groups(),
                    own.tickets(),
                ) && seen.address() == own.address()
                    && seen.started_at() == own.started_at()
            });
            if !agrees {
                let owner = own.id().fmt_short();
                return Err(Violation(format!(
                    "{observer} shows {seen:?} for {owner}: {own:?}"
                )));
            }
        }
    }
    Ok(())
}
