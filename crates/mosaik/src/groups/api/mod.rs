//! Handles, builders and errors: the part of groups that programs see.

pub(crate) mod bonds;
pub(crate) mod builder;
pub(crate) mod error;
pub(crate) mod group;
pub(crate) mod handle;
pub(crate) mod when;
