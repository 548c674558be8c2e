//! Printed forms of entries.

use core::fmt;

use iroh::Signature;

use crate::{
    primitives::{Abbreviated, Pretty, Short},
    tickets::{PeerEntry, SignedPeerEntry},
};

/// Number of items of a set that a short form lists.
const LISTED_ITEMS: usize = 3;

impl fmt::Display for Short<&PeerEntry> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = self.0;
        write!(
            f,
            "{}@{} (tags: {}, streams: {}, functions: {}, tickets: {}, groups: {})",
            Short(entry.id()),
            Short(entry.version),
            entry.tags.len(),
            entry.streams.len(),
            entry.functions.len(),
            entry.tickets.len(),
            entry.groups.len(),
        )
    }
}

impl fmt::Display for Short<&SignedPeerEntry> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = self.0;
        write!(f, "{}@{}", Short(entry.id()), Short(entry.version))?;
        let tickets = entry.tickets.keys();
        write_some(f, "tags", entry.tags.iter())?;
        write_some(f, "streams", entry.streams.iter())?;
        write_some(f, "functions", entry.functions.iter())?;
        write_some(f, "tickets", tickets)?;
        write_some(f, "groups", entry.groups.iter())
    }
}

impl fmt::Debug for Pretty<'_, PeerEntry> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_report(f, self.0, None)
    }
}

impl fmt::Debug for Pretty<'_, SignedPeerEntry> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_report(f, self.0, Some(self.0.signature()))
    }
}

/// Writes the first items of a set, or nothing for an empty one.
fn write_some<T: AsRef<[u8]>>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    items: impl ExactSizeIterator<Item = T>,
) -> fmt::Result {
    let len = items.len();
    if len == 0 {
        return Ok(());
    }
    write!(f, " {name}: [")?;
    for (i, item) in items.take(LISTED_ITEMS).enumerate() {
        let separator = if i == 0 { "" } else { ", " };
        write!(f, "{separator}{}", Short(item))?;
    }
    if len > LISTED_ITEMS {
        write!(f, ", +{}", len - LISTED_ITEMS)?;
    }
    f.write_str("]")
}

fn write_report(
    f: &mut fmt::Formatter<'_>,
    entry: &PeerEntry,
    signature: Option<&Signature>,
) -> fmt::Result {
    let classes = entry.tickets.values().map(|ticket| ticket.class);
    let ips = entry.address.ip_addrs();
    writeln!(f, "id:        {}", entry.id())?;
    writeln!(f, "network:   {}", entry.network_id)?;
    writeln!(f, "ips:       {}", list(ips.map(ToString::to_string)))?;
    let relays = entry.address.relay_urls();
    writeln!(f, "relays:    {}", list(relays.map(ToString::to_string)))?;
    writeln!(f, "tags:      {}", Short::iter(&entry.tags))?;
    writeln!(f, "groups:    {}", Short::iter(&entry.groups))?;
    writeln!(f, "streams:   {}", Short::iter(&entry.streams))?;
    writeln!(f, "functions: {}", Short::iter(&entry.functions))?;
    writeln!(f, "tickets:   {}", Short::iter(classes))?;
    writeln!(f, "version:   {}", entry.version)?;
    write!(f, "protocol:  {}", entry.protocol_version)?;
    if let Some(signature) = signature {
        let shown = Abbreviated::<16, _>(signature.to_bytes());
        write!(f, "\nsignature: {shown}")?;
    }
    Ok(())
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ticket, id};

    fn signed() -> SignedPeerEntry {
        let secret = iroh::SecretKey::from_bytes(&[7; 32]);
        PeerEntry::new(id!("network"), secret.public())
            .add_tags(["a", "b", "c", "d"])
            .add_groups("group")
            .add_ticket(Ticket::new(id!("class"), "secret".into()))
            .signed_by(&secret)
            .unwrap()
    }

    #[test]
    fn short_forms_count_and_list() {
        let signed = signed();
        let id = Short(*signed.id());
        let version = Short(signed.version);
        assert_eq!(
            Short(&*signed).to_string(),
            format!("{id}@{version} (tags: 4, streams: 0, functions: 0, tickets: 1, groups: 1)")
        );
        let short = Short(&signed).to_string();
        assert!(
            short.starts_with(&format!("{id}@{version} tags: [")),
            "{short}"
        );
        assert!(short.contains(", +1] tickets: ["), "{short}");
    }

    #[test]
    fn the_report_shows_no_credential() {
        let signed = signed();
        let report = format!("{:?}", Pretty(&signed));
        assert_eq!(report.lines().count(), 12);
        assert!(report.contains(&signed.id().to_string()));
        assert!(!report.contains(&hex::encode("secret")));
        assert_eq!(format!("{:?}", Pretty(&*signed)).lines().count(), 11);
    }
}
