//! Runs the real program.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests fail by panicking")]

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Output, Stdio},
};

fn mosaik(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mosaik"));
    command
        .args(arguments)
        .env_remove("MOSAIK_SECRET")
        .env_remove("RUST_LOG");
    command
}

fn run(arguments: &[&str]) -> Output {
    mosaik(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A beacon that is killed when the test ends.
struct Beacon {
    process: Child,
    lines: Vec<String>,
}

impl Beacon {
    /// Starts a beacon and reads what it prints until it is ready.
    fn start(mut command: Command) -> Self {
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut lines = Vec::new();
        for line in BufReader::new(process.stdout.as_mut().unwrap()).lines() {
            lines.push(line.unwrap());
            if lines.last().unwrap().contains("Ctrl+C") {
                break;
            }
        }
        Self { process, lines }
    }

    fn field(&self, name: &str) -> &str {
        let found = self.lines.iter().find_map(|line| line.strip_prefix(name));
        found
            .unwrap_or_else(|| panic!("no {name} in {:?}", self.lines))
            .trim()
    }

    /// Sends a signal, and returns the exit code.
    fn signal(mut self, name: &str) -> Option<i32> {
        let pid = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .unwrap()
                .success()
        );
        self.process.wait().unwrap().code()
    }
}

impl Drop for Beacon {
    fn drop(&mut self) {
        // Fails when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const OFFLINE: &[&str] = &[
    "beacon",
    "--no-relay",
    "--no-dht",
    "--bind",
    "127.0.0.1:0",
    "--network",
    "cli-test",
];

#[test]
fn wrong_arguments_exit_with_2_and_usage() {
    for arguments in [
        &["beacon"][..],
        &["dht"],
        &["fly"],
        &["beacon", "-n", "x", "--peers", "not-an-id"],
        &["beacon", "-n", "x", "--external", "no-address"],
        &["dht", "-n", "x", "--timeout", "0"],
        &["dht", "-n", "x", "--check-status=maybe"],
        &["dht", "-n", "x", "--check-status", "maybe"],
        &["beacon", "-n", "x", "--secret", "a", "--secret-file", "b"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty());
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("--help"),
            "{arguments:?}"
        );
    }
}

#[test]
fn help_and_version_exit_with_0() {
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["beacon", "--help"],
        &["dht", "-h"],
    ] {
        assert_eq!(run(arguments).status.code(), Some(0));
    }
    for flag in ["--version", "-V"] {
        let output = run(&[flag]);
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(
            stdout(&output),
            format!("mosaik {}\n", env!("CARGO_PKG_VERSION"))
        );
    }
}

#[cfg(unix)]
#[test]
fn a_beacon_says_who_it_is_and_stops_when_told() {
    for signal in ["TERM", "INT"] {
        let beacon = Beacon::start(mosaik(OFFLINE));
        assert_eq!(beacon.lines[0], "mosaik beacon");
        assert_eq!(
            beacon.field("network:"),
            mosaik::Digest::from("cli-test").to_string()
        );
        assert_eq!(beacon.field("peer id:").len(), 64);
        assert_eq!(beacon.field("tags   :"), "beacon-node");
        assert_eq!(beacon.field("peers  :"), "none");
        assert!(beacon.field("ips    :").starts_with("127.0.0.1:"));
        assert_eq!(beacon.field("relays :"), "disabled");
        assert_eq!(beacon.signal(signal), Some(0), "after SIG{signal}");
    }
}

#[test]
fn a_secret_comes_from_anywhere_and_decides_the_identity() {
    let key = mosaik::SecretKey::from(mosaik::Digest::from("a seed"));
    let id = key.public().to_string();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    std::fs::write(&file, "a seed\nnothing else counts\n").unwrap();
    let hex = mosaik::Digest::from("a seed").to_string();

    let with = |arguments: &[&str]| mosaik(&[OFFLINE, arguments].concat());
    let mut by_variable = mosaik(OFFLINE);
    by_variable.env("MOSAIK_SECRET", "a seed");
    for command in [
        with(&["--secret", "a seed"]),
        with(&["-s", &hex]),
        with(&["--secret-file", file.to_str().unwrap()]),
        by_variable,
    ] {
        let shown = format!("{command:?}");
        assert_eq!(Beacon::start(command).field("peer id:"), id, "{shown}");
    }
    let missing = with(&["--secret-file", "/nonexistent/secret"])
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(1));
    let text = String::from_utf8(missing.stderr).unwrap();
    assert!(text.starts_with("error: can't read the secret"), "{text}");
}

