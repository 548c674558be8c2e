//! Identifiers that are computed while the declaring crate is compiled.

/// The digest that `Digest::from(text)` yields at run time.
pub(crate) fn digest_of(text: &str) -> [u8; 32] {
    blake3::Hash::from_hex(text)
        .unwrap_or_else(|_| blake3::hash(text.as_bytes()))
        .into()
}

#[cfg(test)]
mod tests {
    use super::digest_of;

    #[test]
    fn hex_of_a_digest_is_decoded_in_either_case() {
        assert_eq!(digest_of(&"ab".repeat(32)), [0xab; 32]);
        assert_eq!(digest_of(&"AB".repeat(32)), [0xab; 32]);
    }

    #[test]
    fn other_text_is_hashed() {
        assert_eq!(digest_of("orders"), *blake3::hash(b"orders").as_bytes());
        let short = "ab".repeat(31);
        assert_eq!(
            digest_of(&short),
            *blake3::hash(short.as_bytes()).as_bytes()
        );
    }
}
