//! The addresses that a node remembers over its end: where its peers were last.
//!
//! A node with a storage directory keeps them there, so that it finds its network again when
//! everybody, or it itself, has moved: any one that is still where it was is enough.
//!
//! The file is text: a line with the version, one with the BLAKE3 hash of what follows, then a line
//! for each peer: its id, when it was there last (seconds since 1970), and its addresses. It is
//! replaced as a whole. A file that can't be read is forgotten: it is a hint, nothing depends on
//! it.

use std::{
    cmp::Reverse,
    collections::HashMap,
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use iroh::{EndpointAddr, TransportAddr};
use tokio::time::{Instant, sleep};

use crate::{
    discovery::{Catalog, store::SharedStore},
    primitives::{PeerId, Scope},
};

/// Peers that are remembered: those of common groups first, then those that were there last.
const MAX_PEERS: usize = 64;
/// Addresses of a peer that are remembered.
const MAX_ADDRESSES: usize = 16;
/// Peers that were away for longer are forgotten.
const MAX_AGE_SECS: u64 = 90 * 24 * 3600;
/// The longest file that is read.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// Changes within this time are written at once.
const SETTLES: Duration = Duration::from_secs(1);
/// Interval at which the time of last contact with present peers is written.
const RENEWAL: Duration = Duration::from_mins(10);
const VERSION: &str = "mosaik addresses 1";
const FILE: &str = "addresses";

/// Last known address of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    addr: EndpointAddr,
    seen_secs: u64,
    is_fellow: bool,
}

/// The remembered peers of one node.
#[derive(Debug, Clone)]
pub(crate) struct Remembered {
    path: PathBuf,
    places: HashMap<PeerId, Place>,
}

impl Remembered {
    /// Reads what a former run has left in a directory. Blocks.
    pub(crate) fn load(directory: &Path) -> Self {
        let path = directory.join(FILE);
        let places = match read(&path) {
            Ok(Some(places)) => places,
            Ok(None) => {
                tracing::warn!(path = %path.display(), "the file of remembered addresses can't \
                    be read, and is made anew");
                HashMap::new()
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(path = %path.display(), %error,
                        "the file of remembered addresses can't be read");
                }
                HashMap::new()
            }
        };
        Self { path, places }
    }

    /// Last known addresses of peers.
    pub(crate) fn addrs(&self) -> Vec<EndpointAddr> {
        self.places.values().map(|p| p.addr.clone()).collect()
    }

    /// Keeps the file current until the scope ends, and brings it up to date then: also a node that
    /// has run for a moment only finds its peers again.
    pub(crate) async fn keep(mut self, store: SharedStore, scope: Scope) {
        let mut catalog = store.watch();
        let mut written = Instant::now();
        loop {
            let is_last = scope.is_cancelled();
            let before = self.places.clone();
            let now = catalog.borrow_and_update().clone();
            self.take(&now, store.clock.now_ms() / 1000);
            let differs = before.len() != self.places.len()
                || before.iter().any(|(peer, place)| {
                    let current = self.places.get(peer);
                    current.is_none_or(|current| current.addr != place.addr)
                });
            if differs || written.elapsed() >= RENEWAL {
                written = Instant::now();
                let (path, text) = (self.path.clone(), self.encode());
                let writing = tokio::task::spawn_blocking(move || write(&path, &text));
                if let Ok(Err(error)) = writing.await {
                    tracing::warn!(path = %self.path.display(), %error,
                        "the addresses of peers can't be written down");
                }
            }
            if is_last {
                return;
            }
            let next = async {
                sleep(SETTLES).await;
                // Fails when the node has left: nothing will change any more.
                let _ = catalog.changed().await;
            };
            tokio::select! {
                () = scope.cancelled() => {}
                () = next => {}
            }
        }
    }

    /// Takes in who is there now.
    fn take(&mut self, catalog: &Catalog, now_secs: u64) {
        let groups = catalog.local().groups();
        for entry in catalog.signed.values() {
            let mut addr = entry.address().clone();
            addr.addrs = addr.addrs.into_iter().take(MAX_ADDRESSES).collect();
            if addr.addrs.is_empty() {
                continue;
            }
            let place = Place {
                addr,
                seen_secs: now_secs,
                is_fellow: entry.groups().iter().any(|group| groups.contains(group)),
            };
            self.places.insert(*entry.id(), place);
        }
        self.places
            .retain(|_, place| place.seen_secs.saturating_add(MAX_AGE_SECS) > now_secs);
        if self.places.len() > MAX_PEERS {
            let mut order: Vec<_> = self.places.iter().collect();
            order.sort_by_key(|(peer, place)| {
                (Reverse(place.is_fellow), Reverse(place.seen_secs), **peer)
            });
            let surplus: Vec<_> = order[MAX_PEERS..].iter().map(|(peer, _)| **peer).collect();
            for peer in surplus {
                self.places.remove(&peer);
            }
        }
    }

    fn encode(&self) -> String {
        let mut places: Vec<_> = self.places.values().collect();
        places.sort_by_key(|place| place.addr.id);
        let mut lines = String::new();
        for place in places {
            let fellow = if place.is_fellow { "fellow" } else { "other" };
            let _ = write!(lines, "{} {} {fellow}", place.addr.id, place.seen_secs);
            for addr in &place.addr.addrs {
                let _ = match addr {
                    TransportAddr::Ip(addr) => write!(lines, " {addr}"),
                    TransportAddr::Relay(url) => write!(lines, " {url}"),
                    _ => Ok(()),
                };
            }
            lines.push('\n');
        }
        format!("{VERSION}\n{}\n{lines}", blake3::hash(lines.as_bytes()))
    }
}

