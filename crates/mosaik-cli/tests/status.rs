//! Runs the real program against real nodes on loopback.
#![allow(
    clippy::disallowed_methods,
    clippy::too_many_lines,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests spawn what they need and fail by panicking"
)]

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use futures::SinkExt;
use mosaik::{
    CallContext, Digest, Network, NetworkId, PeerId,
    collections::{CollectionConfig, MapWriter},
    discovery,
    groups::NoOp,
    iroh::{Endpoint, RelayMode, endpoint::presets},
    network::NetworkBuilder,
    primitives::ShortFmtExt,
    status,
    tickets::{Hs256, Jwt, JwtTicketBuilder},
};
use serde_json::Value;

fn builder(network: NetworkId, discovery: discovery::ConfigBuilder) -> NetworkBuilder {
    Network::builder(network)
        .with_relay_mode(RelayMode::Disabled)
        .with_addresses(["127.0.0.1:0".parse().unwrap()])
        .with_discovery(discovery.no_dht_bootstrap())
}

async fn node(network: NetworkId, tag: &str) -> Network {
    let discovery = discovery::Config::builder().with_tags(tag);
    builder(network, discovery).build().await.unwrap()
}

async fn joined(network: NetworkId, tag: &str, first: &Network) -> Network {
    let addr = first.local().addr();
    let discovery = discovery::Config::builder().with_tags(tag);
    let discovery = discovery.with_bootstrap(addr.clone());
    let node = builder(network, discovery).build().await.unwrap();
    node.discovery().sync_with(addr).await.unwrap();
    node
}

