//! The page of groups, as programs write it.

mod handle;
mod joining;
mod machine;
mod position;
mod storage;

use mosaik::primitives::encoding;
use serde::{Serialize, de::DeserializeOwned};

/// Fails to compile for futures that borrow, or that can't be shared or sent.
fn free<F: Future + Send + Sync + 'static>(future: F) -> F {
    future
}

/// Value that arrives when this one is sent.
fn carried<T: Serialize + DeserializeOwned>(value: &T) -> T {
    encoding::deserialize(encoding::try_serialize(value).unwrap()).unwrap()
}
