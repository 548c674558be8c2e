//! Recorded encodings: what a peer or a disk reads must change by decision only.
//!
//! Bytes are written in hex, and a byte that is repeated as `07*32`.

use std::fmt::{Debug, Write as _};

use serde::{Serialize, de::DeserializeOwned};

use super::encoding;

/// Repetitions of one byte from which on a text counts them.
const MIN_REPEATED: usize = 6;

/// Comparisons of today's encodings with recorded ones. The names say which variant of which type is
/// recorded; `tests/tidy.rs` looks for them.
#[derive(Debug, Default)]
pub(crate) struct Vectors {
    differing: String,
}

/// Compares encodings with recorded ones.
///
/// # Panics
///
/// On a difference; its text has the encodings of today, to be recorded.
pub(crate) fn check(compare: impl FnOnce(&mut Vectors)) {
    let mut vectors = Vectors::default();
    compare(&mut vectors);
    let differing = vectors.differing;
    assert!(
        differing.is_empty(),
        "encodings are not as they were recorded; today they are\n{differing}"
    );
}

impl Vectors {
    /// Compares a value, both ways.
    pub(crate) fn pin<T: Serialize + DeserializeOwned + Debug>(
        &mut self,
        name: &str,
        value: &T,
        recorded: &str,
    ) {
        self.written(name, value, recorded);
        // Not all types have an equality: a value that prints and is encoded like another one is it.
        if let Some(read) = self.read::<T>(name, recorded) {
            let (printed, expected) = (format!("{read:?}"), format!("{value:?}"));
            if printed != expected {
                self.differs(name, &format!("read as {printed}, not {expected}"));
            }
            self.written(name, &read, recorded);
        }
    }

    /// Compares a value that is sent as one type, and looks at what it is received as.
    pub(crate) fn pin_as<Received: DeserializeOwned>(
        &mut self,
        name: &str,
        value: &impl Serialize,
        recorded: &str,
        look: impl FnOnce(Received),
    ) {
        self.written(name, value, recorded);
        if let Some(read) = self.read(name, recorded) {
            look(read);
        }
    }

    /// Reads a recorded value.
    fn read<T: DeserializeOwned>(&mut self, name: &str, recorded: &str) -> Option<T> {
        encoding::deserialize(bytes(recorded))
            .inspect_err(|error| self.differs(name, &format!("unreadable: {error}")))
            .ok()
    }

    /// Compares a value that is written only.
    pub(crate) fn written(&mut self, name: &str, value: &impl Serialize, recorded: &str) {
        let encoded = encoding::try_serialize(value).unwrap();
        self.bytes(name, &encoded, recorded);
    }

    /// Compares bytes that are no encoding of a type.
    pub(crate) fn bytes(&mut self, name: &str, today: &[u8], recorded: &str) {
        if *today != bytes(recorded)[..] {
            self.differs(name, &text(today));
        }
    }

    fn differs(&mut self, name: &str, today: &str) {
        let _ = writeln!(self.differing, "{name} = {today}");
    }
}

/// Bytes of a text.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in text.split_whitespace() {
        let (word, count) = word.split_once('*').unwrap_or((word, "1"));
        let part = hex::decode(word).unwrap();
        bytes.extend(part.repeat(count.parse().unwrap()));
    }
    bytes
}

/// The text of bytes.
pub(crate) fn text(bytes: &[u8]) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut is_open = false;
    for run in bytes.chunk_by(|one, next| one == next) {
        let byte = hex::encode(&run[..1]);
        if run.len() >= MIN_REPEATED {
            words.push(format!("{byte}*{}", run.len()));
            is_open = false;
            continue;
        }
        if !is_open {
            words.push(String::new());
            is_open = true;
        }
        if let Some(word) = words.last_mut() {
            word.push_str(&byte.repeat(run.len()));
        }
    }
    words.join(" ")
}

#[test]
fn texts_of_bytes() {
    let value = [vec![1, 2], vec![7; 32], vec![0; 3]].concat();
    assert_eq!(text(&value), "0102 07*32 000000");
    assert_eq!(bytes(&text(&value)), value);
    assert_eq!(bytes(""), b"");
}
