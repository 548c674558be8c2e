//! The credential itself.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::primitives::{Abbreviated, Bytes, Short, TicketClass, UniqueId};

/// Number of bytes of a credential that its debug output shows: half from each end.
const SHOWN_BYTES: usize = 8;

/// An opaque credential with a class that names its format and authorisation scheme.
///
/// Tickets are part of a node's signed catalog entry: every node of the network can read them.
/// Put nothing in a ticket that must stay secret, and bind it to the peer that carries it.
///
/// # Examples
///
/// ```
/// use mosaik::{Bytes, Ticket, id};
///
/// let ticket = Ticket::new(id!("example.pass"), Bytes::from_static(b"admit"));
/// assert_eq!(ticket.data(), b"admit");
/// assert_eq!(ticket.id(), ticket.clone().id());
/// ```
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    /// The format and authorisation scheme.
    pub class: TicketClass,
    /// The credential, up to 64 KiB.
    pub data: Bytes,
}

impl Ticket {
    /// A ticket of this class.
    pub const fn new(class: TicketClass, data: Bytes) -> Self {
        Self { class, data }
    }

    /// The identity of this ticket, derived from class and data: equal tickets have equal ids.
    pub fn id(&self) -> UniqueId {
        self.class.derive(&self.data)
    }

    /// The credential.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The size of the credential and its class.
    fn size(&self) -> Size {
        Size(self.data.len() + self.class.len())
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket({},{})", self.class, self.size())
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("class", &self.class)
            .field("data", &Abbreviated::<SHOWN_BYTES, _>(self.data()))
            .field("len", &self.data.len())
            .finish()
    }
}

impl fmt::Debug for Short<&Ticket> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("class", &Short(self.0.class))
            .field("data", &Abbreviated::<SHOWN_BYTES, _>(self.0.data()))
            .field("size", &format_args!("{}", self.0.size()))
            .finish()
    }
}

/// A number of bytes, printed in decimal units.
struct Size(usize);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
        let bytes = self.0 as u128;
        if bytes < 1000 {
            return write!(f, "{bytes} B");
        }
        let mut unit = 1000;
        let mut name = UNITS[0];
        for larger in &UNITS[1..] {
            if bytes < unit * 1000 {
                break;
            }
            unit *= 1000;
            name = larger;
        }
        let hundredths = (bytes * 100 + unit / 2) / unit;
        match hundredths % 100 {
            0 => write!(f, "{} {name}", hundredths / 100),
            fraction => write!(f, "{}.{fraction:02} {name}", hundredths / 100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id;

    fn ticket(len: usize) -> Ticket {
        Ticket::new(id!("class"), vec![0xab; len].into())
    }

    #[test]
    fn the_id_follows_class_and_content() {
        let ticket = Ticket::new(id!("class"), Bytes::from("data"));
        assert_eq!(ticket.id(), id!("class").derive("data"));
        assert_ne!(
            ticket.id(),
            Ticket::new(id!("class"), Bytes::from("date")).id()
        );
        assert_ne!(
            ticket.id(),
            Ticket::new(id!("other"), Bytes::from("data")).id()
        );
    }

    #[test]
    fn display_gives_class_and_size() {
        let class = id!("class");
        for (len, size) in [
            (5, "37 B"),
            (967, "999 B"),
            (968, "1 kB"),
            (992, "1.02 kB"),
            (2_500_000 - 32, "2.50 MB"),
        ] {
            assert_eq!(
                ticket(len).to_string(),
                format!("Ticket({class},{size})"),
                "{len}"
            );
        }
    }

    #[test]
    fn debug_abbreviates_the_credential() {
        let ticket = ticket(100);
        let debug = format!("{ticket:?}");
        assert!(
            debug.contains("data: abababab..abababab, len: 100"),
            "{debug}"
        );
        let short = format!("{:?}", Short(&ticket));
        let class = Short(id!("class")).to_string();
        assert_eq!(
            short,
            format!("Ticket {{ class: {class}, data: abababab..abababab, size: 132 B }}")
        );
    }

    #[test]
    fn serde_shape_is_class_then_data() {
        let ticket = ticket(2);
        let bytes = postcard::to_allocvec(&ticket).unwrap();
        let mut expected = id!("class").as_bytes().to_vec();
        expected.extend([2, 0xab, 0xab]);
        assert_eq!(bytes, expected);
        assert_eq!(postcard::from_bytes::<Ticket>(&bytes).unwrap(), ticket);
    }
}
