//! Interface of the consensus messages to fuzzing.

pub(crate) use super::wire::{
    Accepted, Fed, Follow, Forward, Layout, Request, Response, SnapshotReply, Taken,
};
pub(crate) use crate::groups::{
    catch_up::wire::{Manifest, Overrun, SnapshotHeader},
    log::types::Types,
};
