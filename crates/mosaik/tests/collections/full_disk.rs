//! A durable collection whose disk is full.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use mosaik::{
    Digest, Network, NetworkId,
    collections::{CollectionConfig, Error, Map},
    discovery,
    iroh::EndpointAddr,
};

use crate::support::{builder, within};

/// The environment variable that makes a child of this test.
const CHILD: &str = "MOSAIK_TEST_COLLECTION_MEMBER";
/// The size of a file that the child can't exceed, in blocks of 512 or 1024 bytes.
const FILE_BLOCKS: u32 = 6 * 1024;

async fn start(directory: &Path, bootstrap: Option<EndpointAddr>) -> Network {
    let network: NetworkId = Digest::from("full disk of a collection");
    let mut discovery = discovery::Config::builder();
    if let Some(bootstrap) = bootstrap {
        discovery = discovery.with_bootstrap(bootstrap);
    }
    let builder = builder(network, discovery).with_storage(directory);
    builder.build().await.unwrap()
}

fn open(node: &Network) -> Map<u32, String> {
    let config = CollectionConfig::default().durable().with_min_writers(2);
    Map::writer_with_config(node, "map", config)
}

/// The member that runs out of disk.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "not a test by itself: the process that the one below starts"]
async fn child_member() {
    let part = std::env::var(CHILD).expect("set by the test that starts this process");
    let (directory, addr): (PathBuf, EndpointAddr) = serde_json::from_str(&part).unwrap();
    let node = start(&directory, Some(addr)).await;
    let map = open(&node);
    within(30, map.when().online()).await;
    println!("said: online");
    let mut watch = map.watch();
    // Until the store fails, which ends the watch too; what was applied stays readable.
    within(120, async { while watch.recv().await.is_some() {} }).await;
    within(10, map.when().offline()).await;
    let refused = within(10, map.insert(0, String::new())).await;
    assert!(matches!(refused, Err(Error::NetworkDown)), "{refused:?}");
    assert!(map.sync().await.is_err());
    assert!(map.snapshot().iter().count() > 0);
    println!("said: ended");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_disk_is_full_ends_alone_and_comes_back_with_everything() {
    let directory = tempfile::tempdir().unwrap();
    let first = start(&directory.path().join("a"), None).await;
    let addr = first.local().addr();
    let second = start(&directory.path().join("b"), Some(addr.clone())).await;
    let maps = [open(&first), open(&second)];
    let place = directory.path().join("c");
    // Writing beyond the limit is an error, as it is on a full disk.
    let limited = format!("trap '' XFSZ; ulimit -f {FILE_BLOCKS}; exec \"$0\" \"$@\"");
    let mut child = Command::new("sh")
        .args(["-c", &limited])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "collections::full_disk::child_member",
            "--nocapture",
        ])
        .env(CHILD, serde_json::to_string(&(&place, &addr)).unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (lines, mut said) = tokio::sync::mpsc::channel(8);
    let out = BufReader::new(child.stdout.take().unwrap());
    let reading = std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            if let Some((_, word)) = line.split_once("said: ") {
                lines.blocking_send(word.to_owned()).unwrap_or_default();
            }
        }
    });
    assert_eq!(within(60, said.recv()).await.as_deref(), Some("online"));
    // Few keys, whose values take their place on the disk again and again.
    let (mut written, mut number) = (vec![None; 4], 0u32);
    let ended = loop {
        let key = number % 4;
        let value = format!("{number} {}", "x".repeat(200 * 1024));
        match within(20, maps[0].insert(key, value)).await {
            Ok(_) => written[key as usize] = Some(number),
            Err(Error::NetworkDown) => panic!("it ended here as well"),
            // Whoever runs out of disk may lead.
            Err(_) => {}
        }
        if let Ok(word) = said.try_recv() {
            break word;
        }
        number += 1;
        assert!(number < 4000, "the disk is never full");
    };
    assert_eq!(ended, "ended");
    assert!(child.wait().unwrap().success());
    reading.join().unwrap();

    let last = within(20, async {
        loop {
            match maps[1].insert(9, "last".into()).await {
                Ok(version) => return version,
                Err(Error::NetworkDown) => panic!("it ended here as well"),
                Err(_) => maps[1].when().online().await,
            }
        }
    })
    .await;
    let third = start(&place, Some(addr)).await;
    let map = open(&third);
    within(30, map.when().reaches(last)).await;
    within(10, maps[0].when().reaches(last)).await;
    assert!(map.iter().eq(maps[0].iter()));
    for (key, number) in written.into_iter().enumerate() {
        let Some(number) = number else { continue };
        let value = map.get(&(key as u32)).unwrap();
        let (found, _) = value.split_once(' ').unwrap();
        // A later one may have taken effect, and nobody was told.
        assert!(found.parse::<u32>().unwrap() >= number, "acknowledged");
    }
}
