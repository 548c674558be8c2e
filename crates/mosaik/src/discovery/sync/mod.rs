//! Catalog syncs: [`exchange`] talks with the peer, [`reconcile`] finds what the two catalogs don't
//! share.

pub(crate) mod exchange;
pub(crate) mod reconcile;
