//! Keys that are none, and the hex digits that keys are written in.

/// Reasons for which bytes or text are not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKey {
    /// The text has another length, or other characters than hex digits.
    #[error("a key of {bytes} bytes is written as exactly twice as many hex digits")]
    Hex {
        /// The size of a key.
        bytes: usize,
    },
    /// The bytes are not the encoding of a point on the curve.
    #[error("the public key is not a point on the curve")]
    Point,
    /// The secret number is zero, or not below the order of the curve.
    #[error("the secret key is zero or not below the order of the curve")]
    Scalar,
}

/// Decodes hex digits of either case, at compile time if need be; panics on anything else.
pub(super) const fn hex_or_panic<const N: usize>(input: &str) -> [u8; N] {
    let digits = input.as_bytes();
    assert!(
        digits.len() == 2 * N,
        "a key must be written as exactly two hex digits per byte"
    );
    let mut bytes = [0; N];
    let mut i = 0;
    while i < N {
        bytes[i] = nibble(digits[2 * i]) << 4 | nibble(digits[2 * i + 1]);
        i += 1;
    }
    bytes
}

pub(super) fn try_hex<const N: usize>(input: &str) -> Result<[u8; N], InvalidKey> {
    let mut bytes = [0; N];
    hex::decode_to_slice(input, &mut bytes).map_err(|_| InvalidKey::Hex { bytes: N })?;
    Ok(bytes)
}

const fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => panic!("a key must be written in hex digits"),
    }
}
