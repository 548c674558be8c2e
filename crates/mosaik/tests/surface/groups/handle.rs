//! A member's handle: commands, queries, waiting, bonds.

use mosaik::{
    Consistency, Digest, Group, GroupId, GroupKey, LeadershipPreference, PeerId, Strong, Weak,
    groups::{
        Bond, Bonds, CommandError, CommittedQueryResult, ConsensusConfig, Cursor, CursorWatcher,
        Error, GroupConfig, Index, IndexRange, NoOp, QueryError, QueryResultAt, StateMachine, When,
    },
    iroh::endpoint::ApplicationClose,
    network::CloseReason,
    primitives::{ShortFmtExt, encoding::EncodeError},
    tickets::{Expiration, InvalidTicket, SignedPeerEntry, TicketValidator},
};
use tokio::task::JoinSet;

use super::{
    carried, free,
    machine::{Change, Table},
};
use crate::{groups::machines::formed, support::within, surface::shared};

#[expect(dead_code, reason = "checked by compiling")]
async fn everything_of_a_handle(group: Group<Table>) -> anyhow::Result<()> {
    let (_, _): (&GroupId, bool) = (group.id(), group.is_leader());
    let (_, _): (Option<PeerId>, &When) = (group.leader(), group.when());
    let (_, _): (Index, Cursor) = (group.committed(), group.log_position());
    let set = || Change::Set("a".into(), 1);
    let mut calls = JoinSet::new();
    for _ in 0..3 {
        calls.spawn(free(group.execute(set())));
        calls.spawn(free(group.feed(set())));
    }
    let one: Result<Index, CommandError<Table>> = group.execute(set()).await;
    let many: Result<IndexRange, CommandError<Table>> = free(group.execute_many([set()])).await;
    let fed: Result<IndexRange, CommandError<Table>> = free(group.feed_many(vec![set()])).await;
    assert!(one? > 0 && many?.end() == 200 && *fed?.start() == 1);
    let answer: Result<QueryResultAt<Table>, QueryError<Table>> =
        free(group.query("a".into(), Consistency::Strong)).await;
    assert!(answer? == 7 && group.query("a".into(), Weak).await? == 7);
    let _: bool = free(group.reform()).await;
    free(group.leave()).await;
    Ok(())
}

#[expect(dead_code, reason = "checked by compiling")]
async fn everything_of_the_configuration(config: &GroupConfig, peer: &SignedPeerEntry) {
    let (_, _): (&GroupId, &GroupKey) = (config.group_id(), config.key());
    let _: &ConsensusConfig = config.consensus();
    let _: &[Box<dyn TicketValidator>] = config.auth();
    let _: Result<Option<Expiration>, InvalidTicket> = config.authorize_peer(peer);
}

#[expect(dead_code, reason = "checked by compiling")]
async fn everything_to_wait_for(group: &Group<Table>, peer: PeerId) {
    let when: When = group.when().clone();
    let _: [PeerId; 2] = [
        free(when.leader_elected()).await,
        free(when.leader_changed()).await,
    ];
    free(when.leader_is(peer)).await;
    free(when.is_leader()).await;
    free(when.is_follower()).await;
    free(when.online()).await;
    free(when.offline()).await;
    let committed: CursorWatcher<Index> = when.committed();
    let log: CursorWatcher<Cursor> = when.log();
    let _: [Index; 3] = [
        free(committed.changed()).await,
        free(committed.advanced()).await,
        free(committed.reverted()).await,
    ];
    let _: [Cursor; 2] = [free(log.changed()).await, free(log.reaches(Index(1))).await];
    let _: [Index; 4] = [
        free(committed.reaches(5)).await,
        free(committed.reaches(5u64)).await,
        free(committed.reaches(group.committed())).await,
        free(committed.reaches(Index(1)..=Index(4))).await,
    ];
}

/// A reason of the program's own.
#[derive(Debug, Clone, Copy)]
struct Bored;

impl std::fmt::Display for Bored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bored")
    }
}

impl std::error::Error for Bored {}

impl From<Bored> for ApplicationClose {
    fn from(_: Bored) -> Self {
        Self {
            error_code: 123_456u32.into(),
            reason: "Bored".into(),
        }
    }
}

impl PartialEq<ApplicationClose> for Bored {
    fn eq(&self, other: &ApplicationClose) -> bool {
        other.error_code == 123_456u32.into()
    }
}

impl CloseReason for Bored {}

#[expect(dead_code, reason = "checked by compiling")]
async fn everything_of_bonds<M: StateMachine>(group: &Group<M>, peer: PeerId) {
    let bonds: Bonds<M> = group.bonds().clone();
    let (_, _): (usize, bool) = (bonds.len(), bonds.is_empty());
    let _: bool = bonds.contains_peer(&peer);
    let all: Vec<Bond<M>> = bonds.iter().collect();
    bonds.changed().await;
    drop(all);
    let Some(bond) = bonds.get(&peer) else { return };
    let (_, _): (Digest, PeerId) = (bond.id(), bond.peer_id());
    let entry: SignedPeerEntry = bond.peer();
    assert_eq!(*entry.id(), bond.peer_id());
    let (_, _): (bool, Bond<M>) = (bond.is_terminated(), bond.clone());
    let _: ApplicationClose = free(bond.terminated()).await;
    bond.close(Bored).await;
}

