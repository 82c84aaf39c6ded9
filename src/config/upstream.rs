//! `[upstream]`: the CRM.

use http::uri::Scheme;
use http::{HeaderName, HeaderValue, Uri};

use super::Surroundings;
use super::crm_credential::Credentials;
use super::reader::Section;
use crate::policy::pack::Pack;
use crate::request_head::host::is_host;

/// The section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// `url`: `http://host[:port]` or `https://host[:port]`; required.
    pub host: Box<str>,
    /// The port of `url`.
    pub port: u16,
    /// True for `https`.
    pub tls: bool,
    /// `host`: the `Host` that the CRM gets; default the client's.
    pub host_header: Option<HeaderValue>,
    /// `credential` and `credentials`: what we show the CRM.
    pub credentials: Credentials,
    /// `ca_file`: certificates that may sign the CRM's; default the system's.
    pub ca_file: Option<std::path::PathBuf>,
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
            let parsed = value.text().and_then(origin);
            if parsed.is_none() {
                let help = "write it as 'http://127.0.0.1:3000' or 'https://crm.example'; paths stay as clients send them".to_owned();
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
        let ca_file = section.get("ca_file").and_then(|value| value.text()).map(|text| around.path(text));
        let pass_headers = section.get("pass_headers").map(|value| value.parse_all()).unwrap_or_default();
        let idle = section.get("idle_connections").and_then(|value| value.number(0, 10_000));
        section.finish();
        let idle_connections = idle.and_then(|number| usize::try_from(number).ok()).unwrap_or(64);
        let known = credentials.clone();
        let upstream = origin.map(|(host, port, tls)| Self {
            host,
            port,
            tls,
            host_header,
            credentials,
            ca_file,
            pass_headers,
            idle_connections,
        });
        (upstream, known)
    }
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
