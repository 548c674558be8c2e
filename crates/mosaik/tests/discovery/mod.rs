mod convergence;
#[cfg(feature = "dht")]
mod dht;
#[cfg(feature = "mdns")]
mod mdns;
