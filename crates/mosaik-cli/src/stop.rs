//! When to stop.

use anyhow::Context;
use tokio::signal;

/// Waits for the process to be told to stop: SIGINT (Ctrl+C), or SIGTERM where there is one.
pub(crate) struct Stop {
    #[cfg(unix)]
    terminate: signal::unix::Signal,
}

impl Stop {
    /// Signals count from now on.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        #[cfg(unix)]
        let terminate = signal::unix::signal(signal::unix::SignalKind::terminate())
            .context("can't listen for SIGTERM")?;
        Ok(Self {
            #[cfg(unix)]
            terminate,
        })
    }

    /// Resolves when the process is to stop.
    pub(crate) async fn requested(mut self) -> anyhow::Result<()> {
        let interrupt = async { signal::ctrl_c().await.context("can't listen for Ctrl+C") };
        #[cfg(unix)]
        tokio::select! {
            interrupted = interrupt => interrupted,
            _ = self.terminate.recv() => Ok(()),
        }
        #[cfg(not(unix))]
        interrupt.await
    }
}
