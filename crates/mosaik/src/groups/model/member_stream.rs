//! Streams between two members: a pair of frame queues over a link, or over channels between the
//! replicas of one test.

use std::pin::Pin;

use serde::{Deserialize, Serialize};
#[cfg(test)]
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::lineage::MemberId;
use crate::{
    net::{LinkReceiver, LinkSender, close::Success, link},
    primitives::Bytes,
};

/// Purpose of a stream between two members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Channel {
    /// Log entries from the leader.
    Append,
    /// The leader's offer of a snapshot.
    Snapshot,
    /// Pieces of the log or of a snapshot, from any member.
    Fetch,
    /// Commands towards the leader, with the numbers of this origin.
    Forward(MemberId),
    /// A snapshot from the leader, for a newcomer that has asked for it.
    Offer,
    /// Committed log entries from any member, for an observer.
    Follow,
}

impl Channel {
    /// True of streams that only take in what the group has anyway.
    pub(crate) const fn only_reads(self) -> bool {
        match self {
            Self::Fetch | Self::Offer | Self::Follow => true,
            Self::Append | Self::Snapshot | Self::Forward(_) => false,
        }
    }
}

/// The other side is gone, or sent something it must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer can't be reached")]
pub(crate) struct Gone;

/// Resolves when the streams with a peer end, whatever their connection says.
type End = Pin<Box<WaitForCancellationFutureOwned>>;

/// Both directions.
#[derive(Debug)]
pub(crate) struct MemberStream {
    pub(crate) tx: FrameSender,
    pub(crate) rx: FrameReceiver,
}

/// Sends frames.
#[derive(Debug)]
pub(crate) enum FrameSender {
    Link(LinkSender, Option<End>),
    #[cfg(test)]
    Channel(mpsc::Sender<Bytes>, Vec<Bytes>),
}

/// Receives frames.
#[derive(Debug)]
pub(crate) enum FrameReceiver {
    Link(LinkReceiver, Option<End>),
    #[cfg(test)]
    Channel(mpsc::Receiver<Bytes>),
}

impl MemberStream {
    pub(crate) fn over(link: link::Link, max_frame_bytes: usize) -> Self {
        let (mut sender, mut receiver) = link.split();
        sender.set_max_frame_bytes(max_frame_bytes);
        receiver.set_max_frame_bytes(max_frame_bytes);
        Self {
            tx: FrameSender::Link(sender, None),
            rx: FrameReceiver::Link(receiver, None),
        }
    }

    /// As [`over`](Self::over), until `end`: a task that sends or receives then finds the peer
    /// gone.
    pub(crate) fn until(link: link::Link, max_frame_bytes: usize, end: &CancellationToken) -> Self {
        let mut duplex = Self::over(link, max_frame_bytes);
        let ending = || Some(Box::pin(end.clone().cancelled_owned()));
        #[cfg_attr(
            not(test),
            expect(irrefutable_let_patterns, reason = "tests have another")
        )]
        if let (FrameSender::Link(_, sending), FrameReceiver::Link(_, receiving)) =
            (&mut duplex.tx, &mut duplex.rx)
        {
            (*sending, *receiving) = (ending(), ending());
        }
        duplex
    }

    #[cfg(test)]
    pub(crate) fn pair() -> (Self, Self) {
        Self::narrow_pair(256)
    }

    /// A pair that takes so many frames before they are received.
    #[cfg(test)]
    pub(crate) fn narrow_pair(frames: usize) -> (Self, Self) {
        let (a, from_a) = mpsc::channel(frames);
        let (b, from_b) = mpsc::channel(frames);
        let end = |tx, rx| Self {
            tx: FrameSender::Channel(tx, Vec::new()),
            rx: FrameReceiver::Channel(rx),
        };
        (end(a, from_b), end(b, from_a))
    }
}

impl FrameSender {
    /// Adds a frame to what the next flush sends.
    pub(crate) fn queue(&mut self, frame: &Bytes) -> Result<(), Gone> {
        match self {
            Self::Link(sender, _) => sender.queue_bytes(frame).map_err(|_| Gone),
            #[cfg(test)]
            Self::Channel(_, queued) => {
                queued.push(frame.clone());
                Ok(())
            }
        }
    }

    /// Sends what was queued. After a dropped flush nothing more can be sent.
    pub(crate) async fn flush(&mut self) -> Result<(), Gone> {
        match self {
            Self::Link(sender, end) => before(end, sender.flush()).await,
            #[cfg(test)]
            Self::Channel(sender, queued) => {
                for frame in queued.drain(..) {
                    sender.send(frame).await.map_err(|_| Gone)?;
                }
                Ok(())
            }
        }
    }

    /// Ends the direction so that what was sent still arrives; a sender that is dropped resets it.
    pub(crate) fn finish(self) {
        match self {
            Self::Link(sender, _) => sender.close(Success),
            #[cfg(test)]
            Self::Channel(..) => {}
        }
    }

    pub(crate) async fn send(&mut self, frame: &Bytes) -> Result<(), Gone> {
        self.queue(frame)?;
        self.flush().await
    }
}

impl FrameReceiver {
    /// Refuses larger frames from now on.
    pub(crate) fn set_max_frame_bytes(&mut self, max: usize) {
        match self {
            Self::Link(receiver, _) => receiver.set_max_frame_bytes(max),
            #[cfg(test)]
            Self::Channel(_) => {}
        }
    }

    /// The next frame. Nothing is lost when the future is dropped.
    pub(crate) async fn recv(&mut self) -> Result<Bytes, Gone> {
        match self {
            Self::Link(receiver, end) => before(end, receiver.recv_bytes()).await,
            #[cfg(test)]
            Self::Channel(receiver) => receiver.recv().await.ok_or(Gone),
        }
    }
}

/// Carries something out, unless the end comes first.
async fn before<T, E>(
    end: &mut Option<End>,
    doing: impl Future<Output = Result<T, E>>,
) -> Result<T, Gone> {
    let Some(end) = end else {
        return doing.await.map_err(|_| Gone);
    };
    tokio::select! {
        biased;
        done = doing => done.map_err(|_| Gone),
        () = end => Err(Gone),
    }
}