#[test]
fn beacons_dial_each_other() {
    let first = Beacon::start(mosaik(OFFLINE));
    let id = first.field("peer id:");
    let peer = format!("{id}@{}", first.field("ips    :"));
    let second = Beacon::start(mosaik(
        &[OFFLINE, &["-p", &peer, "-t", "a", "-t", "b"]].concat(),
    ));
    assert_eq!(second.field("peers  :"), id);
    assert_eq!(second.field("tags   :"), "a, b");
}

/// Regression: a second address of a family was refused.
#[test]
fn a_beacon_binds_several_addresses_and_tells_those_that_are_forwarded() {
    let external = ["--external", "198.51.100.7:4000"];
    let beacon = Beacon::start(mosaik(
        &[OFFLINE, &["--bind", "127.0.0.2:0"], &external].concat(),
    ));
    let addresses = beacon.field("ips    :");
    for part in ["127.0.0.1:", "127.0.0.2:", "198.51.100.7:4000"] {
        assert!(addresses.contains(part), "{addresses}");
    }
}

/// A node of this process, where that of a beacon is not known by itself.
async fn node(
    discovery: mosaik::discovery::ConfigBuilder,
    storage: Option<&std::path::Path>,
) -> mosaik::Network {
    let mut builder = mosaik::Network::builder("cli-test")
        .with_relay_mode(mosaik::iroh::RelayMode::Disabled)
        .with_addresses(["127.0.0.1:0".parse().unwrap()])
        .with_discovery(discovery.no_dht_bootstrap());
    if let Some(directory) = storage {
        builder = builder.with_storage(directory);
    }
    builder.build().await.unwrap()
}

