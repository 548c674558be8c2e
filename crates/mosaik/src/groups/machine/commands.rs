//! Commands on their way into the log: encoded once, in a row.
//!
//! ```text
//! ┌────────────┬──────────┬────────────┬──────────┐
//! │ length u32 │ command  │ length u32 │ command  │ …   lengths in little endian
//! └────────────┴──────────┴────────────┴──────────┘
//! ```

use crate::primitives::{Bytes, BytesMut, Datum, encoding::EncodeError};

/// The commands of one call may take this much when encoded.
pub(crate) const MAX_CALL_BYTES: usize = 32 * 1024 * 1024;

pub(crate) const LENGTH_BYTES: usize = size_of::<u32>();

/// A row ends in the middle of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed row of commands")]
pub(crate) struct Malformed;

/// Encodes commands in a row.
pub(crate) fn encode<'a, C: Datum>(
    commands: impl IntoIterator<Item = &'a C>,
) -> Result<Bytes, EncodeError> {
    let mut row = BytesMut::new();
    for command in commands {
        let start = row.len();
        row.extend_from_slice(&[0; LENGTH_BYTES]);
        command
            .encode_into(&mut row)
            .map_err(|_| EncodeError::SerdeSerCustom)?;
        let len = row.len() - start - LENGTH_BYTES;
        if row.len() > MAX_CALL_BYTES {
            return Err(EncodeError::SerializeBufferFull);
        }
        let header = u32::try_from(len).map_err(|_| EncodeError::SerializeBufferFull)?;
        row[start..start + LENGTH_BYTES].copy_from_slice(&header.to_le_bytes());
    }
    Ok(row.freeze())
}

/// Reads the commands of a row one by one, still encoded.
pub(crate) struct Row<'a>(&'a [u8]);

impl<'a> Row<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Row<'a> {
    type Item = Result<&'a [u8], Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let rest = core::mem::take(&mut self.0);
        let Some((header, rest)) = rest.split_first_chunk::<LENGTH_BYTES>() else {
            return Some(Err(Malformed));
        };
        let len = u32::from_le_bytes(*header) as usize;
        let Some((command, rest)) = rest.split_at_checked(len) else {
            return Some(Err(Malformed));
        };
        self.0 = rest;
        Some(Ok(command))
    }
}

/// The row without its first `count` commands.
pub(crate) fn skip(row: &Bytes, count: usize) -> Result<Bytes, Malformed> {
    let mut skipped = 0;
    for command in Row::new(row).take(count) {
        skipped += LENGTH_BYTES + command?.len();
    }
    Ok(row.slice(skipped..))
}

/// Returns whether the row holds exactly `count` commands.
pub(crate) fn has_exactly(row: &[u8], count: u32) -> bool {
    let mut found = 0u32;
    for command in Row::new(row) {
        if command.is_err() || found == count {
            return false;
        }
        found += 1;
    }
    found == count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows() {
        let row = encode([&"a".to_owned(), &String::new(), &"ccc".to_owned()]).unwrap();
        let read: Vec<_> = Row::new(&row)
            .map(|command| String::decode(command.unwrap()).unwrap())
            .collect();
        assert_eq!(read, ["a", "", "ccc"]);
        assert!(has_exactly(&row, 3) && !has_exactly(&row, 2) && !has_exactly(&row, 4));
        let rest = skip(&row, 2).unwrap();
        assert!(has_exactly(&rest, 1));
        assert!(has_exactly(&skip(&row, 3).unwrap(), 0));
        assert_eq!(Row::new(&row[..row.len() - 1]).last(), Some(Err(Malformed)));
        assert!(skip(&row.slice(..2), 1).is_err());
    }

    #[test]
    fn rows_are_as_they_were_recorded() {
        let row = encode([&"a".to_owned(), &"bc".to_owned()]).unwrap();
        crate::primitives::vectors::check(|v| {
            v.bytes("row of commands", &row, "02000000 0161 03000000 026263");
        });
    }

    #[test]
    fn unit_commands_take_only_their_length() {
        let row = encode([&(), &()]).unwrap();
        assert_eq!(row.len(), 8);
        assert!(has_exactly(&row, 2));
    }
}
