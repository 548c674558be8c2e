//! Acknowledged mutations took effect at their version as the structures of the standard library
//! say, and their callers were told so; those that certainly were not carried out left no trace.

use std::collections::BTreeMap;

use super::{
    super::{kinds::Failure, truth::Truth},
    Seen,
};

pub(super) fn check(seen: &Seen, truth: &Truth) -> Vec<String> {
    let mut wrong = Vec::new();
    let written = truth.written();
    let mut versions = BTreeMap::new();
    for (effect, outcome) in &seen.calls {
        match outcome {
            Ok((version, answer)) => {
                if let Some(other) = versions.insert(*version, effect) {
                    wrong.push(format!(
                        "version {version} was told to {effect:?} and {other:?}"
                    ));
                }
                let before = truth.content(version.saturating_sub(1));
                let after = truth.content(*version);
                let mut expected = before.clone();
                let right = effect.carry_out(&mut expected);
                if expected != *after {
                    wrong.push(format!(
                        "version {version}: {effect:?} made {after:?} of {before:?}"
                    ));
                }
                if right != *answer {
                    wrong.push(format!(
                        "version {version}: the caller of {effect:?} was told {answer:?} of \
                         {before:?}"
                    ));
                }
            }
            Err(Failure::Never) => {
                let trace = effect.marks.iter().find_map(|mark| written.get(mark));
                if let Some(version) = trace {
                    wrong.push(format!(
                        "{effect:?} was not to be carried out, and was by version {version}"
                    ));
                }
            }
            Err(Failure::Unknown) => {}
        }
    }
    wrong
}
