//! Configuration of functions.

use std::time::Duration;

/// Budget of one call.
const DEFAULT_CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest encoded request or reply.
const DEFAULT_MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;
/// Limit on the silence of a handler's node.
const DEFAULT_SILENCE_LIMIT: Duration = Duration::from_millis(750);
/// Lower bound of the silence limit: connections are checked twice in this time.
const MIN_SILENCE_LIMIT: Duration = Duration::from_millis(300);
/// Frames carry their length in 31 bits.
const MAX_MESSAGE_BYTES: usize = 1024 * 1024 * 1024;

/// The configuration of functions. Made by [`Config::builder`].
///
/// Peers need not agree on it, except that the handler's node must accept requests of their size, and
/// the caller's node replies.
#[derive(Debug, Clone)]
pub struct Config {
    /// Budget of one call, unless its caller says otherwise: from the call to its result, all
    /// attempts included. Default 30 s; not 0.
    pub call_timeout: Duration,
    /// Largest encoded request or reply that is sent or accepted. Default 64 MiB; 1 to 1 GiB.
    pub max_message_bytes: usize,
    /// Limit on the silence of a handler's node while calls are in flight to it: when nothing at
    /// all arrives for this long, the node counts as dead, and the calls end or fail over. Default
    /// 750 ms; at least 300 ms, and four round trips if these take longer. From 5 s on it is the
    /// transport that decides.
    ///
    /// A node whose runtime is blocked is as silent as a dead one. Where handlers can't avoid that,
    /// their callers need a longer limit.
    pub silence_limit: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            call_timeout: DEFAULT_CALL_TIMEOUT,
            max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES,
            silence_limit: DEFAULT_SILENCE_LIMIT,
        }
    }
}

impl Config {
    /// Starts from the defaults.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::default()
    }
}

/// Builds a [`Config`]; given to
/// [`NetworkBuilder::with_functions`](crate::network::NetworkBuilder::with_functions).
///
/// # Examples
///
/// ```
/// use mosaik::functions;
/// use std::time::Duration;
///
/// let config = functions::Config::builder()
///     .with_call_timeout(Duration::from_secs(5))
///     .build()?;
/// assert_eq!(config.call_timeout.as_secs(), 5);
/// # Ok::<_, functions::ConfigBuilderError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct ConfigBuilder(Config);

impl ConfigBuilder {
    /// Sets the budget of one call.
    #[must_use]
    pub const fn with_call_timeout(mut self, timeout: Duration) -> Self {
        self.0.call_timeout = timeout;
        self
    }

    /// Sets the largest encoded request or reply.
    #[must_use]
    pub const fn with_max_message_bytes(mut self, bytes: usize) -> Self {
        self.0.max_message_bytes = bytes;
        self
    }

    /// Sets how long a handler's node may be silent while calls are in flight to it.
    #[must_use]
    pub const fn with_silence_limit(mut self, limit: Duration) -> Self {
        self.0.silence_limit = limit;
        self
    }

    /// Checks and returns the configuration.
    ///
    /// # Errors
    ///
    /// When the timeout is zero, the largest message is not from 1 byte to 1 GiB, or the silence
    /// limit is below 300 ms.
    pub fn build(self) -> Result<Config, ConfigBuilderError> {
        let invalid = |text: String| Err(ConfigBuilderError::ValidationError(text));
        if self.0.call_timeout.is_zero() {
            return invalid("call_timeout must be greater than zero".to_owned());
        }
        let bytes = self.0.max_message_bytes;
        if !(1..=MAX_MESSAGE_BYTES).contains(&bytes) {
            return invalid(format!(
                "max_message_bytes must be from 1 to {MAX_MESSAGE_BYTES}, not {bytes}"
            ));
        }
        if self.0.silence_limit < MIN_SILENCE_LIMIT {
            return invalid(format!(
                "silence_limit must be at least {MIN_SILENCE_LIMIT:?}, not {:?}",
                self.0.silence_limit
            ));
        }
        Ok(self.0)
    }
}

/// Errors of an invalid configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigBuilderError {
    /// A value is missing.
    #[error("`{0}` must be initialized")]
    UninitializedField(&'static str),
    /// A value is out of its bounds.
    #[error("{0}")]
    ValidationError(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_bad_values_are_refused() {
        let config = Config::builder().build().unwrap();
        assert_eq!(config.call_timeout, Duration::from_secs(30));
        assert_eq!(config.max_message_bytes, 64 << 20);
        assert_eq!(config.silence_limit, Duration::from_millis(750));
        let bad = [
            Config::builder().with_call_timeout(Duration::ZERO),
            Config::builder().with_max_message_bytes(0),
            Config::builder().with_max_message_bytes(usize::MAX),
            Config::builder().with_silence_limit(Duration::from_millis(299)),
        ];
        for builder in bad {
            let error = builder.build().unwrap_err();
            assert!(matches!(error, ConfigBuilderError::ValidationError(_)));
        }
    }
}
