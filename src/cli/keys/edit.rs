//! `sidelock keys edit`: what is typed changes, the rest stays.

use std::path::Path;

use super::super::Failure;
use super::arguments::{self, Expiry, Network};
use super::{Bench, Format, view};
use crate::editing::desk::{Purpose, Work};
use crate::editing::{Field, Setting};
use crate::keys::key::{Key, Mode};
use crate::limits::rate::Rate;

/// What was typed.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").multiple(true).required(true).args([
    "title", "scopes", "add_scope", "remove_scope", "allow_from", "from_anywhere", "client_cert", "rate", "default_rate", "expires",
    "never_expires", "owner", "note", "credential", "mode",
])))]
pub(super) struct Opts {
    /// Which key
    #[arg(value_name = "ID|TITLE")]
    key: String,
    /// A new name for people
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// All that it may do from now on; several with commas
    #[arg(long, value_name = "SCOPES", value_delimiter = ',', conflicts_with_all = ["add_scope", "remove_scope"])]
    scopes: Option<Vec<String>>,
    /// What it may do besides
    #[arg(long, value_name = "SCOPE", value_delimiter = ',')]
    add_scope: Vec<String>,
    /// What it may no longer do
    #[arg(long, value_name = "SCOPE", value_delimiter = ',')]
    remove_scope: Vec<String>,
    /// From where alone it may be used from now on; several with commas
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    allow_from: Option<Vec<Network>>,
    /// It may be used from every address
    #[arg(long, conflicts_with = "allow_from")]
    from_anywhere: bool,
    /// Only on a connection with this client certificate: its PEM file, sha256:<fingerprint>, or san:<a name in it>; '' for
    /// none
    #[arg(long, value_name = "CERTIFICATE")]
    client_cert: Option<String>,
    /// Its own rate, as '100/min burst 20'
    #[arg(long)]
    rate: Option<Rate>,
    /// It has no rate of its own
    #[arg(long, conflicts_with = "rate")]
    default_rate: bool,
    /// When it stops working: from now, as 90d, or a moment such as 2027-02-20T10:00:00Z
    #[arg(long, value_name = "WHEN", conflicts_with = "never_expires")]
    expires: Option<Expiry>,
    /// It never stops working by itself
    #[arg(long, requires = "reason")]
    never_expires: bool,
    /// Why it never expires
    #[arg(long, value_name = "TEXT", requires = "never_expires")]
    reason: Option<String>,
    /// Who answers for it; '' for nobody
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,
    /// Anything worth knowing; '' for nothing
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// As whom the CRM is asked: a name under [upstream.credentials]; an empty one takes it out
    #[arg(long, value_name = "NAME")]
    credential: Option<String>,
    /// Whether its own limits refuse (enforce), or count what they would refuse and let it pass (observe)
    #[arg(long, value_enum)]
    mode: Option<TypedMode>,
    /// Print what is known of the key as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum TypedMode {
    Enforce,
    Observe,
}

pub(super) fn run(path: &Path, opts: &Opts) -> Result<(), Failure> {
    let bench = Bench::open(path, Purpose::Change)?;
    let (at, key) = bench.find(&opts.key)?;
    let work = Work::default().set(at, opts.fields(&bench, key)?);
    let done = format!("Key {} is edited.", view::name(key));
    let value = serde_json::json!({ "id": key.id.as_str(), "applied": true });
    bench.change("edit", &work, Format::of(opts.json), (&done, value))
}

impl Opts {
    fn fields(&self, bench: &Bench, key: &Key) -> Result<Vec<Field>, Failure> {
        let mut fields = Vec::new();
        let mut set = |name: &'static str, setting: Setting| fields.push(Field { name, setting });
        if let Some(title) = &self.title {
            set("title", Setting::Text(arguments::title(title)?));
        }
        if let Some(scopes) = self.new_scopes(bench, key)? {
            set("scopes", Setting::List(scopes));
        }
        if let Some(networks) = &self.allow_from {
            set("allow_from", Setting::List(networks.iter().map(|Network(text)| text.clone()).collect()));
        } else if self.from_anywhere {
            set("allow_from", Setting::Absent);
        }
        match self.client_cert.as_deref() {
            Some("") => set("client_cert", Setting::Absent),
            Some(typed) => {
                set("client_cert", Setting::Text(arguments::client_cert(typed)?.0.to_string()));
            }
            None => {}
        }
        if let Some(rate) = self.rate {
            set("rate", Setting::Text(rate.to_string()));
        } else if self.default_rate {
            set("rate", Setting::Absent);
        }
        if let Some(expiry) = self.expires {
            set("expires", Setting::Moment(expiry.moment(bench.now)?));
            set("reason", Setting::Absent);
        } else if let (true, Some(reason)) = (self.never_expires, &self.reason) {
            set("expires", Setting::Absent);
            set("reason", Setting::Text(arguments::line("reason", reason)?));
        }
        match self.mode {
            Some(TypedMode::Enforce) => set("mode", Setting::Absent),
            Some(TypedMode::Observe) => set("mode", Setting::Text(Mode::Observe.word().to_owned())),
            None => {}
        }
        match self.credential.as_deref() {
            Some("") => set("credential", Setting::Absent),
            typed => {
                let known = bench.desk.loaded.config.upstream.credentials.names();
                if let Some(name) = arguments::credential(typed, known)? {
                    set("credential", Setting::Text(name));
                }
            }
        }
        for (name, text) in [("owner", &self.owner), ("note", &self.note)] {
            match text.as_deref() {
                Some("") => set(name, Setting::Absent),
                Some(text) => set(name, Setting::Text(arguments::line(name, text)?)),
                None => {}
            }
        }
        Ok(fields)
    }

    fn new_scopes(&self, bench: &Bench, key: &Key) -> Result<Option<Vec<String>>, Failure> {
        let known = &bench.desk.loaded.config.scopes;
        if let Some(scopes) = &self.scopes {
            return arguments::scopes(scopes, known).map(Some);
        }
        if self.add_scope.is_empty() && self.remove_scope.is_empty() {
            return Ok(None);
        }
        let mut names: Vec<String> = key.scope_names.split_ascii_whitespace().map(str::to_owned).collect();
        names.extend(arguments::scopes(&self.add_scope, known)?);
        let gone = arguments::scopes(&self.remove_scope, known)?;
        if let Some(absent) = gone.iter().find(|name| !names.contains(name)) {
            return Err(Failure::Failed(format!(
                "key {} does not have the scope '{absent}'",
                view::name(key)
            )));
        }
        names.retain(|name| !gone.contains(name));
        arguments::scopes(&names, known).map(Some)
    }
}
