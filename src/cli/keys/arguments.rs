//! Options that several verbs share: typed text becomes what it means, or a sentence that says why not.

use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use super::super::Failure;
use super::is_secret;
use crate::clock::WallTime;
use crate::config::key_file::is_line;
use crate::config::reader::meant;
use crate::config::units::Span;
use crate::editing::Lifetime;
use crate::keys::key::Title;
use crate::policy::crm_credential::CredentialNames;
use crate::policy::pack::Pack;
use crate::policy::scope::{ScopeName, Scopes};
use crate::tls::certificate::{Facts, Wanted, WantedError};
use crate::tls::identity::facts_in;

/// 9999-12-30T22:00:00Z, the last moment that is written and read back with four digits of year in every time zone.
pub(super) const LAST: WallTime = WallTime::from_unix_secs(253_402_207_200);

/// When a key stops working: a time from now, or a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    In(Duration),
    On(WallTime),
}

/// Neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a duration such as '90d', or a moment such as '2027-02-20T10:00:00Z'")]
pub(super) struct ExpiryError;

impl FromStr for Expiry {
    type Err = ExpiryError;

    fn from_str(text: &str) -> Result<Self, ExpiryError> {
        if let Ok(Span(span)) = text.parse() {
            return Ok(Self::In(span));
        }
        let moment: jiff::Timestamp = text.parse().map_err(|_| ExpiryError)?;
        Ok(Self::On(WallTime::from_unix_secs(moment.as_second())))
    }
}

/// How long an old secret works on: a time, or `0` for not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overlap(pub(super) Duration);

impl FromStr for Overlap {
    type Err = crate::config::units::SpanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "0" { Ok(Self(Duration::ZERO)) } else { text.parse().map(|Span(span)| Self(span)) }
    }
}

/// A network or a single address, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Network(pub(super) String);

/// Not a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NetworkError {
    #[error("write it as 203.0.113.0/24, 2001:db8::/32 or a single address")]
    Form,
    #[error("it has bits after its prefix; did you mean {0}?")]
    Prefix(IpNet),
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        if text.parse::<std::net::IpAddr>().is_ok() {
            return Ok(Self(text.to_owned()));
        }
        let net: IpNet = text.parse().map_err(|_| NetworkError::Form)?;
        if net.trunc() == net { Ok(Self(text.to_owned())) } else { Err(NetworkError::Prefix(net.trunc())) }
    }
}

/// Expiry, or none for a reason.
#[derive(Debug, clap::Args)]
pub(super) struct Expires {
    /// When it stops working: from now, as 90d, or a moment such as 2027-02-20T10:00:00Z
    #[arg(long, value_name = "WHEN", default_value = "90d", conflicts_with = "never_expires")]
    pub(super) expires: Expiry,
    /// It never stops working by itself
    #[arg(long, requires = "reason")]
    pub(super) never_expires: bool,
    /// Why it never expires
    #[arg(long, value_name = "TEXT", requires = "never_expires")]
    pub(super) reason: Option<String>,
}

impl Expires {
    pub(super) fn lifetime(&self, now: WallTime) -> Result<Lifetime, Failure> {
        if let (true, Some(reason)) = (self.never_expires, &self.reason) {
            return Ok(Lifetime::Unlimited { reason: line("reason", reason)? });
        }
        self.expires.moment(now).map(Lifetime::Until)
    }
}

impl Expiry {
    /// The moment; it must lie ahead.
    pub(super) fn moment(self, now: WallTime) -> Result<WallTime, Failure> {
        let moment = match self {
            Self::In(span) => now.after(span),
            Self::On(moment) => moment,
        };
        if moment > now && moment <= LAST {
            Ok(moment)
        } else {
            Err(Failure::Failed("the expiry must lie ahead, and before the year 10000".to_owned()))
        }
    }
}

/// A title as the key file takes it.
pub(super) fn title(text: &str) -> Result<String, Failure> {
    no_secret("title", text)?;
    match Title::new(text) {
        Some(title) => Ok(title.as_str().to_owned()),
        None => Err(Failure::Failed(
            "a title has 1 to 200 characters, none of them a control character".to_owned(),
        )),
    }
}

/// What is written down is shown in many places.
fn no_secret(what: &str, text: &str) -> Result<(), Failure> {
    if is_secret(text) {
        return Err(Failure::Failed(format!(
            "--{what} holds a whole key, which must be written down nowhere"
        )));
    }
    Ok(())
}

