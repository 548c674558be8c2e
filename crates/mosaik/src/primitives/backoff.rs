//! Reconnection policies: how long to wait before the next attempt, and when to give up.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

/// Makes a fresh policy for each peer that is reconnected to.
pub type BackoffFactory =
    Arc<dyn Fn() -> Box<dyn Backoff + Send + Sync + 'static> + Send + Sync + 'static>;

/// Says how long to wait before the next attempt.
pub trait Backoff {
    /// Starts over, after a success.
    fn reset(&mut self) {}

    /// The wait before the next attempt, or `None` to give up.
    fn next_backoff(&mut self) -> Option<Duration>;
}

impl<B: Backoff + ?Sized> Backoff for Box<B> {
    fn reset(&mut self) {
        (**self).reset();
    }

    fn next_backoff(&mut self) -> Option<Duration> {
        (**self).next_backoff()
    }
}

/// Waits that grow by a factor, with a random part, up to a limit and for a limited time.
///
/// # Examples
///
/// ```
/// use mosaik::streams::backoff::{Backoff, ExponentialBackoffBuilder};
/// use std::time::Duration;
///
/// let mut policy = ExponentialBackoffBuilder::new()
///     .with_initial_interval(Duration::from_millis(100))
///     .with_multiplier(2.0)
///     .with_randomization_factor(0.0)
///     .build();
/// assert_eq!(policy.next_backoff(), Some(Duration::from_millis(100)));
/// assert_eq!(policy.next_backoff(), Some(Duration::from_millis(200)));
///
/// let endless = mosaik::streams::backoff::ExponentialBackoff {
///     max_elapsed_time: None,
///     ..Default::default()
/// };
/// # drop(endless);
/// ```
#[derive(Clone)]
pub struct ExponentialBackoff {
    /// The first wait. Default 500 ms.
    pub initial_interval: Duration,
    /// Factor between one wait and the next. Default 1.5; below 1 counts as 1.
    pub multiplier: f64,
    /// The random part: 0.5 gives waits between 50 % and 150 %. Default 0.5.
    pub randomization_factor: f64,
    /// The longest wait before the random part. Default 60 s.
    pub max_interval: Duration,
    /// Gives up when this much time has passed since the last reset. Default 5 minutes; `None`
    /// never gives up.
    pub max_elapsed_time: Option<Duration>,
    /// Position of this policy in its sequence of waits. The default is its beginning.
    pub progress: Progress,
}

/// Position of an [`ExponentialBackoff`] since it was made or reset.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    next: Option<Duration>,
    started: Option<Instant>,
}

impl Default for ExponentialBackoff {
    fn default() -> Self {
        Self {
            initial_interval: Duration::from_millis(500),
            multiplier: 1.5,
            randomization_factor: 0.5,
            max_interval: Duration::from_mins(1),
            max_elapsed_time: Some(Duration::from_mins(5)),
            progress: Progress::default(),
        }
    }
}

impl ExponentialBackoff {
    /// A policy that never gives up, for the library's own retries.
    pub(crate) fn endless(initial: Duration, max: Duration) -> Self {
        Self {
            initial_interval: initial,
            max_interval: max,
            multiplier: 2.0,
            max_elapsed_time: None,
            ..Self::default()
        }
    }
}

impl Backoff for ExponentialBackoff {
    fn reset(&mut self) {
        self.progress = Progress::default();
    }

    fn next_backoff(&mut self) -> Option<Duration> {
        let started = *self.progress.started.get_or_insert_with(Instant::now);
        if self
            .max_elapsed_time
            .is_some_and(|limit| started.elapsed() > limit)
        {
            return None;
        }
        let base = self
            .progress
            .next
            .unwrap_or(self.initial_interval)
            .min(self.max_interval);
        let factor = if self.multiplier >= 1.0 {
            self.multiplier
        } else {
            1.0
        };
        let grown = Duration::try_from_secs_f64(base.as_secs_f64() * factor);
        self.progress.next = Some(grown.unwrap_or(self.max_interval).min(self.max_interval));
        let spread = self.randomization_factor.clamp(0.0, 1.0);
        let jitter = 1.0 - spread + 2.0 * spread * rand::random::<f64>();
        Some(Duration::try_from_secs_f64(base.as_secs_f64() * jitter).unwrap_or(base))
    }
}

impl fmt::Debug for ExponentialBackoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExponentialBackoff")
            .field("initial_interval", &self.initial_interval)
            .field("multiplier", &self.multiplier)
            .field("randomization_factor", &self.randomization_factor)
            .field("max_interval", &self.max_interval)
            .field("max_elapsed_time", &self.max_elapsed_time)
            .finish_non_exhaustive()
    }
}

/// Builds an [`ExponentialBackoff`].
#[derive(Debug, Clone, Default)]
pub struct ExponentialBackoffBuilder(ExponentialBackoff);

impl ExponentialBackoffBuilder {
    /// A builder with the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the first wait.
    #[must_use]
    pub const fn with_initial_interval(mut self, interval: Duration) -> Self {
        self.0.initial_interval = interval;
        self
    }

    /// Sets the factor of growth.
    #[must_use]
    pub const fn with_multiplier(mut self, multiplier: f64) -> Self {
        self.0.multiplier = multiplier;
        self
    }

    /// Sets the random part.
    #[must_use]
    pub const fn with_randomization_factor(mut self, factor: f64) -> Self {
        self.0.randomization_factor = factor;
        self
    }

    /// Sets the longest wait.
    #[must_use]
    pub const fn with_max_interval(mut self, interval: Duration) -> Self {
        self.0.max_interval = interval;
        self
    }

    /// Sets when to give up; `None` never does.
    #[must_use]
    pub const fn with_max_elapsed_time(mut self, limit: Option<Duration>) -> Self {
        self.0.max_elapsed_time = limit;
        self
    }

    /// The policy.
    pub fn build(self) -> ExponentialBackoff {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn grows_to_the_limit_and_gives_up() {
        let mut policy = ExponentialBackoffBuilder::new()
            .with_initial_interval(Duration::from_secs(1))
            .with_multiplier(3.0)
            .with_randomization_factor(0.0)
            .with_max_interval(Duration::from_secs(5))
            .with_max_elapsed_time(Some(Duration::from_secs(20)))
            .build();
        let waits: Vec<_> = (0..4)
            .map(|_| policy.next_backoff().unwrap().as_secs())
            .collect();
        assert_eq!(waits, [1, 3, 5, 5]);
        tokio::time::advance(Duration::from_secs(21)).await;
        assert_eq!(policy.next_backoff(), None);
        policy.reset();
        assert_eq!(policy.next_backoff(), Some(Duration::from_secs(1)));
    }

    #[test]
    fn nonsense_values_do_not_panic() {
        let mut policy = ExponentialBackoffBuilder::new()
            .with_initial_interval(Duration::MAX)
            .with_multiplier(f64::NAN)
            .with_randomization_factor(f64::INFINITY)
            .with_max_interval(Duration::MAX)
            .build();
        assert!(policy.next_backoff().is_some());
        assert!(policy.next_backoff().is_some());
    }
}
