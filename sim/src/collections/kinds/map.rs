//! `Map`.

use mosaik::collections::{
    Batch, Error, Exchange, Expected, MapChange, MapReader, MapSnapshot, MapWriter, Watch,
};
use rand::{Rng, rngs::SmallRng};

use super::{
    super::content::{ALL_KEYS, Content, Delta, KEYS, Load, Part},
    Answer, Committed, Kind, Mutation, entries, handles,
    keyed::{self, maps},
};

pub(in super::super) struct MapKind;

impl Kind for MapKind {
    handles!(
        MapWriter<u8, Load>,
        MapReader<u8, Load>,
        MapSnapshot<u8, Load>,
        MapChange<u8, Load>
    );
    maps!();

    fn watch_part(
        reader: &Self::Reader,
        part: Part,
    ) -> Option<Watch<Self::Snapshot, Self::Change>> {
        match part {
            Part::Key(key) => Some(reader.watch_key(key)),
            Part::All | Part::Range(..) => None,
        }
    }
}
