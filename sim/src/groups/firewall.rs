//! Members in network namespaces of their own: joined by a bridge of the kernel, with the rules of
//! a firewall on it.
//!
//! ```text
//! namespace of member 0 ── veth ──┐
//! namespace of member 1 ── veth ──┼── bridge, with nftables
//! namespace of member 2 ── veth ──┘
//! ```
//!
//! All of it lies in a namespace of this program, which [`enter`] puts it into: nothing of the
//! machine's own network is touched, and everything is gone when the program has ended.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, ensure};
use tokio::{io::AsyncWriteExt, process::Command, sync::Mutex};

/// Set for the program once it is inside.
const INSIDE: &str = "MOSAIK_SIM_INSIDE";
/// Gives the namespace a place for the names of further ones.
const SETUP: &str = "mount -t tmpfs tmpfs /run && ip link set lo up";
/// Does everything once that is needed.
const PROBE: &str = "ip netns add probe && nsenter --net=/run/netns/probe true \
    && ip link add probe0 type veth peer name eth0 netns probe \
    && ip link add probe type bridge && ip link set probe0 master probe up \
    && nft add table bridge probe \
    && nft add chain bridge probe forward '{ type filter hook forward priority 0; }' \
    && nft add rule bridge probe forward iifname probe0 oifname probe0 drop \
    && nft add rule bridge probe forward numgen random mod 100 '<' 1 drop";
const PORT: u16 = 7700;

/// Returns whether this program is in a namespace of its own.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Checks that this machine permits namespaces and has the tools for them.
///
/// # Errors
///
/// Says what is missing, as far as that is known.
pub async fn probe() -> anyhow::Result<()> {
    let mut probe = in_namespace(&format!("{SETUP} && {PROBE}"));
    let output = probe.output().await.context("there is no `unshare`")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "network namespaces with a firewall need root or user namespaces, util-linux, iproute2 and \
         nftables: {}",
        said.trim()
    );
    Ok(())
}

/// Runs a program with these arguments in a namespace of its own, in which it can have members
/// behind a firewall.
///
/// # Errors
///
/// When there is no `unshare`.
pub async fn enter(program: &Path, arguments: &[String]) -> anyhow::Result<ExitStatus> {
    let mut command = in_namespace(&format!("{SETUP} && exec \"$0\" \"$@\""));
    command.arg(program).args(arguments).env(INSIDE, "1");
    command.status().await.context("there is no `unshare`")
}

fn in_namespace(script: &str) -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "--mount", "sh", "-c", script]);
    command.stdin(Stdio::null());
    command
}

/// The segment of one group.
pub(super) struct Firewall {
    /// Distinguishes those of one program.
    number: u32,
    members: usize,
    rules: Mutex<Rules>,
}

#[derive(Default)]
struct Rules {
    /// Directions in which nothing passes.
    cut: BTreeSet<(usize, usize)>,
    /// Share of the packets that are lost, in per cent.
    loss: u32,
}

impl Firewall {
    /// A segment for this many members, through which everything passes.
    pub(super) async fn new(members: usize) -> anyhow::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        ensure!(is_inside(), "this program is in no namespace of its own");
        let firewall = Self {
            number: COUNT.fetch_add(1, Ordering::Relaxed),
            members,
            rules: Mutex::default(),
        };
        let bridge = firewall.bridge();
        let mut script =
            format!("set -e; ip link add {bridge} type bridge; ip link set {bridge} up\n");
        for member in 0..members {
            let (space, port) = (firewall.namespace(member), firewall.port(member));
            let address = Self::address(member).ip();
            writeln!(
                script,
                "ip netns add {space}; ip link add {port} type veth peer name eth0 netns {space}\n\
                 ip link set {port} master {bridge} up; ip -n {space} link set lo up\n\
                 ip -n {space} address add {address}/24 dev eth0; ip -n {space} link set eth0 up"
            )?;
        }
        feed("sh", &script).await?;
        firewall.apply(&Rules::default()).await?;
        Ok(firewall)
    }

    /// Address on which a member listens.
    pub(super) fn address(member: usize) -> SocketAddr {
        let last = u8::try_from(member + 1).unwrap_or(u8::MAX);
        (Ipv4Addr::new(10, 77, 0, last), PORT).into()
    }

    /// Starts a program in the namespace of a member.
    pub(super) fn command(&self, member: usize, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace(member)));
        command.arg(program);
        command
    }

    /// Lets nothing pass in these directions, and everything in all others.
    pub(super) async fn cut(&self, cut: BTreeSet<(usize, usize)>) -> anyhow::Result<()> {
        let mut rules = self.rules.lock().await;
        rules.cut = cut;
        self.apply(&rules).await
    }

    /// Loses a share of the packets.
    pub(super) async fn lose(&self, share: f64) -> anyhow::Result<()> {
        let mut rules = self.rules.lock().await;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 100"
        )]
        let loss = (share * 100.0).clamp(0.0, 100.0) as u32;
        rules.loss = loss;
        self.apply(&rules).await
    }

    /// Replaces all rules at once.
    async fn apply(&self, rules: &Rules) -> anyhow::Result<()> {
        let bridge = self.bridge();
        let mut script = format!(
            "table bridge {bridge}\ndelete table bridge {bridge}\ntable bridge {bridge} {{\n\
             chain forward {{\ntype filter hook forward priority 0;\n"
        );
        for (from, to) in &rules.cut {
            let (from, to) = (self.port(*from), self.port(*to));
            writeln!(script, "iifname {from} oifname {to} drop")?;
        }
        if rules.loss > 0 {
            let loss = rules.loss;
            for member in 0..self.members {
                let port = self.port(member);
                writeln!(script, "iifname {port} numgen random mod 100 < {loss} drop")?;
            }
        }
        script.push_str("}\n}\n");
        feed("nft", &script).await
    }

    fn bridge(&self) -> String {
        format!("sim{}", self.number)
    }

    fn namespace(&self, member: usize) -> String {
        format!("sim{}-{member}", self.number)
    }

    fn port(&self, member: usize) -> String {
        format!("s{}p{member}", self.number)
    }
}

/// Gives a script to a program.
async fn feed(program: &str, script: &str) -> anyhow::Result<()> {
    let mut command = Command::new(program);
    if program == "nft" {
        command.args(["-f", "-"]);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    stdin.write_all(script.as_bytes()).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{program} refuses: {}",
        said.trim()
    );
    Ok(())
}

impl Drop for Firewall {
    fn drop(&mut self) {
        let mut script = format!("ip link delete {}", self.bridge());
        for member in 0..self.members {
            // Its end of the pair goes with it.
            script.push_str("; ip netns delete ");
            script.push_str(&self.namespace(member));
        }
        // What is left over ends with the program.
        let _ = std::process::Command::new("sh")
            .args(["-c", &script])
            .status();
    }
}
