//! `mosaik completions` and `mosaik man`: what a shell and a reader of manuals need.

use std::path::PathBuf;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::{
    Cli,
    output::{note, print},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// Shell that they are for.
    shell: Shell,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// Directory for the pages of all commands. Default: the page of `mosaik`, on standard output.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn completions(options: &Completions) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "mosaik", &mut script);
    print(&String::from_utf8(script)?).map(drop)?;
    Ok(())
}

pub(crate) fn man(options: Man) -> anyhow::Result<()> {
    match options.dir {
        Some(dir) => {
            let at = || format!("can't write man pages to {}", dir.display());
            std::fs::create_dir_all(&dir).with_context(at)?;
            clap_mangen::generate_to(Cli::command(), &dir).with_context(at)?;
            note(&format!("man pages are in {}", dir.display()));
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            print(&String::from_utf8(page)?).map(drop)?;
        }
    }
    Ok(())
}
