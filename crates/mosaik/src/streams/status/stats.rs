//! Counters of a subscription or consumer.

use core::fmt;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Traffic of a subscription, or what the application took out of a consumer.
///
/// A handle: it shows the current values at any time, also after the end.
#[derive(Clone, Default)]
pub struct Stats(Arc<Counters>);

#[derive(Default)]
struct Counters {
    datums: AtomicUsize,
    bytes: AtomicUsize,
    lost: AtomicU64,
    undecodable: AtomicUsize,
    connected_at: Mutex<Option<Instant>>,
}

impl Stats {
    /// Counters of something that is up from now on.
    pub(in crate::streams_layer) fn running() -> Self {
        let stats = Self::default();
        stats.set_connected(true);
        stats
    }

    /// Number of datums.
    pub fn datums(&self) -> usize {
        self.0.datums.load(Ordering::Acquire)
    }

    /// The size of the encoded datums in bytes, without framing.
    pub fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Acquire)
    }

    /// Number of datums that the consumer is known to have missed: those that were withheld because
    /// it lagged, and on its own side also those between one connection and the next. See
    /// [`Event::Lagged`](crate::streams::consumer::Event::Lagged).
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Acquire)
    }

    /// Number of datums that arrived and could not be decoded, or were too large; 0 on the
    /// producer's side. They are in no other count.
    pub fn undecodable(&self) -> usize {
        self.0.undecodable.load(Ordering::Acquire)
    }

    /// Time since the last successful connection, `None` when not connected; of a consumer, since
    /// it was built.
    pub fn uptime(&self) -> Option<Duration> {
        self.0.connected_at.lock().map(|since| since.elapsed())
    }

    pub(in crate::streams_layer) fn add(&self, datums: usize, bytes: usize) {
        self.0.bytes.fetch_add(bytes, Ordering::Release);
        self.0.datums.fetch_add(datums, Ordering::Release);
    }

    pub(in crate::streams_layer) fn add_lost(&self, datums: u64) {
        if datums > 0 {
            // What a producer says of this may be anything.
            let more = |lost: u64| Some(lost.saturating_add(datums));
            let _ = self
                .0
                .lost
                .fetch_update(Ordering::Release, Ordering::Acquire, more);
        }
    }

    pub(in crate::streams_layer) fn add_undecodable(&self) {
        self.0.undecodable.fetch_add(1, Ordering::Release);
    }

    pub(in crate::streams_layer) fn set_connected(&self, connected: bool) {
        *self.0.connected_at.lock() = connected.then(Instant::now);
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.uptime() {
            Some(uptime) => {
                // Below a second, finer units would only be noise.
                let whole = Duration::from_secs(uptime.as_secs());
                write!(f, "uptime: {}", humantime::format_duration(whole))?;
            }
            None => f.write_str("uptime: N/A")?,
        }
        write!(
            f,
            ", datums: {}, bytes: {}",
            self.datums(),
            DecimalSize(self.bytes())
        )
    }
}

impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stats")
            .field("datums", &self.datums())
            .field("bytes", &self.bytes())
            .field("lost", &self.lost())
            .field("undecodable", &self.undecodable())
            .field("uptime", &self.uptime())
            .finish()
    }
}

/// A size in powers of 1000, such as `1.23 MB`.
struct DecimalSize(usize);

impl fmt::Display for DecimalSize {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
        if self.0 < 1000 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1000.0;
        let mut unit = 0;
        while value >= 999.995 && unit + 1 < UNITS.len() {
            value /= 1000.0;
            unit += 1;
        }
        write!(f, "{value:.2} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal() {
        let texts = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (1_234_567, "1.23 MB"),
        ];
        for (bytes, text) in texts {
            assert_eq!(DecimalSize(bytes).to_string(), text);
        }
        assert_eq!(DecimalSize(999_999).to_string(), "1.00 MB");
    }

    #[tokio::test(start_paused = true)]
    async fn shows_uptime_only_while_connected() {
        let stats = Stats::default();
        stats.add(2, 1500);
        assert_eq!(stats.to_string(), "uptime: N/A, datums: 2, bytes: 1.50 kB");
        stats.set_connected(true);
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(
            stats.to_string(),
            "uptime: 1m 1s, datums: 2, bytes: 1.50 kB"
        );
        stats.set_connected(false);
        assert_eq!(stats.uptime(), None);
    }
}
