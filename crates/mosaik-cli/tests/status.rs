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
    CallContext, Digest, Network, NetworkId,
    collections::{CollectionConfig, MapWriter},
    discovery,
    groups::NoOp,
    iroh::RelayMode,
    network::NetworkBuilder,
    primitives::ShortFmtExt,
    status,
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

/// Runs the program until it ends with this code: nodes tell nothing that is younger than a fifth of
/// a second.
async fn run_until(arguments: &[&str], network: NetworkId, node: &Network, code: i32) -> Output {
    let mut output = run(arguments, network, node).await;
    for _ in 0..20 {
        if output.status.code() == Some(code) {
            break;
        }
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
    line_with(&stdout(&output), &[&peer, "does not answer"]);
    assert!(stderr(&output).contains("does not tell this one about itself"));
    let output = run(&["check"], id, &a).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(stdout(&output).starts_with("CRITICAL - 1 of 2 nodes answered; M100"));
    a.shutdown().await;
    silent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_measure_and_tell_who_is_gone() {
    let id = Digest::random();
    let a = node(id, "one").await;
    let output = run(&["ping", "-c", "2"], id, &a).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let peer = a.local().id();
    let lines = stdout(&output);
    assert_eq!(lines.lines().count(), 2);
    assert!(
        lines.starts_with(&format!("{} answered in ", peer.short())),
        "{lines}"
    );
    let digits = &peer.to_string()[..12];
    let output = run(&["ping", digits, "-c", "1", "--json"], id, &a).await;
    let line: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(line["node"], peer.to_string());
    assert!(line["micros"].as_u64().unwrap() > 0);

    let command = command(&["ping", &peer.to_string(), "-c", "1", "-t", "1"], id, &a);
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