#[test]
fn names_and_bounds() {
    fn debug<T: std::fmt::Debug>() {}
    fn cloned<T: Clone>() {}
    shared::<Group<Table>>();
    shared::<Bonds<Table>>();
    shared::<Bond<Table>>();
    shared::<When>();
    shared::<GroupConfig>();
    debug::<Group<Table>>();
    debug::<GroupConfig>();
    debug::<When>();
    // Without a bound on the machine.
    cloned::<Bonds<std::rc::Rc<()>>>();
    cloned::<Bond<std::rc::Rc<()>>>();
    cloned::<QueryResultAt<Table>>();
    let _: [Consistency; 2] = [Strong, Weak];
    assert_eq!(
        (format!("{Strong:?}"), Weak),
        ("Strong".into(), Consistency::Weak)
    );
    let _: LeadershipPreference = LeadershipPreference::Observer;
}

#[test]
fn answers() {
    const POSITION: Index = Index(3);
    let answer: CommittedQueryResult<Table> = QueryResultAt {
        result: 7,
        at_position: POSITION,
    };
    assert!(answer == 7 && *answer == 7 && *answer.result() == 7);
    assert_eq!(
        (answer.state_position(), answer.to_string()),
        (POSITION, "7".into())
    );
    let copy: QueryResultAt<Table> = carried(&answer.clone());
    assert_eq!((copy.at_position, copy.into()), (POSITION, 7));
    // Never asks the answer to be printable.
    assert!(format!("{answer:?}").starts_with("QueryResultAt { "));
}

#[test]
fn errors_name_every_way_to_fail() {
    shared::<Error>();
    shared::<CommandError<Table>>();
    shared::<QueryError<Table>>();
    let encoding = || EncodeError::SerdeSerCustom;
    let set = Change::Set("secret".into(), 1);
    let offline = CommandError::<Table>::Offline(vec![set.clone(), Change::Clear]);
    let unencoded = CommandError::<Table>::Encoding(vec![set], encoding());
    for (error, text, debug) in [
        (
            &offline,
            "Group is temporarily offline and cannot process commands".to_owned(),
            "Offline(2 commands)",
        ),
        (
            &CommandError::NoCommands,
            "No commands provided".into(),
            "NoCommands",
        ),
        (
            &CommandError::GroupTerminated,
            "Group is terminated".into(),
            "GroupTerminated",
        ),
        (
            &unencoded,
            format!("Command encoding error: {}", encoding()),
            "Encoding(1 commands, SerdeSerCustom)",
        ),
    ] {
        assert_eq!(
            (error.to_string(), format!("{error:?}")),
            (text, debug.to_owned())
        );
    }
    for (error, text) in [
        (
            QueryError::<Table>::Offline("secret".into()),
            "Group is temporarily offline and cannot process queries".to_owned(),
        ),
        (QueryError::GroupTerminated, "Group is terminated".into()),
        (
            QueryError::Encoding("secret".into(), encoding()),
            format!("Query encoding error: {}", encoding()),
        ),
    ] {
        assert_eq!(error.to_string(), text);
        assert!(!format!("{error:?}").contains("secret"));
    }
    let _ = [anyhow::Error::from(offline), anyhow::Error::from(unencoded)];
    // Exhaustive, as users match them.
    let commands = |error: CommandError<NoOp>| match error {
        CommandError::Offline(commands)
        | CommandError::Unknown(commands)
        | CommandError::Undecodable(commands)
        | CommandError::Encoding(commands, _) => commands.len(),
        CommandError::NoCommands | CommandError::GroupTerminated => 0,
    };
    assert_eq!(commands(CommandError::Offline(vec![(), ()])), 2);
    let query = |error: QueryError<NoOp>| match error {
        QueryError::Offline(query) | QueryError::Encoding(query, _) => Some(query),
        QueryError::GroupTerminated => None,
    };
    assert_eq!(query(QueryError::Offline(())), Some(()));
    let name = |error: &Error| match error {
        Error::GroupTerminated => "terminated",
        Error::InvalidGroupKeyProof => "proof",
        Error::Unauthorized => "tickets",
        Error::Link(_) => "link",
        Error::AlreadyBonded(_) => "bonded",
        Error::Discovery(_) => "discovery",
    };
    assert_eq!(name(&Error::Unauthorized), "tickets");
    let lost = Error::Discovery(mosaik::discovery::Error::Cancelled);
    assert_eq!(name(&lost), "discovery");
    assert!(std::error::Error::source(&lost).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_and_bonds_print_their_ids() {
    let (nodes, groups) = formed(2).await;
    let (group, peer) = (&groups[0], nodes[1].local().id());
    assert_eq!(group.to_string(), format!("Group({})", group.id().short()));
    assert_eq!(group.config().group_id(), group.id());
    assert_eq!(group.config().consensus().min_members, 2);
    assert!(group.config().auth().is_empty());
    let bond = group.bonds().get(&peer).unwrap();
    assert_eq!(group.config().authorize_peer(&bond.peer()), Ok(None));
    let text = format!("Bond(id={}, peer={})", bond.id().short(), peer.short());
    assert_eq!(bond.to_string(), text);
    assert!(format!("{bond:?}").starts_with("Bond { "));
    assert!(format!("{:?}", group.bonds()).starts_with("[Bond { "));
    let other = groups[1].bonds().get(&nodes[0].local().id()).unwrap();
    let seen = other.terminated();
    within(5, bond.clone().close(Bored)).await;
    assert_eq!(
        within(5, bond.terminated()).await,
        ApplicationClose::from(Bored)
    );
    assert_eq!(within(5, seen).await, ApplicationClose::from(Bored));
    assert!(bond.is_terminated());
}
