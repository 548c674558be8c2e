//! All processes of the demo.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, ensure};
use tokio::sync::mpsc;

use super::process::{Ending, Process, Role};
use crate::report::Timed;

/// Reports that wait to be shown; processes wait when it is full.
const MAX_REPORTS: usize = 1024;

/// The processes, and what they report.
pub(super) struct Fleet {
    network: String,
    orders: String,
    rate: u32,
    bootstrap: Option<String>,
    processes: BTreeMap<Role, Process>,
    reports: mpsc::Sender<(Role, Timed)>,
    reported: mpsc::Receiver<(Role, Timed)>,
}

impl Fleet {
    /// An empty fleet on a network of its own.
    pub(super) fn new(orders: &Path, rate: u32) -> anyhow::Result<Self> {
        let (reports, reported) = mpsc::channel(MAX_REPORTS);
        Ok(Self {
            network: format!("orderbook-{:08x}", rand::random::<u32>()),
            orders: orders
                .to_str()
                .context("the file's path is not UTF-8")?
                .into(),
            rate,
            bootstrap: None,
            processes: BTreeMap::new(),
            reports,
            reported,
        })
    }

    pub(super) fn network(&self) -> &str {
        &self.network
    }

    pub(super) fn set_bootstrap(&mut self, address: String) {
        self.bootstrap = Some(address);
    }

    /// Starts a process: it is given the network's name, its role and one bootstrap address.
    pub(super) fn start(&mut self, role: Role) -> anyhow::Result<()> {
        let mut arguments: Vec<String> = match role {
            Role::Trader(number) => {
                let (number, rate) = (number.to_string(), self.rate.to_string());
                vec![
                    "trader".into(),
                    number,
                    self.orders.clone(),
                    "--rate".into(),
                    rate,
                ]
            }
            Role::Matcher(_) => vec!["matcher".into()],
            Role::Reporter(_) => vec!["reporter".into()],
        };
        arguments.extend(["--network".into(), self.network.clone()]);
        arguments.extend(["--reports".into(), "json".into()]);
        arguments.push("--until-input-ends".into());
        if let Some(bootstrap) = &self.bootstrap {
            arguments.extend(["--bootstrap".into(), bootstrap.clone()]);
        }
        let process = Process::start(role, &arguments, self.reports.clone())?;
        let replaced = self.processes.insert(role, process);
        ensure!(replaced.is_none(), "{role} runs already");
        Ok(())
    }

    /// Ends one process and waits for it.
    pub(super) async fn stop(&mut self, role: Role, ending: Ending) -> anyhow::Result<()> {
        let process = self
            .processes
            .remove(&role)
            .with_context(|| format!("no {role}"))?;
        let status = process
            .end(ending)
            .await
            .with_context(|| role.to_string())?;
        ensure!(
            ending == Ending::Kill || status.success(),
            "{role} left with {status}"
        );
        Ok(())
    }

    /// Ends all processes at once.
    pub(super) async fn stop_all(&mut self) {
        let all = std::mem::take(&mut self.processes);
        let endings = all.into_iter().map(|(role, process)| async move {
            if let Err(error) = process.end(Ending::Leave).await {
                eprintln!("{role}: {error}");
            }
        });
        futures::future::join_all(endings).await;
    }

    /// The next report of anybody; fails when a process has ended by itself.
    pub(super) async fn report(&mut self) -> anyhow::Result<(Role, Timed)> {
        loop {
            let wait = tokio::time::sleep(std::time::Duration::from_millis(500));
            tokio::select! {
                Some(report) = self.reported.recv() => return Ok(report),
                () = wait => {
                    for (role, process) in &mut self.processes {
                        ensure!(!process.has_ended(), "{role} has ended by itself");
                    }
                }
            }
        }
    }
}
