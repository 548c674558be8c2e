//! Entry points for fuzzing: decoders that face bytes from the network.

use std::fmt::Debug;

use serde::{Serialize, de::DeserializeOwned};

use crate::primitives::encoding;

/// One decoder.
///
/// Each layer lists its own in `TARGETS`; a new one is one more line there and one file in
/// `fuzz/src/bin`.
#[derive(Debug)]
pub struct Target {
    name: &'static str,
    run: fn(&[u8]) -> bool,
    seeds: fn() -> Vec<Vec<u8>>,
}

impl Target {
    pub(crate) const fn new(
        name: &'static str,
        run: fn(&[u8]) -> bool,
        seeds: fn() -> Vec<Vec<u8>>,
    ) -> Self {
        Self { name, run, seeds }
    }

    /// Decodes a message of this type and prints it.
    pub(crate) const fn decoding<T: DeserializeOwned + Debug>(
        name: &'static str,
        seeds: fn() -> Vec<Vec<u8>>,
    ) -> Self {
        Self::new(name, decode::<T>, seeds)
    }

    /// Name of the target.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Feeds bytes to the decoder; `true` if it took them. Panics on a fault.
    pub fn run(&self, data: &[u8]) -> bool {
        (self.run)(data)
    }

    /// Bytes that the decoder takes, to begin with.
    pub fn seeds(&self) -> Vec<Vec<u8>> {
        (self.seeds)()
    }
}

fn decode<T: DeserializeOwned + Debug>(data: &[u8]) -> bool {
    // Printing must not fail either, whatever was decoded.
    encoding::deserialize::<T>(data).is_ok_and(|message| !format!("{message:?}").is_empty())
}

/// A seed: the encoding of a message.
pub(crate) fn encoded(message: &impl Serialize) -> Vec<u8> {
    encoding::try_serialize(message)
        .expect("seeds are encodable")
        .to_vec()
}
