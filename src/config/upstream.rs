//! `[upstream]`: the CRM.

use std::path::PathBuf;

use http::uri::Scheme;
use http::{HeaderName, HeaderValue, Uri};
use ring::digest;

use super::Surroundings;
use super::crm_credential::Credentials;
use super::listener::{named, read_identity, socket_path};
use super::reader::{Section, Value};
use crate::policy::pack::Pack;
use crate::request_head::host::is_host;
use crate::tls;
use crate::tls::identity::Identity;

/// The section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// `url`: `http://host[:port]`, `https://host[:port]` or `unix:/path`; required.
    pub host: Box<str>,
    /// The port of `url`.
    pub port: u16,
    /// True for `https`.
    pub tls: bool,
    /// The path of `unix:/path`; host and port are then only for a client that sends no `Host`.
    pub socket: Option<PathBuf>,
    /// `server_name`: the name that the CRM's certificate must have, and that TLS asks for; default the host of `url`.
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
    /// `connections_per_thread`: idle connections kept; default 64.
    pub idle_connections: usize,
}

impl Upstream {
    /// The credentials are told apart from the rest, so that keys can name them although something else is wrong.
    pub(super) fn read(
        section: Section<'_, '_>,
        around: &Surroundings<'_>,
        pack: Option<&Pack>,
    ) -> (Option<Self>, Credentials) {
        let origin = section.required("url").and_then(|value| {
            if value.as_text().is_some_and(|text| text.starts_with("unix:")) {
                return socket_path(value, around).map(|path| ("localhost".into(), 80, false, Some(path)));
            }
            let parsed = value.text().and_then(origin).map(|(host, port, tls)| (host, port, tls, None));
            if parsed.is_none() {
                let help = "write it as 'http://127.0.0.1:3000', 'https://crm.example' or 'unix:/run/crm.sock'; paths stay as clients send them".to_owned();
                value.reading().error(value.span(), "not the address of a CRM", Some(help));
            }
            parsed
        });
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
        let idle = section.get("idle_connections").and_then(|value| value.number(0, 10_000));
        let is_plain = origin.as_ref().is_some_and(|(_, _, tls, _)| !tls);
        let (server_name, identity) = shown(&section, around, is_plain);
        section.finish();
        let idle_connections = idle.and_then(|number| usize::try_from(number).ok()).unwrap_or(64);
        let known = credentials.clone();
        let upstream = origin.map(|(host, port, tls, socket)| Self {
            host,
            port,
            tls,
            socket,
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
        match &self.socket {
            Some(path) => format!("unix:{}", path.display()),
            None => format!("{}:{}", self.host, self.port),
        }
    }
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

/// Host, port and whether with TLS, of a URL that has nothing else.
pub(super) fn origin(text: &str) -> Option<(Box<str>, u16, bool)> {
    let uri: Uri = text.parse().ok()?;
    let tls = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => true,
        Some(scheme) if *scheme == Scheme::HTTP => false,
        Some(_) | None => return None,
    };
    let authority = uri.authority().filter(|authority| is_host(authority.as_str()))?;
    let path_is_root =
        matches!(uri.path_and_query().map(http::uri::PathAndQuery::as_str), None | Some("/" | ""));
    let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
    path_is_root.then(|| (authority.host().into(), port, tls))
}
