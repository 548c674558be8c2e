//! Integration tests, one folder per subsystem, over real endpoints on loopback.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests spawn what they need and fail by panicking"
)]

mod discovery;
mod functions;
mod groups;
mod streams;
mod support;
mod surface;
