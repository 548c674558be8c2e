//! Integration tests, one folder per subsystem, over real endpoints on loopback.
#![allow(
    clippy::disallowed_methods,
    clippy::pedantic,
    clippy::redundant_pattern_matching,
    clippy::int_plus_one,
    clippy::needless_borrow,
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "tests spawn what they need and fail by panicking"
)]

mod collections;
mod discovery;
mod functions;
mod groups;
mod net;
mod streams;
mod support;
mod surface;
