//! Interface of the consensus messages to fuzzing.

pub(crate) use super::{
    types::Types,
    wire::{Accepted, Forward, Layout, Manifest, Request, Response, SnapshotHeader, SnapshotReply},
};
