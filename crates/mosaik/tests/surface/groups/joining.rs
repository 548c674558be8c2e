//! Keys, settings, and everything that can be said before a group is joined.

use std::{collections::HashSet, sync::Arc, time::Duration};

use mosaik::{
    Digest, Group, GroupKey, Network,
    groups::{
        Config, ConfigBuilder, ConfigBuilderError, ConsensusConfig, ConsensusConfigBuilder,
        ConsensusConfigBuilderError, GroupBuilder, Groups, InMemoryLogStore, NoOp,
    },
    network::Error as NetworkError,
    tickets::TicketValidator,
};

use super::{
    carried,
    machine::{Change, Table},
};
use crate::{support::tickets::Until, surface::shared};

#[test]
fn keys() {
    const BYTES: GroupKey = GroupKey::new(Digest::from_bytes([0xab; 32]));
    const SECRET: &Digest = BYTES.secret();
    let copy = BYTES;
    assert_eq!((copy, *SECRET), (BYTES, Digest::from_bytes([0xab; 32])));
    assert_eq!(
        (BYTES.to_string(), format!("{BYTES:?}")),
        ("ab****ab".into(), "GroupKey(ab****ab)".into())
    );
    let decoded: GroupKey = carried(&BYTES);
    assert_eq!(HashSet::from([decoded, BYTES]).len(), 1);
    assert_ne!(GroupKey::random(), GroupKey::generate());
    let (text, digest) = (GroupKey::from_secret("text"), Digest::from("text"));
    assert_eq!(
        [GroupKey::from("text"), "text".to_owned().into()],
        [text; 2]
    );
    assert_eq!([GroupKey::from(digest), GroupKey::from(&digest)], [text; 2]);
    let validator: &dyn TicketValidator = &Until;
    let boxed: Box<dyn TicketValidator> = Box::new(Until);
    assert_eq!(
        [GroupKey::from(validator), GroupKey::from(&boxed)],
        [GroupKey::from(&Until); 2]
    );
    assert_eq!(GroupKey::from(&Until).secret(), &Until.signature());
}

#[test]
fn settings_of_a_node() {
    assert_eq!(
        Config::builder().build().unwrap().handshake_timeout,
        Duration::from_secs(2)
    );
    let builder: ConfigBuilder =
        ConfigBuilder::default().with_handshake_timeout(Duration::from_secs(1));
    let config: Config = builder.clone().build().unwrap();
    let Config { handshake_timeout } = config.clone();
    assert_eq!(handshake_timeout, Duration::from_secs(1));
    assert!(format!("{config:?} {builder:?}").starts_with("Config { handshake_timeout: 1s }"));
    let _ = Network::builder("x").with_groups(builder);
    let zero = Config::builder()
        .with_handshake_timeout(Duration::ZERO)
        .build();
    assert!(matches!(zero, Err(ConfigBuilderError::ValidationError(_))));
    let error: fn(ConfigBuilderError) -> NetworkError = NetworkError::GroupsConfig;
    let error = error(ConfigBuilderError::ValidationError("bad".into()));
    assert_eq!(error.to_string(), "Groups config error: bad");
}

/// Resolves for exactly those types that have no default.
trait NoDefault<Which> {
    fn holds() {}
}
impl<T> NoDefault<()> for T {}
impl<T: Default> NoDefault<u8> for T {}

