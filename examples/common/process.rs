//! An example's own program as a process, for its tests: started with arguments, read line by line,
//! killed without warning.
//!
//! The file that runs the tests holds the program as well, as the ignored test `tests::program`:
//! Cargo builds no other file of an example that has tests.

use std::{ffi::OsString, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// Holds the arguments of a process, one a line.
const ARGUMENTS: &str = "EXAMPLE_ARGUMENTS";

/// A running program; killed when dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
    output: Lines<BufReader<ChildStdout>>,
    seen: Vec<String>,
}

/// The arguments that a process was started with, the program's name first; none in a run of the
/// ignored tests that nobody started so.
pub(crate) fn arguments() -> Option<Vec<OsString>> {
    let arguments = std::env::var(ARGUMENTS).ok()?;
    let arguments = std::iter::once("program").chain(arguments.lines());
    Some(arguments.map(OsString::from).collect())
}

impl Process {
    pub(crate) fn start<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Self {
        let arguments: Vec<_> = arguments.into_iter().collect();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["tests::program", "--exact", "--ignored", "--nocapture"])
            // With one, the first line would have the name of the test before it.
            .arg("--test-threads=2")
            .env(ARGUMENTS, arguments.join("\n"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            child,
            output,
            seen: Vec::new(),
        }
    }

    /// Runs a program to its end; returns what it printed, and whether it succeeded.
    pub(crate) async fn run<'a>(arguments: impl IntoIterator<Item = &'a str>) -> (String, bool) {
        Self::start(arguments).end().await
    }

    /// Waits until it ends by itself; returns what it printed, and whether it succeeded.
    pub(crate) async fn end(mut self) -> (String, bool) {
        let ended = async |process: &mut Self| process.next_line().await.is_none();
        self.within("its end", ended).await;
        let status = self.child.wait().await.unwrap();
        (self.seen.join("\n"), status.success())
    }

    /// The rest of the next line that begins like this.
    pub(crate) async fn line(&mut self, begin: &str) -> String {
        let wanted = async |process: &mut Self| {
            let line = process.next_line().await;
            let line = line.unwrap_or_else(|| panic!("ended before {begin:?}: {process:?}"));
            line.starts_with(begin)
        };
        self.within(begin, wanted).await;
        self.seen.last().unwrap()[begin.len()..].to_owned()
    }

    /// All lines so far that begin like this.
    pub(crate) fn seen(&self, begin: &str) -> Vec<&str> {
        let seen = self.seen.iter().map(String::as_str);
        seen.filter(|line| line.starts_with(begin)).collect()
    }

    /// Ends it without warning.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    async fn next_line(&mut self) -> Option<String> {
        let line = self.output.next_line().await.unwrap();
        self.seen.extend(line.clone());
        line
    }

    /// Reads on until a step tells that it was the last.
    async fn within(&mut self, what: &str, mut step: impl AsyncFnMut(&mut Self) -> bool) {
        let patience = std::env::var("MOSAIK_TEST_PATIENCE").ok();
        let patience: u64 = patience.map_or(1, |patience| patience.parse().unwrap());
        let reading = async { while !step(self).await {} };
        let read = timeout(Duration::from_secs(20 * patience), reading).await;
        assert!(read.is_ok(), "waited for {what:?}: {self:?}");
    }
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process")
            .field("id", &self.child.id())
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}
