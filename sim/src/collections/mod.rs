//! A replicated collection under faults, and watches of it: what each watch told, what each handle
//! showed and what each caller was told is compared with what all watches told together, and that
//! with the structures of the standard library.
//!
//! ```text
//! places ──── nodes with a collection each, which come and go, are cut off and lose packets
//!   │
//!   ├─ clients mutate, each kind in all its ways; some entries expire
//!   └─ watchers note what they are told: fast and slow, of everything, of a key, of a range,
//!      from the beginning, resumed, from a version still to come
//!        │
//!        ▼
//! Truth ───── every version's changes and content; invariants, one per file
//! ```
//!
//! A majority of the writers is always there, or all are down and remember, so there is one history,
//! and versions name the same changes everywhere.

mod content;
mod faults;
mod invariants;
mod kinds;
mod place;
mod run;
mod truth;
mod watcher;

pub use run::{Options, Report, Subject, run};
