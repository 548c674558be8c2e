//! Asks another node about itself.

use core::time::Duration;

use iroh::{EndpointAddr, endpoint::ApplicationClose};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};

use super::{
    Error, Report,
    limits::{
        DECODED_AT_ONCE, MAX_ANSWER_FRAME_BYTES, MAX_ITEMS, MAX_REPORT_BYTES,
        MAX_REQUEST_FRAME_BYTES, STEP_TIMEOUT,
    },
    report::NodeReport,
    sources::Sources,
    wire::{NotAllowed, Page, Request, STATUS_ALPN, Section, TooManyRequests},
};
use crate::{
    net::{
        Link,
        close::{Success, UnknownPeer},
        link::{LinkError, RecvError},
    },
    primitives::record,
};

/// Time limit for everything.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// Pages of one section that are taken.
const MAX_PAGES: usize = 64;

/// Asks a node for its report.
pub(super) async fn ask(sources: &Sources, peer: EndpointAddr) -> Result<Report, Error> {
    if peer.id == sources.links.id() {
        return Ok(sources.report());
    }
    let asking = timeout(ASK_TIMEOUT, introduced(sources, peer));
    tokio::select! {
        biased;
        () = sources.scope.cancelled() => Err(Error::Cancelled),
        result = asking => result.unwrap_or(Err(Error::TimedOut)),
    }
}

/// Asks, and once more if the node did not know this one's current entry.
async fn introduced(sources: &Sources, peer: EndpointAddr) -> Result<Report, Error> {
    let id = peer.id;
    match try_ask(sources, peer.clone()).await {
        Err(Failure::Refused(refusal)) if may_be_news(sources, &refusal) => {
            if sources.discovery.deliver_own_entry(id).await.is_err() {
                return Err(refused(refusal));
            }
            try_ask(sources, peer).await.map_err(Error::from)
        }
        result => result.map_err(Error::from),
    }
}

/// Returns whether this node's entry may be why it was refused: it has tickets, or is not known.
fn may_be_news(sources: &Sources, refusal: &ApplicationClose) -> bool {
    let has_tickets = || !sources.discovery.me().tickets().is_empty();
    UnknownPeer == *refusal || (NotAllowed == *refusal && has_tickets())
}

async fn try_ask(sources: &Sources, peer: EndpointAddr) -> Result<Report, Failure> {
    let id = peer.id;
    let mut link = sources
        .links
        .open(STATUS_ALPN, peer)
        .await
        .map_err(link_failure)?;
    link.sender.set_max_frame_bytes(MAX_REQUEST_FRAME_BYTES);
    link.receiver.set_max_frame_bytes(MAX_ANSWER_FRAME_BYTES);
    let mut conversation = Conversation {
        link,
        room: MAX_REPORT_BYTES,
        left_off: 0,
    };
    let asked = Instant::now();
    let mut node = conversation.node().await?;
    let took = asked.elapsed();
    let now_ms = sources.discovery.now_ms();
    // The transport says who answers.
    if node.peer != id {
        return Err(Failure::Undecodable);
    }
    let half_ms = u64::try_from(took.as_millis() / 2).unwrap_or(u64::MAX);
    let own_ms = now_ms.saturating_sub(half_ms);
    node.clock_ahead_ms = Some(difference(node.clock_ms, own_ms));
    node.asked_us = Some(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    let report = Report {
        node,
        links: conversation.section(Section::Links).await?,
        streams: conversation.section(Section::Streams).await?,
        functions: conversation.section(Section::Functions).await?,
        groups: conversation.section(Section::Groups).await?,
        collections: conversation.section(Section::Collections).await?,
        left_off: conversation.left_off,
    };
    conversation.link.close(Success);
    Ok(report)
}

/// Questions to one node, and the room that is left for its answers.
struct Conversation {
    link: Link,
    room: usize,
    left_off: u64,
}

impl Conversation {
    /// Asks for the node itself, which is one item whatever it says.
    async fn node(&mut self) -> Result<NodeReport, Failure> {
        let page = self.page(Section::Node, 0).await?;
        let item = page.items.first().ok_or(Failure::Undecodable)?;
        record::decode(item).map_err(|_| Failure::Undecodable)
    }

    /// Asks for all items of a section.
    async fn section<T: DeserializeOwned>(&mut self, section: Section) -> Result<Vec<T>, Failure> {
        let mut all = Vec::new();
        let mut further = 0;
        for _ in 0..MAX_PAGES {
            let skip = u32::try_from(all.len()).map_err(|_| Failure::Undecodable)?;
            let page = self.page(section, skip).await?;
            let is_last = page.items.is_empty() || all.len() + page.items.len() >= MAX_ITEMS;
            for item in page.items.iter().take(MAX_ITEMS - all.len()) {
                // Ids are points on a curve: a page of them takes a while.
                if all.len() % DECODED_AT_ONCE == DECODED_AT_ONCE - 1 {
                    tokio::task::yield_now().await;
                }
                all.push(record::decode(item).map_err(|_| Failure::Undecodable)?);
            }
            let available = page.available as usize;
            further = available.saturating_sub(all.len()) as u64;
            further = further.saturating_add(page.left_off);
            if is_last || all.len() >= available {
                break;
            }
        }
        self.left_off = self.left_off.saturating_add(further);
        Ok(all)
    }

    async fn page(&mut self, section: Section, skip: u32) -> Result<Page, Failure> {
        let request = Request {
            section: section as u8,
            skip,
        };
        let question = record::encode(&request).map_err(|_| Failure::Undecodable)?;
        let link = &mut self.link;
        link.sender.queue_bytes(&question).map_err(link_failure)?;
        let sent = timeout(STEP_TIMEOUT, link.sender.flush()).await;
        sent.map_err(|_| Failure::TimedOut)?.map_err(link_failure)?;
        let frame = timeout(STEP_TIMEOUT, link.receiver.recv_bytes()).await;
        let frame = frame
            .map_err(|_| Failure::TimedOut)?
            .map_err(link_failure)?;
        let room = self.room.checked_sub(frame.len());
        self.room = room.ok_or(Failure::Undecodable)?;
        record::decode(&frame).map_err(|_| Failure::Undecodable)
    }
}

fn difference(theirs: u64, own: u64) -> i64 {
    let difference = i128::from(theirs) - i128::from(own);
    i64::try_from(difference).unwrap_or(if difference > 0 { i64::MAX } else { i64::MIN })
}

/// Failures of one attempt.
enum Failure {
    Refused(ApplicationClose),
    Link(LinkError),
    TimedOut,
    Undecodable,
}

fn link_failure(error: impl Into<LinkError>) -> Failure {
    let error = error.into();
    match error.close_reason() {
        Some(reason) => Failure::Refused(reason.clone()),
        None => Failure::Link(error),
    }
}

fn refused(reason: ApplicationClose) -> Error {
    if NotAllowed == reason || UnknownPeer == reason {
        Error::NotAllowed
    } else if TooManyRequests == reason {
        Error::TooManyRequests
    } else {
        Error::Link(LinkError::Recv(RecvError::Closed(reason)))
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(reason) => refused(reason),
            Failure::Link(error) => Self::Link(error),
            Failure::TimedOut => Self::TimedOut,
            Failure::Undecodable => Self::Undecodable,
        }
    }
}
