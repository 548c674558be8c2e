use core::time::Duration;

use chrono::DateTime;
use iroh::SecretKey;

use super::*;
use crate::{
    id,
    primitives::{encoding, vectors},
    tickets::{
        Expiration, PeerEntry, PeerEntryVersion, SignedPeerEntry, UnverifiedEntry, fuzz::entry,
    },
};

fn address(addrs: &[&str]) -> EndpointAddr {
    let peer = SecretKey::from_bytes(&[3; 32]).public();
    let addrs = addrs.iter().map(|text| match text.parse() {
        Ok(ip) => TransportAddr::Ip(ip),
        Err(_) => TransportAddr::Relay(text.parse().unwrap()),
    });
    EndpointAddr::from_parts(peer, addrs)
}

#[test]
fn recorded_encodings() {
    let addr = address(&["[::1]:4001", "127.0.0.1:4000", "https://relay.example.net"]);
    vectors::check(|v| {
        v.pin(
            "Address",
            &Address::from(&addr),
            "ed4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac8737d1 \
             03001a68747470733a2f2f72656c61792e6578616d706c652e6e65742f01007f \
             000001a01f0101 00*15 01a11f",
        );
        let relay = Transport::Relay("https://relay.example.net/".into());
        v.pin(
            "Transport::Relay",
            &relay,
            "001a68747470733a2f2f72656c61792e6578616d706c652e6e65742f",
        );
        let v4 = RawSocket::from("127.0.0.1:4000".parse::<SocketAddr>().unwrap());
        v.pin("RawSocket::V4", &v4, "007f000001a01f");
        let v6 = RawSocket::from("[::1]:4001".parse::<SocketAddr>().unwrap());
        v.pin("RawSocket::V6", &v6, "01 00*15 01a11f");
        v.pin(
            "Transport::Ip",
            &Transport::Ip(Socket(v4)),
            "01007f000001a01f",
        );
        v.pin("Socket", &Socket(v6), "01 00*15 01a11f");
    });
}

#[test]
fn recorded_entries() {
    vectors::check(|v| {
        v.pin(
            "PeerEntryVersion",
            &PeerEntryVersion::from_millis(1, 300),
            "01ac02",
        );
        v.pin(
            "Ticket",
            &Ticket::new(id!("class"), "data".into()),
            "5a2e1fa3af85bdd6b31619ba1351a47d67af3d922079b09830908618fd1dd7f7 \
             0464617461",
        );
        let entry = entry();
        v.pin(
            "PeerEntry",
            &PeerEntry::clone(&entry),
            "05312e322e33c305958be1b7a44d08e52f7a07a51dafc46be198646c86584a08 \
             532353e5e95d80d095ffbc31f4d395ffbc31ed4928c628d1c2c6eae903389059 \
             95612959273a5c63f93636c14614ac8737d103001a68747470733a2f2f72656c \
             61792e6578616d706c652e6e65742f01007f000001a01f0101 00*15 \
             01a11f0210e5cf3d3c8a4f9f3468c8cc58eea84892a22fdadbc1acb224101900 \
             44c1d55317762fddd969a453925d65717ac3eea21320b66b54342fde15128d6c \
             af21215f01d2058f659e36814af9ad518294946b21edf778c01a02fc1d9a9c67 \
             963222c8ca01bc21937db9342b98ffe30893130fa4ea37b4f4fea72a51d06a2b \
             732820050d88014d167f04fb1ec2a23989900293fc1ba3bdf0a1bab236ad0461 \
             15c5b54f5bf121015a2e1fa3af85bdd6b31619ba1351a47d67af3d922079b098 \
             30908618fd1dd7f70464617461",
        );
        v.pin(
            "SignedPeerEntry",
            &entry,
            "05312e322e33c305958be1b7a44d08e52f7a07a51dafc46be198646c86584a08 \
             532353e5e95d80d095ffbc31f4d395ffbc31ed4928c628d1c2c6eae903389059 \
             95612959273a5c63f93636c14614ac8737d103001a68747470733a2f2f72656c \
             61792e6578616d706c652e6e65742f01007f000001a01f0101 00*15 \
             01a11f0210e5cf3d3c8a4f9f3468c8cc58eea84892a22fdadbc1acb224101900 \
             44c1d55317762fddd969a453925d65717ac3eea21320b66b54342fde15128d6c \
             af21215f01d2058f659e36814af9ad518294946b21edf778c01a02fc1d9a9c67 \
             963222c8ca01bc21937db9342b98ffe30893130fa4ea37b4f4fea72a51d06a2b \
             732820050d88014d167f04fb1ec2a23989900293fc1ba3bdf0a1bab236ad0461 \
             15c5b54f5bf121015a2e1fa3af85bdd6b31619ba1351a47d67af3d922079b098 \
             30908618fd1dd7f704646174611776770130f0048099e67c620a253e410bfd0d \
             a4784202dda23cb4514177ae38bb7feb162072d8209438df833830670a11f5c2 \
             cecc40006fc5dac16d51eeda00",
        );
        v.pin_as(
            "UnverifiedEntry",
            &entry,
            "05312e322e33c305958be1b7a44d08e52f7a07a51dafc46be198646c86584a08 \
             532353e5e95d80d095ffbc31f4d395ffbc31ed4928c628d1c2c6eae903389059 \
             95612959273a5c63f93636c14614ac8737d103001a68747470733a2f2f72656c \
             61792e6578616d706c652e6e65742f01007f000001a01f0101 00*15 \
             01a11f0210e5cf3d3c8a4f9f3468c8cc58eea84892a22fdadbc1acb224101900 \
             44c1d55317762fddd969a453925d65717ac3eea21320b66b54342fde15128d6c \
             af21215f01d2058f659e36814af9ad518294946b21edf778c01a02fc1d9a9c67 \
             963222c8ca01bc21937db9342b98ffe30893130fa4ea37b4f4fea72a51d06a2b \
             732820050d88014d167f04fb1ec2a23989900293fc1ba3bdf0a1bab236ad0461 \
             15c5b54f5bf121015a2e1fa3af85bdd6b31619ba1351a47d67af3d922079b098 \
             30908618fd1dd7f704646174611776770130f0048099e67c620a253e410bfd0d \
             a4784202dda23cb4514177ae38bb7feb162072d8209438df833830670a11f5c2 \
             cecc40006fc5dac16d51eeda00",
            |read: UnverifiedEntry| {
                assert_eq!(read.verify(), Some(entry.clone()));
            },
        );
        // Hashed, and signed.
        v.bytes(
            "Content",
            entry.content().as_bytes(),
            "0713567ab8bf8d6e5644fcc5aff84bc09884e30e5b9fdc74cf267f99fbd983ca",
        );
        v.bytes(
            "digest of an entry",
            entry.digest().as_bytes(),
            "eb0321c8f2b196501843f9f466f14ff3076bdd16d83ccdaf215884d1719e4225",
        );
        // For those who send it in messages of their own.
        v.pin("Expiration::Never", &Expiration::Never, "00");
        let moment = DateTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_001);
        v.pin(
            "Expiration::At",
            &Expiration::At(moment),
            "0118323032332d31312d31345432323a31333a32302e3030315a",
        );
    });
}

