mod catalog;
mod claims;
mod clocks;
mod convergence;
mod deaf;
#[cfg(feature = "dht")]
mod dht;
mod duplicates;
mod hearsay;
mod hostile;
mod limits;
#[cfg(feature = "mdns")]
mod mdns;
mod refusals;
