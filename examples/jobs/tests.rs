//! The queue as its users run it: a process for each role.

use std::{collections::BTreeSet, process::Command};

use clap::Parser;

use self::process::Process;

#[path = "../common/process.rs"]
mod process;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the program that the other tests start"]
async fn program() {
    if let Some(arguments) = process::arguments() {
        let arguments = crate::Arguments::parse_from(arguments);
        if let Err(error) = crate::run(arguments).await {
            eprintln!("Error: {error:#}");
            std::process::exit(1);
        }
    }
}

/// The keepers of a queue, and how processes find them.
struct Keepers {
    network: String,
    addresses: Vec<String>,
    running: Vec<(Process, tempfile::TempDir)>,
}

impl Keepers {
    async fn start() -> Self {
        let mut keepers = Self {
            network: format!("jobs-{:016x}", rand::random::<u64>()),
            addresses: Vec::new(),
            running: Vec::new(),
        };
        for _ in 0..3 {
            keepers.start_one(tempfile::tempdir().unwrap()).await;
        }
        for (keeper, _) in &mut keepers.running {
            keeper.line("online with ").await;
        }
        keepers
    }

    async fn start_one(&mut self, storage: tempfile::TempDir) {
        let path = storage.path().to_str().unwrap();
        let mut keeper = self.process(&["keeper", "--storage", path], &[]);
        let address = keeper.line("ready as ").await;
        self.addresses.push(address);
        self.running.push((keeper, storage));
    }

    /// Kills the keeper that was started first; returns what it has kept.
    async fn kill_one(&mut self) -> tempfile::TempDir {
        let (keeper, storage) = self.running.remove(0);
        keeper.kill().await;
        storage
    }

    fn arguments<'a>(&'a self, arguments: &[&'a str], last: &[&'a str]) -> Vec<&'a str> {
        let mut all = arguments.to_vec();
        all.extend(["--network", &self.network]);
        for address in &self.addresses {
            all.extend(["--bootstrap", address]);
        }
        all.extend(last);
        all
    }

    fn process(&self, arguments: &[&str], last: &[&str]) -> Process {
        Process::start(self.arguments(arguments, last))
    }

    /// A worker whose command does the job `slow` only when the directory holds a file `go`.
    fn worker(&self, directory: &str) -> Process {
        let script = format!(
            "read -r input; \
             if [ \"$input\" = slow ]; then \
             while [ -d {directory} ] && [ ! -e {directory}/go ]; do sleep 0.05; done; fi; \
             echo \"$input is done\""
        );
        let command = ["--", "sh", "-c", &script];
        self.process(&["worker", "--lease", "3"], &command)
    }

    async fn run(&self, arguments: &[&str]) -> String {
        let (output, success) = Process::run(self.arguments(arguments, &[])).await;
        assert!(success, "{arguments:?}: {output}");
        output
    }
}

fn signal(process: &Process, signal: &str) {
    let id = process.child.id().unwrap().to_string();
    let sent = Command::new("kill").args([signal, &id]).status().unwrap();
    assert!(sent.success());
}

#[tokio::test]
async fn a_job_whose_worker_is_killed_is_done_by_another_and_all_results_come_once() {
    let keepers = Keepers::start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let mut results = keepers.process(&["status", "--follow"], &[]);

    // Alone, so that it has the slow one.
    let mut first = keepers.worker(path);
    first.line("waiting for jobs").await;
    let added = keepers.run(&["add", "1=slow", "2=b", "3=c", "4=d"]).await;
    assert_eq!(added.matches("added ").count(), 4, "{added}");
    first.line("took 1").await;
    let mut second = keepers.worker(path);
    second.line("finished 4").await;
    let now = keepers.run(&["status"]).await;
    assert!(now.contains("taken 1 by "), "{now}");

    first.kill().await;
    second.line("took 1").await;
    std::fs::write(directory.path().join("go"), []).unwrap();
    second.line("finished 1").await;

    // A name is used once, also after its job is done.
    let again = keepers.run(&["add", "1=again", "5=e"]).await;
    assert!(again.contains("1 was there already"), "{again}");
    results.line("done 5: ").await;
    let told = results.seen("done ");
    let all = ["1: slow", "2: b", "3: c", "4: d", "5: e"];
    let all: BTreeSet<_> = all.map(|job| format!("done {job} is done")).into();
    assert_eq!(told.len(), 5, "{told:?}");
    assert!(told.into_iter().all(|line| all.contains(line)));
    let now = keepers.run(&["status"]).await;
    let now: BTreeSet<_> = now
        .lines()
        .filter(|line| line.starts_with("done "))
        .collect();
    assert_eq!(now, all.iter().map(String::as_str).collect());
}

#[tokio::test]
async fn a_worker_that_was_stopped_for_too_long_records_nothing() {
    let keepers = Keepers::start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let mut first = keepers.worker(path);
    first.line("waiting for jobs").await;
    keepers.run(&["add", "1=slow"]).await;
    first.line("took 1").await;
    signal(&first, "-STOP");
    let mut second = keepers.worker(path);
    second.line("took 1").await;
    signal(&first, "-CONT");
    // Whose result it would be is decided by the lease, and not by who is first.
    first.line("lost 1").await;
    std::fs::write(directory.path().join("go"), []).unwrap();
    second.line("finished 1").await;
}

#[tokio::test]
async fn results_come_once_while_keepers_are_killed_and_come_back() {
    let mut keepers = Keepers::start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let mut results = keepers.process(&["status", "--follow"], &[]);
    let mut workers = [keepers.worker(path), keepers.worker(path)];
    for worker in &mut workers {
        worker.line("waiting for jobs").await;
    }
    for round in 0..3 {
        let jobs: Vec<_> = (0..10).map(|n| format!("{round}-{n}=work")).collect();
        let mut arguments = vec!["add"];
        arguments.extend(jobs.iter().map(String::as_str));
        // Under way while a keeper is killed, which may be the leader.
        let mut adding = keepers.process(&arguments, &[]);
        adding.line("added ").await;
        let storage = keepers.kill_one().await;
        let (added, success) = adding.end().await;
        assert!(success, "{added}");
        keepers.start_one(storage).await;
        let (keeper, _) = keepers.running.last_mut().unwrap();
        keeper.line("online with ").await;
    }
    while results.seen("done ").len() < 30 {
        results.line("done ").await;
    }
    let told: BTreeSet<_> = results.seen("done ").into_iter().collect();
    assert_eq!(told.len(), 30, "each once: {results:?}");
    let now = keepers.run(&["status"]).await;
    let now = now.lines().filter(|line| line.starts_with("done "));
    assert_eq!(now.collect::<BTreeSet<_>>(), told);
}
