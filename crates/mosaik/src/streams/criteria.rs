//! Criteria of the datums that a subscription receives.

use serde::{Deserialize, Serialize};

use crate::primitives::Datum;

/// Selects the datums of a subscription; evaluated by the producer before anything is queued.
///
/// Today it selects everything, at no cost.
///
/// # Examples
///
/// ```
/// use mosaik::Criteria;
///
/// assert!(Criteria::default().matches(&"anything".to_owned()));
/// ```
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Criteria {}

impl Criteria {
    /// Returns whether a subscription with these criteria receives this datum.
    pub const fn matches<D: Datum>(&self, _item: &D) -> bool {
        true
    }
}
