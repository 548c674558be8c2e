//! Limits on what askers cost.

use core::time::Duration;

/// Age at which a section is described anew.
pub(super) const PAGE_AGE: Duration = Duration::from_millis(200);
/// Items of one section that are described; further ones are only counted.
pub(super) const MAX_ITEMS: usize = 2048;
/// Largest page; one larger item still goes.
pub(super) const MAX_PAGE_BYTES: usize = 64 * 1024;
/// Largest frame of an answer: a page whose last item is the largest.
pub(super) const MAX_ANSWER_FRAME_BYTES: usize = 256 * 1024;
/// Largest frame of a question.
pub(super) const MAX_REQUEST_FRAME_BYTES: usize = 64;
/// Bytes of all answers of one node that an asker takes: more than a node that keeps to the limits
/// below can send while it is waited for.
pub(super) const MAX_REPORT_BYTES: usize = 8 * 1024 * 1024;
/// Items that an asker decodes before it lets other tasks have their turn.
pub(super) const DECODED_AT_ONCE: usize = 16;
/// Questions on one stream.
pub(super) const MAX_REQUESTS: usize = 256;
/// Time limit for the next question, and for an answer to be taken.
pub(super) const STEP_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit for all questions on one stream.
pub(super) const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams that are answered at once.
pub(super) const MAX_SERVED: usize = 64;
/// Of those, streams of one peer.
pub(super) const MAX_SERVED_PER_PEER: usize = 4;
/// Bytes of answers that one peer may take at once, and how many a second it may take from then on.
pub(super) const MAX_BURST_BYTES: i64 = 4 * 1024 * 1024;
pub(super) const MAX_BYTES_PER_SECOND: i64 = 256 * 1024;
/// Least cost of an answer, however short it is.
pub(super) const MIN_ANSWER_BYTES: i64 = 1024;
/// Peers whose use is remembered; with more, those that have taken nothing lately are forgotten.
pub(super) const MAX_REMEMBERED: usize = 4096;
