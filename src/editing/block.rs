//! What is written into a key file: values, and the block of a new key.

use std::fmt::Write as _;
use std::time::Duration;

use crate::clock::WallTime;
use crate::config::units::Span;
use crate::credential::api_key::KeyDigest;
use crate::keys::key::{Ends, Previous};
use crate::limits::rate::Rate;

/// A field and what it is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name in the key file.
    pub name: &'static str,
    /// Its new value.
    pub setting: Setting,
}

/// A value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// The line goes.
    Absent,
    /// A list of strings.
    List(Vec<String>),
    /// A date and time.
    Moment(WallTime),
    /// The replaced secret.
    Previous(Previous),
    /// A string.
    Text(String),
    /// `true` or `false`.
    Truth(bool),
}

/// A key to be written down.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Its public name.
    pub id: String,
    /// Its name for people.
    pub title: String,
    /// SHA-256 of its text.
    pub digest: KeyDigest,
    /// Names of its scopes.
    pub scopes: Vec<String>,
    /// When it is made.
    pub created: WallTime,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// Networks from which it may be used; empty for all.
    pub allow_from: Vec<String>,
    /// The client certificate that it needs.
    pub client_cert: Option<String>,
    /// Its own rate.
    pub rate: Option<Rate>,
    /// As whom the CRM is asked.
    pub credential: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Anything.
    pub note: Option<String>,
}

/// How long a key lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Until this moment.
    Until(WallTime),
    /// For ever, and why.
    Unlimited {
        /// The reason that is written beside it.
        reason: String,
    },
    /// Not at all: it is a decoy, which opens nothing and has no scopes.
    Decoy,
}

impl Lifetime {
    /// So long from `now`.
    pub fn from(now: WallTime, span: Duration) -> Self {
        Self::Until(now.after(span))
    }
}

impl Setting {
    /// A text, or no line at all.
    pub fn text_or_absent(text: Option<&str>) -> Self {
        text.map_or(Self::Absent, |text| Self::Text(text.to_owned()))
    }

    /// The value as TOML; nothing for an absent one.
    pub(super) fn toml(&self) -> String {
        match self {
            Self::Absent => String::new(),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Moment(moment) => moment.rfc3339(),
            Self::Previous(Previous { digest, ends }) => {
                let digest = quoted(&digest.to_string());
                match ends {
                    Ends::At(until) => format!("{{ digest = {digest}, until = {} }}", until.rfc3339()),
                    Ends::AfterFirstUse(overlap) => {
                        let overlap = quoted(&Span(*overlap).to_string());
                        format!("{{ digest = {digest}, overlap = {overlap} }}")
                    }
                }
            }
            Self::Text(text) => quoted(text),
            Self::Truth(truth) => truth.to_string(),
        }
    }
}

impl NewKey {
    /// The `[[key]]` block, with an empty line above it.
    pub fn block(&self) -> String {
        let none = || Setting::Absent;
        let (expires, reason, decoy) = match &self.lifetime {
            Lifetime::Until(until) => (Setting::Moment(*until), none(), none()),
            Lifetime::Unlimited { reason } => (none(), Setting::Text(reason.clone()), none()),
            Lifetime::Decoy => (none(), none(), Setting::Truth(true)),
        };
        let has_scopes = decoy == Setting::Absent;
        let scopes = if has_scopes { Setting::List(self.scopes.clone()) } else { none() };
        let allow_from = match self.allow_from.as_slice() {
            [] => Setting::Absent,
            networks => Setting::List(networks.to_vec()),
        };
        let rate = self.rate.map_or(Setting::Absent, |rate| Setting::Text(rate.to_string()));
        let fields = [
            ("id", Setting::Text(self.id.clone())),
            ("title", Setting::Text(self.title.clone())),
            ("digest", Setting::Text(self.digest.to_string())),
            ("scopes", scopes),
            ("decoy", decoy),
            ("created", Setting::Moment(self.created)),
            ("expires", expires),
            ("reason", reason),
            ("allow_from", allow_from),
            ("client_cert", Setting::text_or_absent(self.client_cert.as_deref())),
            ("rate", rate),
            ("credential", Setting::text_or_absent(self.credential.as_deref())),
            ("owner", Setting::text_or_absent(self.owner.as_deref())),
            ("note", Setting::text_or_absent(self.note.as_deref())),
        ];
        let mut out = String::from("\n[[key]]\n");
        for (name, setting) in fields.iter().filter(|(_, setting)| *setting != Setting::Absent) {
            out.push_str(&format!("{name} = {}\n", setting.toml()));
        }
        out
    }
}

/// A basic string on one line, whatever is in it.
fn quoted(text: &str) -> String {
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
