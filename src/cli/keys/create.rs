//! `sidelock keys create`: a new key, shown once, stored as a digest.

use std::path::Path;

use serde_json::json;

use super::super::Failure;
use super::super::terminal::plain;
use super::arguments::{self, Expires, Network};
use super::handing::Output;
use super::{Bench, Conclusion, Format};
use crate::credential::api_key::PlainKey;
use crate::editing::desk::{Purpose, Work};
use crate::editing::{Lifetime, NewKey};
use crate::limits::rate::Rate;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Opts {
    /// A name for people, such as the integration that gets the key
    #[arg(long)]
    title: String,
    /// What it may do; several with commas, or repeat
    #[arg(long = "scope", alias = "scopes", value_name = "SCOPE", value_delimiter = ',')]
    #[arg(required_unless_present_any = ["roles", "decoy"])]
    scopes: Vec<String>,
    /// The scopes of a role that the CRM's pack has; several with commas, or repeat
    #[arg(long = "role", value_name = "ROLE", value_delimiter = ',')]
    roles: Vec<String>,
    /// As whom the CRM is asked: a name under [upstream.credentials]
    #[arg(long, value_name = "NAME")]
    credential: Option<String>,
    #[command(flatten)]
    expires: Expires,
    /// From where it may be used; several with commas, or repeat
    #[arg(long = "allow-from", value_name = "CIDR", value_delimiter = ',')]
    allow_from: Vec<Network>,
    /// Only on a connection with this client certificate: its PEM file, sha256:<fingerprint>, or san:<a name in it>
    #[arg(long, value_name = "CERTIFICATE")]
    client_cert: Option<String>,
    /// Its own rate, as '100/min burst 20'
    #[arg(long)]
    rate: Option<Rate>,
    /// Who answers for it
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,
    /// Anything worth knowing
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// A key to be stolen: it opens nothing, a thief is told that nobody knows it, and each try raises the alert
    #[arg(long, conflicts_with_all = [
        "scopes", "roles", "credential", "expires", "never_expires", "reason", "allow_from", "rate",
        "client_cert",
    ])]
    decoy: bool,
    #[command(flatten)]
    output: Output,
    /// Leave the key file alone: print the block for it on stdout, and the key on stderr
    #[arg(long)]
    print: bool,
    /// Print the key and what is known of it as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(path: &Path, opts: &Opts) -> Result<(), Failure> {
    let bench = Bench::open(path, if opts.print { Purpose::Look } else { Purpose::Beginning })?;
    let key = PlainKey::generate().map_err(|error| Failure::Failed(error.to_string()))?;
    let new = opts.new_key(&key, &bench)?;
    let draft = bench.draft(&Work::default().with_new(new.clone()))?;
    let kind = if opts.decoy { "Decoy" } else { "Key" };
    let told = format!("{kind} {} for '{}'.", new.id, plain(&new.title));
    let format = Format::of(opts.json);
    let handing = opts.output.prepare(&key)?;
    if opts.print {
        return handing.beside_toml(&draft.toml, &told, format);
    }
    match bench.apply("create", &draft)? {
        Conclusion::ToApply { why, toml } => Err(handing.apply_elsewhere(&why, &toml, &told, format)),
        Conclusion::Done => {
            let expires = match &new.lifetime {
                Lifetime::Until(until) => Some(until.rfc3339()),
                Lifetime::Unlimited { .. } | Lifetime::Decoy => None,
            };
            let value = json!({
                "id": new.id,
                "title": new.title,
                "scopes": new.scopes,
                "created": new.created.rfc3339(),
                "expires": expires,
                "client_cert": new.client_cert,
                "decoy": opts.decoy,
            });
            handing.over(&told, value, format)
        }
    }
}

impl Opts {
    fn new_key(&self, key: &PlainKey, bench: &Bench) -> Result<NewKey, Failure> {
        let line = |what: &str, text: &Option<String>| {
            text.as_deref().map(|text| arguments::line(what, text)).transpose()
        };
        let config = &bench.desk.loaded.config;
        let mut scopes = arguments::roles(&self.roles, config.pack.as_ref())?;
        scopes.extend(self.scopes.iter().cloned());
        let credentials = config.upstream.credentials.names();
        Ok(NewKey {
            id: key.id().to_owned(),
            title: arguments::title(&self.title)?,
            digest: key.digest(),
            scopes: arguments::scopes(&scopes, &config.scopes)?,
            created: bench.now,
            lifetime: if self.decoy { Lifetime::Decoy } else { self.expires.lifetime(bench.now)? },
            allow_from: self.allow_from.iter().map(|Network(text)| text.clone()).collect(),
            client_cert: match self.client_cert.as_deref() {
                Some(typed) => Some(arguments::client_cert(typed)?.0.to_string()),
                None => None,
            },
            rate: self.rate,
            credential: arguments::credential(self.credential.as_deref(), credentials)?,
            owner: line("owner", &self.owner)?,
            note: line("note", &self.note)?,
        })
    }
}
