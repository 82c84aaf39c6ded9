//! `sidelock reload`: SIGHUP to the running process, and its answer.

use std::path::Path;
use std::time::Duration;

use super::{Failure, say, show, tally};
use crate::config::environment::Environment;
use crate::config::load::load;
use crate::reload::{CONFIRM_DROP, LAST_RELOAD, write_whole};
use crate::server::PID;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Opts {
    /// Yes, more than half of the keys are meant to vanish
    #[arg(long)]
    confirm_drop: bool,
}

/// How long the running process may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn run(path: &Path, opts: &Opts) -> Result<(), Failure> {
    let loading = load(path, &Environment::Process);
    let Some(loaded) = &loading.loaded else {
        show(&loading);
        return Err(Failure::Mistakes(format!("not reloaded: {}", tally(&loading))));
    };
    let state_dir = &loaded.config.server.state_dir;
    let pid = running(&state_dir.join(PID))?;
    if opts.confirm_drop
        && let Some(digest) = loading.key_file_digest()
    {
        write_whole(&state_dir.join(CONFIRM_DROP), digest.as_bytes())?;
    }
    let answer = state_dir.join(LAST_RELOAD);
    let before = changed(&answer);
    hang_up(pid)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let told = runtime.block_on(async { tokio::time::timeout(PATIENCE, told(&answer, before)).await });
    let told = told.map_err(|_| {
        Failure::Failed(format!("process {pid} did not answer within {PATIENCE:?}; see its log"))
    })?;
    match told.get("result").and_then(serde_json::Value::as_str) {
        Some("accepted" | "restored") => {
            say(&format!("reloaded: {} keys in force", told.get("keys").unwrap_or(&serde_json::Value::Null)));
            Ok(())
        }
        Some(_) | None => {
            let why = told.get("reason").and_then(serde_json::Value::as_str).unwrap_or("no reason given");
            Err(Failure::Failed(format!("refused, the last good content stays in force: {why}")))
        }
    }
}

fn running(pid_file: &Path) -> Result<u32, Failure> {
    let text = std::fs::read_to_string(pid_file).map_err(|error| {
        Failure::Failed(format!("no process runs with this configuration ({}: {error})", pid_file.display()))
    })?;
    text.trim().parse().map_err(|_| Failure::Failed(format!("{} holds no process id", pid_file.display())))
}

/// The system's own `kill` sends the signal: a call for it would need `unsafe`.
fn hang_up(pid: u32) -> Result<(), Failure> {
    let sent = std::process::Command::new("kill").args(["-HUP", &pid.to_string()]).output()?;
    if sent.status.success() {
        Ok(())
    } else {
        let why = String::from_utf8_lossy(&sent.stderr).trim().to_owned();
        Err(Failure::Failed(format!("process {pid} could not be told: {why}")))
    }
}

fn changed(path: &Path) -> Option<(std::time::SystemTime, u64)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.ino()))
}

async fn told(path: &Path, before: Option<(std::time::SystemTime, u64)>) -> serde_json::Value {
    let mut look = tokio::time::interval(Duration::from_millis(20));
    loop {
        look.tick().await;
        if changed(path) != before
            && let Ok(text) = std::fs::read_to_string(path)
            && let Ok(told) = serde_json::from_str(&text)
        {
            return told;
        }
    }
}
