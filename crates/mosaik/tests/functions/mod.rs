//! Remote functions.

mod basics;
mod common;