#[test]
fn settings_of_a_group() {
    <Config as NoDefault<_>>::holds();
    let millis = Duration::from_millis;
    let default = ConsensusConfig::default();
    // Every field is public, and a program may fill them by hand.
    let by_hand = ConsensusConfig {
        heartbeat_interval: millis(150),
        heartbeat_jitter: millis(50),
        max_missed_heartbeats: 10,
        election_timeout: millis(500),
        election_timeout_jitter: millis(250),
        bootstrap_delay: millis(1000),
        forward_timeout: millis(2000),
        query_timeout: millis(2000),
        max_voters: 5,
        min_members: 1,
        evict_after: millis(30_000),
        reform_after: None,
    };
    assert_eq!(by_hand, default);
    assert_eq!(ConsensusConfigBuilder::default().build().unwrap(), default);
    let builder: ConsensusConfigBuilder = ConsensusConfig::builder()
        .with_heartbeat_interval(millis(1))
        .with_heartbeat_jitter(millis(2))
        .with_max_missed_heartbeats(3)
        .with_election_timeout(millis(4))
        .with_election_timeout_jitter(millis(5))
        .with_bootstrap_delay(millis(6))
        .with_forward_timeout(millis(7))
        .with_query_timeout(millis(8))
        .with_max_voters(9)
        .with_min_members(10)
        .with_evict_after(millis(11))
        .with_reform_after(millis(12));
    assert!(format!("{:?}", builder.clone()).starts_with("ConsensusConfigBuilder {"));
    let config = builder.clone().build().unwrap();
    assert_eq!(
        (config.heartbeat_interval, config.heartbeat_jitter),
        (millis(1), millis(2))
    );
    assert_eq!(
        (config.max_missed_heartbeats, config.election_timeout),
        (3, millis(4))
    );
    assert_eq!(
        (config.election_timeout_jitter, config.bootstrap_delay),
        (millis(5), millis(6))
    );
    assert_eq!(
        (config.forward_timeout, config.query_timeout),
        (millis(7), millis(8))
    );
    assert_eq!((config.max_voters, config.min_members), (9, 10));
    assert_eq!(
        (config.evict_after, config.reform_after),
        (millis(11), Some(millis(12)))
    );
    assert_eq!(
        builder
            .with_reform_after(None)
            .build()
            .unwrap()
            .reform_after,
        None
    );
    let decoded: ConsensusConfig = carried(&config);
    assert_eq!(HashSet::from([decoded, config]).len(), 1);
    let slow = default.clone().deprioritize_leadership();
    assert_eq!(
        (slow.election_timeout, slow.bootstrap_delay),
        (millis(1500), millis(3000))
    );
    assert_eq!(default.clone().deprioritize_leadership_by(3), slow);
    assert_eq!(default.clone().deprioritize_leadership_by(0), default);
}

#[test]
fn settings_that_can_not_be() {
    let refused = ConsensusConfig::builder().with_heartbeat_interval(Duration::ZERO);
    let error: ConsensusConfigBuilderError = refused.build().unwrap_err();
    assert!(matches!(
        &error,
        ConsensusConfigBuilderError::ValidationError(_)
    ));
    assert_eq!(error.to_string(), "`heartbeat_interval` must not be zero");
    shared::<ConsensusConfigBuilderError>();
    let missing = ConsensusConfigBuilderError::UninitializedField("x");
    let other = ConfigBuilderError::UninitializedField("x");
    assert_eq!(missing.to_string(), other.to_string());
    let _: [Box<dyn std::error::Error>; 2] = [Box::new(missing), Box::new(other)];
}

#[expect(dead_code, reason = "checked by compiling")]
fn everything_of_the_builder(network: &Network) -> [Group<Table>; 3] {
    const fn const_gateway(network: &Network) -> &Groups {
        network.groups()
    }
    let groups: &Groups = const_gateway(network);
    let untouched: GroupBuilder<'_> = groups.with_key(&Until);
    let _: Group<NoOp> = untouched.join();
    let builder: GroupBuilder<'_, (), ()> = groups
        .with_key("key")
        .with_consensus_config(ConsensusConfig::default())
        .require_ticket(Until)
        .require_ticket(Box::new(Until) as Box<dyn TicketValidator>)
        .require_ticket(Arc::new(Until) as Arc<dyn TicketValidator>);
    let chosen: GroupBuilder<'_, InMemoryLogStore<Change>, Table> =
        builder.with_state_machine(Table::default());
    let stored: GroupBuilder<'_, InMemoryLogStore<Change>, Table> = groups
        .with_key(GroupKey::random())
        .with_state_machine(Table::default())
        .with_log_storage(InMemoryLogStore::default())
        .require_ticket(Until)
        .with_consensus_config(ConsensusConfig::default());
    let digest = groups.with_key(Digest::from("x"));
    #[cfg(feature = "storage")]
    let digest = match digest.durable() {
        Ok(durable) => durable,
        Err(error) => {
            let error: mosaik::groups::NoStorage = error;
            panic!("{error}")
        }
    };
    [
        chosen.join(),
        stored.join(),
        digest.with_state_machine(Table::default()).join(),
    ]
}

#[test]
fn names_and_bounds() {
    fn debug<T: std::fmt::Debug>() {}
    shared::<Groups>();
    debug::<Groups>();
    debug::<GroupBuilder<'_>>();
    shared::<ConsensusConfig>();
    shared::<Config>();
}
