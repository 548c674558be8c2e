//! Remote procedure calls to the handler that serves them best, without a coordinator.
//!
//! A **handler** serves a function under an id and advertises it in its node's signed catalog
//! entry. A **caller** names only the function: it knows the eligible handlers from the catalog,
//! calls the nearest one, spreads calls over near-equal ones by load, and moves on to the next
//! when one fails.
//!
//! ```text
//! caller                                                                 handler
//!   │─ Header { kind, function, budget, size } ─ request, if ≤ 64 KiB ────►│ verdict by the header,
//!   │◄─────────── close record 401, 400, 11403, 11404 or 11509 ────────────│ then decode and run
//!   │◄─ Proceed ──── only for larger requests ─ request ──────────────────►│
//!   │◄─ Started ──── only when the function takes longer, or streams ──────│
//!   │◄─ Value or Error, any number of them for a stream ── close 200 ──────│
//!   │─ bytes taken in ── now and then, only for a stream ─────────────────►│
//! ```
//!
//! - One QUIC stream per call, on the pooled connection of the two peers.
//! - **A call never runs twice by itself.** Refusals and failures fail over freely until the
//!   request may have started; from then on only a function declared idempotent is tried again.
//! - What a node holds for others (streams without a header, requests and replies on their way) is
//!   bounded in all and for each peer; beyond it calls are refused with 11509.
//! - A call takes its place once its request is there, so that slow requests hold none.
//! - A side that gives up drops its end of the stream, and the other end stops working at once.
//!
//! | task | ends when |
//! |---|---|
//! | one per accepted call | the reply is delivered, the caller leaves or the handler is dropped |
//! | one per caller, following the catalog | the caller is dropped |
//! | one per measurement of a distance, 32 at a time | five exchanges are done, 3 s at most |
//! | watchdog of connections with calls | the node ends |
//! | one per sign of life that it asks for | the answer is there, 1 s at most |

pub mod caller;
mod candidates;
pub(crate) mod close;
mod config;
mod context;
mod core;
mod def;
mod error;
mod function;
#[cfg(any(test, feature = "unstable-fuzz"))]
pub(crate) mod fuzz;
mod handle;
pub mod handler;
mod metrics;
mod report;
mod route;
pub mod status;
mod tenure;
mod wire;

pub use caller::Caller;
pub use config::{Config, ConfigBuilder, ConfigBuilderError};
pub use context::CallContext;
pub use def::FunctionDef;
pub use error::CallError;
pub use function::Function;
pub(crate) use handle::FunctionReports;
pub use handle::Functions;
pub use handler::Handler;
pub use report::{FunctionReport, FunctionSide};
