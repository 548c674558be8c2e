//! Errors of sending a datum.

use crate::primitives::encoding::EncodeError;

/// Error of sending a datum, which is handed back wherever there was one.
///
/// Two errors are equal when they are the same variant with equal datums, except that `Encoding`
/// equals nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error<D> {
    /// The stream has ended, or this handle was closed.
    #[error("Producer is closed")]
    Closed(Option<D>),
    /// There is no room: some consumer has not taken what was sent before.
    #[error("Producer is busy")]
    Full(D),
    /// The `online_when` condition is not met, by default because there is no consumer.
    #[error("Producer is temporarily offline")]
    Offline(D),
    /// The datum has no encoding, or one above the size limit.
    ///
    /// An error of a hand-written [`Datum`](crate::Datum) becomes
    /// [`SerdeSerCustom`](EncodeError::SerdeSerCustom), its text goes to the log.
    #[error("Datum serialization error")]
    Encoding(D, #[source] EncodeError),
}

impl<D> Error<D> {
    /// The datum that was not accepted.
    pub fn into_inner(self) -> Option<D> {
        match self {
            Self::Closed(item) => item,
            Self::Full(item) | Self::Offline(item) | Self::Encoding(item, _) => Some(item),
        }
    }
}

impl<D: PartialEq> PartialEq for Error<D> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Closed(one), Self::Closed(other)) => one == other,
            (Self::Full(one), Self::Full(other)) | (Self::Offline(one), Self::Offline(other)) => {
                one == other
            }
            _ => false,
        }
    }
}

impl<D: Clone> Clone for Error<D> {
    fn clone(&self) -> Self {
        match self {
            Self::Closed(item) => Self::Closed(item.clone()),
            Self::Full(item) => Self::Full(item.clone()),
            Self::Offline(item) => Self::Offline(item.clone()),
            Self::Encoding(item, error) => Self::Encoding(item.clone(), error.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_is_by_variant_and_datum() {
        assert_eq!(Error::Full(1), Error::Full(1));
        assert_ne!(Error::Full(1), Error::Offline(1));
        assert_ne!(Error::Full(1), Error::Full(2));
        let encoding = Error::Encoding(1, EncodeError::SerdeSerCustom);
        assert_ne!(encoding, encoding.clone());
        assert_eq!(encoding.into_inner(), Some(1));
    }
}
