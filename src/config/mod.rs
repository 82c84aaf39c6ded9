//! Text to types: a file per section, each mistake noted where it stands. Nothing beyond this module sees TOML.

pub mod environment;
pub mod key_file;
pub mod load;
pub mod pack;
pub mod reader;
pub mod sender;
pub mod source;
pub mod telegram;
pub mod units;

mod access_log;
mod ban;
mod client_address;
mod crm_credential;
mod health_check;
mod keys;
mod limits;
mod listener;
mod mask;
mod route;
mod scopes;
mod sender_proof;
mod senders;
mod server;
mod timeouts;
mod upstream;
mod upstream_address;
mod webhook;
mod webhook_secret;
mod webhook_sense;

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use crate::networks::Networks;
use crate::policy::crm_credential::CredentialNames;
use crate::policy::pack::Pack;
use crate::policy::scope::Scopes;
use crate::request_head::target::judge_path;
use crate::secret::Secret;
pub use access_log::AccessLog;
pub use ban::Ban;
pub use client_address::{ClientAddress, Manner};
pub use crm_credential::{Credential, Credentials};
use environment::Environment;
pub use health_check::HealthCheck;
pub use keys::Keys;
pub use limits::Limits;
pub use listener::{ClientCertificates, Listener, Place, ProxyHeader};
use reader::{Reading, Section, Value};
pub use route::Route;
use sender::Senders;
pub use server::Server;
use source::{Report, Source};
pub use timeouts::Timeouts;
pub use upstream::Upstream;
pub use upstream_address::{Address, MOST_ADDRESSES};
pub use webhook::Webhook;

/// Largest configuration or key file, in bytes.
pub const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// The whole configuration, parsed.
#[derive(Debug)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[server] listen` and `[[listener]]`
    pub listeners: Vec<Listener>,
    /// `[client_address]`
    pub client_address: ClientAddress,
    /// `[upstream]`
    pub upstream: Upstream,
    /// `[upstream] crm` or `crm_file`
    pub pack: Option<Pack>,
    /// `[keys]`
    pub keys: Keys,
    /// `[scopes.<name>]`, and the pack's
    pub scopes: Scopes,
    /// `[[webhook]]`
    pub webhooks: Vec<Webhook>,
    /// `[[route]]`
    pub routes: Vec<Route>,
    /// `[limits]`
    pub limits: Limits,
    /// `[ban]`
    pub ban: Ban,
    /// `[timeouts]`
    pub timeouts: Timeouts,
    /// `[access_log]`
    pub access_log: AccessLog,
}

/// What a key file may name.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The scopes.
    pub scopes: Scopes,
    /// The credentials of the CRM's.
    pub credentials: CredentialNames,
    /// Whether a key can be bound to a client certificate.
    pub certificates: ClientCertificates,
}

impl Config {
    /// Addresses that are never banned: a proxy speaks for everyone behind it, and a webhook's sender for everyone whom it
    /// serves.
    pub fn never_banned(&self) -> Networks {
        let known = [&self.ban.exempt, &self.client_address.trusted_proxies];
        Networks::union(known.into_iter().chain(self.webhooks.iter().map(|webhook| &webhook.allow_from)))
    }

    /// Whether any listener asks clients for a certificate.
    pub fn client_certificates(&self) -> ClientCertificates {
        Listener::any_asks(&self.listeners)
    }

    /// What a key file may name.
    pub fn names(&self) -> Names {
        Names {
            scopes: self.scopes.clone(),
            credentials: self.upstream.credentials.names().clone(),
            certificates: self.client_certificates(),
        }
    }
}

/// What a section needs to know beyond its own text.
struct Surroundings<'a> {
    environment: &'a Environment,
    /// The folder of the configuration file: relative paths start here.
    base: &'a Path,
    /// Files that secrets and a pack were read from: a change in one is a change of the configuration.
    named_files: RefCell<Vec<PathBuf>>,
    /// Files with text that mistakes can be shown in.
    sources: RefCell<Vec<Source>>,
}

impl Surroundings<'_> {
    /// False where secrets are not read, and something else stands for each of them.
    const fn knows_secrets(&self) -> bool {
        !matches!(self.environment, Environment::Unread)
    }

    fn secret(&self, value: Value<'_, '_>) -> Option<Secret> {
        if let Some(path) = value.as_text().and_then(|text| text.strip_prefix("file:")) {
            self.named_files.borrow_mut().push(self.path(path));
        }
        self.environment.secret(value, self.base)
    }

    fn path(&self, text: &str) -> PathBuf {
        self.base.join(text)
    }
}

