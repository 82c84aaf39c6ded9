//! `sidelock init`: a configuration in which every setting is explained, and an empty key file beside it.

use std::path::Path;

use clap::builder::PossibleValuesParser;

use super::new_file::NewFile;
use super::terminal::quoted;
use super::{Failure, HERE, say, show, tally};
use crate::config::environment::Environment;
use crate::config::load::load;
use crate::config::pack::KNOWN;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Opts {
    /// The CRM: http or https, host and port; or `unix:/run/crm.sock`
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// What kind of CRM it is; without it, the scopes are an example for you to change
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(KNOWN.map(|(name, _)| name)))]
    crm: Option<String>,
}

const CONFIGURATION: &str = include_str!("../../config/sidelock.toml");
const KEYS: &str = include_str!("../../config/keys.toml");

pub(super) fn run(path: &Path, opts: &Opts) -> Result<(), Failure> {
    let keys = path.with_file_name("keys.toml");
    if path == keys {
        return Err(Failure::Failed(
            "keys.toml is the key file's name: give the configuration another".to_owned(),
        ));
    }
    let configuration = make(path, 0o644, &configuration(opts))?;
    let keys = make(&keys, 0o600, KEYS)?;
    let loading = load(path, &Environment::Process);
    if loading.loaded.is_none() {
        show(&loading);
        return Err(Failure::Mistakes(format!("nothing was made: {}", tally(&loading))));
    }
    say(&next(&configuration.kept(), &keys.kept(), opts));
    Ok(())
}

fn make(path: &Path, mode: u32, text: &str) -> Result<NewFile, Failure> {
    NewFile::create(path, mode, text.as_bytes())
        .map_err(|error| Failure::Failed(format!("{}: {error}; nothing was made", path.display())))
}

/// The shipped configuration, with the CRM's address and pack. A pack has scopes of its own, so that the examples become
/// comments.
fn configuration(opts: &Opts) -> String {
    let mut example = false;
    let line = |line: &str| {
        example = line.starts_with("[scopes.") || (example && line.starts_with("allow = "));
        match (opts.url.as_deref(), opts.crm.as_deref()) {
            (Some(url), _) if line.starts_with("url = ") => replaced(line, "url = ", url),
            (_, Some(crm)) if line.starts_with("#: crm = ") => replaced(line, "crm = ", crm),
            (_, Some(_)) if example => format!("#: {line}"),
            _ => line.to_owned(),
        }
    };
    CONFIGURATION.lines().map(line).map(|line| line + "\n").collect()
}

/// The setting with another value, and its comment where it was if there is room.
fn replaced(line: &str, setting: &str, value: &str) -> String {
    let value = toml_edit::Value::from(value);
    let comment = line.rfind(" # ").map_or("", |at| line.get(at + 1..).unwrap_or(""));
    let column = line.len() - comment.len();
    format!("{:column$}{comment}", format!("{setting}{value} "))
}

fn next(configuration: &Path, keys: &Path, opts: &Opts) -> String {
    let mut text = format!("made {} and {}\nnext:\n", configuration.display(), keys.display());
    if opts.url.is_none() {
        text += "  set [upstream] url, where the CRM is\n";
    }
    text += match opts.crm {
        Some(_) => "  set [upstream.credential], the CRM's own token, which clients need not hold\n",
        None => "  set [scopes], what keys may do there\n",
    };
    let scope = if opts.crm.is_some() { "--role read_only" } else { "--scope read_messages" };
    let sidelock = match configuration.to_str() {
        Some(HERE) => "sidelock".to_owned(),
        Some(_) | None => format!("sidelock --config {}", quoted(&configuration.display().to_string())),
    };
    text += &format!("  {sidelock} check\n");
    text += &format!("  {sidelock} keys create --title \"Payment gateway\" {scope}\n");
    text += &format!("  {sidelock} run");
    text
}
