//! The bytes of operations and of transferred state.
//!
//! Numbers are little-endian and of fixed width, elements are their length (`u32`) and their own
//! encoding. An operation begins with its number, which each kind gives.

use core::ops::Bound;

use crate::primitives::{Bytes, BytesMut, Datum, encoding::EncodeError};

/// Bytes of one encoded element at most.
pub(crate) const MAX_ELEMENT_BYTES: usize = 1024 * 1024;

/// Puts an operation or an item of the state together.
#[derive(Debug, Clone)]
pub(crate) struct Writer(BytesMut);

impl Writer {
    /// Begins with a number.
    pub(crate) fn new(number: u8) -> Self {
        let mut buffer = BytesMut::with_capacity(64);
        buffer.extend_from_slice(&[number]);
        Self(buffer)
    }

    /// Begins with nothing: a part of an operation.
    pub(crate) fn empty() -> Self {
        Self(BytesMut::new())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.0.extend_from_slice(&[value]);
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// An element.
    ///
    /// # Errors
    ///
    /// When it has no encoding, or one of more than [`MAX_ELEMENT_BYTES`].
    pub(crate) fn element<T: Datum>(&mut self, element: &T) -> Result<(), EncodeError> {
        let begin = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        element
            .encode_into(&mut self.0)
            .map_err(|_| EncodeError::SerdeSerCustom)?;
        self.close(begin)
    }

    /// Bytes without their length.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Bytes that are an element's encoding already.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        let begin = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        self.0.extend_from_slice(bytes);
        self.close(begin)
    }

    /// An element or its absence.
    pub(crate) fn option<T: Datum>(&mut self, element: Option<&T>) -> Result<(), EncodeError> {
        self.u8(u8::from(element.is_some()));
        element.map_or(Ok(()), |element| self.element(element))
    }

    /// One end of a range of elements.
    pub(crate) fn bound<T: Datum>(&mut self, bound: Bound<&T>) -> Result<(), EncodeError> {
        match bound {
            Bound::Unbounded => {
                self.u8(0);
                Ok(())
            }
            Bound::Included(element) => {
                self.u8(1);
                self.element(element)
            }
            Bound::Excluded(element) => {
                self.u8(2);
                self.element(element)
            }
        }
    }

    fn close(&mut self, begin: usize) -> Result<(), EncodeError> {
        let len = self.0.len() - begin - 4;
        if len > MAX_ELEMENT_BYTES {
            return Err(EncodeError::SerializeBufferFull);
        }
        let len = u32::try_from(len).map_err(|_| EncodeError::SerializeBufferFull)?;
        self.0[begin..begin + 4].copy_from_slice(&len.to_le_bytes());
        Ok(())
    }

    pub(crate) fn finish(self) -> Bytes {
        self.0.freeze()
    }
}

/// Takes an operation or an item of the state apart; `None` where it ends too early or does not
/// decode.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        let bytes = self.take(8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    /// The encoding of an element, which is no longer than anybody writes.
    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.take(4)?;
        let len = u32::from_le_bytes(len.try_into().ok()?);
        let len = usize::try_from(len).ok()?;
        (len <= MAX_ELEMENT_BYTES).then(|| self.take(len))?
    }

    pub(crate) fn element<T: Datum>(&mut self) -> Option<Element<T>> {
        let bytes = self.bytes()?;
        Some(Element {
            value: T::decode(bytes).ok()?,
            size: bytes.len() as u64,
        })
    }

    /// An element with the print of its encoding.
    pub(crate) fn printed<T: Datum>(&mut self) -> Option<(Element<T>, Print)> {
        let mut ahead = Self(self.0);
        let print = Print::of(ahead.bytes()?);
        Some((self.element()?, print))
    }

    #[expect(
        clippy::option_option,
        reason = "the outer one is of decoding, as everywhere here"
    )]
    pub(crate) fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.u8()? {
            0 => Some(None),
            1 => Some(Some(read(self)?)),
            _ => None,
        }
    }

    /// The print of an element's encoding.
    pub(crate) fn print(&mut self) -> Option<Print> {
        self.bytes().map(Print::of)
    }

    /// A print as [`Writer::raw`] wrote it.
    pub(crate) fn raw_print(&mut self) -> Option<Print> {
        self.take(PRINT_BYTES)?.try_into().ok().map(Print)
    }

    /// One end of a range of elements.
    pub(crate) fn bound<T: Datum>(&mut self) -> Option<Bound<T>> {
        Some(match self.u8()? {
            0 => Bound::Unbounded,
            1 => Bound::Included(self.element()?.value),
            2 => Bound::Excluded(self.element()?.value),
            _ => return None,
        })
    }

    /// All the rest, as elements or pairs of them: each call of `next` must consume something.
    pub(crate) fn rest<T>(
        &mut self,
        mut next: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let mut all = Vec::new();
        while !self.is_empty() {
            all.push(next(self)?);
        }
        Some(all)
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }
}

/// A decoded element and the bytes of its encoding.
#[derive(Debug, Clone)]
pub(crate) struct Element<T> {
    pub(crate) value: T,
    pub(crate) size: u64,
}

/// Bytes of a [`Print`].
const PRINT_BYTES: usize = 16;

/// Fingerprint of an encoding, for comparison: short ones as they are, others by a digest.
///
/// Members compare the bytes that were replicated, never a new encoding of what they decoded: a
/// `HashMap` is encoded in another order by each process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Print([u8; PRINT_BYTES]);

impl Print {
    /// Last byte of a digest; a short encoding has its length there.
    const DIGEST: u8 = u8::MAX;

    pub(crate) fn of(encoding: &[u8]) -> Self {
        let mut print = [0; PRINT_BYTES];
        let (place, last) = print.split_at_mut(PRINT_BYTES - 1);
        if let Some(place) = place.get_mut(..encoding.len()) {
            place.copy_from_slice(encoding);
            last[0] = u8::try_from(encoding.len()).expect("shorter than a print");
        } else {
            place.copy_from_slice(&blake3::hash(encoding).as_bytes()[..PRINT_BYTES - 1]);
            last[0] = Self::DIGEST;
        }
        Self(print)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The encoding of a key that was decoded before; empty if it has none any more.
pub(crate) fn key_bytes<T: Datum>(key: &T) -> Bytes {
    key.encode().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_of_different_encodings_differ() {
        let long = [7; 40];
        let encodings: [&[u8]; 6] = [&[], &[0], &[0, 0], &long[..15], &long[..16], &long];
        for (n, one) in encodings.iter().enumerate() {
            for (m, other) in encodings.iter().enumerate() {
                assert_eq!(Print::of(one) == Print::of(other), n == m);
            }
        }
    }
}
