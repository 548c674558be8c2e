//! Describes the streams of a node.

use core::time::Duration;
use std::{collections::HashMap, sync::atomic::Ordering};

use super::{
    consumer::ConsumerCore,
    producer::ProducerCore,
    report::{
        MAX_REPORTED_SUBSCRIPTIONS, StreamReport, StreamSide, SubscriptionReport, SubscriptionState,
    },
    status::{ChannelInfo, State},
};
use crate::primitives::{StreamId, names};

/// Describes a producer.
pub(super) fn producer(core: &ProducerCore) -> StreamReport {
    let metrics = core.metrics();
    let lags = core.lags();
    let standing = lags.iter().map(|(info, lag, held)| SubscriptionReport {
        lag: *lag,
        held_up_ms: millis(*held),
        ..subscription(info)
    });
    let (subscriptions, left_off) = listed(standing.collect());
    StreamReport {
        stream: *core.stream(),
        label: core.label().map(str::to_owned),
        datum: names::short_type_name(core.datum_type().name()),
        side: StreamSide::Producer,
        online: core.is_online(),
        datums: metrics.items_sent.total(),
        bytes: metrics.bytes_sent.total(),
        dropped: metrics.items_dropped.total(),
        undecodable: 0,
        accepted: metrics.accepted.total(),
        refused: metrics.rejected.total(),
        not_allowed: metrics.not_allowed.load(Ordering::Relaxed),
        cuts: metrics.cuts(),
        producers_known: 0,
        buffer: core.buffer(),
        waiting: core.is_waited_for(),
        subscriptions,
        left_off,
        cut: core.latest_cuts(),
        not_allowed_ago_ms: metrics.last_not_allowed.ago_ms(),
        undecodable_ago_ms: None,
    }
}

/// Describes a consumer; `producers` are the peers known for each stream.
pub(super) fn consumer(core: &ConsumerCore, producers: &HashMap<StreamId, u64>) -> StreamReport {
    let metrics = core.metrics();
    let channels = core.channels();
    let (subscriptions, left_off) = listed(channels.iter().map(subscription).collect());
    StreamReport {
        stream: *core.stream(),
        label: core.label().map(str::to_owned),
        datum: names::short_type_name(core.datum_name()),
        side: StreamSide::Consumer,
        online: core.is_online(),
        datums: metrics.items_received.total(),
        bytes: metrics.bytes_received.total(),
        dropped: metrics.items_lost.total(),
        undecodable: metrics.items_undecodable.total(),
        accepted: 0,
        refused: 0,
        not_allowed: 0,
        cuts: 0,
        producers_known: producers.get(core.stream()).copied().unwrap_or(0),
        buffer: 0,
        waiting: false,
        subscriptions,
        left_off,
        cut: Vec::new(),
        not_allowed_ago_ms: None,
        undecodable_ago_ms: metrics.last_undecodable.ago_ms(),
    }
}

fn subscription(info: &ChannelInfo) -> SubscriptionReport {
    let stats = info.stats();
    SubscriptionReport {
        peer: *info.peer().id(),
        state: match info.state() {
            State::Connecting => SubscriptionState::Connecting,
            State::Connected => SubscriptionState::Connected,
            State::Terminated => SubscriptionState::Terminated,
        },
        datums: stats.datums() as u64,
        bytes: stats.bytes() as u64,
        dropped: stats.lost(),
        uptime_ms: stats.uptime().map(millis),
        lag: 0,
        held_up_ms: 0,
    }
}

/// The subscriptions that are listed, and the number of the others.
fn listed(mut all: Vec<SubscriptionReport>) -> (Vec<SubscriptionReport>, u64) {
    let left_off = all.len().saturating_sub(MAX_REPORTED_SUBSCRIPTIONS);
    all.sort_by_key(|one| (core::cmp::Reverse((one.held_up_ms, one.lag)), one.peer));
    all.truncate(MAX_REPORTED_SUBSCRIPTIONS);
    (all, left_off as u64)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
