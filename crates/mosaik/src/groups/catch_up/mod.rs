//! Catch-up: a member fetches what it lacks from several others at once.
//!
//! What is fetched, a part of the log or a snapshot, consists of *pieces*. The leader says which
//! there are and names the digest of each; the pieces themselves come from any member that has
//! them, the followers before the leader.
//!
//! ```text
//! newcomer ── Ask::Layout ──────────────► leader       which pieces follow? (of a snapshot the
//! newcomer ◄─ pieces, digests ─────────── leader        leader tells by itself)
//! newcomer ── Ask::Pieces(0..8) ────────► follower 1
//! newcomer ── Ask::Pieces(8..16) ───────► follower 2
//! newcomer ◄─ Answer::Coming, pieces … ── both, beside each other
//! ```
//!
//! - A piece that does not match its digest is dropped, and its source not asked again.
//! - What a source has promised and does not send is asked of another one as soon as that one has
//!   nothing else to do; a source that fails three times in a row, or takes longer than the
//!   strategy's fetch timeout for one piece, is given up.
//! - Pieces are handed on in order. No more than a window of them is under way at a time, so the
//!   receiver sets the pace; and they are asked for little by little, no faster than a rate.
//!
//! [Fetching](fetch) is apart from what is fetched: it knows pieces, numbers and digests only. The
//! snapshots that a member can give are in its [cache](snapshot_cache). Who asks and who answers are
//! the [client](super::consensus) and the server of consensus.

pub(crate) mod fetch;
pub(crate) mod pace;
pub(crate) mod snapshot_cache;
pub(crate) mod snapshot_data;
pub(crate) mod volume;
pub(crate) mod wire;