/// An owner, a note or a reason as the key file takes it.
pub(super) fn line(what: &str, text: &str) -> Result<String, Failure> {
    no_secret(what, text)?;
    if is_line(text) {
        Ok(text.to_owned())
    } else {
        let rule = "1 to 200 characters, none of them a control character";
        Err(Failure::Failed(format!("--{what} needs {rule}")))
    }
}

/// Names of scopes that the configuration has, each once.
pub(super) fn scopes(typed: &[String], known: &Scopes) -> Result<Vec<String>, Failure> {
    let mut names: Vec<String> = Vec::new();
    for name in typed {
        if known.id(name).is_none() {
            return Err(unknown("scope", name, known.names().iter().map(ScopeName::as_str)));
        }
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    Ok(names)
}

/// The scopes of roles that the pack has.
pub(super) fn roles(typed: &[String], pack: Option<&Pack>) -> Result<Vec<String>, Failure> {
    let known = pack.map(|pack| pack.roles.as_slice()).unwrap_or_default();
    let mut scopes = Vec::new();
    for name in typed {
        let role = known
            .iter()
            .find(|role| role.name.as_str() == name)
            .ok_or_else(|| unknown("role", name, known.iter().map(|role| role.name.as_str())))?;
        scopes.extend(role.scopes.iter().map(|scope| scope.as_str().to_owned()));
    }
    Ok(scopes)
}

/// The client certificate that a key needs: described, or in a file, whose fingerprint counts then.
pub(in crate::cli) fn client_cert(typed: &str) -> Result<(Wanted, Facts), Failure> {
    no_secret("client-cert", typed)?;
    if typed.is_empty() {
        let other = "a PEM file, or 'sha256:' and a fingerprint, or 'san:' and a name in the certificate";
        return Err(Failure::Failed(format!("--client-cert is empty: name {other}")));
    }
    if ["sha256:", "san:"].iter().any(|prefix| typed.starts_with(prefix)) {
        let wanted: Wanted =
            typed.parse().map_err(|error: WantedError| Failure::Failed(format!("--client-cert: {error}")))?;
        let facts = wanted.met();
        return Ok((wanted, facts));
    }
    let facts = facts_in(std::path::Path::new(typed)).map_err(|error| {
        let other = "a PEM file, or 'sha256:' and a fingerprint, or 'san:' and a name in the certificate";
        Failure::Failed(super::plain(&format!("--client-cert takes {other}: {error}")))
    })?;
    Ok((Wanted::Fingerprint(facts.fingerprint), facts))
}

/// The name of a credential that the configuration has.
pub(super) fn credential(typed: Option<&str>, known: &CredentialNames) -> Result<Option<String>, Failure> {
    match typed {
        Some(name) if known.id(name).is_none() => Err(unknown("credential", name, known.iter())),
        typed => Ok(typed.map(str::to_owned)),
    }
}

fn unknown<'n>(kind: &str, name: &str, known: impl Iterator<Item = &'n str> + Clone) -> Failure {
    let near = meant(name, known.clone()).map_or_else(String::new, |near| format!("did you mean '{near}'? "));
    let all: Vec<&str> = known.collect();
    let all = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
    let name = super::plain(name);
    Failure::Failed(format!("no {kind} is called '{name}'; {near}known: {all}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_spans() {
        assert_eq!("90d".parse(), Ok(Expiry::In(Duration::from_secs(90 * 86_400))));
        let moment = WallTime::from_unix_secs(1_800_000_000);
        assert_eq!(moment.rfc3339().parse(), Ok(Expiry::On(moment)));
        assert_eq!("tomorrow".parse::<Expiry>(), Err(ExpiryError));
        assert!(Expiry::On(moment).moment(moment).is_err());
        assert!(Expiry::In(Duration::from_secs(u64::MAX / 1000)).moment(moment).is_err());
        assert_eq!("0".parse(), Ok(Overlap(Duration::ZERO)));
        assert!("0x".parse::<Overlap>().is_err());
    }

    #[test]
    fn networks() {
        assert!("203.0.113.7".parse::<Network>().is_ok() && "2001:db8::/32".parse::<Network>().is_ok());
        assert_eq!(
            "10.1.0.0/8".parse::<Network>().unwrap_err().to_string(),
            "it has bits after its prefix; did you mean 10.0.0.0/8?"
        );
    }
}
