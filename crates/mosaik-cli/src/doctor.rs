//! `mosaik doctor` and `mosaik check`: what is wrong, for people and for monitoring systems.

use std::{fmt::Write as _, process::ExitCode};

use mosaik::{
    primitives::ShortFmtExt,
    status::findings::{self, Finding, Severity},
};

use crate::{
    observe::{self, Observer},
    output::{is_styled, print, printable},
};

/// Exit code of a warning, and of an error; as monitoring systems have them.
const WARNING: u8 = 1;
const CRITICAL: u8 = 2;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    observe: observe::Options,

    /// Print one line of JSON for each finding.
    #[arg(long)]
    json: bool,
}

/// Findings, and the number of nodes that were asked.
struct Examined {
    findings: Vec<Finding>,
    answered: usize,
    all: usize,
}

/// Says what is wrong and what to do. The exit code is 0 unless something does not work.
pub(crate) async fn doctor(options: Options) -> anyhow::Result<ExitCode> {
    let examined = examine(&options.observe).await?;
    if options.json {
        print_json(&examined.findings)?;
    } else {
        print(&verdicts(&examined, is_styled()))?;
    }
    let worst = worst(&examined);
    Ok(ExitCode::from(u8::from(worst == Some(Severity::Error))))
}

/// Says in one line how things are, with the exit codes of monitoring systems.
pub(crate) async fn check(options: Options) -> anyhow::Result<ExitCode> {
    let examined = match examine(&options.observe).await {
        Ok(examined) => examined,
        Err(error) => {
            print(&format!("CRITICAL - {error:#}\n"))?;
            return Ok(ExitCode::from(CRITICAL));
        }
    };
    let (word, code) = match worst(&examined) {
        Some(Severity::Error) => ("CRITICAL", CRITICAL),
        Some(Severity::Warning) => ("WARNING", WARNING),
        _ => ("OK", 0),
    };
    if options.json {
        print_json(&examined.findings)?;
    } else {
        print(&format!("{word} - {}\n", summary(&examined)))?;
    }
    Ok(ExitCode::from(code))
}

async fn examine(options: &observe::Options) -> anyhow::Result<Examined> {
    let observer = Observer::join(options).await?;
    let observed = observer.observe().await;
    observer.leave().await;
    let answered = observed.reports.len();
    let all = answered + observed.silent.len();
    anyhow::ensure!(
        all > 0,
        "no node was found: is the name of the network right, and the peer's address? Does UDP pass, \
         and is this machine's clock right?"
    );
    Ok(Examined {
        findings: findings::examine(&observed),
        answered,
        all,
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

fn print_json(findings: &[Finding]) -> anyhow::Result<()> {
    for finding in findings {
        if !print(&format!("{}\n", serde_json::to_string(finding)?))? {
            break;
        }
    }
    Ok(())
}

fn summary(examined: &Examined) -> String {
    let Examined {
        findings,
        answered,
        all,
    } = examined;
    let nodes = if answered == all {
        format!("{all} nodes")
    } else {
        format!("{answered} of {all} nodes answered")
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
        1 => text + &format!("1 finding on {} nodes\n", examined.all),
        count => text + &format!("{count} findings on {} nodes\n", examined.all),
    }
}
