//! Members in processes of their own, as seen from the one that started them.

use std::{
    collections::HashMap,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail};
use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{self, Child, ChildStdout},
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    Answer, Command, Query, Setup,
    control::{Belief, Reply, Request, Tenure, read, write},
    local::Site,
};
use crate::{hub::Bridge, task::Task};

/// Timeout for a process to start.
const START: Duration = Duration::from_secs(30);
/// Limit on the requests that wait to be written; more are lost, as to a process that is suspended.
const MAX_REQUESTS: usize = 1024;

/// A member in a process of its own, which is killed when this is dropped.
pub(super) struct Process {
    child: Child,
    pub(super) site: Arc<ProcessSite>,
    _bridge: Option<Bridge>,
    _tasks: [Task; 2],
}

/// Access of clients to it.
pub(super) struct ProcessSite {
    requests: mpsc::Sender<Request>,
    waiting: Mutex<Waiting>,
    next: AtomicU64,
}

/// Clients that wait for a reply, by request; dropped, and so answered, when the process has ended.
#[derive(Default)]
struct Waiting {
    executions: HashMap<u64, oneshot::Sender<Option<u64>>>,
    queries: HashMap<u64, oneshot::Sender<Option<(Answer, u64)>>>,
    beliefs: HashMap<u64, oneshot::Sender<Option<Belief>>>,
    ended: bool,
}

impl Process {
    /// Starts a program as a member, and waits until it has joined.
    pub(super) async fn start(
        mut program: process::Command,
        setup: &Setup,
        bridge: Option<Bridge>,
        leads: impl Fn(Tenure) + Send + 'static,
    ) -> anyhow::Result<Self> {
        let mut child = program
            .arg("member")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        let mut stdout = child.stdout.take().context("no standard output")?;
        write(&mut stdin, setup).await?;
        loop {
            let reply = timeout(START, read::<Reply>(&mut stdout)).await??;
            match reply {
                Some(Reply::Ready) => break,
                Some(Reply::Leads(tenure)) => leads(tenure),
                Some(Reply::Executed(..) | Reply::Answered(..) | Reply::Believed(..)) => {}
                None => bail!("the process has ended"),
            }
        }
        let (requests, mut inbox) = mpsc::channel::<Request>(MAX_REQUESTS);
        let writer = Task::spawn(async move {
            while let Some(request) = inbox.recv().await {
                if write(&mut stdin, &request).await.is_err() {
                    return;
                }
            }
        });
        let site = Arc::new(ProcessSite {
            requests,
            waiting: Mutex::default(),
            next: AtomicU64::new(0),
        });
        let reader = Task::spawn(listen(site.clone(), stdout, leads));
        Ok(Self {
            child,
            site,
            _bridge: bridge,
            _tasks: [writer, reader],
        })
    }

    /// SIGKILL.
    pub(super) async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("can't kill a member")
    }

    /// SIGSTOP or SIGCONT.
    pub(super) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.child.id().context("the process has ended")?;
        let pid = Pid::from_raw(pid.try_into()?).context("no process id")?;
        Ok(kill_process(pid, signal)?)
    }

    pub(super) fn tell(&self, request: Request) {
        self.site.tell(request);
    }
}

impl ProcessSite {
    fn tell(&self, request: Request) {
        // Lost when the process has stood still for long, or has ended.
        let _ = self.requests.try_send(request);
    }

    /// Asks for something; what waits is answered with none when the process has ended.
    fn ask<T: Send + 'static>(
        &self,
        request: impl FnOnce(u64) -> Request,
        table: impl FnOnce(&mut Waiting) -> &mut HashMap<u64, oneshot::Sender<Option<T>>>,
    ) -> BoxFuture<'static, Option<T>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            if !waiting.ended && self.requests.try_send(request(number)).is_ok() {
                table(&mut waiting).insert(number, reply);
            }
        }
        async move { answer.await.ok()? }.boxed()
    }
}

impl Site for ProcessSite {
    fn execute(&self, command: Command) -> BoxFuture<'static, Option<u64>> {
        self.ask(
            |number| Request::Execute(number, command),
            |waiting| &mut waiting.executions,
        )
    }

    fn query(&self, query: Query, strong: bool) -> BoxFuture<'static, Option<(Answer, u64)>> {
        self.ask(
            |number| Request::Query(number, query, strong),
            |waiting| &mut waiting.queries,
        )
    }

    fn feed(&self, command: Command) -> BoxFuture<'static, Option<u64>> {
        self.ask(
            |number| Request::Feed(number, command),
            |waiting| &mut waiting.executions,
        )
    }

    fn belief(&self) -> BoxFuture<'static, Option<Belief>> {
        self.ask(Request::Believe, |waiting| &mut waiting.beliefs)
    }
}

async fn listen(site: Arc<ProcessSite>, mut stdout: ChildStdout, leads: impl Fn(Tenure)) {
    while let Ok(Some(reply)) = read::<Reply>(&mut stdout).await {
        match reply {
            Reply::Executed(number, index) => {
                let waiter = site.waiting.lock().executions.remove(&number);
                // Nobody waits any more: fine, here and below.
                if let Some(waiter) = waiter {
                    let _ = waiter.send(index);
                }
            }
            Reply::Answered(number, answer) => {
                let waiter = site.waiting.lock().queries.remove(&number);
                if let Some(waiter) = waiter {
                    let _ = waiter.send(answer);
                }
            }
            Reply::Believed(number, belief) => {
                let waiter = site.waiting.lock().beliefs.remove(&number);
                if let Some(waiter) = waiter {
                    let _ = waiter.send(Some(belief));
                }
            }
            Reply::Leads(tenure) => leads(tenure),
            Reply::Ready => {}
        }
    }
    *site.waiting.lock() = Waiting {
        ended: true,
        ..Waiting::default()
    };
}
