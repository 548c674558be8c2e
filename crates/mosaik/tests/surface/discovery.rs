use std::{sync::Arc, time::Duration};

use mosaik::{
    Digest, PeerId, SecretKey, Ticket,
    discovery::{
        AnnounceEvent, Catalog, Config, ConfigBuilder, ConfigBuilderError, Dial, Discovery, Error,
        Event, IntoConfig, PeerEntry, PeerEntryVersion, PeerInfo, SignedPeerEntry,
    },
    iroh::EndpointAddr,
    primitives::{Short, ShortFmtExt},
    tickets::{Expiration, TicketValidator},
};

use super::{shared, spawnable};
use crate::support::{node, random_network};

#[test]
fn names_and_bounds() {
    shared::<Discovery>();
    shared::<Dial>();
    shared::<Catalog>();
    shared::<Event>();
    shared::<Error>();
    shared::<PeerInfo>();
    shared::<SignedPeerEntry>();
    fn unpin<T: Unpin>() {}
    unpin::<Dial>();
    let _: Option<(AnnounceEvent, ConfigBuilderError, PeerEntryVersion)> = None;
    fn config(config: impl IntoConfig) -> Config {
        config.into_config().unwrap()
    }
    let config = config(Config::builder());
    assert_eq!(config.announce_interval, Duration::from_secs(15));
    assert_eq!(config.announce_jitter, 0.5);
    assert_eq!(config.purge_after, Duration::from_secs(300));
    assert_eq!(config.max_time_drift, Duration::from_secs(10));
    assert_eq!(config.events_backlog, 100);
    assert_eq!(config.dht_publish_interval, Some(Duration::from_secs(300)));
    assert_eq!(config.dht_poll_interval, Some(Duration::from_secs(60)));
    assert_eq!(config.rtt_probe_interval, Duration::from_secs(30));
    assert_eq!(config.graceful_departure_window, Duration::from_millis(500));
}

#[test]
fn arguments_are_one_or_many() {
    let key = SecretKey::generate().public();
    let addr = EndpointAddr::from(key);
    let config = ConfigBuilder::default()
        .with_bootstrap(key)
        .with_bootstrap(addr.clone())
        .with_bootstrap([addr.clone(), addr])
        .with_bootstrap(Vec::<PeerId>::new())
        .with_bootstrap(Some(key))
        .with_tags("a")
        .with_tags(["b", "c"])
        .with_tags(vec![Digest::from("d")])
        .with_dht_poll_interval(None)
        .with_dht_publish_interval(Duration::from_secs(1))
        .no_auto_bootstrap()
        .build()
        .unwrap();
    assert_eq!(config.bootstrap_peers_ids(), vec![key; 5]);
    assert_eq!(config.tags.len(), 4);
}

#[test]
fn entries_are_values() {
    let secret = SecretKey::generate();
    let network = random_network();
    let entry = PeerEntry {
        tags: ["a"].into_iter().map(Digest::from).collect(),
        ..PeerEntry::new(network, secret.public())
    };
    assert!(entry.tags.contains(&"a".into()) && entry.tags().contains(&"a".into()));
    assert_eq!(entry.id(), entry.peer_id());
    assert_eq!(PeerId::from(&entry), *entry.id());
    let signed = entry.clone().sign(&secret).unwrap();
    assert_eq!(PeerEntry::from(signed.clone()), entry);
    let other = SecretKey::generate();
    assert!(matches!(
        entry.clone().sign(&other),
        Err(Error::InvalidSecretKey(..))
    ));
    let moved = entry.clone().update_address(other.public().into());
    assert!(matches!(moved, Err(Error::PeerIdChanged(..))));
    let moved = entry
        .clone()
        .update_address(secret.public().into())
        .unwrap();
    assert!(moved.is_newer_than(&entry));
    assert!(
        !entry.clone().add_tags("a").is_newer_than(&entry),
        "nothing changed"
    );
    assert!(entry.clone().add_tags(["a", "b"]).is_newer_than(&entry));
    assert!(!signed.short().to_string().is_empty());
    assert!(!Short(&entry).to_string().is_empty());
    let none: [Arc<dyn TicketValidator>; 0] = [];
    assert_eq!(entry.validate_tickets(&none).unwrap(), None::<Expiration>);
    assert_eq!(entry.tickets_of("class".into()).count(), 0);
    assert!(!entry.has_valid_ticket("class".into(), |_| true));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_handle() {
    let network = node(random_network()).await;
    let discovery = network.discovery().clone();
    assert!(format!("{discovery:?}").starts_with("Discovery(network_id="));
    let ticket = Ticket::new("class".into(), "data".into());
    discovery.add_tags(["a", "b"]);
    discovery.remove_tags("a");
    discovery.add_ticket(ticket.clone());
    discovery.replace_ticket(Ticket::new("class".into(), "other".into()));
    discovery.remove_ticket(ticket.id());
    assert_eq!(discovery.me().tickets().len(), 1);
    discovery.remove_tickets_of("class".into());
    assert_eq!(&discovery.me(), discovery.catalog().local());
    let before = discovery.me().version();
    discovery.add_tags("b");
    assert_eq!(discovery.me().version(), before, "nothing changed");
    discovery.dial(network.local().addr());
    discovery.dial(Vec::<EndpointAddr>::new()).await;
    spawnable(discovery.sync_with(network.local().id()))
        .await
        .unwrap();

    let mut events = discovery.events();
    let mut watch = discovery.catalog_watch();
    let stranger = PeerEntry::new(*network.network_id(), SecretKey::generate().public());
    assert!(discovery.insert(stranger.clone()));
    assert_eq!(
        events.recv().await.unwrap(),
        Event::PeerDiscovered(stranger.clone())
    );
    watch.changed().await.unwrap();
    assert_eq!(watch.borrow().peers_count(), 1);
    for (peer_id, entry) in &discovery.catalog() {
        assert_eq!(peer_id, entry.id());
    }
    assert!(discovery.remove(*stranger.id()));
    assert!(!discovery.clear_unsigned());
    let foreign = SecretKey::generate();
    let foreign = PeerEntry::new(Digest::random(), foreign.public())
        .sign(&foreign)
        .unwrap();
    assert!(!discovery.feed(foreign));

    network.shutdown().await;
    assert!(watch.changed().await.is_err() || watch.changed().await.is_err());
    while events.recv().await.is_ok() {}
    assert!(
        discovery
            .sync_with(SecretKey::generate().public())
            .await
            .is_err()
    );
    discovery.dial(SecretKey::generate().public()).await;
    discovery.add_tags("after");
    assert!(discovery.me().tags().contains(&"after".into()));
    assert!(discovery.events().recv().await.is_err());
    assert!(discovery.catalog_watch().changed().await.is_err());
}