fn read(path: &Path) -> io::Result<Option<HashMap<PeerId, Place>>> {
    let mut text = Vec::new();
    File::open(path)?
        .take(MAX_FILE_BYTES)
        .read_to_end(&mut text)?;
    Ok(String::from_utf8(text).ok().and_then(|text| decode(&text)))
}

fn decode(text: &str) -> Option<HashMap<PeerId, Place>> {
    let (version, rest) = text.split_once('\n')?;
    let (hash, lines) = rest.split_once('\n')?;
    if version != VERSION || hash != blake3::hash(lines.as_bytes()).to_hex().as_str() {
        return None;
    }
    let places = lines.lines().take(MAX_PEERS).map(|line| {
        let mut words = line.split(' ');
        let id = words.next()?.parse().ok()?;
        let seen_secs = words.next()?.parse().ok()?;
        let is_fellow = words.next()? == "fellow";
        let addrs = words.take(MAX_ADDRESSES).filter_map(|word| {
            let ip = word.parse().ok().map(TransportAddr::Ip);
            ip.or_else(|| word.parse().ok().map(TransportAddr::Relay))
        });
        let place = Place {
            addr: EndpointAddr::from_parts(id, addrs),
            seen_secs,
            is_fellow,
        };
        Some((id, place))
    });
    places.collect()
}

/// Replaces the file, or leaves it as it is.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    let mut file = File::create(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use iroh::SecretKey;

    fn place(n: u8, seen_secs: u64) -> Place {
        let id = SecretKey::from_bytes(&[n; 32]).public();
        Place {
            addr: EndpointAddr::new(id)
                .with_ip_addr(format!("10.0.0.{n}:4000").parse().unwrap())
                .with_relay_url("https://relay.example.net".parse().unwrap()),
            seen_secs,
            is_fellow: n.is_multiple_of(2),
        }
    }

    fn remembered() -> Remembered {
        let places = [place(1, 100), place(2, 200)];
        Remembered {
            path: PathBuf::new(),
            places: places.map(|place| (place.addr.id, place)).into(),
        }
    }

    #[test]
    fn the_file_is_of_this_form() {
        let text = remembered().encode();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "mosaik addresses 1");
        assert_eq!(lines[1].len(), 64);
        let mut expected = [
            (1, 100, "other", "10.0.0.1:4000"),
            (2, 200, "fellow", "10.0.0.2:4000"),
        ]
        .map(|(n, seen, kind, addr)| {
            let id = SecretKey::from_bytes(&[n; 32]).public();
            format!("{id} {seen} {kind} https://relay.example.net/ {addr}")
        });
        expected.sort();
        assert_eq!(lines[2..], expected);
        assert_eq!(decode(&text), Some(remembered().places));
    }

    #[test]
    fn what_is_damaged_is_forgotten() {
        let text = remembered().encode();
        for n in 0..text.len() {
            assert_eq!(decode(&text[..n]), None, "{n}");
            let mut bytes = text.clone().into_bytes();
            bytes[n] ^= 1;
            if let Ok(text) = String::from_utf8(bytes) {
                assert_eq!(decode(&text), None, "{n}");
            }
        }
        let directory = tempfile::tempdir().unwrap();
        assert!(Remembered::load(directory.path()).places.is_empty());
        fs::write(directory.path().join(FILE), [0xff; 3000]).unwrap();
        assert!(Remembered::load(directory.path()).places.is_empty());
        write(&directory.path().join(FILE), &text).unwrap();
        assert_eq!(Remembered::load(directory.path()).places.len(), 2);
    }
}
