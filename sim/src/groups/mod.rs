//! Groups under faults: what is promised must hold, whatever fails.
//!
//! ```text
//! Plan ─────── drawn from a seed: members, faults and when, what each client does
//!   │
//!   ▼
//! Run ──────── forms a group, lets clients and faults loose, heals, and looks at what is left
//!   │   │
//!   │   └────► Cluster: members in this process, or processes of their own; all packets of both
//!   │                   pass through one hub, which delays, loses and cuts; or processes in
//!   │                   network namespaces, with a firewall between them
//!   ▼
//! History ───► verdict: every acknowledged command is there once, at the position that was told;
//!                       no term has two leaders; all members agree; every read is of the state that
//!                       it names; every key's history is linearizable; every call has ended
//! ```
//!
//! The schedule of faults and operations follows from the seed; how threads and processes are
//! scheduled does not.

mod churn;
mod clients;
mod cluster;
mod control;
mod faults;
mod firewall;
mod history;
mod leaders;
pub mod linearizability;
mod local;
mod machine;
mod member;
mod models;
mod plan;
mod positions;
mod process;
mod rivals;
mod run;
mod verdict;

pub use churn::{Churn, Going, Step, come_and_go};
pub use control::{Setup, Wiring};
pub use firewall::{enter, is_inside, probe};
pub use history::{Deed, History, Outcome, Record};
pub use machine::{Action, Answer, Bank, Command, Item, Query, Replayed, State};
pub use member::run as run_member;
pub use models::{Counter, CounterDeed, Register, RegisterDeed};
pub use plan::{Fault, Options, Plan, Planned, Target};
pub use rivals::{Meeting, meet};
pub use run::{Report, run};
pub use verdict::Violations;
