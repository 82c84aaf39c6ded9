//! Text to types: a file per section, each mistake noted where it stands. Nothing beyond this module sees TOML.

pub mod environment;
pub mod key_file;
pub mod load;
pub mod reader;
pub mod source;
pub mod units;

mod access_log;
mod client_address;
mod keys;
mod limits;
mod route;
mod scopes;
mod server;
mod timeouts;
mod upstream;
mod webhook;

use std::path::{Path, PathBuf};

use crate::policy::scope::Scopes;
pub use access_log::AccessLog;
pub use client_address::ClientAddress;
use environment::Environment;
pub use keys::Keys;
pub use limits::Limits;
use reader::{Reading, Section};
pub use route::Route;
pub use server::Server;
use source::{Report, Source};
pub use timeouts::Timeouts;
pub use upstream::{Credential, Upstream};
pub use webhook::Webhook;

/// Largest configuration or key file, in bytes.
pub const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// The whole configuration, parsed.
#[derive(Debug)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[client_address]`
    pub client_address: ClientAddress,
    /// `[upstream]`
    pub upstream: Upstream,
    /// `[keys]`
    pub keys: Keys,
    /// `[scopes.<name>]`
    pub scopes: Scopes,
    /// `[[webhook]]`
    pub webhooks: Vec<Webhook>,
    /// `[[route]]`
    pub routes: Vec<Route>,
    /// `[limits]`
    pub limits: Limits,
    /// `[timeouts]`
    pub timeouts: Timeouts,
    /// `[access_log]`
    pub access_log: AccessLog,
}

/// What a section needs to know beyond its own text.
struct Surroundings<'a> {
    environment: &'a Environment,
    /// The folder of the configuration file: relative paths start here.
    base: &'a Path,
}

impl Surroundings<'_> {
    fn path(&self, text: &str) -> PathBuf {
        self.base.join(text)
    }
}

/// Reads a configuration. Warnings are in the report also where there is a configuration.
pub fn parse(source: &Source, environment: &Environment) -> (Option<Config>, Report) {
    let reading = Reading::new(source);
    let table = reading.parse();
    let base = source.path.parent().unwrap_or_else(|| Path::new(""));
    let config = {
        let root = reading.root(&table);
        let config = sections(&root, &Surroundings { environment, base });
        root.finish();
        config
    };
    let report = reading.into_report();
    (config.filter(|_| !report.has_errors()), report)
}

fn sections(root: &Section<'_, '_>, around: &Surroundings<'_>) -> Option<Config> {
    // Every section is read before any of them can end the reading: all mistakes are shown at once.
    let server = Server::read(root.section("server"), around);
    let client_address = ClientAddress::read(root.section("client_address"));
    let upstream = Upstream::read(root.section("upstream"), around);
    let keys = Keys::read(root.section("keys"), around);
    let scopes = scopes::read(root.section("scopes"));
    let webhooks = webhook::read(root.sections("webhook"), around);
    let routes = route::read(root.sections("route"));
    let limits = Limits::read(root.section("limits"));
    let timeouts = Timeouts::read(root.section("timeouts"));
    let access_log = AccessLog::read(root.section("access_log"), around);
    Some(Config {
        server: server?,
        client_address,
        upstream: upstream?,
        keys,
        scopes,
        webhooks,
        routes,
        limits,
        timeouts,
        access_log,
    })
}

/// Reads a file within [`MOST_BYTES`].
///
/// # Errors
/// The mistake as a report: unreadable, too large, or not UTF-8.
pub fn read_file(path: &Path) -> Result<Source, Report> {
    let refuse = |message: String, help: Option<&str>| {
        let mut report = Report::default();
        report.file_error(path, message, help);
        report
    };
    let unreadable = |error: std::io::Error| {
        let help = (error.kind() == std::io::ErrorKind::NotFound)
            .then_some("name another file with --config, or make one with 'sidelock init'");
        refuse(format!("cannot be read: {error}"), help)
    };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(refuse("is not a regular file".to_owned(), None));
    }
    if metadata.len() > MOST_BYTES {
        return Err(refuse(format!("is over {MOST_BYTES} bytes"), None));
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        refuse(format!("is not UTF-8 text (byte {at})"), None)
    })?;
    Ok(Source { path: path.to_owned(), text })
}
