//! The names of groups.

use mosaik::{
    Digest, Group, GroupKey, LeadershipPreference, Strong,
    groups::{self, CommandError, CommittedQueryResult, Error, NoOp, QueryError, QueryResultAt},
};

use super::{shared, spawnable};

#[test]
fn other_names_mean_the_same() {
    fn same(result: QueryResultAt<NoOp>) -> CommittedQueryResult<NoOp> {
        result
    }
    let _ = same;
    assert_eq!(
        groups::LeadershipPreference::reluctant(),
        LeadershipPreference::Reluctant { factor: 3 }
    );
    assert_ne!(GroupKey::generate(), GroupKey::random());
    assert_eq!(GroupKey::from("text"), GroupKey::from_secret("text"));
    assert_eq!(
        GroupKey::from("text".to_owned()),
        Digest::from("text").into()
    );
}

#[test]
fn errors_name_every_way_to_fail() {
    shared::<Error>();
    shared::<CommandError<NoOp>>();
    shared::<QueryError<NoOp>>();
    let name = |error: &Error| match error {
        Error::GroupTerminated => "terminated",
        Error::InvalidGroupKeyProof => "proof",
        Error::Unauthorized => "tickets",
        Error::Link(_) => "link",
        Error::AlreadyBonded(_) => "bonded",
        Error::Discovery(_) => "discovery",
        _ => "other",
    };
    assert_eq!(name(&Error::Unauthorized), "tickets");
    let lost = Error::Discovery(mosaik::discovery::Error::Cancelled);
    assert_eq!(name(&lost), "discovery");
    assert!(std::error::Error::source(&lost).is_some());
    let commands = |error: CommandError<NoOp>| match error {
        CommandError::Offline(commands) | CommandError::Encoding(commands, _) => commands.len(),
        CommandError::NoCommands | CommandError::GroupTerminated => 0,
    };
    assert_eq!(commands(CommandError::Offline(vec![(), ()])), 2);
    let query = |error: QueryError<NoOp>| match error {
        QueryError::Offline(query) | QueryError::Encoding(query, _) => Some(query),
        QueryError::GroupTerminated => None,
    };
    assert_eq!(query(QueryError::Offline(())), Some(()));
}

#[test]
fn futures_do_not_borrow_the_handle() {
    fn calls(group: Group<NoOp>) {
        let _ = spawnable(group.execute(()));
        let _ = spawnable(group.execute_many([(), ()]));
        let _ = spawnable(group.feed(()));
        let _ = spawnable(group.feed_many([()]));
        let _ = spawnable(group.query((), Strong));
        let _ = spawnable(group.leave());
    }
    let _ = calls;
}
