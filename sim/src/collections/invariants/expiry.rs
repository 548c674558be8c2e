//! An entry expires only if it was to, and not before its time to live is over.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{super::truth::Truth, Seen};

/// What a mutation did to the time to live of a key.
struct Timer {
    /// None when that is not known: it may have taken effect at any.
    version: Option<u64>,
    submitted: Instant,
    ttl: Option<Duration>,
}

pub(super) fn check(seen: &Seen, truth: &Truth) -> Vec<String> {
    let mut timers: BTreeMap<u8, Vec<Timer>> = BTreeMap::new();
    for (effect, outcome) in &seen.calls {
        let version = match outcome {
            Ok((version, _)) => Some(*version),
            Err(_) => None,
        };
        // One that may have changed nothing must not hide the one before.
        let possible = effect.possible_timers.iter();
        let possible = possible.map(|(key, ttl)| (None, *key, Some(*ttl)));
        let certain = effect.timers.iter();
        let certain = certain.map(|(key, ttl)| (version, *key, *ttl));
        for (version, key, ttl) in certain.chain(possible) {
            timers.entry(key).or_default().push(Timer {
                version,
                submitted: effect.submitted,
                ttl,
            });
        }
    }
    let mut first_told: BTreeMap<u64, Instant> = BTreeMap::new();
    for (version, told) in seen.records.iter().flat_map(|record| &record.expired) {
        let first = first_told.entry(*version).or_insert(*told);
        *first = (*first).min(*told);
    }
    let expired = truth
        .all()
        .filter_map(|(version, delta)| Some((version, delta.expired()?)));
    let mut wrong = Vec::new();
    for (version, key) in expired {
        let Some(told) = first_told.get(&version) else {
            continue;
        };
        let timers = timers.get(&key).map_or(&[][..], Vec::as_slice);
        let last = timers
            .iter()
            .filter(|timer| timer.version.is_some_and(|at| at < version))
            .max_by_key(|timer| timer.version);
        let unknown = timers.iter().filter(|timer| timer.version.is_none());
        let over = |timer: &Timer| {
            timer
                .ttl
                .is_some_and(|ttl| told.saturating_duration_since(timer.submitted) >= ttl)
        };
        if !last.into_iter().chain(unknown).any(over) {
            wrong.push(format!(
                "version {version}: {key} expired early; last set by {:?} for {:?}, {:?} before",
                last.map(|timer| timer.version),
                last.map(|timer| timer.ttl),
                last.map(|timer| told.saturating_duration_since(timer.submitted)),
            ));
        }
    }
    wrong
}
