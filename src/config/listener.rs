//! `[[listener]]`: where clients connect, and how; `[server] listen` is the short form for plain ones.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::Surroundings;
use super::reader::{Section, Value};
use crate::networks::Networks;
use crate::tls::TlsError;
use crate::tls::acceptor::{Acceptor, Versions};
use crate::tls::identity::Identity;

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// `address` or `unix`: where it is. Needs a restart; all else does not.
    pub place: Place,
    /// `certificate` and `client_ca`; without them, no TLS.
    pub tls: Option<Acceptor>,
    /// Whether clients are asked for a certificate: `client_ca`.
    pub certificates: ClientCertificates,
    /// `http2` with TLS, `h2c` without.
    pub versions: Versions,
    /// `proxy_protocol`: default none.
    pub proxy_header: ProxyHeader,
}

/// Where a listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `address`: an IP address and a port.
    Address(SocketAddr),
    /// `unix`: a socket file.
    Socket {
        /// Where it is made.
        path: PathBuf,
        /// `mode`: who may connect; default `0600`.
        mode: u32,
    },
}

/// Whether a PROXY protocol header stands before everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// None does.
    None,
    /// Each connection begins with one, from a trusted proxy; others are cut.
    Required,
}

/// Whether a client is asked for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// It is not, and shows none.
    #[default]
    NotAsked,
    /// It is, and may do without.
    Asked,
}

impl Place {
    /// True if both are the same address or file.
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Address(one), Self::Address(other)) => one == other,
            (Self::Socket { path: one, .. }, Self::Socket { path: other, .. }) => one == other,
            (Self::Address(_) | Self::Socket { .. }, _) => false,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Socket { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Listener {
    /// HTTP/1.1 without TLS.
    pub(super) const fn plain(address: SocketAddr) -> Self {
        Self {
            place: Place::Address(address),
            tls: None,
            certificates: ClientCertificates::NotAsked,
            versions: Versions::One,
            proxy_header: ProxyHeader::None,
        }
    }

    /// Whether any of them asks clients for a certificate.
    pub(super) fn any_asks(all: &[Self]) -> ClientCertificates {
        let asked = all.iter().any(|listener| listener.certificates == ClientCertificates::Asked);
        if asked { ClientCertificates::Asked } else { ClientCertificates::NotAsked }
    }

    /// All of them, in order; `trusted` are those whose word on addresses counts.
    pub(super) fn read_all(
        sections: Vec<Section<'_, '_>>,
        around: &Surroundings<'_>,
        trusted: &Networks,
    ) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for section in sections {
            let (reading, span) = (section.reading(), section.span());
            let Some(listener) = Self::read(section, around, trusted) else { continue };
            let is_any_port = matches!(listener.place, Place::Address(address) if address.port() == 0);
            if !is_any_port && all.iter().any(|other| other.place.is(&listener.place)) {
                reading.error(span, format!("another listener is at {} already", listener.place), None);
            }
            all.push(listener);
        }
        all
    }

    fn read(section: Section<'_, '_>, around: &Surroundings<'_>, trusted: &Networks) -> Option<Self> {
        let place = place(&section, around);
        let certificates = section.get("certificate");
        let client_ca = section.get("client_ca");
        let truth = |key| section.get(key).and_then(|value| value.truth().map(|truth| (value, truth)));
        let (http2, h2c) = (truth("http2"), truth("h2c"));
        let versions = match (certificates, http2, h2c) {
            (Some(_), _, Some((value, _))) => {
                let help = "with TLS, HTTP/2 is 'http2', and on unless that is false".to_owned();
                value.reading().error(value.span(), "'h2c' is HTTP/2 without TLS", Some(help));
                Versions::One
            }
            (None, Some((value, _)), _) => {
                let help = "without TLS it is called 'h2c', for clients that speak it unasked".to_owned();
                value.reading().error(value.span(), "'http2' needs a certificate", Some(help));
                Versions::One
            }
            (Some(_), None | Some((_, true)), None) | (None, None, Some((_, true))) => Versions::OneAndTwo,
            (Some(_), Some((_, false)), None) | (None, None, Some((_, false)) | None) => Versions::One,
        };
        let proxy_header = match truth("proxy_protocol") {
            Some((value, true)) => {
                if trusted.is_empty() {
                    let help = "name the proxy there; a header from anyone else is not believed".to_owned();
                    let message = "without [client_address] trusted_proxies every connection would be cut";
                    value.reading().error(value.span(), message, Some(help));
                }
                ProxyHeader::Required
            }
            Some((_, false)) | None => ProxyHeader::None,
        };
        let asked =
            if client_ca.is_some() { ClientCertificates::Asked } else { ClientCertificates::NotAsked };
        let tls = match (certificates, client_ca) {
            (Some(certificates), client_ca) => acceptor(certificates, client_ca, versions, around),
            (None, Some(value)) => {
                value.reading().error(value.span(), "'client_ca' needs a certificate", None);
                None
            }
            (None, None) => None,
        };
        section.finish();
        Some(Self { place: place?, tls, certificates: asked, versions, proxy_header })
    }
}

