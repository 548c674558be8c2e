//! Signals that ask the program to stop.

use anyhow::Context;
#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
#[cfg(windows)]
use tokio::signal::windows::{CtrlC, ctrl_c};

/// Waits for the process to be told to stop: SIGINT (Ctrl+C), or SIGTERM where there is one.
pub(crate) struct Stop {
    #[cfg(unix)]
    interrupt: Signal,
    #[cfg(unix)]
    terminate: Signal,
    #[cfg(windows)]
    interrupt: CtrlC,
}

impl Stop {
    /// Signals count from now on, also those that come before anyone waits.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            interrupt: signal(SignalKind::interrupt()).context("can't listen for Ctrl+C")?,
            #[cfg(unix)]
            terminate: signal(SignalKind::terminate()).context("can't listen for SIGTERM")?,
            #[cfg(windows)]
            interrupt: ctrl_c().context("can't listen for Ctrl+C")?,
        })
    }

    /// Resolves when the process is to stop.
    pub(crate) async fn requested(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        #[cfg(windows)]
        self.interrupt.recv().await;
    }
}
