//! What fuzzing needs of the consensus messages.

pub(crate) use super::{
    types::Types,
    wire::{Accepted, Forward, Layout, Manifest, Request, Response, SnapshotHeader, SnapshotReply},
};
