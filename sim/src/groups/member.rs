//! A member in a process of its own: told what to do on standard input, it answers on standard
//! output.

use std::sync::Arc;

use anyhow::Context;
use mosaik::{Network, PeerId, SecretKey, discovery, iroh::EndpointAddr, network::RelayMode};
use tokio::{io, sync::mpsc};

use super::{
    Setup, Wiring,
    control::{Reply, Request, read, write},
    local::{Member, Site, Skew},
};
use crate::{hub::attach_remote, task::Task};

/// Limit on the replies that wait to be written; further ones wait.
const MAX_REPLIES: usize = 1024;

/// Runs a member as the first frame on standard input says, until standard input ends.
///
/// # Errors
///
/// When the node can't be started, or standard input or output fails.
pub async fn run() -> anyhow::Result<()> {
    let mut requests = io::stdin();
    let setup: Setup = read(&mut requests).await?.context("no setup")?;
    let skew = Skew::new(setup.skew_ms);
    let (replies, mut outbox) = mpsc::channel::<Reply>(MAX_REPLIES);
    let _writer = Task::spawn(async move {
        let mut out = io::stdout();
        while let Some(reply) = outbox.recv().await {
            if write(&mut out, &reply).await.is_err() {
                return;
            }
        }
    });

    let leads = replies.clone();
    let member = Member::start(
        skew.apply(builder(&setup)?),
        setup.group.clone(),
        setup.storage.is_some(),
        setup.observes,
        // Full only when nobody reads any more.
        move |tenure| drop(leads.try_send(Reply::Leads(tenure))),
    );
    let member = Arc::new(member.await?);
    replies.send(Reply::Ready).await?;

    let mut running = Vec::new();
    while let Some(request) = read(&mut requests).await? {
        match request {
            Request::Execute(number, command) => {
                let (done, replies) = (member.execute(command), replies.clone());
                running.push(Task::spawn(async move {
                    let reply = Reply::Executed(number, done.await);
                    // Fails only at the end.
                    let _ = replies.send(reply).await;
                }));
            }
            Request::Feed(number, command) => {
                let (fed, replies) = (member.feed(command), replies.clone());
                running.push(Task::spawn(async move {
                    let _ = replies.send(Reply::Executed(number, fed.await)).await;
                }));
            }
            Request::Believe(number) => {
                let belief = member.belief().await.unwrap_or_default();
                let _ = replies.send(Reply::Believed(number, belief)).await;
            }
            Request::Query(number, query, strong) => {
                let (answer, replies) = (member.query(query, strong), replies.clone());
                running.push(Task::spawn(async move {
                    let reply = Reply::Answered(number, answer.await);
                    let _ = replies.send(reply).await;
                }));
            }
            Request::Leave => member.leave(),
            Request::Join => member.join()?,
            Request::Reform => running.push(Task::spawn(member.reform())),
            Request::Skew(ms) => skew.set(ms),
        }
        running.retain(|task| !task.is_finished());
    }
    Ok(())
}

fn builder(setup: &Setup) -> anyhow::Result<mosaik::network::NetworkBuilder> {
    let secret = SecretKey::from_bytes(&setup.secret);
    let peers = setup.peers.iter().map(PeerId::from_bytes);
    let peers: Vec<_> = peers.collect::<Result<_, _>>()?;
    let known: Vec<EndpointAddr> = match &setup.wiring {
        Wiring::Hub(_) => peers.into_iter().map(EndpointAddr::from).collect(),
        Wiring::Udp { others, .. } => {
            let pairs = peers.into_iter().zip(others);
            let known = pairs.map(|(peer, at)| EndpointAddr::new(peer).with_ip_addr(*at));
            known.collect()
        }
    };
    let discovery = discovery::Config::builder()
        .no_dht_bootstrap()
        .with_bootstrap(known);
    let mut builder = Network::builder(setup.network).with_discovery(discovery);
    if let Some(directory) = &setup.storage {
        builder = builder.with_storage(directory);
    }
    Ok(match &setup.wiring {
        Wiring::Hub(bridge) => attach_remote(builder, secret, *bridge),
        Wiring::Udp { own, .. } => builder
            .with_secret_key(secret)
            .with_relay_mode(RelayMode::Disabled)
            .with_addresses([*own]),
    })
}
