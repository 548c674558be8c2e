//! Every handle shows at a version the content of that version, on every member.

use super::{super::truth::Truth, Seen};

pub(super) fn check(seen: &Seen, truth: &Truth) -> Vec<String> {
    let wrong = seen.looks.iter().filter_map(|(place, version, shown)| {
        let there = truth.content(*version);
        (shown != there).then(|| {
            format!("at {version} there was {there:?}, and place {place} showed {shown:?}")
        })
    });
    wrong.collect()
}
