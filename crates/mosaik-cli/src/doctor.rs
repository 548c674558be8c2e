//! `mosaik doctor` and `mosaik check`: what is wrong, for people and for monitoring systems.

use std::{fmt::Write as _, process::ExitCode};

use mosaik::{
    primitives::ShortFmtExt,
    status::{
        findings::{self, Finding, Observed, Severity},
        printable,
    },
};
use serde::Serialize;

use crate::{
    archive,
    observe::{self, look_on},
    output::{counted, is_styled, json, print},
};

/// Exit code of a warning, and of an error; as monitoring systems have them.
const WARNING: u8 = 1;
const CRITICAL: u8 = 2;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    observe: observe::Options,

    #[command(flatten)]
    from: archive::From,

    /// Print JSON: one line for each finding, or of `check` one for everything.
    #[arg(long)]
    json: bool,
}

/// Findings, and the number of nodes that were asked.
struct Examined {
    findings: Vec<Finding>,
    answered: usize,
    all: usize,
}

/// The result of `check` for programs.
#[derive(Serialize)]
struct Verdict<'f> {
    state: &'static str,
    answered: usize,
    nodes: usize,
    findings: &'f [Finding],
    error: Option<String>,
}

/// Says what is wrong and what to do. The exit code is 0 unless something does not work.
pub(crate) async fn doctor(options: Options) -> anyhow::Result<ExitCode> {
    examined(&options, |examined| {
        let examined = examined?;
        if options.json {
            let lines = examined.findings.iter().map(json);
            print(&lines.collect::<anyhow::Result<String>>()?)?;
        } else {
            print(&verdicts(&examined, is_styled()))?;
        }
        // Where nobody has told anything, nothing is known to work.
        let is_bad = examined.answered == 0 || worst(&examined) == Some(Severity::Error);
        Ok(ExitCode::from(u8::from(is_bad)))
    })
    .await
}

/// Says in one line how things are, with the exit codes of monitoring systems.
pub(crate) async fn check(options: Options) -> anyhow::Result<ExitCode> {
    let verdict = |examined: anyhow::Result<Examined>| {
        let (examined, error) = match examined {
            Ok(examined) => (examined, None),
            Err(error) => {
                let none = Examined {
                    findings: Vec::new(),
                    answered: 0,
                    all: 0,
                };
                (none, Some(printable(&format!("{error:#}"))))
            }
        };
        let (state, code) = match worst(&examined) {
            _ if error.is_some() || examined.answered == 0 => ("CRITICAL", CRITICAL),
            Some(Severity::Error) => ("CRITICAL", CRITICAL),
            Some(Severity::Warning) => ("WARNING", WARNING),
            _ => ("OK", 0),
        };
        let line = if options.json {
            json(&Verdict {
                state,
                answered: examined.answered,
                nodes: examined.all,
                findings: &examined.findings,
                error,
            })?
        } else {
            let summary = error.unwrap_or_else(|| summary(&examined));
            format!("{state} - {summary}\n")
        };
        print(&line)?;
        Ok(ExitCode::from(code))
    };
    match examined(&options, &verdict).await {
        // The network could not be joined at all: that is a result too.
        Err(error) => verdict(Err(error)),
        result => result,
    }
}

/// Looks at the network or the archive, and shows what was found.
async fn examined(
    options: &Options,
    show: impl Fn(anyhow::Result<Examined>) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    if let Some(archive) = options.from.read()? {
        return show(examine(archive.last_two().1));
    }
    look_on(&options.observe, false, async |observer| {
        show(examine(&observer.observe().await))
    })
    .await
}

fn examine(observed: &Observed) -> anyhow::Result<Examined> {
    anyhow::ensure!(
        !observed.is_empty(),
        "no node was found: is the name of the network right, and the peer's address? Does UDP pass, \
         and is this machine's clock right?"
    );
    let answered = observed.reports.len();
    Ok(Examined {
        findings: findings::examine(observed),
        answered,
        all: answered + observed.silent.len() + observed.refused.len(),
    })
}

/// The worst finding decides.
fn worst(examined: &Examined) -> Option<Severity> {
    examined
        .findings
        .iter()
        .map(|finding| finding.severity)
        .max()
}

fn summary(examined: &Examined) -> String {
    let Examined {
        findings,
        answered,
        all,
    } = examined;
    let nodes = if answered == all {
        counted(*all, "node")
    } else {
        format!("{answered} of {} answered", counted(*all, "node"))
    };
    match findings.first() {
        None => format!("{nodes}, nothing found"),
        Some(first) => {
            let more = match findings.len() - 1 {
                0 => String::new(),
                more => format!(" (and {more} more)"),
            };
            let peer = first.peer.short();
            printable(&format!(
                "{nodes}; {} {peer}: {}{more}",
                first.number, first.text
            ))
        }
    }
}

fn verdicts(examined: &Examined, styled: bool) -> String {
    let mut text = String::new();
    for finding in &examined.findings {
        let (number, severity) = (finding.number, finding.severity.as_str());
        let colour = match finding.severity {
            Severity::Error => "31",
            Severity::Warning => "33",
            _ => "36",
        };
        let head = if styled {
            format!("\u{1b}[1;{colour}m{number} {severity}\u{1b}[0m")
        } else {
            format!("{number} {severity}")
        };
        let sentence = printable(&format!("{}: {}.", finding.peer.short(), finding.text));
        let _ = writeln!(text, "{head} {sentence}\n     {}", finding.way_on);
    }
    match examined.findings.len() {
        0 => text + &format!("{}\n", summary(examined)),
        count => {
            let (found, nodes) = (counted(count, "finding"), counted(examined.all, "node"));
            text + &format!("{found} on {nodes}\n")
        }
    }
}
