//! `sidelock healthcheck`: is the running process well, and does it take work? For containers and supervisors.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use toml_edit::{DocumentMut, Item};

use super::asking::exchange;
use super::terminal::short;
use super::{Failure, say};
use crate::admin::pass::Door;
use crate::config::read_file;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Opts {
    /// Its admin listener; without it, where the process that runs with this configuration says that it is
    #[arg(long, value_name = "IP:PORT")]
    admin: Option<SocketAddr>,
}

/// How long each answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// What is asked, and what a process says that is well.
const QUESTIONS: [(&str, &str); 2] = [("/healthz", "ok\n"), ("/readyz", "ready\n")];

pub(super) fn run(path: &Path, opts: &Opts) -> Result<(), Failure> {
    let address = opts.admin.map_or_else(|| door(path), Ok)?;
    for (question, well) in QUESTIONS {
        let answer = exchange(address, "GET", question, None, PATIENCE)
            .map_err(|error| Failure::Failed(format!("the process does not answer on {address}: {error}")))?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        if head.starts_with("HTTP/1.1 200 ") && body == well {
            continue;
        }
        let is_ours = head.starts_with("HTTP/1.1 503 ") && !body.is_empty();
        let told =
            if is_ours { short(body.trim(), 200) } else { "this is no Sidelock's admin listener".to_owned() };
        return Err(Failure::Failed(format!("{address}{question}: {told}")));
    }
    say("well, and ready");
    Ok(())
}

/// The process says in its state folder where it is. No more of the configuration is looked at: a mistake in an edit that is
/// not in force makes nobody ill.
fn door(path: &Path) -> Result<SocketAddr, Failure> {
    let text = read_file(path).map(|source| source.text).unwrap_or_default();
    let place = path.parent().unwrap_or_else(|| Path::new("")).join(state_dir(&text));
    let none = |why: &dyn std::fmt::Display| {
        let told = format!("no process is found (admin.json in {}: {why})", place.display());
        Failure::Failed(format!("{told}; name its configuration with --config, or --admin IP:PORT"))
    };
    match Door::read(&place) {
        Ok(Some(door)) => Ok(door.address),
        Ok(None) => Err(none(&"damaged")),
        Err(error) => Err(none(&error)),
    }
}

/// What is said of the state folder; where the text is not TOML, by the first line that says it.
fn state_dir(text: &str) -> String {
    let said = match text.parse::<DocumentMut>() {
        Ok(document) => document.get("server").and_then(|server| text_of(server.get("state_dir")?)),
        Err(_) => text.lines().find_map(|line| {
            let line: DocumentMut =
                line.trim_start().starts_with("state_dir").then(|| line.parse().ok())??;
            text_of(line.get("state_dir")?)
        }),
    };
    said.unwrap_or_else(|| "state".to_owned())
}

fn text_of(item: &Item) -> Option<String> {
    item.as_str().map(str::to_owned)
}
