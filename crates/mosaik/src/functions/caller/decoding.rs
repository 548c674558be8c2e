//! From frames and failures to what a caller is told.

use super::{CallError, attempt::tag, search::Failure};
use crate::{
    functions_layer::wire::{TAG_BYTES, Tag},
    primitives::Datum,
};

/// Turns the frame of a reply into a result.
pub(super) fn decode<Res: Datum, E: Datum>(frame: &[u8]) -> Result<Res, CallError<E>> {
    let payload = frame.get(TAG_BYTES..).unwrap_or_default();
    match tag(frame) {
        Some(Tag::Value) => {
            Res::decode(payload).map_err(|error| CallError::Decode(Box::new(error)))
        }
        Some(Tag::Error) => match E::decode(payload) {
            Ok(error) => Err(CallError::Application(error)),
            Err(error) => Err(CallError::Decode(Box::new(error))),
        },
        Some(Tag::Proceed | Tag::Started) | None => Err(CallError::Decode("not a reply".into())),
    }
}

impl<E> From<Failure> for CallError<E> {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Timeout => Self::Timeout,
            Failure::Unavailable => Self::Unavailable,
            Failure::Rejected(close) => Self::Rejected(close),
            Failure::Transport(error) => Self::Transport(error),
            Failure::TooLarge(error) => Self::Decode(Box::new(error)),
        }
    }
}
