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
fn a_configuration_is_read_from_the_fields_of_the_page() {
    let seconds = |secs: u64| serde_json::json!({ "secs": secs, "nanos": 0 });
    let text = serde_json::json!({
        "events_backlog": 7,
        "bootstrap_peers": [],
        "tags": [Digest::from("a")],
        "purge_after": seconds(60),
        "max_time_drift": seconds(5),
        "announce_interval": seconds(9),
        "announce_jitter": 0.25,
        "dht_publish_interval": null,
        "dht_poll_interval": seconds(8),
        "no_dht_bootstrap": true,
        "rtt_probe_interval": seconds(7),
        "max_rtt": null,
        "graceful_departure_window": seconds(1),
    });
    let config: Config = serde_json::from_str(&text.to_string()).unwrap();
    let built = Config::builder()
        .with_events_backlog(7)
        .with_tags("a")
        .with_purge_after(Duration::from_secs(60))
        .with_max_time_drift(Duration::from_secs(5))
        .with_announce_interval(Duration::from_secs(9))
        .with_announce_jitter(0.25)
        .with_dht_publish_interval(None)
        .with_dht_poll_interval(Duration::from_secs(8))
        .no_dht_bootstrap()
        .with_rtt_probe_interval(Duration::from_secs(7))
        .build()
        .unwrap();
    let expected = Config {
        graceful_departure_window: Duration::from_secs(1),
        ..built
    };
    assert_eq!(config, expected);
    let again: Config = serde_json::from_value(serde_json::to_value(&config).unwrap()).unwrap();
    assert_eq!(again, config);
}

#[test]
fn never_is_a_configuration_too() {
    let config = Config::builder()
        .with_purge_after(Duration::MAX)
        .with_max_time_drift(Duration::MAX)
        .with_events_backlog(usize::MAX);
    assert!(config.clone().build().is_ok() && config.into_config().is_ok());
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

#[test]
fn every_option_has_a_setter() {
    let config = Config::builder()
        .with_purge_after(Duration::from_secs(600))
        .with_announce_interval(Duration::from_secs(10))
        .with_announce_jitter(0.3)
        .with_max_time_drift(Duration::from_secs(5))
        .with_events_backlog(200)
        .with_dht_publish_interval(Some(Duration::from_secs(60)))
        .with_dht_poll_interval(Duration::from_secs(30))
        .with_rtt_probe_interval(Duration::from_secs(5))
        .with_max_rtt(Duration::from_millis(100))
        .with_no_dht_bootstrap(true)
        .build()
        .unwrap();
    assert!(config.no_dht_bootstrap && config.max_rtt.is_some());
    assert_eq!(Config::default(), Config::builder().build().unwrap());
    let json = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), config);
    assert_eq!(config.clone().into_config().unwrap(), config);
    let error = ConfigBuilderError::from("bad".to_owned());
    assert!(matches!(error, ConfigBuilderError::ValidationError(text) if text == "bad"));
}