/// `address`, or `unix` with `mode`.
fn place(section: &Section<'_, '_>, around: &Surroundings<'_>) -> Option<Place> {
    let mode = section.get("mode");
    match (section.get("address"), section.get("unix")) {
        (Some(address), None) => {
            if let Some(mode) = mode {
                mode.reading().error(mode.span(), "'mode' is for socket files", None);
            }
            address.parse().map(Place::Address)
        }
        (None, Some(path)) => {
            let parsed = mode.map(|mode| (mode, mode.text().and_then(octal)));
            if let Some((mode, None)) = parsed {
                let help = "as in mode = \"0660\"".to_owned();
                mode.reading().error(mode.span(), "not the mode of a file", Some(help));
            }
            let mode = parsed.and_then(|(_, mode)| mode).unwrap_or(0o600);
            socket_path(path, around).map(|path| Place::Socket { path, mode })
        }
        (None, None) | (Some(_), Some(_)) => {
            let help = "as in address = \"0.0.0.0:8443\" or unix = \"/run/sidelock.sock\"".to_owned();
            section.reading().error(section.span(), "expected one of 'address' and 'unix'", Some(help));
            None
        }
    }
}

/// The path of a socket, which cannot be long (`sockaddr_un`).
pub(super) fn socket_path(value: Value<'_, '_>, around: &Surroundings<'_>) -> Option<PathBuf> {
    const MOST_BYTES: usize = 107;
    let text = value.text()?;
    let text = text.strip_prefix("unix:").unwrap_or(text);
    let path = around.path(text);
    let length = if text.is_empty() { 0 } else { path.as_os_str().len() };
    if (1..=MOST_BYTES).contains(&length) && !text.contains('\0') && !text.ends_with('/') {
        return Some(path);
    }
    let message = format!("the path of a socket has 1 to {MOST_BYTES} bytes; this one has {length}");
    value.reading().error(value.span(), message, None);
    None
}

fn octal(text: &str) -> Option<u32> {
    let mode = u32::from_str_radix(text, 8).ok()?;
    ((3..=4).contains(&text.len()) && mode <= 0o777).then_some(mode)
}

fn acceptor(
    certificates: Value<'_, '_>,
    client_ca: Option<Value<'_, '_>>,
    versions: Versions,
    around: &Surroundings<'_>,
) -> Option<Acceptor> {
    let items = certificates.one_or_more();
    if items.is_empty() {
        certificates.reading().error(certificates.span(), "expected at least one certificate", None);
    }
    let identities: Vec<Option<Identity>> =
        items.iter().map(|item| identity(item.section("listener.certificate"), around)).collect();
    let client_ca = client_ca.map(|value| (value, value.text().map(|text| named(text, around))));
    if !around.knows_secrets() || identities.is_empty() {
        return None;
    }
    let identities = identities.into_iter().collect::<Option<Vec<_>>>()?;
    let blamed = client_ca.as_ref().map_or(certificates, |(value, _)| *value);
    let path = client_ca.and_then(|(_, path)| path);
    refused_at(blamed, Acceptor::new(identities, path.as_deref(), versions))
}

/// `{ file = "cert.pem", key = "key.pem" }`.
fn identity(section: Section<'_, '_>, around: &Surroundings<'_>) -> Option<Identity> {
    let file = section.required("file").and_then(|value| value.text());
    let key = section.required("key");
    let read = read_identity(file, key, around);
    section.finish();
    read
}

/// A certificate and its private key, both watched from now on. A mistake is shown at the key.
pub(super) fn read_identity(
    certificate: Option<&str>,
    key: Option<Value<'_, '_>>,
    around: &Surroundings<'_>,
) -> Option<Identity> {
    let (certificate, key) = (certificate?, key?);
    let text = key.text()?;
    let private = named(text.strip_prefix("file:").unwrap_or(text), around);
    let certificate = named(certificate, around);
    if !around.knows_secrets() {
        return None;
    }
    refused_at(key, Identity::read(&certificate, &private))
}

/// A file that is looked at for changes from now on.
pub(super) fn named(text: &str, around: &Surroundings<'_>) -> PathBuf {
    let path = around.path(text);
    around.named_files.borrow_mut().push(path.clone());
    path
}

fn refused_at<T>(value: Value<'_, '_>, result: Result<T, TlsError>) -> Option<T> {
    match result {
        Ok(read) => Some(read),
        Err(error) => {
            let help = if let TlsError::OpenKey(path, _) = &error {
                Some(format!("run: chmod 600 {path}"))
            } else {
                matches!(error, TlsError::Pair(..))
                    .then(|| "the key must be that of the first certificate".to_owned())
            };
            value.reading().error(value.span(), error.to_string(), help);
            None
        }
    }
}
