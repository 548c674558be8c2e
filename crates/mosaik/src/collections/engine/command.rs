//! The command that a collection's group replicates.

use core::fmt;

use crate::{
    collections_layer::engine::{
        kind::Kind,
        wire::{Reader, Writer},
    },
    primitives::{
        Bytes, Datum,
        encoding::{DecodeError, EncodeError},
    },
};

/// One operation: encoded once, at the call, and decoded once on each member.
pub(crate) struct Command<K: Kind> {
    /// Caller that waits for the outcome.
    pub(crate) request: Option<Request>,
    op: Op<K>,
}

enum Op<K: Kind> {
    Encoded(Bytes),
    Decoded(K::Op),
}

/// A caller of this operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    /// The replica that the call was made on.
    pub(crate) session: u64,
    pub(crate) number: u64,
}

/// First byte of a command.
const WITHOUT_REQUEST: u8 = 0;
const WITH_REQUEST: u8 = 1;

impl<K: Kind> Command<K> {
    pub(crate) fn new(request: Option<Request>, op: Bytes) -> Self {
        Self {
            request,
            op: Op::Encoded(op),
        }
    }

    /// The operation; `None` when it does not decode.
    pub(crate) fn into_op(self) -> Option<K::Op> {
        match self.op {
            Op::Encoded(op) => parse::<K>(&mut Reader::new(&op)),
            Op::Decoded(op) => Some(op),
        }
    }
}

fn parse<K: Kind>(op: &mut Reader<'_>) -> Option<K::Op> {
    let parsed = K::parse(op)?;
    op.is_empty().then_some(parsed)
}

impl<K: Kind> Datum for Command<K> {
    type EncodeError = EncodeError;
    type DecodeError = DecodeError;

    fn encode(&self) -> Result<Bytes, EncodeError> {
        let Op::Encoded(op) = &self.op else {
            return Err(EncodeError::WontImplement);
        };
        let mut writer = match self.request {
            None => Writer::new(WITHOUT_REQUEST),
            Some(request) => {
                let mut writer = Writer::new(WITH_REQUEST);
                writer.u64(request.session);
                writer.u64(request.number);
                writer
            }
        };
        writer.raw(op);
        Ok(writer.finish())
    }

    /// Refuses bytes that no version of this kind writes, so that the group skips the command alike
    /// on every member, counts it, and tells its caller.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let mut read = || {
            let request = match reader.u8()? {
                WITHOUT_REQUEST => None,
                WITH_REQUEST => Some(Request {
                    session: reader.u64()?,
                    number: reader.u64()?,
                }),
                _ => return None,
            };
            let op = Op::Decoded(parse::<K>(&mut reader)?);
            Some(Self { request, op })
        };
        read().ok_or(DecodeError::DeserializeBadEncoding)
    }
}

impl<K: Kind> Clone for Command<K> {
    fn clone(&self) -> Self {
        let op = match &self.op {
            Op::Encoded(op) => Op::Encoded(op.clone()),
            Op::Decoded(op) => Op::Decoded(op.clone()),
        };
        Self {
            request: self.request,
            op,
        }
    }
}

impl<K: Kind> fmt::Debug for Command<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("kind", &K::NAME)
            .finish_non_exhaustive()
    }
}