#[test]
fn versions_and_signed_entries() {
    use std::collections::HashSet;

    use chrono::{DateTime, Utc};
    use mosaik::{Signature, discovery::PeerEntryVersion};

    let secret = SecretKey::generate();
    let entry = PeerEntry::new(random_network(), secret.public());
    let version: PeerEntryVersion = entry.update_version();
    let copy = version;
    assert_eq!(HashSet::from([version, copy]).len(), 1);
    assert!(version <= PeerEntryVersion::default());
    let times: (DateTime<Utc>, DateTime<Utc>) = (version.updated_at(), version.started_at());
    assert_eq!(times, (entry.updated_at(), entry.started_at()));
    let (start, update) = (times.1.timestamp_millis(), times.0.timestamp_millis());
    assert_eq!(version.to_string(), format!("{start}.{update}"));
    assert_eq!(format!("{version:?}"), version.to_string());
    assert!(entry.uptime() < Duration::from_secs(60));
    let _: blake3::Hash = entry.digest();

    let signed: SignedPeerEntry = entry.clone().sign(&secret).unwrap();
    assert_eq!(signed.tags(), &entry.tags);
    let _: (&PeerEntry, &Signature) = (signed.as_ref(), signed.as_ref());
    assert_eq!(PeerId::from(&signed), secret.public());
    assert_eq!(PeerEntry::from(&signed), entry);
    let pair: (PeerEntry, Signature) = signed.clone().into();
    assert_eq!(pair.0, signed.clone().into_unsigned());
    let bytes = postcard::to_stdvec(&signed).unwrap();
    assert_eq!(bytes, postcard::to_stdvec(&pair).unwrap(), "the pair");
    assert_eq!(
        postcard::from_bytes::<SignedPeerEntry>(&bytes).unwrap(),
        signed
    );
    let (mut other, signature) = pair;
    other.tags.insert("forged".into());
    let forged = postcard::to_stdvec(&(other, signature)).unwrap();
    assert!(postcard::from_bytes::<SignedPeerEntry>(&forged).is_err());
}

#[test]
fn entries_are_modified_by_value() {
    let entry = PeerEntry::new(random_network(), SecretKey::generate().public())
        .add_streams(["a", "b"])
        .remove_streams("a")
        .add_functions("f")
        .remove_functions(["g"])
        .add_groups(vec![Digest::from("g")])
        .remove_groups("h")
        .add_tags("t")
        .remove_tags("u")
        .add_ticket(Ticket::new("class".into(), "data".into()))
        .remove_ticket("none".into())
        .remove_tickets_of("none".into());
    assert_eq!((entry.streams.len(), entry.functions().len()), (1, 1));
    assert_eq!((entry.groups().len(), entry.tickets.len()), (1, 1));
    assert_eq!(entry.addr(), entry.address());
    assert_eq!(entry.network_id(), &entry.network_id);
    assert_eq!(entry.protocol_version(), &entry.protocol_version);
    assert_eq!(entry.version(), entry.version);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalog() {
    let id = random_network();
    let (a, b) = (node(id).await, node(id).await);
    a.discovery().sync_with(b.local().addr()).await.unwrap();
    let stranger = PeerEntry::new(id, SecretKey::generate().public());
    assert!(a.discovery().insert(stranger.clone()));
    let catalog: Catalog = a.discovery().catalog();
    assert_eq!(
        (catalog.local_id(), catalog.network_id()),
        (a.local().id(), id)
    );
    assert_eq!(catalog.local(), &a.discovery().me());
    assert_eq!((catalog.len(), catalog.is_empty()), (3, false));
    assert_eq!(
        (catalog.peers_count(), catalog.signed_peers_count()),
        (2, 1)
    );
    for (peer_id, entry) in catalog.iter().rev() {
        println!("{}: tags={:?}", peer_id, entry.tags);
    }
    assert_eq!(catalog.iter_signed().count(), 2);
    assert_eq!(catalog.peers().next().unwrap().peer_id(), &b.local().id());
    assert_eq!(
        catalog.signed_peers().next_back().unwrap().id(),
        &b.local().id()
    );
    assert_eq!(catalog.unsigned_peers().next(), Some(&stranger));
    assert_eq!(catalog.get(stranger.id()), Some(&stranger));
    assert!(catalog.get_signed(stranger.id()).is_none());
    assert_eq!(
        catalog.get_signed(&catalog.local_id()),
        Some(catalog.local())
    );

    // A signed entry, its reference and an unsigned one: all can be inserted elsewhere.
    let third = node(id).await;
    assert!(third.discovery().insert(&b.discovery().me()));
    assert!(third.discovery().insert(b.discovery().me()));
    assert!(third.discovery().feed(b.discovery().me()));
    assert!(
        !third.discovery().insert(b.discovery().me()),
        "a signed one exists"
    );
    assert!(!third.discovery().remove(b.local().id()));
}
