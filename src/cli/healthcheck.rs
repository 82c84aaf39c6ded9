//! `sidelock healthcheck`: is the running process well, and does it take work? For containers and supervisors.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::asking::exchange;
use super::terminal::plain;
use super::{Failure, say};
use crate::admin::pass::Door;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Opts {
    /// Its admin listener; without it, where the process that runs with this configuration says that it is
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
}

/// How long each answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn run(path: &Path, opts: &Opts) -> Result<(), Failure> {
    let address = opts.admin.map_or_else(|| door(path), Ok)?;
    for question in ["/healthz", "/readyz"] {
        let answer = exchange(address, "GET", question, None, PATIENCE)
            .map_err(|error| Failure::Failed(format!("the process does not answer on {address}: {error}")))?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        if head.split(' ').nth(1) != Some("200") {
            let told: String = plain(body.trim()).chars().take(200).collect();
            return Err(Failure::Failed(format!("{address}{question}: {told}")));
        }
    }
    say("well, and ready");
    Ok(())
}

/// The process says in its state folder where it is. No more of the configuration is looked at: a mistake in an edit that is
/// not in force makes nobody ill.
fn door(path: &Path) -> Result<SocketAddr, Failure> {
    let state_dir = state_dir(path)?;
    match Door::read(&state_dir) {
        Ok(Some(door)) => Ok(door.address),
        Ok(None) => Err(Failure::Failed(format!("admin.json in {} is damaged", state_dir.display()))),
        Err(error) => {
            Err(Failure::Failed(format!("nobody runs: admin.json in {}: {error}", state_dir.display())))
        }
    }
}

fn state_dir(path: &Path) -> Result<PathBuf, Failure> {
    let unread = |why: &dyn std::fmt::Display| {
        Failure::Failed(format!("{}: {why}; --admin ADDRESS needs no configuration", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| unread(&error))?;
    let document: toml_edit::DocumentMut = text.parse().map_err(|_| unread(&"is not TOML"))?;
    let said = document.get("server").and_then(|server| server.get("state_dir")?.as_str());
    Ok(path.parent().unwrap_or_else(|| Path::new("")).join(said.unwrap_or("state")))
}
