//! `sidelock keys create`: a new key, shown once, stored as a digest.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use super::{Failure, say, show, tally};
use crate::clock::{Clock, WallTime};
use crate::config::environment::Environment;
use crate::config::load::load;
use crate::config::units::Span;
use crate::credential::api_key::PlainKey;
use crate::keys::key::Title;
use crate::limits::rate::Rate;
use crate::policy::scope::ScopeName;

/// What was typed.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Opts {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a key, add it to the key file and show it once
    Create(Create),
}

#[derive(Debug, clap::Args)]
struct Create {
    /// A name for people, such as the integration that gets the key
    #[arg(long)]
    title: String,
    /// What it may do; repeat for several
    #[arg(long = "scope", value_name = "SCOPE", required = true)]
    scopes: Vec<String>,
    /// When it stops working, from now
    #[arg(long, value_name = "DURATION", default_value = "90d")]
    expires: Span,
    /// From where it may be used; repeat for several
    #[arg(long = "allow-from", value_name = "CIDR")]
    allow_from: Vec<ipnet::IpNet>,
    /// Its own rate, as '100/min burst 20'
    #[arg(long)]
    rate: Option<Rate>,
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}s", self.0.as_secs())
    }
}

pub(super) fn run(path: &Path, Opts { verb: Verb::Create(create) }: Opts) -> Result<(), Failure> {
    let loading = load(path, &Environment::Process);
    let Some(loaded) = &loading.loaded else {
        show(&loading);
        return Err(Failure::Mistakes(format!("no key was made: {}", tally(&loading))));
    };
    let file = loaded.config.keys.file.as_deref();
    let file = file.ok_or_else(|| Failure::Failed("the configuration names no [keys] file".to_owned()))?;
    if Title::new(&create.title).is_none() {
        return Err(Failure::Failed(
            "a title has 1 to 200 characters, none of them a control character".to_owned(),
        ));
    }
    let scopes = &loaded.config.scopes;
    if let Some(unknown) = create.scopes.iter().find(|scope| scopes.id(scope).is_none()) {
        let known: Vec<&str> = scopes.names().iter().map(ScopeName::as_str).collect();
        return Err(Failure::Failed(format!("no scope is called '{unknown}'; known: {}", known.join(", "))));
    }
    let key = PlainKey::generate().map_err(|error| Failure::Failed(error.to_string()))?;
    let before = std::fs::read_to_string(file)?;
    let mut text = before.clone();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&block(&key, &create, Clock::system().wall()));
    replace(file, &before, &text)?;
    hand_over(&key, &create.title)
}

/// The `[[key]]` block.
pub(super) fn new_block(
    key: &PlainKey,
    title: &str,
    scopes: &[&str],
    now: WallTime,
    expires: Duration,
) -> String {
    let create = Create {
        title: title.to_owned(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        expires: Span(expires),
        allow_from: Vec::new(),
        rate: None,
    };
    block(key, &create, now)
}

fn block(key: &PlainKey, create: &Create, now: WallTime) -> String {
    let until = i64::try_from(create.expires.0.as_secs()).unwrap_or(i64::MAX).saturating_add(now.unix_secs());
    let quoted = |items: &[String]| items.iter().map(|item| toml_string(item)).collect::<Vec<_>>().join(", ");
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line("\n[[key]]".to_owned());
    line(format!("id = {}", toml_string(key.id())));
    line(format!("title = {}", toml_string(&create.title)));
    line(format!("digest = {}", toml_string(&key.digest().to_string())));
    line(format!("scopes = [{}]", quoted(&create.scopes)));
    line(format!("created = {}", now.rfc3339()));
    line(format!("expires = {}", WallTime::from_unix_secs(until).rfc3339()));
    if !create.allow_from.is_empty() {
        let nets: Vec<String> = create.allow_from.iter().map(ToString::to_string).collect();
        line(format!("allow_from = [{}]", quoted(&nets)));
    }
    if let Some(rate) = create.rate {
        line(format!("rate = {}", toml_string(&rate.to_string())));
    }
    out
}

pub(super) fn toml_string(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control.is_control() => drop(write!(out, "\\u{:04X}", u32::from(control))),
            plain => out.push(plain),
        }
    }
    out.push('"');
    out
}

/// Writes beside the file and renames, with its mode kept, unless someone else changed it meanwhile.
fn replace(file: &Path, before: &str, text: &str) -> Result<(), Failure> {
    let mode = std::fs::metadata(file)?.mode() & 0o777;
    let real = file.canonicalize()?;
    let temporary = real.with_extension(format!("new-{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut out = std::fs::OpenOptions::new().create_new(true).write(true).mode(mode).open(&temporary)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()
    };
    let done = write().and_then(|()| {
        if std::fs::read_to_string(&real)? != before {
            return Err(std::io::Error::other("the key file was changed meanwhile; nothing was written"));
        }
        std::fs::rename(&temporary, &real)
    });
    if done.is_err() {
        // It may not even have been made.
        drop(std::fs::remove_file(&temporary));
    }
    done.map_err(|error| Failure::Failed(format!("{}: {error}", file.display())))
}

/// The only time that the key is shown: framed for people, bare for a pipe.
fn hand_over(key: &PlainKey, title: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    if out.is_terminal() {
        say(&format!("Key {} for '{title}'. It is shown this once:\n", key.id()));
        writeln!(out, "    {}\n", key.expose())?;
        say("The running gateway takes it within a second.");
    } else {
        writeln!(out, "{}", key.expose())?;
    }
    Ok(())
}
