//! Liveness: probes along random rings, suspicion, and refutation.
//!
//! Every node watches a few others: its successors on K rings, each a pseudo-random permutation
//! of all peers that everybody computes alike. So each peer has K observers, connections are
//! stable, and the graph of observers is an expander (L. Suresh et al., "Stable and Consistent
//! Membership at Scale with Rapid", USENIX ATC 2018).
//!
//! A failed probe is only a hint. The observer asks others to try (A. Das et al., "SWIM", DSN
//! 2002); if they fail too, the peer is *suspected* by everybody for a while, longer when the
//! observer itself seems slow (A. Dadgar et al., "Lifeguard", DSN-W 2018). A newer entry of the
//! peer refutes the suspicion at once; otherwise it is gone from the catalog when the time is up.
//!
//! Probes carry a fingerprint of the prober's catalog, so that a node that gossip does not reach
//! finds out within a second or two.

pub(crate) mod ping;
mod prober;
mod ring;
pub(crate) mod rtt_probes;

pub(crate) use prober::Prober;
