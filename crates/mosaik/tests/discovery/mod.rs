mod catalog;
mod convergence;
#[cfg(feature = "dht")]
mod dht;
mod hearsay;
mod hostile;
mod limits;
#[cfg(feature = "mdns")]
mod mdns;
mod refusals;