/// What reading a configuration gave, as far as it goes.
#[derive(Debug)]
pub struct Parsed {
    /// The whole, if there is no mistake.
    pub config: Option<Config>,
    /// The key file, also where something else is wrong.
    pub keys: Option<PathBuf>,
    /// What the key file may name, likewise.
    pub known: Names,
    /// Files that secrets and a pack were read from.
    pub named_files: Vec<PathBuf>,
    /// The pack's text, if it is not a known one.
    pub sources: Vec<Source>,
    /// Mistakes and warnings.
    pub report: Report,
}

/// Reads a configuration.
pub fn parse(source: &Source, environment: &Environment) -> Parsed {
    let reading = Reading::new(source);
    let table = reading.parse();
    let base = source.path.parent().unwrap_or_else(|| Path::new(""));
    let around =
        Surroundings { environment, base, named_files: RefCell::default(), sources: RefCell::default() };
    let root = reading.root(&table);
    let (config, keys, known) = sections(&root, &around);
    root.finish();
    let (named_files, sources) = (around.named_files.into_inner(), around.sources.into_inner());
    let report = reading.into_report();
    Parsed { config: config.filter(|_| !report.has_errors()), keys, known, named_files, sources, report }
}

fn sections(root: &Section<'_, '_>, around: &Surroundings<'_>) -> (Option<Config>, Option<PathBuf>, Names) {
    // Every section is read before any of them can end the reading: all mistakes are shown at once.
    let client_address = ClientAddress::read(root.section("client_address"));
    let trusted = &client_address.trusted_proxies;
    let others = Listener::read_all(root.sections("listener"), around, trusted);
    let server = Server::read(root.section("server"), around, &others);
    let plain = server.iter().flat_map(|server| &server.listen).copied().map(Listener::plain);
    let listeners: Vec<Listener> = plain.chain(others).collect();
    let upstream = root.section("upstream");
    let pack::Chosen { pack, public } = pack::choose(&upstream, around);
    let (upstream, credentials) = Upstream::read(upstream, around, pack.as_ref());
    let keys = Keys::read(root.section("keys"), around, pack.as_ref());
    let scopes = scopes::read(root.section("scopes"), pack.as_ref(), credentials.names());
    let senders = Senders::read(&root.section("sender"));
    let public_url = server.as_ref().and_then(|server| server.public_url.clone());
    let pass_headers = upstream.as_ref().map_or(&[][..], |upstream| &upstream.pass_headers);
    let known = webhook::Known { around, senders: &senders, public_url, pass_headers };
    let webhooks = webhook::read(root.sections("webhook"), &known);
    let routes = route::read(root.sections("route"), public, &webhooks);
    let limits = Limits::read(root.section("limits"));
    webhook_sense::room(&webhooks, &limits, &root.section("limits"));
    let ban = Ban::read(root.section("ban"));
    let timeouts = Timeouts::read(root.section("timeouts"));
    let state_dir = server.as_ref().map_or_else(|| Path::new(""), |server| &server.state_dir);
    let access_log = AccessLog::read(root.section("access_log"), around, state_dir);
    let file = keys.file.clone();
    let known = Names {
        scopes: scopes.clone(),
        credentials: credentials.names().clone(),
        certificates: Listener::any_asks(&listeners),
    };
    let config = server.zip(upstream).map(|(server, upstream)| Config {
        server,
        listeners,
        client_address,
        upstream,
        pack,
        keys,
        scopes,
        webhooks,
        routes,
        limits,
        ban,
        timeouts,
        access_log,
    });
    (config, file, known)
}

/// True for a path that a request could have, and that has one spelling.
fn is_plain_path(text: &str) -> bool {
    judge_path(text).is_ok() && !text.contains(['?', '*'])
}

/// Where the world reaches this gateway, without a slash at the end.
fn public_url(value: Value<'_, '_>) -> Option<Box<str>> {
    let text = value.text()?.trim_end_matches('/');
    let uri = text.parse::<http::Uri>().ok();
    let fits = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() && uri.query().is_none()
    });
    if !fits {
        let help = "as in https://crm.example.com; senders sign the URL that they call".to_owned();
        value.reading().error(value.span(), "not the address of this gateway", Some(help));
    }
    fits.then(|| text.into())
}

/// Reads a file within [`MOST_BYTES`].
///
/// # Errors
/// The mistake as a report: unreadable, too large, or not UTF-8.
pub fn read_file(path: &Path) -> Result<Source, Report> {
    let refuse = |message: String| {
        let mut report = Report::default();
        report.file_error(path, message, None);
        report
    };
    let unreadable = |error: std::io::Error| refuse(format!("cannot be read: {error}"));
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(refuse("is not a regular file".to_owned()));
    }
    if metadata.len() > MOST_BYTES {
        return Err(refuse(format!("is over {MOST_BYTES} bytes")));
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        refuse(format!("is not UTF-8 text (byte {at})"))
    })?;
    Ok(Source { path: path.to_owned(), text })
}
