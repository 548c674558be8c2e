//! `OrderedMap`.

use mosaik::collections::{
    Batch, Error, Exchange, Expected, MapChange, OrderedMapReader, OrderedMapSnapshot,
    OrderedMapWriter, Watch,
};
use rand::{Rng, rngs::SmallRng};

use super::{
    super::content::{ALL_KEYS, Content, Delta, KEYS, Load, Part},
    Answer, Committed, Kind, Mutation, entries, handles,
    keyed::{self, maps},
};

pub(in super::super) struct OrderedMapKind;

impl Kind for OrderedMapKind {
    handles!(
        OrderedMapWriter<u8, Load>,
        OrderedMapReader<u8, Load>,
        OrderedMapSnapshot<u8, Load>,
        MapChange<u8, Load>
    );
    maps!();

    fn watch_part(
        reader: &Self::Reader,
        part: Part,
    ) -> Option<Watch<Self::Snapshot, Self::Change>> {
        match part {
            Part::Key(key) => Some(reader.watch_key(key)),
            Part::Range(start, end) => Some(reader.watch_range(start..end)),
            Part::All => None,
        }
    }
}
