use super::*;
use crate::{
    groups::model::{lineage::Ancestry, member_info::Willingness},
    primitives::{encoding, vectors},
    tickets::fuzz::entry,
};

const A: MemberId = MemberId::sample(1);
const B: MemberId = MemberId::sample(2);
const LINEAGE: Lineage = Lineage::from_bytes([8; 32]);

fn standing() -> LineageStanding {
    LineageStanding {
        id: LINEAGE,
        ancestry: Ancestry::default(),
        committed: 300,
        last: None,
        alive: true,
        leading: true,
    }
}

fn info() -> MemberInfo {
    MemberInfo {
        member: A,
        willingness: Willingness::Normal,
        catching_up: false,
        lineage: Some(standing()),
        feeds: None,
    }
}

fn introduction(write_proof: Option<[u8; 32]>) -> Introduction {
    Introduction {
        entry: entry(),
        session: 300,
        standing: info(),
        write_proof,
    }
}

#[test]
fn recorded_handshakes() {
    let group = GroupId::from_bytes([7; 32]);
    vectors::check(|v| {
        let bond = Opening::Bond {
            group,
            nonce: [1; 16],
            proof: [2; 32],
        };
        v.pin("Opening::Bond", &bond, "00 07*32 01*16 02*32");
        let channel = Opening::Channel {
            group,
            bond: Digest::from_bytes([3; 32]),
            lineage: LINEAGE,
            from: A,
            to: B,
            channel: Channel::Append,
        };
        v.pin(
            "Opening::Channel",
            &channel,
            "01 07*32 03*32 08*32 01*32 b524 02*32 b62400",
        );
        v.pin("Opening::KeepAlive", &Opening::KeepAlive, "02");
        v.pin(
            "Introduction",
            &introduction(None),
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
             cecc40006fc5dac16d51eeda00ac02 01*32 b524000001 08*32 \
             00ac020001010000",
        );
        let welcome = Welcome {
            nonce: [1; 16],
            proof: [2; 32],
            introduction: introduction(Some([3; 32])),
        };
        v.pin(
            "Welcome",
            &welcome,
            "01*16 02*32 \
             05312e322e33c305958be1b7a44d08e52f7a07a51dafc46be198646c86584a08 \
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
             cecc40006fc5dac16d51eeda00ac02 01*32 b524000001 08*32 \
             00ac020001010001 03*32",
        );
        v.pin("Established", &Established, "");
    });
}

#[test]
fn recorded_messages() {
    vectors::check(|v| {
        let message = Control::MemberInfo {
            number: 300,
            standing: info(),
        };
        v.pin(
            "Control::MemberInfo",
            &message,
            "00ac02 01*32 b524000001 08*32 00ac0200010100",
        );
        v.pin(
            "Control::Entry",
            &Control::Entry(Box::new(entry())),
            "0105312e322e33c305958be1b7a44d08e52f7a07a51dafc46be198646c86584a \
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
             cecc40006fc5dac16d51eeda00",
        );
        v.pin(
            "Control::Roster",
            &Control::Roster(vec![*entry().id()]),
            "0201ed4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac8737d1",
        );
        let message = Control::Ask {
            id: 300,
            lineage: LINEAGE,
            from: A,
            to: B,
            request: Bytes::from_static(b"request"),
        };
        v.pin(
            "Control::Ask",
            &message,
            "03ac02 08*32 01*32 b524 02*32 b6240772657175657374",
        );
        let message = Control::Answer {
            id: 300,
            response: Some(Bytes::from_static(b"answer")),
        };
        v.pin("Control::Answer", &message, "04ac02 0106616e73776572");
        v.pin("Control::Leaving", &Control::Leaving(A), "05 01*32 b524");
        v.pin("Control::Removed", &Control::Removed(A), "06 01*32 b524");
        v.pin(
            "Control::Rival",
            &Control::Rival(standing()),
            "07 08*32 00ac02000101",
        );
        let message = Control::Dissolved {
            lineage: LINEAGE,
            term: 300,
            winner: standing(),
        };
        v.pin(
            "Control::Dissolved",
            &message,
            "08*33 ac02 08*32 00ac02000101",
        );
    });
}

#[test]
fn a_roster_of_more_than_anybody_sends_is_refused() {
    let decodes = |count: usize| {
        let roster = Control::Roster(vec![*entry().id(); count]);
        encoding::deserialize::<Control>(encoding::try_serialize(&roster).unwrap()).is_ok()
    };
    assert!(decodes(MAX_ROSTER) && !decodes(MAX_ROSTER + 1));
}
