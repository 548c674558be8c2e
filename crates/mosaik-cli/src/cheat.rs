//! `mosaik cheat`: lines to copy, by topic.

use std::fmt::Write as _;

use crate::output::{is_styled, print};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Topic, or the beginning of one. Default: all.
    topic: Option<String>,
}

/// Topics, and of each what a line does and the line.
const TOPICS: &[(&str, &[(&str, &str)])] = &[
    (
        "start",
        &[
            (
                "a node that stays, with an id of its own",
                "mosaik up -n prices --key-file node.key",
            ),
            (
                "a node that others begin with",
                "mosaik beacon -n prices --bind 0.0.0.0:4000",
            ),
            (
                "a node beside one that runs",
                "mosaik up -n prices -p PEER@10.0.0.7:4000",
            ),
        ],
    ),
    (
        "look",
        &[
            ("the nodes", "mosaik peers -n prices -p PEER@10.0.0.7:4000"),
            (
                "streams with rates, every second",
                "mosaik streams -n prices -w 1",
            ),
            ("everything, full-screen", "mosaik top -n prices"),
            ("what changes, as it happens", "mosaik watch -n prices"),
            ("groups as JSON", "mosaik groups -n prices --json"),
        ],
    ),
    (
        "faults",
        &[
            ("what is wrong, and what to do", "mosaik doctor -n prices"),
            ("for a monitoring system", "mosaik check -n prices -t 10"),
            (
                "whether nodes answer, and how fast",
                "mosaik ping -n prices",
            ),
            (
                "what a network has published in the DHT",
                "mosaik dht -n prices",
            ),
            (
                "an archive for a bug report",
                "mosaik gather report.jsonl -n prices",
            ),
            (
                "the archive, looked at elsewhere",
                "mosaik doctor --from report.jsonl",
            ),
        ],
    ),
    (
        "contexts",
        &[
            (
                "keep a network under a name",
                "mosaik ctx add prod -n prices -p PEER@10.0.0.7:4000",
            ),
            ("use it", "mosaik peers -c prod"),
            ("list them", "mosaik ctx"),
        ],
    ),
    (
        "tickets",
        &[
            (
                "the id that a ticket is issued for",
                "mosaik id --key-file operator.key",
            ),
            (
                "look at nodes that want a ticket",
                "mosaik peers -n prices --key-file operator.key --ticket-file operator.jwt",
            ),
        ],
    ),
    (
        "shell",
        &[
            (
                "completions",
                "mosaik completions bash > ~/.local/share/bash-completion/completions/mosaik",
            ),
            ("man pages", "mosaik man --dir ~/.local/share/man/man1"),
        ],
    ),
];

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let wanted = options.topic.as_deref().unwrap_or_default();
    let topics = TOPICS.iter().filter(|(topic, _)| topic.starts_with(wanted));
    let mut text = String::new();
    for (topic, lines) in topics {
        let head = if is_styled() {
            format!("\u{1b}[1m{topic}\u{1b}[0m")
        } else {
            (*topic).to_owned()
        };
        let _ = writeln!(text, "{head}");
        for (what, line) in *lines {
            let _ = writeln!(text, "  # {what}\n  {line}");
        }
        text.push('\n');
    }
    let names = TOPICS.iter().map(|(topic, _)| *topic).collect::<Vec<_>>();
    anyhow::ensure!(
        !text.is_empty(),
        "there is no such topic; there are {}",
        names.join(", ")
    );
    print(&format!("{}\n", text.trim_end())).map(drop)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cli;
    use clap::Parser;

    #[test]
    fn every_line_is_a_command_line() {
        let peer = mosaik::SecretKey::from_bytes(&[1; 32]).public().to_string();
        for (what, line) in TOPICS.iter().flat_map(|(_, lines)| *lines) {
            let command = line.split(" > ").next().unwrap().replace("PEER", &peer);
            let parsed = Cli::try_parse_from(command.split(' '));
            assert!(parsed.is_ok(), "{what}: {parsed:?}");
        }
    }
}
