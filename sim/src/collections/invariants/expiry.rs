//! An entry expires only if it was to, and not before its time to live is over.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{
    super::{
        kinds::{Answer, Failure},
        truth::Truth,
    },
    Call, Seen,
};

/// Effect of a mutation on the time to live of a key.
struct Timer {
    /// None when it is not known at which it took effect, if at any.
    version: Option<u64>,
    submitted: Instant,
    ttl: Option<Duration>,
}

/// Version at which a mutation took effect; none if at none, and none within when that is not known.
#[expect(clippy::option_option, reason = "two things are not there")]
fn effective(call: &Call, written: &BTreeMap<u32, u64>) -> Option<Option<u64>> {
    let (effect, outcome) = call;
    match outcome {
        Ok((_, Answer::Was(false))) if !effect.possible_timers.is_empty() => None,
        Ok((version, _)) => Some(Some(*version)),
        Err(Failure::Never) => None,
        // What it wrote tells.
        Err(Failure::Unknown) => match effect.marks.first() {
            Some(mark) => written.get(mark).map(|version| Some(*version)),
            None => Some(None),
        },
    }
}

pub(super) fn check(seen: &Seen, truth: &Truth) -> Vec<String> {
    let written = truth.written();
    let mut timers: BTreeMap<u8, Vec<Timer>> = BTreeMap::new();
    for call in &seen.calls {
        let Some(version) = effective(call, &written) else {
            continue;
        };
        let (effect, _) = call;
        let possible = effect.possible_timers.iter();
        let possible = possible.map(|(key, ttl)| (*key, Some(*ttl)));
        for (key, ttl) in effect.timers.iter().copied().chain(possible) {
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