/// Waits until a node knows a beacon.
async fn until_known(node: &mosaik::Network, beacon: mosaik::PeerId) {
    let mut catalog = node.discovery().catalog_watch();
    let known = catalog.wait_for(|catalog| catalog.get(&beacon).is_some());
    let limit = std::time::Duration::from_secs(20);
    tokio::time::timeout(limit, known).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_bootstrap_peer_may_have_a_host_name() {
    let first = Beacon::start(mosaik(OFFLINE));
    let id = first.field("peer id:");
    let (_, port) = first.field("ips    :").rsplit_once(':').unwrap();
    let host = format!("localhost:{port}");
    let discovery = mosaik::discovery::Config::builder();
    let node = node(
        discovery.with_bootstrap_host(id.parse().unwrap(), host.clone()),
        None,
    )
    .await;
    until_known(&node, id.parse().unwrap()).await;

    let peer = format!("{id}@{host}");
    let second = Beacon::start(mosaik(&[OFFLINE, &["-p", &peer]].concat()));
    assert_eq!(second.field("peers  :"), id);
    until_known(&node, second.field("peer id:").parse().unwrap()).await;
    node.shutdown().await;
}

/// A node with storage finds its network again by the addresses that it had, without any other
/// way to find peers.
#[tokio::test]
async fn a_node_remembers_where_its_peers_were() {
    let beacon = Beacon::start(mosaik(OFFLINE));
    let id: mosaik::PeerId = beacon.field("peer id:").parse().unwrap();
    let addr =
        mosaik::iroh::EndpointAddr::new(id).with_ip_addr(beacon.field("ips    :").parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let nobody = mosaik::discovery::Config::builder;
    let first = node(nobody().with_bootstrap(addr), Some(directory.path())).await;
    until_known(&first, id).await;
    let file = directory.path().join("addresses");
    let written = async {
        while !std::fs::read_to_string(&file).is_ok_and(|text| text.contains(&id.to_string())) {
            // Nothing tells of it.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let limit = std::time::Duration::from_secs(20);
    tokio::time::timeout(limit, written).await.unwrap();
    first.shutdown().await;

    let again = node(nobody(), Some(directory.path())).await;
    until_known(&again, id).await;
    again.shutdown().await;

    std::fs::write(&file, "mosaik addresses 9\nwhat a later version writes").unwrap();
    let harmless = node(nobody(), Some(directory.path())).await;
    assert_eq!(harmless.discovery().catalog().peers_count(), 0);
    harmless.shutdown().await;
}

#[test]
fn the_dht_shows_who_published() {
    let dht = mainline::Testnet::builder(8).build().unwrap();
    let nodes: Vec<_> = dht
        .bootstrap
        .iter()
        .flat_map(|node| ["--dht-node", node])
        .collect();
    let network = mosaik::Digest::random().to_string();
    let inspect = |arguments: &[&str]| {
        run(&[&["dht", "--network", &network][..], &nodes, arguments].concat())
    };
    let empty = inspect(&["--check-status=false"]);
    assert_eq!(empty.status.code(), Some(0));
    let text = stdout(&empty);
    assert!(text.contains(&format!("network: {network}\n")) && text.contains("[15] empty\n"));
    assert!(text.ends_with("summary: 0/16 slots occupied\n"), "{text}");

    let beacon = [
        "beacon",
        "--no-relay",
        "--bind",
        "127.0.0.1:0",
        "--network",
        &network,
    ];
    let beacon = Beacon::start(mosaik(&[&beacon[..], &nodes].concat()));
    let published = (0..30).find_map(|_| {
        let text = stdout(&inspect(&["--check-status"]));
        text.contains("summary: 1/16 slots occupied")
            .then_some(text)
    });
    let text = published.unwrap();
    assert!(
        text.contains(&format!("] {}\n", beacon.field("peer id:"))),
        "{text}"
    );
    assert!(
        text.contains(&format!("addresses: {}\n", beacon.field("ips    :"))),
        "{text}"
    );
    assert!(text.contains("status: healthy (uptime: "), "{text}");
    assert!(text.ends_with("healthy: 1, unhealthy: 0\n"), "{text}");
    for off in [&["--check-status", "false"][..], &["--check-status=false"]] {
        let quiet = stdout(&inspect(off));
        assert!(
            quiet.contains("summary: ") && !quiet.contains("healthy"),
            "{quiet}"
        );
    }
}

#[test]
fn a_dht_that_does_not_answer_is_an_error() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let node = silent.local_addr().unwrap().to_string();
    let output = run(&[
        "dht",
        "-n",
        "x",
        "--check-status",
        "false",
        "--dht-node",
        &node,
    ]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(
        text.contains("[ 0] failed (no DHT node answered)"),
        "{text}"
    );
    assert!(text.ends_with("summary: 0/16 slots occupied\n"), "{text}");
}

#[test]
fn completions_and_manuals_are_printed() {
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&run(&["completions", shell]));
        assert!(script.contains("collections"), "{shell}: {script}");
    }
    assert!(stdout(&run(&["man"])).starts_with(".ie"));
    let folder = tempfile::tempdir().unwrap();
    let output = run(&["man", "--dir", folder.path().to_str().unwrap()]);
    assert!(output.status.success());
    let page = std::fs::read_to_string(folder.path().join("mosaik-gather.1")).unwrap();
    assert!(page.contains("standard output"), "{page}");
}

#[test]
fn lines_to_copy_are_printed_by_topic() {
    let all = stdout(&run(&["cheat"]));
    let some = stdout(&run(&["cheat", "fault"]));
    assert!(all.contains(&some) && some.starts_with("faults\n  # what is wrong"));
    assert_eq!(run(&["cheat", "weather"]).status.code(), Some(1));
}

#[test]
fn identifiers_are_printed_as_json_too() {
    let line = stdout(&run(&["id", "orders", "--json"]));
    assert_eq!(line.matches("\"id\"").count(), 1, "{line}");
}
