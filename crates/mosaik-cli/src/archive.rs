//! `mosaik gather`: everything that the nodes of a network tell, in one file, and `--from`, which shows
//! it elsewhere.
//!
//! The file has lines of JSON. The first says what it is; each other one is what one node told, or why
//! it told nothing, in one of several looks at the network.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use mosaik::{
    PeerId,
    status::{Report, findings::Observed},
};
use serde::{Deserialize, Serialize};

use crate::{
    key::create_private,
    observe::{self, Observer, look_on},
    output::{counted, json, note, print},
};

/// Largest archive that is read.
const MAX_BYTES: u64 = 1 << 30;
/// Version of the format, which changes when an older program would read something else in it.
const VERSION: u32 = 1;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// File to write, which must not be there yet. `-` is standard output.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    observe: observe::Options,

    /// Looks at the network: with two or more, the archive has rates.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    looks: u32,

    /// Seconds between two looks.
    #[arg(long, value_name = "SECS", default_value_t = 1,
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
}

/// An archive in the place of a network.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub(crate) struct From {
    /// Show what `mosaik gather` has written, in the place of a network.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

impl From {
    pub(crate) fn read(&self) -> anyhow::Result<Option<Archive>> {
        let archive = self.from.as_ref().map(|path| {
            Archive::read(path).with_context(|| format!("can't show {}", path.display()))
        });
        archive.transpose()
    }
}

/// Looks at a network, the earliest first.
#[derive(Debug)]
pub(crate) struct Archive {
    former: Vec<Observed>,
    last: Observed,
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    mosaik_archive: u32,
    /// Version of the program that wrote it.
    build: String,
    gathered_ms: u64,
    looks: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    look: u32,
    #[serde(flatten)]
    told: Told,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Report(Box<Report>),
    Silent(NoReport),
    Refused(NoReport),
}

#[derive(Debug, Serialize, Deserialize)]
struct NoReport {
    peer: PeerId,
    reason: String,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    look_on(&options.observe, false, async |observer| {
        gather(&options, observer).await
    })
    .await
}

async fn gather(options: &Options, observer: &Observer) -> anyhow::Result<ExitCode> {
    let head = Head {
        mosaik_archive: VERSION,
        build: env!("CARGO_PKG_VERSION").to_owned(),
        gathered_ms: SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |time| {
                u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
            }),
        looks: options.looks,
    };
    let mut text = json(&head)?;
    let mut nodes = 0;
    for look in 0..options.looks {
        if look > 0 {
            tokio::time::sleep(Duration::from_secs(options.every)).await;
        }
        let observed = observer.observe().await;
        anyhow::ensure!(
            !observed.is_empty(),
            "no node was found: is the name of the network right, and the peer's address?"
        );
        nodes = observed.reports.len();
        text += &lines(look, observed)?;
    }
    if options.file == Path::new("-") {
        print(&text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let at = || format!("can't write {}", options.file.display());
    let mut file = create_private(&options.file).with_context(at)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(at)?;
    note(&format!(
        "{}: {}, {}, {} bytes; it has addresses, names and counts, and no secrets",
        options.file.display(),
        counted(nodes, "node"),
        counted(options.looks as usize, "look"),
        text.len()
    ));
    Ok(ExitCode::SUCCESS)
}

fn lines(look: u32, observed: Observed) -> anyhow::Result<String> {
    let Observed {
        reports,
        silent,
        refused,
        ..
    } = observed;
    let no_report = |(peer, reason)| NoReport { peer, reason };
    let reports = reports
        .into_iter()
        .map(|report| Told::Report(Box::new(report)));
    let silent = silent.into_iter().map(no_report).map(Told::Silent);
    let refused = refused.into_iter().map(no_report).map(Told::Refused);
    let told = reports.chain(silent).chain(refused);
    told.map(|told| json(&Line { look, told })).collect()
}

impl Archive {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let file = std::fs::File::open(path)?;
        let bytes = file.metadata()?.len();
        anyhow::ensure!(
            bytes <= MAX_BYTES,
            "it has {bytes} bytes, and this program reads {MAX_BYTES}"
        );
        Self::parse(BufReader::new(file.take(MAX_BYTES)))
    }

    fn parse(text: impl BufRead) -> anyhow::Result<Self> {
        let mut lines = text.lines();
        let head = lines.next().context("it is empty")??;
        let head: Head = serde_json::from_str(&head).context("it is no archive of mosaik")?;
        anyhow::ensure!(
            head.mosaik_archive == VERSION,
            "it has version {}, and this program reads {VERSION}",
            head.mosaik_archive
        );
        let mut looks = Vec::<Observed>::new();
        for (number, line) in lines.enumerate() {
            let line: Line = serde_json::from_str(&line?)
                .with_context(|| format!("line {} can't be read", number + 2))?;
            // They are in order: the next one, or another node of the last one.
            let next = looks.len();
            if line.look as usize == next {
                looks.push(Observed::default());
            }
            let observed = looks
                .get_mut(line.look as usize)
                .with_context(|| format!("line {} is out of order", number + 2))?;
            match line.told {
                Told::Report(report) => observed.reports.push(*report),
                Told::Silent(NoReport { peer, reason }) => {
                    *observed = std::mem::take(observed).with_silent(peer, reason);
                }
                Told::Refused(NoReport { peer, reason }) => {
                    *observed = std::mem::take(observed).with_refused(peer, reason);
                }
            }
        }
        anyhow::ensure!(
            looks.len() == head.looks as usize,
            "it is cut off: it has {} of {} looks",
            looks.len(),
            head.looks
        );
        let last = looks.pop().context("it has nothing of any node")?;
        Ok(Self {
            former: looks,
            last,
        })
    }

    /// The last look, and the one before.
    pub(crate) fn last_two(&self) -> (Option<&Observed>, &Observed) {
        (self.former.last(), &self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> anyhow::Result<Archive> {
        Archive::parse(text.as_bytes())
    }

    #[test]
    fn what_is_no_archive_is_an_error() {
        let head = "{\"mosaik_archive\":1,\"build\":\"0\",\"gathered_ms\":0,\"looks\":2}\n";
        let peer = mosaik::SecretKey::from_bytes(&[1; 32]).public();
        let line = |look| {
            format!(
                "{{\"look\":{look},\"silent\":{{\"peer\":\"{peer}\",\"reason\":\"\\u001b[2J\"}}}}\n"
            )
        };
        let archive = parse(&format!("{head}{}{}", line(0), line(1))).unwrap();
        let (former, last) = archive.last_two();
        assert!(former.is_some());
        assert_eq!(last.silent, [(peer, "[2J".to_owned())]);
        for wrong in [
            "",
            "{}",
            head,
            &format!("{}{}{}", head.replace(":1,", ":2,"), line(0), line(1)),
            &format!("{head}{}{}", line(0), line(7)),
            &format!("{head}{}", line(0)),
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
