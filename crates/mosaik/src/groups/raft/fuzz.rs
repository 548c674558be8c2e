//! What fuzzing needs of the consensus messages.

pub(crate) use super::{
    types::Types,
    wire::{
        Accepted, Fed, Follow, Forward, Layout, Manifest, Overrun, Request, Response,
        SnapshotHeader, SnapshotReply, Taken,
    },
};
