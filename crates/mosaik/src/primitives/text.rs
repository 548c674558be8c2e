//! Texts that peers have written: bounded, and without what controls a terminal.
//!
//! The modules are encodings for `#[serde(with = "text::…")]`. They write a text as it is, and read
//! it in a form that can be shown.

/// Longest text of a peer that is kept, in characters.
const MAX_CHARS: usize = 256;
/// Texts of one list that are kept.
const MAX_LISTED: usize = 64;

/// A text as it may be shown: without control characters, and without those that turn the direction
/// or break the line, which could make it look like another.
///
/// # Examples
///
/// ```
/// assert_eq!(mosaik::status::printable("a\u{1b}[2Jb\nc"), "a[2Jbc");
/// ```
pub fn printable(text: &str) -> String {
    text.chars().filter(|c| is_printable(*c)).collect()
}

/// Returns whether a character shows as itself.
pub(crate) fn is_printable(c: char) -> bool {
    let turns_or_breaks = matches!(c,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !turns_or_breaks
}

fn kept(text: &str) -> String {
    let shown = text.chars().filter(|c| is_printable(*c));
    shown.take(MAX_CHARS).collect()
}

/// A text.
pub(crate) mod one {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<String, D::Error> {
        String::deserialize(deserializer).map(|text| super::kept(&text))
    }
}

/// A text, or none.
pub(crate) mod optional {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[allow(clippy::ref_option, reason = "serde calls it so")]
    pub(crate) fn serialize<S: Serializer>(
        text: &Option<String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        text.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<String>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        Ok(text.map(|text| super::kept(&text)))
    }
}

/// A list of texts; further ones are passed over.
pub(crate) mod list {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        texts: &[String],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        texts.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<String>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let kept = texts.iter().take(super::MAX_LISTED);
        Ok(kept.map(|text| super::kept(text)).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Texts {
        #[serde(with = "one")]
        one: String,
        #[serde(with = "optional")]
        optional: Option<String>,
        #[serde(with = "list")]
        list: Vec<String>,
    }

    #[test]
    fn texts_of_peers_are_bounded_and_can_be_shown() {
        let hostile = format!("\u{1b}]0;x\u{7}\u{202e}\u{9b}2J\n{}", "é".repeat(70_000));
        let sent = Texts {
            one: hostile.clone(),
            optional: Some(hostile.clone()),
            list: vec![hostile; 100],
        };
        let read: Texts = postcard::from_bytes(&postcard::to_allocvec(&sent).unwrap()).unwrap();
        assert_eq!(read.list.len(), MAX_LISTED);
        for text in [&read.one, &read.optional.unwrap(), &read.list[0]] {
            assert_eq!(text.chars().count(), MAX_CHARS);
            assert!(text.starts_with("]0;x2Jé"), "{text}");
        }
    }
}
