//! From a datum to a frame.

use core::any::Any;
use std::cell::Cell;

use crate::{
    net::link::{begin_frame, finish_frame},
    primitives::{BytesMut, Datum, encoding::EncodeError},
};

/// A scratch buffer above this size is not kept for the next datum.
const MAX_KEPT_SCRATCH_BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: Cell<BytesMut> = Cell::default();
}

/// Encodes a datum and lends the frame, which may be taken.
///
/// The user's code runs here, under no lock.
pub(super) fn with_frame<D: Datum, R>(
    item: &D,
    max_datum_bytes: usize,
    consume: impl FnOnce(&mut BytesMut) -> R,
) -> Result<R, EncodeError> {
    // Taken out for the time being: the user's code may send from within.
    let mut frame = SCRATCH.take();
    frame.clear();
    let start = begin_frame(&mut frame);
    let encoded = item.encode_into(&mut frame).map_err(into_encode_error);
    let result = encoded.and_then(|()| {
        finish_frame(&mut frame, start, max_datum_bytes).map_err(|len| {
            tracing::debug!(
                bytes = len,
                max = max_datum_bytes,
                "datum above the size limit"
            );
            EncodeError::SerializeBufferFull
        })?;
        Ok(consume(&mut frame))
    });
    if frame.capacity() <= MAX_KEPT_SCRATCH_BYTES {
        SCRATCH.set(frame);
    }
    result
}

fn into_encode_error<E: core::error::Error + 'static>(error: E) -> EncodeError {
    match (&error as &dyn Any).downcast_ref::<EncodeError>() {
        Some(error) => error.clone(),
        None => {
            tracing::warn!(%error, "datum can't be encoded");
            EncodeError::SerdeSerCustom
        }
    }
}
