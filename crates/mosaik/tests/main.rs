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

// Every `#[tokio::test]` of this binary ends with a check that nothing outlives it.
extern crate mosaik_test as tokio;

mod collections;
mod discovery;
mod functions;
mod groups;
mod net;
mod status;
mod streams;
mod support;
mod surface;
