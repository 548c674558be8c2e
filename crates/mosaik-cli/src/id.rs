//! `mosaik id`: the identifiers that texts stand for.

use mosaik::{Digest, SecretKey};

use crate::output::print;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Text that a program gives as a name: of a network, stream, function, tag or store.
    #[arg(required = true)]
    text: Vec<String>,

    /// Take the text for the secret of a node, as `mosaik beacon` does, and print its peer id.
    #[arg(long)]
    peer: bool,
}

#[expect(clippy::needless_pass_by_value, reason = "as all commands")]
pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    for text in &options.text {
        let digest = Digest::from(text.as_str());
        let line = if options.peer {
            format!("{}\n", SecretKey::from(digest).public())
        } else {
            format!("{digest}\n")
        };
        if !print(&line)? {
            break;
        }
    }
    Ok(())
}
