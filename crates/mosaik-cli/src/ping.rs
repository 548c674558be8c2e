//! `mosaik ping`: whether a node answers, and how fast.

use std::{
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures::{StreamExt, stream};
use mosaik::{PeerId, iroh::EndpointAddr, primitives::ShortFmtExt};
use tokio::time::Instant;

use crate::{
    observe::{self, Observer, chain, look_on},
    output::{json, print},
    peer::Peer,
};

/// Nodes that are pinged at once.
const MAX_PINGED: usize = 32;
/// Pause between two pings of a node.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Node to ping: a peer id, `<peer id>@<ip:port>`, or the first digits of the id of a node that
    /// the network knows. Default: all nodes.
    node: Vec<String>,

    #[command(flatten)]
    observe: observe::Options,

    /// Pings of each node.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,

    /// Print one line of JSON for each answer.
    #[arg(long)]
    json: bool,
}

/// The exit code is 1 if a node did not answer.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    look_on(&options.observe, false, async |observer| {
        let all_answered = ping_all(&options, observer).await?;
        Ok(ExitCode::from(u8::from(!all_answered)))
    })
    .await
}

async fn ping_all(options: &Options, observer: &Observer) -> anyhow::Result<bool> {
    let targets = targets(&options.node, &observer.peers())?;
    let reader_has_gone = AtomicBool::new(false);
    let pinging =
        stream::iter(targets).map(|target| ping(options, observer, target, &reader_has_gone));
    let mut pinging = pinging.buffer_unordered(MAX_PINGED);
    let mut all_answered = true;
    while let Some(answered) = pinging.next().await {
        all_answered &= answered?;
    }
    Ok(all_answered)
}

/// Pings one node, and returns whether it answered each time.
async fn ping(
    options: &Options,
    observer: &Observer,
    target: EndpointAddr,
    reader_has_gone: &AtomicBool,
) -> anyhow::Result<bool> {
    let mut all_answered = true;
    for number in 0..options.count {
        if reader_has_gone.load(Ordering::Relaxed) {
            break;
        }
        if number > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let (id, begun) = (target.id, Instant::now());
        let pinging = observer
            .network()
            .discovery()
            .ping_within(target.clone(), observer.timeout());
        let (line, answered) = match pinging.await {
            Ok(_) => answer(id, begun.elapsed(), options.json)?,
            Err(error) => failure(id, &chain(&error), options.json)?,
        };
        all_answered &= answered;
        if !print(&line)? {
            reader_has_gone.store(true, Ordering::Relaxed);
        }
    }
    Ok(all_answered)
}

fn answer(peer: PeerId, took: Duration, as_json: bool) -> anyhow::Result<(String, bool)> {
    let micros = took.as_micros();
    let line = if as_json {
        json(&serde_json::json!({"node": peer, "micros": u64::try_from(micros).ok()}))?
    } else {
        format!(
            "{} answered in {}.{:02} ms\n",
            peer.short(),
            micros / 1000,
            micros % 1000 / 10
        )
    };
    Ok((line, true))
}

fn failure(peer: PeerId, error: &str, as_json: bool) -> anyhow::Result<(String, bool)> {
    let line = if as_json {
        json(&serde_json::json!({"node": peer, "error": error}))?
    } else {
        format!("{} does not answer: {error}\n", peer.short())
    };
    Ok((line, false))
}

/// Nodes that were named, or all.
fn targets(named: &[String], known: &[PeerId]) -> anyhow::Result<Vec<EndpointAddr>> {
    if named.is_empty() {
        anyhow::ensure!(!known.is_empty(), "no node was found");
        return Ok(known.iter().map(|peer| EndpointAddr::from(*peer)).collect());
    }
    let find = |name: &String| -> anyhow::Result<EndpointAddr> {
        if let Ok(Peer::At(addr)) = name.parse() {
            return Ok(addr);
        }
        let mut alike = known
            .iter()
            .filter(|peer| peer.to_string().starts_with(name));
        match (alike.next(), alike.next()) {
            (Some(peer), None) => Ok((*peer).into()),
            (Some(_), Some(_)) => anyhow::bail!("several nodes begin with {name}"),
            _ => anyhow::bail!("no node begins with {name}"),
        }
    };
    named.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_found_by_their_first_digits() {
        let peers: Vec<PeerId> = (1..4)
            .map(|n| mosaik::SecretKey::from_bytes(&[n; 32]).public())
            .collect();
        let first = peers[0].to_string();
        let one = targets(&[first[..10].to_owned()], &peers).unwrap();
        assert_eq!(one[0].id, peers[0]);
        assert_eq!(targets(&[first], &[]).unwrap()[0].id, peers[0]);
        assert_eq!(targets(&[], &peers).unwrap().len(), 3);
        assert!(targets(&[String::new()], &peers).is_err());
        assert!(targets(&["xyz".to_owned()], &peers).is_err());
        assert!(targets(&[], &[]).is_err());
    }
}
