//! A replicated map under faults, and watches of it: what each watch told is compared with what
//! all of them told together.
//!
//! ```text
//! places ──── nodes with a map each, which come and go, are cut off and lose packets
//!   │
//!   ├─ clients mutate: single keys, batches, entries that expire
//!   └─ watchers note what they are told: fast and slow, of everything, of a key, of a range,
//!      from the beginning, resumed, from a version still to come
//!        │
//!        ▼
//! Truth ───── every version's changes; invariants, one per file
//! ```
//!
//! A majority of the writers is always there, so there is one history, and versions name the same
//! changes everywhere.

mod invariants;
mod place;
mod run;
mod truth;
mod watcher;

pub use run::{Options, Report, run};