/// The transport's own types had these bytes before.
#[test]
fn addresses_are_encoded_as_the_transport_does() {
    let addr = address(&[
        "https://relay.example.net",
        "http://a.example.net",
        "[::1]:4001",
        "[::1]:80",
        "127.0.0.1:4000",
        "10.0.0.1:65535",
    ]);
    let ours = encoding::try_serialize(&Address::from(&addr)).unwrap();
    assert_eq!(ours, encoding::try_serialize(&addr).unwrap());
    let version = "1.2.3-alpha.1+build".parse::<Version>().unwrap();
    let mut entry = PeerEntry::clone(&entry());
    entry.protocol_version = version.clone();
    let ours = encoding::try_serialize(&entry).unwrap();
    let theirs = encoding::try_serialize(&version).unwrap();
    assert!(ours.starts_with(&theirs));
    assert_eq!(encoding::deserialize::<PeerEntry>(&ours).unwrap(), entry);
    let text = serde_json::to_string(&entry).unwrap();
    assert!(text.contains("\"1.2.3-alpha.1+build\""), "{text}");
    assert!(text.contains("{\"Ip\":\"127.0.0.1:4000\"}"), "{text}");
}

#[test]
fn what_others_can_not_read_is_not_written() {
    let mut entry = PeerEntry::clone(&entry());
    let without = encoding::try_serialize(&entry).unwrap();
    let digest = entry.digest();
    let custom = TransportAddr::Custom("7_abcd".parse().unwrap());
    entry.address.addrs.insert(custom);
    assert_eq!(encoding::try_serialize(&entry).unwrap(), without);
    assert_eq!(entry.digest(), digest);
}

#[test]
fn unordered_addresses_and_false_versions_are_refused() {
    let addr = address(&["[::1]:4001", "127.0.0.1:4000"]);
    let mut raw = Address::from(&addr);
    raw.addrs.reverse();
    let refused = |bytes: &[u8]| {
        #[derive(Debug, Deserialize)]
        struct Field(#[serde(with = "address")] EndpointAddr);
        encoding::deserialize::<Field>(bytes)
            .map(|field| field.0)
            .is_err()
    };
    assert!(refused(&encoding::try_serialize(&raw).unwrap()));
    raw.addrs.reverse();
    assert!(!refused(&encoding::try_serialize(&raw).unwrap()));
    raw.addrs
        .push(Transport::Ip(Socket(RawSocket::V6([0xff; 16], 1))));
    raw.addrs
        .push(Transport::Ip(Socket(RawSocket::V6([0xff; 16], 1))));
    assert!(refused(&encoding::try_serialize(&raw).unwrap()));

    let signed = encoding::try_serialize(&entry()).unwrap();
    assert_eq!(signed[..6], *b"\x051.2.3");
    let mut other = signed.to_vec();
    other[2] = b'x';
    assert!(encoding::deserialize::<SignedPeerEntry>(&other).is_err());
}
