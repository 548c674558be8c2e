//! Random operations from several nodes, against the standard library's structures.

use std::collections::{BTreeMap, VecDeque};

use mosaik::collections::{self, Map, OrderedMap, PriorityQueue};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::fleet;
use crate::support::within;

/// A seed that is printed, so that a failure can be repeated by setting it here.
fn random() -> StdRng {
    let seed = rand::random();
    println!("seed {seed}");
    StdRng::seed_from_u64(seed)
}

#[tokio::test(flavor = "multi_thread")]
async fn maps() {
    let nodes = fleet(2).await;
    let mut random = random();
    let maps = [
        Map::<u8, u32>::writer(&nodes[0], "map"),
        Map::<u8, u32>::writer(&nodes[1], "map"),
    ];
    let trees = [
        OrderedMap::<u8, u32>::writer(&nodes[0], "tree"),
        OrderedMap::<u8, u32>::writer(&nodes[1], "tree"),
    ];
    let mut model = BTreeMap::new();
    within(60, async {
        for n in 0..2 {
            maps[n].when().online().await;
            trees[n].when().online().await;
        }
        for n in 0..400 {
            let (map, tree) = (&maps[n % 2], &trees[n % 2]);
            let (key, value) = (random.random_range(0..20), random.random_range(0..4));
            let done = match random.random_range(0..6) {
                0 => {
                    let old = map.remove_returning(&key).await.unwrap();
                    assert_eq!(old.value, model.remove(&key));
                    tree.remove(&key).await.unwrap();
                    old.version
                }
                1 => {
                    let expected = random.random_bool(0.5).then(|| random.random_range(0..4));
                    let new = random.random_bool(0.7).then_some(value);
                    let done = map
                        .compare_exchange_returning(key, expected, new)
                        .await
                        .unwrap();
                    tree.compare_exchange(key, expected, new).await.unwrap();
                    assert_eq!(done.value.current, model.get(&key).copied());
                    assert_eq!(done.value.applied, done.value.current == expected);
                    match new {
                        _ if !done.value.applied => {}
                        Some(new) => drop(model.insert(key, new)),
                        None => drop(model.remove(&key)),
                    }
                    done.version
                }
                2 => {
                    let entries = [(key, value), (key.wrapping_add(1), 0), (key, 3)];
                    model.extend(entries);
                    tree.extend(entries).await.unwrap();
                    map.extend(entries).await.unwrap()
                }
                _ => {
                    let old = map.insert_returning(key, value).await.unwrap();
                    assert_eq!(old.value, model.insert(key, value));
                    tree.insert(key, value).await.unwrap();
                    old.version
                }
            };
            maps[(n + 1) % 2].when().reaches(done).await;
            trees[(n + 1) % 2].when().reaches(tree.version()).await;
        }
    })
    .await;
    for map in &maps {
        let content: BTreeMap<_, _> = map.iter().collect();
        assert_eq!(content, model);
    }
    for tree in &trees {
        assert!(tree.iter().eq(model.clone()));
    }
    assert!(maps[0].iter().eq(maps[1].iter()));
}

#[tokio::test(flavor = "multi_thread")]
async fn sequences_and_queues() {
    let nodes = fleet(2).await;
    let mut random = random();
    let vecs = [
        collections::Vec::<u32>::writer(&nodes[0], "vec"),
        collections::Vec::<u32>::writer(&nodes[1], "vec"),
    ];
    let queues = [
        PriorityQueue::<u8, u8, u32>::writer(&nodes[0], "queue"),
        PriorityQueue::<u8, u8, u32>::writer(&nodes[1], "queue"),
    ];
    let (mut list, mut ranks) = (VecDeque::new(), BTreeMap::new());
    within(60, async {
        for n in 0..2 {
            vecs[n].when().online().await;
            queues[n].when().online().await;
        }
        for n in 0..300u32 {
            let turn = n as usize % 2;
            let (vec, queue) = (&vecs[turn], &queues[turn]);
            let at = random.random_range(0..=list.len() + 1);
            let version = match random.random_range(0..6) {
                0 => {
                    let popped = vec.pop_front_returning().await.unwrap();
                    assert_eq!(popped.value, list.pop_front());
                    popped.version
                }
                1 => {
                    list.remove(at);
                    vec.remove(at as u64).await.unwrap()
                }
                2 => {
                    if at <= list.len() {
                        list.insert(at, n);
                    }
                    vec.insert(at as u64, n).await.unwrap()
                }
                _ => {
                    list.push_back(n);
                    vec.push_back(n).await.unwrap()
                }
            };
            vecs[1 - turn].when().reaches(version).await;
            let (priority, key) = (random.random_range(0..9), random.random_range(0..9u8));
            let version = match random.random_range(0..4) {
                0 => {
                    let lowest = ranks
                        .iter()
                        .map(|(key, (rank, value))| (*rank, *key, *value));
                    let lowest: Option<(u8, u8, u32)> = lowest.min();
                    lowest.map(|(_, key, _)| ranks.remove(&key));
                    let popped = queue.pop_min().await.unwrap();
                    assert_eq!(popped.value, lowest);
                    popped.version
                }
                1 => {
                    ranks.retain(|_, (rank, _)| !(priority..priority + 2).contains(rank));
                    queue.remove_range(priority..priority + 2).await.unwrap()
                }
                _ => {
                    ranks.insert(key, (priority, n));
                    queue.insert(priority, key, n).await.unwrap()
                }
            };
            queues[1 - turn].when().reaches(version).await;
        }
    })
    .await;
    for (vec, queue) in vecs.iter().zip(&queues) {
        assert!(vec.iter().eq(list.iter().copied()));
        let content: BTreeMap<_, _> = queue.iter().map(|(p, k, v)| (k, (p, v))).collect();
        assert_eq!(content, ranks);
    }
}
