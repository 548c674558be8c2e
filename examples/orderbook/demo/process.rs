//! One process of the fleet.

use std::{
    fmt,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::Context;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::mpsc,
    time::timeout,
};

use crate::report::Timed;

/// Timeout for a process to leave; it is killed after that.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Role of a process in the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Role {
    Trader(u32),
    Matcher(u32),
    Reporter(u32),
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, number) = match self {
            Self::Trader(number) => ("trader", number),
            Self::Matcher(number) => ("matcher", number),
            Self::Reporter(number) => ("reporter", number),
        };
        f.pad(&format!("{name}-{number}"))
    }
}

/// Way to end a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It is asked to leave.
    Leave,
    /// SIGKILL.
    Kill,
}

/// A running process; killed when dropped.
pub(super) struct Process(Child);

impl Process {
    /// Starts this program again in a role. What it reports goes to `reports`.
    pub(super) fn start(
        role: Role,
        arguments: &[String],
        reports: mpsc::Sender<(Role, Timed)>,
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("can't find this program's own file")?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("can't start {role}"))?;
        let output = child.stdout.take().context("the process has no output")?;
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                match serde_json::from_str(&line) {
                    Ok(report) => {
                        if reports.send((role, report)).await.is_err() {
                            return;
                        }
                    }
                    Err(_) => eprintln!("{role}: {line}"),
                }
            }
        });
        Ok(Self(child))
    }

    /// Ends the process and waits for it.
    pub(super) async fn end(mut self, ending: Ending) -> anyhow::Result<ExitStatus> {
        match ending {
            // The end of its input asks it to leave.
            Ending::Leave => drop(self.0.stdin.take()),
            Ending::Kill => self.0.start_kill()?,
        }
        match timeout(LEAVE_TIMEOUT, self.0.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => {
                self.0.kill().await?;
                anyhow::bail!("did not leave within {LEAVE_TIMEOUT:?} and was killed")
            }
        }
    }

    /// Returns whether it has ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(Some(_)))
    }
}
