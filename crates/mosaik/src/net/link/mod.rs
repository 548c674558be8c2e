//! Links: framed messages on one QUIC stream, and the errors that they end with.

mod error;
mod frame;
mod receiver;
mod sender;
mod state;
mod stream;

pub(crate) use super::metrics::Violation;
pub use error::{AcceptError, CloseError, LinkError, OpenError, RecvError, SendError};
pub(crate) use frame::{
    FRAME_HEADER_BYTES, Frame, FrameBuffer, begin_frame, finish_frame, put_close,
};
pub(crate) use receiver::LinkReceiver;
pub(crate) use sender::{Closed, LinkSender};
pub(crate) use state::LinkState;
pub use stream::Protocol;
pub(crate) use stream::{Link, path_rtt};
