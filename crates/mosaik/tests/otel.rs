//! Exporting traces. A process has one subscriber, so this is a process of its own, and one test.
#![cfg(feature = "otel")]
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests spawn what they need, and fail by panicking"
)]

use std::{collections::HashMap, time::Duration};

use mosaik::{
    CallContext, Digest, GroupKey, Network, NetworkId, discovery, groups::NoOp, iroh::RelayMode,
    otel::Exporter,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tracing_subscriber::layer::SubscriberExt;

const PATIENCE: Duration = Duration::from_secs(30);

async fn node(network: NetworkId, discovery: discovery::ConfigBuilder) -> Network {
    Network::builder(network)
        .with_relay_mode(RelayMode::Disabled)
        .with_addresses(["127.0.0.1:0".parse().unwrap()])
        .with_discovery(discovery.no_dht_bootstrap())
        .build()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_one_trace_on_both_nodes_and_commands_have_spans() {
    let (address, mut bodies) = collector().await;
    let exporter = Exporter::new("a service", &format!("http://{address}")).unwrap();
    let subscriber = tracing_subscriber::registry().with(exporter.layer());
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let network = Digest::random();
    let one = node(network, discovery::Config::builder()).await;
    let bootstrap = discovery::Config::builder().with_bootstrap(one.local().addr());
    let two = node(network, bootstrap).await;
    let handler = one
        .functions()
        .handler()
        .with_function_id("double")
        .serve(|n: u32, _: CallContext| async move {
            tracing::info_span!("inside").in_scope(|| Ok::<_, ()>(2 * n))
        })
        .unwrap();
    let caller = two
        .functions()
        .caller::<u32, u32, ()>()
        .with_function_id("double")
        .build();
    let reply = timeout(PATIENCE, caller.call(21)).await.unwrap();
    assert_eq!(reply.unwrap(), 42);
    drop(handler);
    let group = one
        .groups()
        .with_key(GroupKey::random())
        .with_state_machine(NoOp)
        .join();
    timeout(PATIENCE, group.when().online()).await.unwrap();
    let executed = timeout(PATIENCE, group.execute(())).await.unwrap();
    executed.unwrap();
    timeout(PATIENCE, async {
        tokio::join!(one.shutdown(), two.shutdown())
    })
    .await
    .unwrap();

    // Dropping blocks the thread until everything is sent.
    tokio::task::spawn_blocking(move || drop(exporter))
        .await
        .unwrap();
    let mut spans = HashMap::new();
    while let Ok(body) = bodies.try_recv() {
        assert!(contains(&body, b"a service"), "no service name");
        spans.extend(spans_of(&body));
    }
    assert!(spans.contains_key("execute"), "no span of the command");
    let (call, serve, inside) = (&spans["call"], &spans["serve"], &spans["inside"]);
    assert!(call.parent.is_empty(), "a call of its own begins a trace");
    assert_eq!(serve.parent, call.id);
    assert_eq!(inside.parent, serve.id);
    assert_eq!([&serve.trace, &inside.trace], [&call.trace; 2]);
}

#[test]
fn an_address_that_is_no_url_is_an_error() {
    let error = Exporter::new("a service", "not a url").unwrap_err();
    assert!(error.to_string().contains("not a url"), "{error}");
}

// ---- a collector

/// Listens for batches of spans, and hands their bodies over.
async fn collector() -> (std::net::SocketAddr, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = mpsc::channel(64);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, sender.clone()));
        }
    });
    (address, receiver)
}

/// Answers the requests of one connection; the body is handed over before the answer.
async fn answer(mut stream: TcpStream, bodies: mpsc::Sender<Vec<u8>>) -> Option<()> {
    let mut received = Vec::new();
    loop {
        let (head, length) = loop {
            if let Some(request) = head_of(&received) {
                break request;
            }
            if stream.read_buf(&mut received).await.ok()? == 0 {
                return None;
            }
        };
        while received.len() < head + length {
            stream.read_buf(&mut received).await.ok()?;
        }
        bodies
            .send(received[head..head + length].to_vec())
            .await
            .ok()?;
        received.drain(..head + length);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await
            .ok()?;
    }
}

/// The lengths of a request's head and body, once the head is complete.
fn head_of(received: &[u8]) -> Option<(usize, usize)> {
    let end = received.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&received[..end]).to_lowercase();
    assert!(head.starts_with("post /v1/traces"), "{head}");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
    Some((end, length.expect("no content length")))
}

// ---- what it was sent

#[derive(Debug, Default)]
struct Exported {
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
}

/// The spans of an `ExportTraceServiceRequest`, by name.
fn spans_of(body: &[u8]) -> HashMap<String, Exported> {
    let mut spans = HashMap::new();
    let resources = fields(body).into_iter().filter(|(number, _)| *number == 1);
    let scopes = resources.flat_map(|(_, resource)| fields(resource));
    let in_scopes = scopes
        .filter(|(number, _)| *number == 2)
        .flat_map(|(_, scope)| fields(scope));
    for (_, span) in in_scopes.filter(|(number, _)| *number == 2) {
        let (mut name, mut exported) = (String::new(), Exported::default());
        for (number, value) in fields(span) {
            match number {
                1 => exported.trace = value.to_vec(),
                2 => exported.id = value.to_vec(),
                4 => exported.parent = value.to_vec(),
                5 => name = String::from_utf8_lossy(value).into_owned(),
                _ => {}
            }
        }
        spans.insert(name, exported);
    }
    spans
}

/// The fields of a protobuf message that hold bytes, with their numbers.
fn fields(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        match key & 7 {
            0 => drop(varint(&mut message)),
            1 => message = &message[8..],
            2 => {
                let length = usize::try_from(varint(&mut message)).unwrap();
                let (value, rest) = message.split_at(length);
                fields.push((key >> 3, value));
                message = rest;
            }
            5 => message = &message[4..],
            other => panic!("wire type {other}"),
        }
    }
    fields
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
