//! Proofs that both sides know the group's key, and that a writer knows the write key.
//!
//! A proof is an HMAC-SHA256 under the key, over the connection's exported TLS secret, the group,
//! both identities and the prover's role. It is worthless on any other connection. Proofs of the
//! two kinds of key have roles of their own, so that neither passes for the other where a program
//! takes one secret for both.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{
    groups::{GroupKey, WriteKey},
    net::{Link, exporter_secret},
    primitives::{Digest, GroupId, PeerId},
};

const EXPORTER_LABEL: &[u8] = b"EXPORTER-mosaik-groups-bond-v1";

/// Statement that the two ends of one connection prove to each other.
pub(crate) struct Challenge {
    secret: [u8; 32],
    group: GroupId,
    dialler: PeerId,
    acceptor: PeerId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Dialler,
    Acceptor,
}

impl Role {
    const fn of_member(self) -> [u8; 8] {
        match self {
            Self::Dialler => *b"dialler ",
            Self::Acceptor => *b"acceptor",
        }
    }

    const fn of_writer(self) -> [u8; 8] {
        match self {
            Self::Dialler => *b"writer d",
            Self::Acceptor => *b"writer a",
        }
    }
}

impl Challenge {
    /// `None` when the connection has no secret to export any more.
    pub(crate) fn new(
        link: &Link,
        group: GroupId,
        dialler: PeerId,
        acceptor: PeerId,
    ) -> Option<Self> {
        Some(Self {
            secret: exporter_secret(link.connection(), EXPORTER_LABEL)?,
            group,
            dialler,
            acceptor,
        })
    }

    fn mac(&self, secret: &Digest, role: [u8; 8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
            .expect("HMAC takes keys of any length");
        mac.update(&role);
        mac.update(&self.secret);
        mac.update(self.group.as_bytes());
        mac.update(self.dialler.as_bytes());
        mac.update(self.acceptor.as_bytes());
        mac
    }

    pub(crate) fn prove(&self, key: &GroupKey, role: Role) -> [u8; 32] {
        let mac = self.mac(key.secret(), role.of_member());
        mac.finalize().into_bytes().into()
    }

    /// Checks the other side's proof, in constant time.
    pub(crate) fn verify(&self, key: &GroupKey, role: Role, proof: &[u8; 32]) -> bool {
        let mac = self.mac(key.secret(), role.of_member());
        mac.verify_slice(proof).is_ok()
    }

    /// Proves that this side may write.
    pub(crate) fn prove_write(&self, key: &WriteKey, role: Role) -> [u8; 32] {
        let mac = self.mac(key.secret(), role.of_writer());
        mac.finalize().into_bytes().into()
    }

    /// Checks that the other side may write, in constant time.
    pub(crate) fn verify_write(&self, key: &WriteKey, role: Role, proof: &[u8; 32]) -> bool {
        let mac = self.mac(key.secret(), role.of_writer());
        mac.verify_slice(proof).is_ok()
    }

    /// The id of the bond: equal on both ends, and never the same twice.
    pub(crate) fn bond_id(&self, dialler_nonce: &[u8; 16], acceptor_nonce: &[u8; 16]) -> Digest {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        hasher
            .update(self.group.as_bytes())
            .update(dialler_nonce)
            .update(acceptor_nonce);
        Digest::from_hasher(&hasher)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::vectors;

    fn peer() -> PeerId {
        iroh::SecretKey::from_bytes(&rand::random()).public()
    }

    /// Other proofs would part members of two versions.
    #[test]
    fn proofs_are_as_they_were_recorded() {
        let peer = |byte| iroh::SecretKey::from_bytes(&[byte; 32]).public();
        let challenge = Challenge {
            secret: [7; 32],
            group: Digest::from_bytes([8; 32]),
            dialler: peer(1),
            acceptor: peer(2),
        };
        let key = GroupKey::new(Digest::from_bytes([9; 32]));
        let write_key = WriteKey::new(Digest::from_bytes([9; 32]));
        vectors::check(|v| {
            v.bytes(
                "proof of a dialler",
                &challenge.prove(&key, Role::Dialler),
                "2cb602fffe2f1a5afa3859fc427263111dd714120db0b6ded6e825a7455768b7",
            );
            v.bytes(
                "proof of an acceptor",
                &challenge.prove(&key, Role::Acceptor),
                "b561e6a039c91c9786e9559ef8ad66687e4491d2d933213f484c9f40ea03f48a",
            );
            let proof = challenge.prove_write(&write_key, Role::Dialler);
            v.bytes(
                "proof of a writer that dials",
                &proof,
                "69407fc33de05eb9ebf0eaf85add2a8e44ce8be8c4de7e2b7520ff6460d60312",
            );
            let proof = challenge.prove_write(&write_key, Role::Acceptor);
            v.bytes(
                "proof of a writer that accepts",
                &proof,
                "43ac203c433d8b82375d73274df3e163896260b7fa9b5392667bb36fe8540a00",
            );
            let id = challenge.bond_id(&[1; 16], &[2; 16]);
            v.bytes(
                "id of a bond",
                id.as_bytes(),
                "33097d902ac753fc64f4e68584edb78c0200e15779a64a8b4cc8f59544817b12",
            );
        });
    }

    #[test]
    fn a_proof_holds_for_one_key_role_and_connection_only() {
        let (key, other) = (GroupKey::random(), GroupKey::random());
        let mut challenge = Challenge {
            secret: [7; 32],
            group: Digest::random(),
            dialler: peer(),
            acceptor: peer(),
        };
        let proof = challenge.prove(&key, Role::Dialler);
        assert!(challenge.verify(&key, Role::Dialler, &proof));
        assert!(!challenge.verify(&key, Role::Acceptor, &proof));
        assert!(!challenge.verify(&other, Role::Dialler, &proof));
        assert_ne!(
            challenge.bond_id(&[0; 16], &[1; 16]),
            challenge.bond_id(&[1; 16], &[0; 16])
        );
        challenge.secret = [8; 32];
        assert!(!challenge.verify(&key, Role::Dialler, &proof));
    }

    #[test]
    fn a_proof_of_a_write_key_holds_for_one_key_role_peer_and_connection_only() {
        let secret = Digest::random();
        let (key, other) = (WriteKey::new(secret), WriteKey::from(Digest::random()));
        let mut challenge = Challenge {
            secret: [7; 32],
            group: Digest::random(),
            dialler: peer(),
            acceptor: peer(),
        };
        let proof = challenge.prove_write(&key, Role::Dialler);
        assert!(challenge.verify_write(&key, Role::Dialler, &proof));
        assert!(!challenge.verify_write(&key, Role::Acceptor, &proof));
        assert!(!challenge.verify_write(&other, Role::Dialler, &proof));
        let same = GroupKey::new(secret);
        assert!(
            !challenge.verify(&same, Role::Dialler, &proof),
            "the same secret for both keys proves nothing about the other"
        );
        let member = challenge.prove(&same, Role::Dialler);
        assert!(!challenge.verify_write(&key, Role::Dialler, &member));
        let (dialler, group) = (challenge.dialler, challenge.group);
        challenge.dialler = peer();
        assert!(!challenge.verify_write(&key, Role::Dialler, &proof));
        (challenge.dialler, challenge.group) = (dialler, Digest::random());
        assert!(!challenge.verify_write(&key, Role::Dialler, &proof));
        (challenge.group, challenge.secret) = (group, [8; 32]);
        assert!(!challenge.verify_write(&key, Role::Dialler, &proof));
    }
}
