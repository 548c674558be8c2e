//! `mosaik id`: the identifiers that texts stand for.

use std::path::PathBuf;

use mosaik::{Digest, SecretKey};

use crate::{
    key,
    output::{json, print},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Text that a program gives as a name: of a network, stream, function, tag or store.
    #[arg(required_unless_present = "key_file")]
    text: Vec<String>,

    /// Take the text for the secret of a node, as `mosaik beacon` does, and print its peer id. Other
    /// users of the machine may see the command line: prefer a key file.
    #[arg(long)]
    peer: bool,

    /// Print the peer id of the secret key in a file, which is made if there is none.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["text", "peer"])]
    key_file: Option<PathBuf>,

    /// Print one line of JSON for each identifier.
    #[arg(long)]
    json: bool,
}

#[expect(clippy::needless_pass_by_value, reason = "as all commands")]
pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    let ids: Vec<String> = match key::of_option(options.key_file.as_ref())? {
        Some(key) => vec![key.public().to_string()],
        None => {
            let digests = options.text.iter().map(|text| Digest::from(text.as_str()));
            digests
                .map(|digest| {
                    if options.peer {
                        SecretKey::from(digest).public().to_string()
                    } else {
                        digest.to_string()
                    }
                })
                .collect()
        }
    };
    for id in ids {
        let line = if options.json {
            json(&serde_json::json!({"id": id}))?
        } else {
            format!("{id}\n")
        };
        if !print(&line)? {
            break;
        }
    }
    Ok(())
}
