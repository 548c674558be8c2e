//! Names behind identifiers: the texts that identifiers were made of, for people to read.
//!
//! An identifier is a hash, and a hash does not give its text back. Where a program hands over an
//! identifier as text, the text is kept as a label beside it; nothing else depends on it.

use core::cell::RefCell;
use std::collections::HashMap;

use parking_lot::Mutex;

use super::text::is_printable;

/// Longest label, in characters; the rest is cut off.
const MAX_CHARS: usize = 64;
/// Texts that one conversion may have heard; an iterator of tags has no more.
const MAX_HEARD: usize = 1024;
/// Names of tags that a process remembers.
const MAX_TAG_NAMES: usize = 4096;

/// Bytes of an identifier. This knows no more of identifiers, which know it.
type Id = [u8; 32];

thread_local! {
    /// Texts that became digests on this thread since it began to listen; `None` while it does not.
    static HEARD: RefCell<Option<Vec<(Id, String)>>> = const { RefCell::new(None) };
}

/// Names of the tags that this process has put on its entries.
static TAG_NAMES: Mutex<Option<HashMap<Id, String>>> = Mutex::new(None);

/// A label as it is kept: bounded, and printable; `None` if nothing is left of it.
pub(crate) fn label(text: &str) -> Option<String> {
    let kept = text.trim().chars().filter(|c| is_printable(*c));
    let label: String = kept.take(MAX_CHARS).collect();
    (!label.is_empty()).then_some(label)
}

/// The last segments of a type's path, without those of its parameters: for labels.
pub(crate) fn short_type_name(name: &str) -> String {
    let mut short = String::new();
    let mut segment = String::new();
    for c in name.chars() {
        if c.is_alphanumeric() || c == '_' {
            segment.push(c);
        } else if c == ':' {
            segment.clear();
        } else {
            short.push_str(&segment);
            segment.clear();
            short.push(c);
        }
    }
    short.push_str(&segment);
    short.chars().take(MAX_CHARS).collect()
}

/// Returns whether a type is one of the language or its standard library, with all its parameters:
/// an identifier that is derived from it is likely to be derived by others as well.
pub(crate) fn is_std_type(name: &str) -> bool {
    let paths = name.split(|c: char| !(c.is_alphanumeric() || "_:".contains(c)));
    let mut named = paths.filter(|path| path.contains("::"));
    named.all(|path| {
        ["alloc::", "core::", "std::"]
            .iter()
            .any(|std| path.starts_with(std))
    })
}

/// Converts into an identifier, and keeps the text that it was made of, if it was one.
pub(crate) fn named<T: AsRef<[u8]>>(id: impl Into<T>) -> (T, Option<String>) {
    let (id, heard) = listen(|| id.into());
    let text = heard
        .into_iter()
        .rev()
        .find(|(heard, _)| heard == id.as_ref());
    (id, text.map(|(_, text)| text))
}

/// Collects tags, and remembers the names of those that were given as text.
pub(crate) fn named_tags<T>(collect: impl FnOnce() -> Vec<T>) -> Vec<T> {
    let (tags, heard) = listen(collect);
    let mut names = TAG_NAMES.lock();
    let names = names.get_or_insert_default();
    for (tag, name) in heard {
        if names.len() < MAX_TAG_NAMES {
            names.entry(tag).or_insert(name);
        }
    }
    tags
}

/// Name of a tag, if this process has put it on an entry by its name.
pub(crate) fn tag_name(tag: &Id) -> Option<String> {
    TAG_NAMES.lock().as_ref()?.get(tag).cloned()
}

/// Hears of a text that became a digest.
pub(super) fn heard(text: &str, id: &Id) {
    HEARD.with_borrow_mut(|heard| {
        if let Some(heard) = heard
            && heard.len() < MAX_HEARD
            && let Some(label) = label(text)
        {
            heard.push((*id, label));
        }
    });
}

fn listen<R>(convert: impl FnOnce() -> R) -> (R, Vec<(Id, String)>) {
    /// Ends the listening also when the conversion, which is the user's code, panics.
    struct Listening;

    impl Drop for Listening {
        fn drop(&mut self) {
            HEARD.take();
        }
    }

    HEARD.set(Some(Vec::new()));
    let listening = Listening;
    let result = convert();
    let heard = HEARD.take().unwrap_or_default();
    drop(listening);
    (result, heard)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id,
        primitives::{Digest, Tag},
    };

    #[test]
    fn a_text_is_kept_and_a_digest_has_none() {
        let (id, name) = named::<Digest>("example/orders");
        assert_eq!(
            (id, name.as_deref()),
            (id!("example/orders"), Some("example/orders"))
        );
        assert_eq!(named::<Digest>(id!("example/orders")).1, None);
        let hex = id.to_string();
        assert_eq!(named::<Digest>(hex.as_str()), (id, None), "no name");
        assert_eq!(HEARD.take(), None, "nobody listens any more");
    }

    #[test]
    fn names_of_tags_are_remembered() {
        let tags = named_tags(|| ["tag one", "tag two"].map(Tag::from).to_vec());
        assert_eq!(tag_name(tags[1].as_bytes()).as_deref(), Some("tag two"));
        assert_eq!(tag_name(id!("tag three").as_bytes()), None);
    }

    #[test]
    fn labels_are_bounded_and_printable() {
        assert_eq!(label(" a\u{1b}[31mb\n"), Some("a[31mb".to_owned()));
        assert_eq!(label("\n"), None);
        assert_eq!(
            label(&"x".repeat(1000)).map(|label| label.len()),
            Some(MAX_CHARS)
        );
    }

    #[test]
    fn types_of_the_language_are_told_from_those_of_programs() {
        use core::any::type_name;

        struct Own;
        assert!(is_std_type(type_name::<u64>()));
        assert!(is_std_type(type_name::<(Vec<[u8; 4]>, Option<String>)>()));
        assert!(!is_std_type(type_name::<Own>()));
        assert!(!is_std_type(type_name::<Vec<Own>>()));
        assert!(!is_std_type(type_name::<(u8, Own)>()));
    }

    #[test]
    fn type_names_lose_their_paths() {
        let name = "alloc::vec::Vec<(my::book::Order, core::option::Option<u8>)>";
        assert_eq!(short_type_name(name), "Vec<(Order, Option<u8>)>");
    }
}
