use super::*;
use crate::{
    primitives::vectors,
    tickets::{SignedPeerEntry, UnverifiedEntry, fuzz::entry},
};

/// As it is sent; what is received holds an entry that is not verified yet.
type Sent = SignedPeerEntry;
type Received = UnverifiedEntry;

const VERSION: PeerEntryVersion = PeerEntryVersion::from_millis(1, 300);

fn secret() -> SecretKey {
    SecretKey::from_bytes(&[3; 32])
}

fn goodbye() -> Goodbye {
    Goodbye::new(NetworkId::from_bytes([4; 32]), VERSION, 7, &secret())
}

fn ranges() -> Vec<Range> {
    let peer = secret().public();
    vec![
        Range {
            from: [0; 32],
            to: Some(*peer.as_bytes()),
            summary: Summary::Fingerprint { count: 3, sum: 300 },
        },
        Range {
            from: *peer.as_bytes(),
            to: None,
            summary: Summary::List(vec![(peer, VERSION)]),
        },
    ]
}

#[test]
fn recorded_announcements() {
    let peer = secret().public();
    let messages = [
        (
            "Announcement::Heartbeat",
            Announcement::<Sent>::Heartbeat {
                stamp_ms: 300,
                peer,
                version: VERSION,
                content: Digest::from_bytes([5; 32]),
                signature: Signature::from_bytes(&[6; 64]),
            },
            "01ac02ed4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac \
             8737d101ac02 05*32 06*64",
        ),
        (
            "Announcement::Departure",
            Announcement::Departure(goodbye()),
            "02ed4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac8737 \
             d1 04*32 \
             01ac020733ff9d78fa162a03e97d4f03ac2f0b46b46aaa2cf73e5ca5ab39a80f \
             e65e68083858d7387f4fbfaa3ff1a28209cdad93a0ebc28a60a4963140fcfd1b \
             7862ba02",
        ),
        (
            "Announcement::Suspicion",
            Announcement::Suspicion {
                peer,
                version: VERSION,
            },
            "03ed4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac8737d101ac02",
        ),
    ];
    vectors::check(|v| {
        let message = Announcement::Entry {
            stamp_ms: 300,
            entry: entry(),
        };
        v.pin_as(
            "Announcement::Entry",
            &message,
            "00ac0205312e322e33c305958be1b7a44d08e52f7a07a51dafc46be198646c86 \
             584a08532353e5e95d80d095ffbc31f4d395ffbc31ed4928c628d1c2c6eae903 \
             38905995612959273a5c63f93636c14614ac8737d103001a68747470733a2f2f \
             72656c61792e6578616d706c652e6e65742f01007f000001a01f0101 00*15 \
             01a11f0210e5cf3d3c8a4f9f3468c8cc58eea84892a22fdadbc1acb224101900 \
             44c1d55317762fddd969a453925d65717ac3eea21320b66b54342fde15128d6c \
             af21215f01d2058f659e36814af9ad518294946b21edf778c01a02fc1d9a9c67 \
             963222c8ca01bc21937db9342b98ffe30893130fa4ea37b4f4fea72a51d06a2b \
             732820050d88014d167f04fb1ec2a23989900293fc1ba3bdf0a1bab236ad0461 \
             15c5b54f5bf121015a2e1fa3af85bdd6b31619ba1351a47d67af3d922079b098 \
             30908618fd1dd7f704646174611776770130f0048099e67c620a253e410bfd0d \
             a4784202dda23cb4514177ae38bb7feb162072d8209438df833830670a11f5c2 \
             cecc40006fc5dac16d51eeda00",
            |read| {
                let Announcement::<Received>::Entry {
                    stamp_ms,
                    entry: read,
                } = read
                else {
                    panic!("{read:?}");
                };
                assert_eq!((stamp_ms, read.verify()), (300, Some(entry())));
            },
        );
        for (name, message, recorded) in &messages {
            v.pin_as(name, message, recorded, |read: Announcement<Received>| {
                assert_eq!(format!("{read:?}"), format!("{message:?}"));
            });
        }
        v.pin(
            "Goodbye",
            &goodbye(),
            "ed4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac8737d1 \
             04*32 \
             01ac020733ff9d78fa162a03e97d4f03ac2f0b46b46aaa2cf73e5ca5ab39a80f \
             e65e68083858d7387f4fbfaa3ff1a28209cdad93a0ebc28a60a4963140fcfd1b \
             7862ba02",
        );
        let signed = Goodbye::message(&goodbye().network, VERSION, 7);
        v.bytes(
            "message that a goodbye signs",
            &signed,
            "6d6f7361696b20646973636f7665727920676f6f64627965207369676e617475 \
             726520763100 04*32 01 00*7 2c01 00*6 07 00*7",
        );
    });
    assert!(goodbye().is_signed());
}

