//! Leadership confirmations, shared by concurrent strong reads.

use std::collections::VecDeque;

use futures::future::{BoxFuture, Shared};

use crate::groups::model::member_stream::Gone;

/// Answers with the consensus index up to which must be applied, exclusively.
pub(super) type Round = Shared<BoxFuture<'static, Result<u64, Gone>>>;

/// The rounds of one member.
#[derive(Default)]
pub(super) struct LeadershipConfirmations {
    pub(super) running: VecDeque<Round>,
    /// The round after the oldest one, for reads that come while enough are running.
    pub(super) waiting: Option<Round>,
}
