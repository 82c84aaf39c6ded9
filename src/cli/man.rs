//! `sidelock man`: manual pages, made of the same words as `--help`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::CommandFactory;

use super::{Cli, Failure, say};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Opts {
    /// Write a page for each verb into this folder (sidelock.1, sidelock-run.1, …); without it, the first on stdout
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
}

pub(super) fn run(opts: &Opts) -> Result<(), Failure> {
    match &opts.to {
        Some(folder) => write(folder),
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            Ok(std::io::stdout().lock().write_all(&page)?)
        }
    }
}

fn write(folder: &Path) -> Result<(), Failure> {
    let written =
        std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
    written.map_err(|error| Failure::Failed(format!("{}: {error}", folder.display())))?;
    say(&format!("the pages are in {}", folder.display()));
    Ok(())
}