/// The program, told where a node is.
fn command(subcommand: &[&str], network: NetworkId, node: &Network) -> Command {
    let addr = node.local().addr();
    let peer = format!("{}@{}", addr.id, addr.ip_addrs().next().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_mosaik"));
    command
        .args(subcommand)
        .args(["-n", &network.to_string(), "-p", &peer])
        .args(["--no-relay", "--no-dht", "--bind", "127.0.0.1:0"])
        .env_remove("MOSAIK_CONTEXT")
        .env_remove("RUST_LOG");
    command
}

async fn run(subcommand: &[&str], network: NetworkId, node: &Network) -> Output {
    let mut command = command(subcommand, network, node);
    tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap()
}

/// Runs the program until it ends with this code: nodes have some seconds to find what they look for
/// before that is a finding.
async fn run_until(arguments: &[&str], network: NetworkId, node: &Network, code: i32) -> Output {
    let begun = Instant::now();
    let mut output = run(arguments, network, node).await;
    while output.status.code() != Some(code) && begun.elapsed() < Duration::from_secs(60) {
        output = run(arguments, network, node).await;
    }
    assert_eq!(output.status.code(), Some(code), "{}", stdout(&output));
    output
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json_lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", stderr(output));
    let text = stdout(output);
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Fails when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The line of a table that has all these cells.
#[track_caller]
fn line_with<'t>(table: &'t str, cells: &[&str]) -> &'t str {
    let mut lines = table.lines();
    let found = lines.find(|line| {
        let found: Vec<_> = line.split("  ").map(str::trim).collect();
        cells.iter().all(|cell| found.contains(cell))
    });
    found.unwrap_or_else(|| panic!("no line has {cells:?}:\n{table}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_show_what_there_is() {
    let id = Digest::random();
    let a = node(id, "matcher").await;
    let b = joined(id, "feed", &a).await;
    let producer = b.streams().producer::<String>().with_stream_id("orders");
    let mut producer = producer.build().unwrap();
    let mut consumer = a
        .streams()
        .consumer::<String>()
        .with_stream_id("orders")
        .build();
    for _ in 0..3 {
        producer.send("one".into()).await.unwrap();
        consumer.recv().await.unwrap();
    }
    let handler = a.functions().handler().with_function_id("price");
    let handler = handler
        .serve(|n: u64, _: CallContext| async move { Ok::<_, ()>(n) })
        .unwrap();
    let caller = b.functions().caller::<u64, u64, ()>();
    let caller = caller.with_function_id("price").build();
    caller.call(1).await.unwrap();
    let group = a.groups().with_key("a key").with_label("leaders");
    let group = group.with_state_machine(NoOp).join();
    group.when().online().await;
    let config = CollectionConfig::default().with_label("prices");
    let map = MapWriter::<String, u64>::writer_with_config(&a, "secret store", config);
    map.when().online().await;
    map.insert("wheat".into(), 2).await.unwrap();
    let (short_a, short_b) = (
        a.local().id().short().to_string(),
        b.local().id().short().to_string(),
    );

    let output = run(&["peers"], id, &b).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let peers = stdout(&output);
    assert_eq!(
        peers.lines().count(),
        3,
        "without the program's own node: {peers}"
    );
    line_with(&peers, &[&short_a, "matcher", env!("CARGO_PKG_VERSION")]);
    line_with(&peers, &[&short_b, "feed"]);
    assert!(!peers.contains('\u{1b}'), "no colours in a pipe");

    let streams = stdout(&run(&["streams"], id, &b).await);
    line_with(
        &streams,
        &["orders", "producer", &short_b, "String", "1", "3"],
    );
    line_with(&streams, &["orders", "consumer", &short_a, "1/1", "3"]);
    let functions = stdout(&run(&["functions"], id, &b).await);
    line_with(
        &functions,
        &["price", "handler", &short_a, "u64 -> u64", "1"],
    );
    line_with(&functions, &["price", "caller", &short_b, "1/1"]);
    let groups = stdout(&run(&["groups"], id, &b).await);
    line_with(
        &groups,
        &["leaders", "NoOp", &short_a, "leader", "memory", "online"],
    );
    line_with(&groups, &["prices", "map<String, u64>", &short_a]);
    let collections = stdout(&run(&["collections"], id, &b).await);
    line_with(
        &collections,
        &["prices", "map", &short_a, "String, u64", "write", "1"],
    );

    let lines = json_lines(&run(&["streams", "--json"], id, &a).await);
    assert_eq!(lines.len(), 2);
    for line in &lines {
        assert_eq!(line["label"], "orders");
        assert_eq!(line["datums"], 3);
        let subscription = &line["subscriptions"][0];
        let ends = [line["node"].clone(), subscription["peer"].clone()];
        assert!(ends.contains(&a.local().id().to_string().into()), "{line}");
        assert!(ends.contains(&b.local().id().to_string().into()), "{line}");
    }
    let lines = json_lines(&run(&["peers", "--json"], id, &a).await);
    assert_eq!(lines.len(), 2);
    assert!(
        lines
            .iter()
            .all(|line| line["links"].as_array().is_some_and(|l| !l.is_empty()))
    );
    for list in ["groups", "collections"] {
        let text = stdout(&run(&[list, "--json"], id, &a).await);
        assert!(
            !text.contains("secret") && !text.contains("a key"),
            "{text}"
        );
    }
    drop((producer, consumer, handler, caller, map));
    group.leave().await;
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_watched_with_rates_until_the_reader_leaves() {
    let id = Digest::random();
    let a = node(id, "source").await;
    let b = joined(id, "sink", &a).await;
    let producer = a.streams().producer::<u64>().with_stream_id("ticks");
    let mut producer = producer.build().unwrap();
    let mut consumer = b
        .streams()
        .consumer::<u64>()
        .with_stream_id("ticks")
        .build();
    let sending = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(2));
        while producer.send(1).await.is_ok() {
            ticks.tick().await;
        }
    });
    let receiving = tokio::spawn(async move { while consumer.recv().await.is_some() {} });
    let mut command = command(&["streams", "-w", "1"], id, &a);
    let mut process = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    let output = BufReader::new(process.0.stdout.take().unwrap());
    let seen = tokio::task::spawn_blocking(move || {
        // The pipe is closed once a rate was seen.
        output.lines().any(|line| {
            let line = line.unwrap();
            let mut cells = line.split_whitespace();
            line.starts_with("ticks")
                && cells
                    .nth(6)
                    .is_some_and(|rate| rate.parse::<u64>().is_ok_and(|rate| rate > 0))
        })
    });
    assert!(seen.await.unwrap());
    let ended = tokio::task::spawn_blocking(move || process.0.wait());
    let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
    assert!(
        ended.unwrap().unwrap().unwrap().success(),
        "a reader may leave"
    );
    sending.abort();
    a.shutdown().await;
    b.shutdown().await;
    receiving.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_and_the_check_agree_on_what_is_wrong() {
    let id = Digest::random();
    let a = node(id, "one").await;
    let b = joined(id, "two", &a).await;
    let output = run(&["check"], id, &a).await;
    assert_eq!(
        stdout(&output),
        "OK - 2 nodes, nothing found\n",
        "{}",
        stderr(&output)
    );
    assert_eq!(output.status.code(), Some(0));
    let verdict = &json_lines(&run(&["check", "--json"], id, &a).await)[0];
    assert_eq!(
        (&verdict["state"], &verdict["answered"]),
        (&"OK".into(), &2.into())
    );
    let output = run(&["doctor"], id, &a).await;
    assert_eq!(
        (stdout(&output).as_str(), output.status.code()),
        ("2 nodes, nothing found\n", Some(0))
    );

    let lonely = a
        .streams()
        .consumer::<u8>()
        .with_stream_id("orders")
        .build();
    let output = run_until(&["check"], id, &a, 1).await;
    let peer = a.local().id().short().to_string();
    let line = format!("WARNING - 2 nodes; M123 {peer}: nobody produces stream orders\n");
    assert_eq!(stdout(&output), line);

    let caller = b.functions().caller::<u8, u8, ()>();
    let caller = caller.with_function_id("price").build();
    let output = run_until(&["check"], id, &a, 2).await;
    assert!(
        stdout(&output).starts_with("CRITICAL - 2 nodes; M131"),
        "{}",
        stdout(&output)
    );
    let output = run(&["doctor"], id, &a).await;
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    let at = b.local().id().short().to_string();
    assert!(
        text.contains(&format!(
            "M131 error {at}: nobody serves function price.\n     Start a handler"
        )),
        "{text}"
    );
    assert!(text.ends_with("2 findings on 2 nodes\n"), "{text}");
    let output = run(&["doctor", "--json"], id, &a).await;
    let findings: Vec<Value> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(findings[0]["number"], "M131");
    assert_eq!(findings[0]["severity"], "error");
    assert_eq!(findings[1]["number"], "M123");
    drop((lonely, caller));
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_tell_nothing_are_named() {
    let id = Digest::random();
    let a = node(id, "open").await;
    let discovery = discovery::Config::builder().with_bootstrap(a.local().addr());
    let silent = builder(id, discovery).with_status(status::Config::builder().disabled());
    let silent = silent.build().await.unwrap();
    silent
        .discovery()
        .sync_with(a.local().addr())
        .await
        .unwrap();
    let output = run(&["peers"], id, &a).await;
    let peer = silent.local().id().short().to_string();
    line_with(&stdout(&output), &[&peer, "tells nothing"]);
    assert!(stderr(&output).contains("does not tell this one about itself"));
    let lines = json_lines(&run(&["peers", "--json"], id, &a).await);
    let refused = lines.iter().find(|line| line.get("error").is_some());
    assert_eq!(refused.unwrap()["node"], silent.local().id().to_string());
    // That is its choice, and nothing is wrong.
    let output = run(&["check"], id, &a).await;
    assert_eq!(output.status.code(), Some(0));
    let line = stdout(&output);
    assert!(
        line.starts_with("OK - 1 of 2 nodes answered; M107"),
        "{line}"
    );
    a.shutdown().await;
    silent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_looks_on_does_not_hide_that_a_node_is_alone() {
    let id = Digest::random();
    let a = node(id, "one").await;
    let output = run_until(&["check"], id, &a, 2).await;
    let peer = a.local().id().short().to_string();
    let line = format!("CRITICAL - 1 node; M101 {peer}: the node knows no other node\n");
    assert_eq!(stdout(&output), line);
    for _ in 0..3 {
        assert_eq!(stdout(&run(&["check"], id, &a).await), line, "each time");
    }
    a.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_measure_and_tell_who_is_gone() {
    let id = Digest::random();
    let a = node(id, "one").await;
    let output = run(&["ping", "--count", "2"], id, &a).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let peer = a.local().id();
    let lines = stdout(&output);
    assert_eq!(lines.lines().count(), 2);
    assert!(
        lines.starts_with(&format!("{} answered in ", peer.short())),
        "{lines}"
    );
    let digits = &peer.to_string()[..12];
    let output = run(&["ping", digits, "--count", "1", "--json"], id, &a).await;
    let line: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(line["node"], peer.to_string());
    assert!(line["micros"].as_u64().unwrap() > 0);

    let command = command(
        &["ping", &peer.to_string(), "--count", "1", "-t", "1"],
        id,
        &a,
    );
    a.shutdown().await;
    let mut command = command;
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stdout(&output).contains("does not answer"),
        "{}",
        stdout(&output)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_nobody_says_so_in_time() {
    let id = Digest::random();
    let a = node(id, "one").await;
    let elsewhere = Digest::random();
    let begun = Instant::now();
    let output = run(&["peers", "-t", "1"], elsewhere, &a).await;
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    assert!(
        stderr(&output).contains("no node was found"),
        "{}",
        stderr(&output)
    );
    let output = run(&["check", "-t", "1"], elsewhere, &a).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(stdout(&output).starts_with("CRITICAL - no node was found"));
    let output = run(&["check", "-t", "1", "--json"], elsewhere, &a).await;
    assert_eq!(output.status.code(), Some(2));
    let verdict: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(
        (&verdict["state"], &verdict["nodes"]),
        (&"CRITICAL".into(), &0.into())
    );
    a.shutdown().await;
}

#[test]
fn ids_are_those_of_programs() {
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_mosaik"))
            .args(arguments)
            .output()
            .unwrap();
        stdout(&output)
    };
    let expected = format!("{}\n{}\n", Digest::from("orders"), Digest::from("price"));
    assert_eq!(run(&["id", "orders", "price"]), expected);
    let secret = mosaik::SecretKey::from(Digest::from("a secret"));
    assert_eq!(
        run(&["id", "--peer", "a secret"]),
        format!("{}\n", secret.public())
    );
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_up_keeps_its_id() {
    let id = Digest::random();
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    let up = || {
        let process = Command::new(env!("CARGO_BIN_EXE_mosaik"))
            .args([
                "up",
                "--no-relay",
                "--no-dht",
                "--bind",
                "127.0.0.1:0",
                "-t",
                "spare",
            ])
            .args(["-n", &id.to_string(), "--key-file", key.to_str().unwrap()])
            .stdout(Stdio::piped())
            .spawn();
        let mut process = Running(process.unwrap());
        let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
        let peer = lines.next().unwrap().unwrap();
        let addr = lines.next().unwrap().unwrap();
        (process, peer, addr)
    };
    let end = |mut process: Running| {
        let pid = process.0.id().to_string();
        Command::new("kill")
            .args(["-s", "TERM", &pid])
            .status()
            .unwrap();
        assert!(process.0.wait().unwrap().success());
    };
    let (process, peer, addr) = up();
    let output = Command::new(env!("CARGO_BIN_EXE_mosaik"))
        .args(["peers", "-n", &id.to_string(), "-p", &addr])
        .args(["--no-relay", "--no-dht", "--bind", "127.0.0.1:0"])
        .output()
        .unwrap();
    line_with(&stdout(&output), &[&peer[..10], "spare"]);
    end(process);
    let (process, same, _) = up();
    assert_eq!(same, peer);
    end(process);
}

/// A member that closes each connection with a text of its own.
async fn rude(reason: &'static [u8]) -> (Endpoint, String) {
    let endpoint = Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .alpns(vec![b"/mosaik/discovery/ping/1.0".to_vec()])
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")
        .unwrap()
        .bind()
        .await
        .unwrap();
    let addr = endpoint.addr();
    let peer = format!("{}@{}", addr.id, addr.ip_addrs().next().unwrap());
    let accepting = endpoint.clone();
    tokio::spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            if let Ok(connection) = incoming.await {
                connection.close(7u8.into(), reason);
            }
        }
    });
    (endpoint, peer)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_say_moves_no_cursor_and_forges_no_line() {
    let id = Digest::random();
    let a = node(id, "one").await;
    let said = b"\x1b]0;x\x07\x1b[2J\nfake answered in 0.1 ms\xe2\x80\xae";
    let (endpoint, peer) = rude(said).await;
    let output = run(&["ping", &peer, "--count", "1", "-t", "2"], id, &a).await;
    assert_eq!(output.status.code(), Some(1));
    let line = stdout(&output);
    assert_eq!(line.lines().count(), 1, "{line:?}");
    assert!(
        line.contains("fake answered"),
        "the reason is told: {line:?}"
    );
    assert!(!line.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{line:?}");
    endpoint.close().await;
    a.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_presented_by_the_node_that_it_was_issued_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (key, ticket) = (path("key"), path("ticket"));
    let program = env!("CARGO_BIN_EXE_mosaik");
    let output = Command::new(program)
        .args(["id", "--key-file", &key])
        .output();
    let operator: PeerId = stdout(&output.unwrap()).trim().parse().unwrap();
    let secret = || Hs256::new([7; 32]);
    let token = JwtTicketBuilder::new(secret()).issuer("operations");
    let token = token
        .expires_in_std(Duration::from_secs(3600))
        .build(&operator);
    std::fs::write(&ticket, &token.data).unwrap();
    let id = Digest::random();
    let gate = Jwt::with_key(secret()).allow_issuer("operations");
    let gated = builder(id, discovery::Config::builder())
        .with_status(status::Config::builder().require_ticket(gate));
    let gated = gated.build().await.unwrap();
    let open = joined(id, "open", &gated).await;
    let with_both = ["check", "--key-file", &key, "--ticket-file", &ticket];
    let output = run(&with_both, id, &gated).await;
    assert_eq!(
        stdout(&output),
        "OK - 2 nodes, nothing found\n",
        "{}",
        stderr(&output)
    );
    let without = stdout(&run(&["check"], id, &gated).await);
    assert!(without.contains("M107"), "{without}");
    let without_key = run(&["peers", "--ticket-file", &ticket], id, &gated).await;
    assert_eq!(without_key.status.code(), Some(1));
    assert!(stderr(&without_key).contains("needs a key file"));
    gated.shutdown().await;
    open.shutdown().await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn who_is_interrupted_while_joining_leaves() {
    let id = Digest::random();
    let a = node(id, "one").await;
    let mut command = command(&["peers", "-t", "60"], Digest::random(), &a);
    let command = command
        .env("RUST_LOG", "mosaik=debug")
        .stderr(Stdio::piped());
    let mut process = Running(command.stdout(Stdio::null()).spawn().unwrap());
    let log = BufReader::new(process.0.stderr.take().unwrap());
    let mut lines = log.lines();
    // The node is being built, and signals count by then.
    lines.next().unwrap().unwrap();
    let begun = Instant::now();
    let pid = process.0.id().to_string();
    Command::new("kill")
        .args(["-s", "TERM", &pid])
        .status()
        .unwrap();
    let ended = tokio::task::spawn_blocking(move || {
        lines.for_each(drop);
        process.0.wait().unwrap()
    });
    let ended = tokio::time::timeout(Duration::from_secs(30), ended).await;
    assert_eq!(ended.unwrap().unwrap().code(), Some(130));
    assert!(begun.elapsed() < Duration::from_secs(30));
    a.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_shown_as_the_network_was() {
    let id = Digest::random();
    let a = node(id, "one").await;
    let b = joined(id, "two", &a).await;
    let lonely = a
        .streams()
        .consumer::<u8>()
        .with_stream_id("orders")
        .build();
    let map = MapWriter::<String, u64>::writer(&a, "secret store");
    map.when().online().await;
    run_until(&["check"], id, &a, 1).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.jsonl");
    let file = file.to_str().unwrap();
    let output = run(&["gather", file], id, &a).await;
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("2 nodes, 2 looks"),
        "{}",
        stderr(&output)
    );
    drop((lonely, map));
    let peer = a.local().id();
    a.shutdown().await;
    b.shutdown().await;

    let text = std::fs::read_to_string(file).unwrap();
    for secret in [
        id.to_string(),
        "secret store".to_owned(),
        Digest::from("secret store").to_string(),
    ] {
        assert!(!text.contains(&secret), "{text}");
    }
    let replay = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_mosaik"))
            .args(arguments)
            .args(["--from", file])
            .env_remove("MOSAIK_NETWORK")
            .output()
            .unwrap()
    };
    let streams = stdout(&replay(&["streams"]));
    line_with(
        &streams,
        &["orders", "consumer", &peer.short().to_string(), "u8"],
    );
    let output = replay(&["check"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("nobody produces stream orders"));
    assert_eq!(json_lines(&replay(&["peers", "--json"])).len(), 2);
    let again = Command::new(env!("CARGO_BIN_EXE_mosaik"))
        .args(["check", "--from", "/dev/null"])
        .output();
    assert_eq!(again.unwrap().status.code(), Some(2), "no archive");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_printed_as_they_happen() {
    let id = Digest::random();
    let a = node(id, "one").await;
    let mut command = command(&["watch", "--json"], id, &a);
    let mut process = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
    let mut next = move |event: &str| {
        let mut values = lines
            .by_ref()
            .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        values.find(|line| line["event"] == event).unwrap()
    };
    let came = next("came");
    assert_eq!(came["about"], a.local().id().short().to_string());
    let group = a.groups().with_key("a key").with_label("leaders");
    let group = group.with_state_machine(NoOp).join();
    let leader = next("leader");
    assert_eq!(leader["about"], "leaders");
    let b = joined(id, "two", &a).await;
    assert_eq!(next("came")["about"], b.local().id().short().to_string());
    b.shutdown().await;
    let went = next("went");
    assert!(
        went["text"].as_str().unwrap().contains("tags two"),
        "{went}"
    );
    drop(process);
    group.leave().await;
    a.shutdown().await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_context_stands_for_network_and_peers() {
    use std::os::unix::fs::PermissionsExt;
    let id = Digest::random();
    let a = node(id, "one").await;
    let home = tempfile::tempdir().unwrap();
    let addr = a.local().addr();
    let peer = format!("{}@{}", addr.id, addr.ip_addrs().next().unwrap());
    let mosaik = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mosaik"));
        command.args(arguments).env("XDG_CONFIG_HOME", home.path());
        command
            .env_remove("MOSAIK_NETWORK")
            .env_remove("MOSAIK_CONTEXT");
        command.output().unwrap()
    };
    let network = id.to_string();
    let add = [
        "ctx",
        "add",
        "here",
        "-n",
        &network,
        "-p",
        &peer,
        "--no-relay",
        "--no-dht",
    ];
    let output = mosaik(&add);
    assert!(output.status.success(), "{}", stderr(&output));
    let file = home.path().join("mosaik/contexts.json");
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let list = stdout(&mosaik(&["ctx"]));
    assert!(
        list.contains("here") && !list.contains(&network),
        "the id lets others in: {list}"
    );
    let output = mosaik(&["peers", "-c", "here", "--bind", "127.0.0.1:0"]);
    line_with(
        &stdout(&output),
        &[&a.local().id().short().to_string(), "one"],
    );
    assert_eq!(mosaik(&["peers", "-c", "there"]).status.code(), Some(1));
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    assert!(stderr(&mosaik(&["ctx"])).contains("others can read"));
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    assert!(mosaik(&["ctx", "remove", "here"]).status.success());
    assert_eq!(stdout(&mosaik(&["ctx"])), "name  peers\n");
    assert_eq!(mosaik(&["peers"]).status.code(), Some(1), "no network");
    a.shutdown().await;
}

/// A program on a terminal of 100 columns and 20 lines, which the program of this name makes.
#[cfg(target_os = "linux")]
fn on_a_terminal(command: &Command) -> Command {
    let quoted = |text: &std::ffi::OsStr| format!("'{}'", text.to_str().unwrap());
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(quoted)
        .collect();
    let line = format!("stty rows 20 cols 100; exec {}", words.join(" "));
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]);
    script
        .env_remove("RUST_LOG")
        .env_remove("NO_COLOR")
        .env("TERM", "xterm-256color");
    script
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn the_whole_terminal_shows_the_network_and_is_given_back() {
    use std::io::{Read, Write};
    let id = Digest::random();
    let a = node(id, "matcher").await;
    let mut script = on_a_terminal(&command(&["top"], id, &a));
    let script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut process = Running(script.expect("the program `script` of util-linux"));
    let mut keyboard = process.0.stdin.take().unwrap();
    let mut screen = process.0.stdout.take().unwrap();
    let seen = tokio::task::spawn_blocking(move || {
        let (mut text, mut part, mut asked) = (String::new(), [0; 4096], false);
        loop {
            let len = screen.read(&mut part).unwrap();
            if len == 0 {
                return (text, process.0.wait().unwrap());
            }
            text += &String::from_utf8_lossy(&part[..len]);
            if !asked && text.contains("matcher") {
                asked = true;
                keyboard.write_all(b"q").unwrap();
            }
        }
    });
    let seen = tokio::time::timeout(Duration::from_secs(60), seen).await;
    let (text, status) = seen.unwrap().unwrap();
    assert!(status.success(), "{text:?}");
    let (enter, leave) = ("\u{1b}[?1049h", "\u{1b}[?1049l");
    assert!(
        text.find(enter) < text.rfind(leave) && text.contains("findings"),
        "{text:?}"
    );
    a.shutdown().await;
    let piped = Command::new(env!("CARGO_BIN_EXE_mosaik"))
        .args(["top", "-n", "x"])
        .output();
    assert_eq!(piped.unwrap().status.code(), Some(1), "without a terminal");
}
