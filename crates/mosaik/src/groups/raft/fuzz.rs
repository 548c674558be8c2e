//! Interface of the consensus messages to fuzzing.

pub(crate) use super::{
    types::Types,
    wire::{
        Accepted, Fed, Follow, Forward, Layout, Manifest, Overrun, Request, Response,
        SnapshotHeader, SnapshotReply, Taken,
    },
};
