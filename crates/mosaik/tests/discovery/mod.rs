mod convergence;
#[cfg(feature = "dht")]
mod dht;
