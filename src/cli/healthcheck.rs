//! `sidelock healthcheck`: is the running process well, and does it take work? For containers and supervisors.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::asking::exchange;
use super::terminal::{plain, plain_path, short};
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
        let is_fine = head.starts_with("HTTP/1.1 200 ");
        if is_fine && body == well {
            continue;
        }
        let is_ours = !is_fine && head.starts_with("HTTP/1.1 503 ") && !body.is_empty();
        let told =
            if is_ours { short(body.trim(), 200) } else { "this is no Sidelock's admin listener".to_owned() };
        return Err(Failure::Failed(format!("{address}{question}: {}", plain(&told))));
    }
    say("well, and ready");
    Ok(())
}

/// The process says in its state folder where it is. No more of the configuration is looked at, and where it has a mistake the
/// usual place counts: an edit that is not in force makes nobody ill.
fn door(path: &Path) -> Result<SocketAddr, Failure> {
    let text = read_file(path).map(|source| source.text).unwrap_or_default();
    let beside = path.parent().unwrap_or_else(|| Path::new(""));
    let places = [state_dir(&text), Some("state".to_owned())].into_iter().flatten().map(|it| beside.join(it));
    let mut why = String::new();
    for place in places {
        match Door::read(&place) {
            Ok(Some(door)) => return Ok(door.address),
            Ok(None) => why = format!("admin.json in {} is damaged", plain_path(&place)),
            Err(error) if why.is_empty() => why = format!("admin.json in {}: {error}", plain_path(&place)),
            Err(_) => {}
        }
    }
    Err(Failure::Failed(format!(
        "no process is found ({why}); name its configuration with --config, or --admin IP:PORT"
    )))
}

/// What is said of the state folder, in a text that need not be TOML.
fn state_dir(text: &str) -> Option<String> {
    let value = |line: &str| {
        let value = line.trim_start().strip_prefix("state_dir")?.trim_start().strip_prefix('=')?;
        format!("it = {value}").parse::<toml_edit::DocumentMut>().ok()?.get("it")?.as_str().map(str::to_owned)
    };
    text.lines().find_map(value)
}