#[test]
fn recorded_syncs() {
    let peer = secret().public();
    let turn = SyncTurn::<Sent> {
        ranges: ranges(),
        want: vec![peer],
        entries: vec![entry()],
        departed: vec![(peer, VERSION)],
    };
    vectors::check(|v| {
        let [first, last] = <[Range; 2]>::try_from(ranges()).unwrap();
        v.pin("Summary::Fingerprint", &first.summary, "0003ac02");
        v.pin(
            "Summary::List",
            &last.summary,
            "0101ed4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac87 \
             37d101ac02",
        );
        v.pin(
            "Range",
            &first,
            "00*32 \
             01ed4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac8737 \
             d10003ac02",
        );
        v.pin(
            "Range (the last)",
            &last,
            "ed4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac8737d1 \
             000101ed4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac \
             8737d101ac02",
        );
        v.pin_as(
            "SyncTurn",
            &turn,
            "02 00*32 \
             01ed4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac8737 \
             d10003ac02ed4928c628d1c2c6eae90338905995612959273a5c63f93636c146 \
             14ac8737d1000101ed4928c628d1c2c6eae90338905995612959273a5c63f936 \
             36c14614ac8737d101ac0201ed4928c628d1c2c6eae90338905995612959273a \
             5c63f93636c14614ac8737d10105312e322e33c305958be1b7a44d08e52f7a07 \
             a51dafc46be198646c86584a08532353e5e95d80d095ffbc31f4d395ffbc31ed \
             4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac8737d103 \
             001a68747470733a2f2f72656c61792e6578616d706c652e6e65742f01007f00 \
             0001a01f0101 00*15 \
             01a11f0210e5cf3d3c8a4f9f3468c8cc58eea84892a22fdadbc1acb224101900 \
             44c1d55317762fddd969a453925d65717ac3eea21320b66b54342fde15128d6c \
             af21215f01d2058f659e36814af9ad518294946b21edf778c01a02fc1d9a9c67 \
             963222c8ca01bc21937db9342b98ffe30893130fa4ea37b4f4fea72a51d06a2b \
             732820050d88014d167f04fb1ec2a23989900293fc1ba3bdf0a1bab236ad0461 \
             15c5b54f5bf121015a2e1fa3af85bdd6b31619ba1351a47d67af3d922079b098 \
             30908618fd1dd7f704646174611776770130f0048099e67c620a253e410bfd0d \
             a4784202dda23cb4514177ae38bb7feb162072d8209438df833830670a11f5c2 \
             cecc40006fc5dac16d51eeda0001ed4928c628d1c2c6eae90338905995612959 \
             273a5c63f93636c14614ac8737d101ac02",
            |read: SyncTurn<Received>| {
                assert_eq!(read.ranges, turn.ranges);
                assert_eq!(
                    (read.want, read.departed),
                    (vec![peer], vec![(peer, VERSION)])
                );
                assert_eq!(read.entries.len(), 1);
            },
        );
        let empty = SyncTurn::<Sent>::empty();
        v.pin_as(
            "SyncTurn (empty)",
            &empty,
            "00000000",
            |read: SyncTurn<Received>| {
                assert!(read.is_empty());
            },
        );
    });
}

