//! The hash of keys: the same on every platform and in every process.

use core::hash::{Hash, Hasher};

use siphasher::sip::SipHasher13;

/// The hash of a key.
pub(crate) fn hash_of<Q: Hash + ?Sized>(key: &Q) -> u64 {
    let mut hasher = StableHasher(SipHasher13::new());
    key.hash(&mut hasher);
    hasher.finish()
}

/// SipHash-1-3 with a fixed key. Integers are written in one byte order and the pointer-sized ones
/// in one width, so that members of different platforms order their content alike.
///
/// Slices of integers are the exception: the standard library hands them over as the bytes that they
/// have in memory, by the same [`write`](Hasher::write) as text, so nothing here can tell that they
/// are integers. Those of `usize` and `isize` hash otherwise where pointers have 32 bits, and those of
/// all integers on big-endian platforms. The hash of the encoding would have no exceptions, but a key
/// is also looked up by a borrowed form that has none. Nothing but the order of iteration depends on
/// it: what members compare and transfer is in the order of the encoded keys.
struct StableHasher(SipHasher13);

macro_rules! integers {
    ($($write:ident: $int:ty => $wire:ty),* $(,)?) => {
        $(
            #[allow(
                clippy::cast_lossless,
                clippy::cast_sign_loss,
                clippy::cast_possible_wrap,
                reason = "any fixed width serves, as long as it is wide enough"
            )]
            fn $write(&mut self, value: $int) {
                self.0.write(&(value as $wire).to_le_bytes());
            }
        )*
    };
}

impl Hasher for StableHasher {
    fn finish(&self) -> u64 {
        self.0.finish()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    integers! {
        write_u8: u8 => u8,
        write_u16: u16 => u16,
        write_u32: u32 => u32,
        write_u64: u64 => u64,
        write_u128: u128 => u128,
        write_usize: usize => u64,
        write_i8: i8 => i8,
        write_i16: i16 => i16,
        write_i32: i32 => i32,
        write_i64: i64 => i64,
        write_i128: i128 => i128,
        write_isize: isize => i64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_pinned() {
        // A change would order the content of members of two versions differently.
        assert_eq!(hash_of(&1u64), hash_of(&1usize));
        assert_eq!(hash_of("order"), hash_of(&String::from("order")));
        assert_eq!(hash_of(&7u64), 7_364_705_619_221_056_123);
        assert_eq!(hash_of("order"), 15_491_462_245_849_445_936);
        assert_eq!(hash_of(&(1usize, 2isize)), hash_of(&(1u64, 2i64)));
        // The length of a slice is an integer too; those of integers depend on the platform.
        #[cfg(target_endian = "little")]
        {
            let slices = (hash_of(&[1u8, 2][..]), hash_of(&[1u32, 2][..]));
            assert_eq!(
                slices,
                (12_316_080_486_082_378_083, 8_121_603_564_973_576_675)
            );
        }
    }
}
