//! Configuration of all streams of a node.

use core::fmt;
use std::sync::Arc;

use crate::primitives::{
    BackoffFactory,
    backoff::{Backoff, ExponentialBackoff},
};

/// Largest encoded datum, unless configured otherwise.
pub(crate) const DEFAULT_MAX_DATUM_BYTES: usize = 64 * 1024 * 1024;
/// A frame's length has 31 bits.
const MAX_MAX_DATUM_BYTES: usize = i32::MAX as usize;

/// Configuration of all streams of a node.
#[derive(Clone)]
pub struct Config {
    /// Reconnect policy of consumers, unless their builder says otherwise. Default: 500 ms growing
    /// by 1.5 to 60 s, ±50 %, giving up 5 minutes after the last established subscription.
    pub backoff: BackoffFactory,
    /// Largest encoded datum, in bytes, that is sent or accepted. Default 64 MiB, at most 2 GiB.
    /// A consumer leaves larger ones out, so nodes that share streams should agree.
    pub max_datum_bytes: usize,
}

impl Config {
    /// Starts from the defaults.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::default()
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("backoff", &"<factory>")
            .field("max_datum_bytes", &self.max_datum_bytes)
            .finish()
    }
}

/// Builds a [`Config`]; given to
/// [`NetworkBuilder::with_streams`](crate::network::NetworkBuilder::with_streams).
///
/// # Examples
///
/// ```
/// use mosaik::{Network, streams};
/// use std::time::Duration;
///
/// let policy = streams::backoff::ExponentialBackoffBuilder::new()
///     .with_max_interval(Duration::from_secs(5))
///     .with_max_elapsed_time(None)
///     .build();
/// let builder = Network::builder("example")
///     .with_streams(streams::Config::builder().with_backoff(policy));
/// # drop(builder);
/// ```
#[derive(Clone)]
pub struct ConfigBuilder {
    config: Config,
}

impl Default for ConfigBuilder {
    fn default() -> Self {
        Self {
            config: Config {
                backoff: Arc::new(|| Box::new(ExponentialBackoff::default())),
                max_datum_bytes: DEFAULT_MAX_DATUM_BYTES,
            },
        }
    }
}

impl ConfigBuilder {
    /// Sets how consumers reconnect; each producer gets a fresh copy.
    #[must_use]
    pub fn with_backoff<B: Backoff + Clone + Send + Sync + 'static>(mut self, backoff: B) -> Self {
        self.config.backoff = factory(backoff);
        self
    }

    /// Sets the largest encoded datum, in bytes.
    #[must_use]
    pub const fn with_max_datum_bytes(mut self, max: usize) -> Self {
        self.config.max_datum_bytes = max;
        self
    }

    /// Checks the values.
    ///
    /// # Errors
    ///
    /// When the largest datum is not from 1 byte to 2 GiB.
    pub fn build(self) -> Result<Config, ConfigBuilderError> {
        let max = self.config.max_datum_bytes;
        if max == 0 || max > MAX_MAX_DATUM_BYTES {
            return Err(ConfigBuilderError::ValidationError(format!(
                "max_datum_bytes must be from 1 to {MAX_MAX_DATUM_BYTES}, not {max}"
            )));
        }
        Ok(self.config)
    }
}

impl fmt::Debug for ConfigBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigBuilder")
            .field("config", &self.config)
            .finish()
    }
}

/// Errors of building a [`Config`].
#[derive(Debug, thiserror::Error)]
pub enum ConfigBuilderError {
    /// A required value is missing.
    #[error("`{0}` must be initialized")]
    UninitializedField(&'static str),
    /// A value is not valid.
    #[error("{0}")]
    ValidationError(String),
}

/// A factory that makes copies of one policy.
pub(super) fn factory<B: Backoff + Clone + Send + Sync + 'static>(backoff: B) -> BackoffFactory {
    Arc::new(move || Box::new(backoff.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_no_frame_can_have_are_refused() {
        assert!(Config::builder().build().is_ok());
        for max in [0, MAX_MAX_DATUM_BYTES + 1] {
            let built = Config::builder().with_max_datum_bytes(max).build();
            assert!(matches!(built, Err(ConfigBuilderError::ValidationError(_))));
        }
        assert!(format!("{:?}", Config::builder()).contains("<factory>"));
    }
}
