//! Figures that both metrics and reports need: totals, and times of last events.

mod last_time;
mod tally;

pub(crate) use last_time::LastTime;
pub(crate) use tally::Tally;