#[test]
fn recorded_pings() {
    let peer = secret().public();
    let requests = [
        ("PingRequest::Ping", PingRequest::<Sent>::Ping, "00"),
        (
            "PingRequest::Probe",
            PingRequest::Probe { fingerprint: 300 },
            "01ac02",
        ),
        (
            "PingRequest::ProbeFor",
            PingRequest::ProbeFor { peer },
            "02ed4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac8737d1",
        ),
        (
            "PingRequest::Leave",
            PingRequest::Leave(goodbye()),
            "04ed4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac8737 \
             d1 04*32 \
             01ac020733ff9d78fa162a03e97d4f03ac2f0b46b46aaa2cf73e5ca5ab39a80f \
             e65e68083858d7387f4fbfaa3ff1a28209cdad93a0ebc28a60a4963140fcfd1b \
             7862ba02",
        ),
    ];
    let alive = PingReply::Alive {
        fingerprint: 300,
        suspected: Some(VERSION),
    };
    let replies = [
        ("PingReply::Alive", alive, "01ac020101ac02"),
        (
            "PingReply::Reached",
            PingReply::<Sent>::Reached(true),
            "0201",
        ),
    ];
    vectors::check(|v| {
        for (name, message, recorded) in &requests {
            v.pin_as(name, message, recorded, |read: PingRequest<Received>| {
                assert_eq!(format!("{read:?}"), format!("{message:?}"));
            });
        }
        let push = PingRequest::Push { entry: entry() };
        v.pin_as("PingRequest::Push", &push, "0305312e322e33c305958be1b7a44d08e52f7a07a51dafc46be198646c86584a \
             08532353e5e95d80d095ffbc31f4d395ffbc31ed4928c628d1c2c6eae9033890 \
             5995612959273a5c63f93636c14614ac8737d103001a68747470733a2f2f7265 \
             6c61792e6578616d706c652e6e65742f01007f000001a01f0101 00*15 \
             01a11f0210e5cf3d3c8a4f9f3468c8cc58eea84892a22fdadbc1acb224101900 \
             44c1d55317762fddd969a453925d65717ac3eea21320b66b54342fde15128d6c \
             af21215f01d2058f659e36814af9ad518294946b21edf778c01a02fc1d9a9c67 \
             963222c8ca01bc21937db9342b98ffe30893130fa4ea37b4f4fea72a51d06a2b \
             732820050d88014d167f04fb1ec2a23989900293fc1ba3bdf0a1bab236ad0461 \
             15c5b54f5bf121015a2e1fa3af85bdd6b31619ba1351a47d67af3d922079b098 \
             30908618fd1dd7f704646174611776770130f0048099e67c620a253e410bfd0d \
             a4784202dda23cb4514177ae38bb7feb162072d8209438df833830670a11f5c2 \
             cecc40006fc5dac16d51eeda00", |read| {
            assert!(
                matches!(read, PingRequest::<Received>::Push { entry } if entry.entry().tags().len() == 2)
            );
        });
        for (name, message, recorded) in &replies {
            v.pin_as(name, message, recorded, |read: PingReply<Received>| {
                assert_eq!(format!("{read:?}"), format!("{message:?}"));
            });
        }
        let reply = PingReply::Entry(entry());
        v.pin_as("PingReply::Entry", &reply, "0005312e322e33c305958be1b7a44d08e52f7a07a51dafc46be198646c86584a \
             08532353e5e95d80d095ffbc31f4d395ffbc31ed4928c628d1c2c6eae9033890 \
             5995612959273a5c63f93636c14614ac8737d103001a68747470733a2f2f7265 \
             6c61792e6578616d706c652e6e65742f01007f000001a01f0101 00*15 \
             01a11f0210e5cf3d3c8a4f9f3468c8cc58eea84892a22fdadbc1acb224101900 \
             44c1d55317762fddd969a453925d65717ac3eea21320b66b54342fde15128d6c \
             af21215f01d2058f659e36814af9ad518294946b21edf778c01a02fc1d9a9c67 \
             963222c8ca01bc21937db9342b98ffe30893130fa4ea37b4f4fea72a51d06a2b \
             732820050d88014d167f04fb1ec2a23989900293fc1ba3bdf0a1bab236ad0461 \
             15c5b54f5bf121015a2e1fa3af85bdd6b31619ba1351a47d67af3d922079b098 \
             30908618fd1dd7f704646174611776770130f0048099e67c620a253e410bfd0d \
             a4784202dda23cb4514177ae38bb7feb162072d8209438df833830670a11f5c2 \
             cecc40006fc5dac16d51eeda00", |read| {
            assert!(
                matches!(read, PingReply::<Received>::Entry(entry) if entry.entry().tags().len() == 2)
            );
        });
    });
}
