//! `[upstream]`: the CRM.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use ring::digest;

use super::Surroundings;
use super::crm_credential::Credentials;
use super::health_check::HealthCheck;
use super::listener::{named, read_identity};
use super::reader::{Section, Value};
use super::units::Span;
use super::upstream_address::{self, Address, Addresses};
use crate::policy::pack::Pack;
use crate::request_head::host::is_host;
use crate::tls;
use crate::tls::identity::Identity;

/// The section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// `url`, or `urls` for several; at least one, each once.
    pub addresses: Vec<Address>,
    /// True if they are `https`.
    pub tls: bool,
    /// `max_fails`: failures in a row that put an address out; default 5, 0 for never.
    pub max_fails: u32,
    /// `max_eject`: the longest that it stays out before it is tried again, while others are in; default 30 s.
    pub max_eject: Duration,
    /// `health_check`: default none.
    pub health_check: Option<HealthCheck>,
    /// `max_connections`: connections in use at once, to all addresses together; default 10,000.
    pub max_connections: usize,
    /// `server_name`: the name that the CRM's certificate must have, and that TLS asks for; default the host of each url.
    pub server_name: Option<Box<str>>,
    /// `client_certificate` and `client_key`: what we show the CRM in TLS; default nothing.
    pub identity: Option<Identity>,
    /// `host`: the `Host` that the CRM gets; default the client's.
    pub host_header: Option<HeaderValue>,
    /// `credential` and `credentials`: what we show the CRM.
    pub credentials: Credentials,
    /// `ca_file`: certificates that may sign the CRM's; default the system's.
    pub ca_file: Option<PathBuf>,
    /// SHA-256 of what that file holds: other content makes another upstream.
    ca_digest: Option<Vec<u8>>,
    /// `pass_headers`: odd request header names that may pass, as `api_access_token`.
    pub pass_headers: Vec<HeaderName>,
    /// `idle_connections`: kept per thread and address; default 64.
    pub idle_connections: usize,
}

impl Upstream {
    /// The credentials are told apart from the rest, so that keys can name them although something else is wrong.
    pub(super) fn read(
        section: Section<'_, '_>,
        around: &Surroundings<'_>,
        pack: Option<&Pack>,
    ) -> (Option<Self>, Credentials) {
        let addresses = upstream_address::read(&section, around);
        let host_header = section.get("host").and_then(|value| {
            let header = value.text().filter(|text| is_host(text)).and_then(|text| text.parse().ok());
            if header.is_none() {
                value.reading().error(value.span(), "expected a host name, with a port if it has one", None);
            }
            header
        });
        let injection = pack.and_then(|pack| pack.injection.as_ref());
        let credentials = Credentials::read(&section, around, injection);
        let ca_file = section.get("ca_file").and_then(|value| value.text()).map(|text| named(text, around));
        let ca_digest = ca_file.as_deref().and_then(|path| std::fs::read(path).ok());
        let ca_digest = ca_digest.map(|bytes| digest::digest(&digest::SHA256, &bytes).as_ref().to_vec());
        let pass_headers = section.get("pass_headers").map(|value| value.parse_all()).unwrap_or_default();
        let count = |key, least, most, default| {
            let number = section.get(key).and_then(|value| value.number(least, most));
            number.and_then(|number| usize::try_from(number).ok()).unwrap_or(default)
        };
        let idle_connections = count("idle_connections", 0, 10_000, 64);
        let max_connections = count("max_connections", 1, 1_000_000, 10_000);
        let max_fails = u32::try_from(count("max_fails", 0, 1_000, 5)).unwrap_or(5);
        let max_eject = longest_ejection(&section);
        let health_check = HealthCheck::read(section.section("health_check"));
        let is_plain = addresses.as_ref().is_some_and(|addresses| !addresses.tls);
        let (server_name, identity) = shown(&section, around, is_plain);
        section.finish();
        let known = credentials.clone();
        let upstream = addresses.map(|Addresses { all, tls }| Self {
            addresses: all,
            tls,
            max_fails,
            max_eject,
            health_check,
            max_connections,
            server_name,
            identity,
            host_header,
            credentials,
            ca_file,
            ca_digest,
            pass_headers,
            idle_connections,
        });
        (upstream, known)
    }
}

impl Upstream {
    /// Where it is, for people.
    pub fn place(&self) -> String {
        self.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// The `Host` for a client that sends none.
    pub fn authority(&self) -> String {
        match self.addresses.first() {
            Some(address @ Address::Tcp { .. }) => address.to_string(),
            Some(Address::Socket(_)) | None => "localhost:80".to_owned(),
        }
    }
}

fn longest_ejection(section: &Section<'_, '_>) -> Duration {
    let value = section.get("max_eject");
    let longest =
        value.and_then(|value| value.parse::<Span>()).map_or(Duration::from_secs(30), |span| span.0);
    if let Some(value) =
        value.filter(|_| !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&longest))
    {
        value.reading().error(value.span(), "expected from 1s to 1h", None);
    }
    longest
}

/// What TLS with the CRM needs beyond its authority: the name of its certificate, and a certificate of our own.
fn shown(
    section: &Section<'_, '_>,
    around: &Surroundings<'_>,
    is_plain: bool,
) -> (Option<Box<str>>, Option<Identity>) {
    let server_name = section.get("server_name");
    let (certificate, key) = (section.get("client_certificate"), section.get("client_key"));
    let refuse = |value: Value<'_, '_>, message: &str| value.reading().error(value.span(), message, None);
    for value in [server_name, certificate, key].into_iter().flatten().filter(|_| is_plain) {
        refuse(value, "this is for an 'https' url");
    }
    match (certificate, key) {
        (Some(value), None) => refuse(value, "'client_key' is missing"),
        (None, Some(value)) => refuse(value, "'client_certificate' is missing"),
        (Some(_), Some(_)) | (None, None) => {}
    }
    let name = server_name.and_then(|value| {
        let text = value.text()?;
        tls::server_name(text).map_err(|error| refuse(value, &error.to_string())).ok().map(|_| text.into())
    });
    (name, read_identity(certificate.and_then(|value| value.text()), key, around))
}
