//! Every decoder meets the same few thousand hostile inputs in each run of the tests.

#[cfg(feature = "dht")]
use std::{collections::BTreeSet, path::Path};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;

const RANDOM_INPUTS: usize = 1000;
const MUTATIONS_PER_SEED: usize = 1000;
const MAX_RANDOM_BYTES: usize = 600;

/// The input spoiled in one of the ways that find faults in decoders.
fn mutated(seed: &[u8], other: &[u8], rng: &mut StdRng) -> Vec<u8> {
    let mut data = seed.to_vec();
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..=data.len());
        match rng.random_range(0..7) {
            0 if at < data.len() => data[at] ^= 1 << rng.random_range(0..8),
            1 if at < data.len() => data[at] = rng.random(),
            2 => data.truncate(at),
            // A length that goes on for ever, and one that is as large as it can be.
            3 => drop(data.splice(at..at, [0xff; 10])),
            4 => drop(data.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0x0f])),
            5 => data.insert(at, rng.random()),
            _ => {
                let from = rng.random_range(0..=other.len());
                let end = (at + 16).min(data.len());
                data.splice(at..end, other[from..].iter().copied().take(16));
            }
        }
    }
    data
}

#[test]
fn no_decoder_has_a_fault() {
    for target in targets() {
        let mut rng = StdRng::seed_from_u64(0x6d6f_7361_696b);
        for _ in 0..RANDOM_INPUTS {
            let mut data = vec![0; rng.random_range(0..MAX_RANDOM_BYTES)];
            rng.fill(&mut data[..]);
            target.run(&data);
        }
        let seeds = target.seeds();
        for seed in &seeds {
            for _ in 0..MUTATIONS_PER_SEED {
                let other = &seeds[rng.random_range(0..seeds.len())];
                target.run(&mutated(seed, other, &mut rng));
            }
        }
    }
}

#[test]
fn every_seed_is_taken() {
    for target in targets() {
        for seed in target.seeds() {
            assert!(target.run(&seed), "{} refuses its own seed", target.name());
        }
    }
}

/// With the default features; without them there are fewer targets.
#[cfg(feature = "dht")]
#[test]
fn every_target_has_a_program() {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/src/bin");
    let programs: BTreeSet<_> = std::fs::read_dir(programs)
        .unwrap()
        .map(|file| {
            file.unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let names: Vec<_> = targets().map(|target| target.name().to_owned()).collect();
    let unique: BTreeSet<_> = names.iter().cloned().collect();
    assert_eq!(names.len(), unique.len(), "names are unique");
    assert_eq!(unique, programs);
}
