//! `[upstream] url` and `urls`: where the CRM is.

use std::path::PathBuf;

use http::Uri;
use http::uri::Scheme;

use super::Surroundings;
use super::listener::socket_path;
use super::reader::{Section, Value};
use crate::request_head::host::is_host;

/// Most addresses of one CRM.
pub const MOST_ADDRESSES: usize = 64;

/// One place where the CRM is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `http://host[:port]` or `https://host[:port]`.
    Tcp {
        /// A name, or an address.
        host: Box<str>,
        /// 80 or 443 where none is written.
        port: u16,
    },
    /// `unix:/path`.
    Socket(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Socket(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// All addresses, and whether they speak TLS, which all do or none.
pub(super) struct Addresses {
    pub(super) all: Vec<Address>,
    pub(super) tls: bool,
}

/// `url`, or else `urls`. `None` if there is any mistake.
pub(super) fn read(section: &Section<'_, '_>, around: &Surroundings<'_>) -> Option<Addresses> {
    let items = match (section.get("url"), section.get("urls")) {
        (Some(_), Some(urls)) => {
            urls.reading().error(urls.span(), "'urls' takes the place of 'url': write one of them", None);
            return None;
        }
        (None, Some(urls)) => several(urls)?,
        (Some(url), None) => vec![url],
        (None, None) => vec![section.required("url")?],
    };
    let mut found = Addresses { all: Vec::new(), tls: false };
    let mut complete = true;
    for item in items {
        match address(item, around) {
            None => complete = false,
            Some((address, tls)) => complete &= found.add(item, address, tls),
        }
    }
    complete.then_some(found)
}

fn several<'r, 's>(urls: Value<'r, 's>) -> Option<Vec<Value<'r, 's>>> {
    let items = urls.items();
    if (1..=MOST_ADDRESSES).contains(&items.len()) {
        if items.len() == 1 {
            let help = "one address is written as url = \"…\"".to_owned();
            urls.reading().warning(
                urls.span(),
                "'urls' has one address: where it is down there is no other",
                Some(help),
            );
        }
        return Some(items);
    }
    // Of what is no list, that has been said.
    if !urls.is_list() {
        return None;
    }
    urls.reading().error(urls.span(), format!("expected from 1 to {MOST_ADDRESSES} addresses"), None);
    None
}

impl Addresses {
    /// False, and a mistake noted, for one that does not go with the others.
    fn add(&mut self, item: Value<'_, '_>, address: Address, tls: bool) -> bool {
        let refuse = |message: &str| item.reading().error(item.span(), message, None);
        if !self.all.is_empty() && self.tls != tls {
            // What is for one is for all: credentials must not go in the clear to one of them by a slip.
            refuse("all addresses are 'https', or none is");
            return false;
        }
        if self.all.contains(&address) {
            refuse("this address stands here twice");
            return false;
        }
        self.tls = tls;
        self.all.push(address);
        true
    }
}

fn address(value: Value<'_, '_>, around: &Surroundings<'_>) -> Option<(Address, bool)> {
    let text = value.text()?;
    if text.starts_with("unix:") {
        return socket_path(value, around).map(|path| (Address::Socket(path), false));
    }
    let Some((host, port, tls)) = origin(text) else {
        let help = "write it as 'http://127.0.0.1:3000', 'https://crm.example' or 'unix:/run/crm.sock'; paths stay as clients send them".to_owned();
        value.reading().error(value.span(), "not the address of a CRM", Some(help));
        return None;
    };
    Some((Address::Tcp { host, port }, tls))
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
    path_is_root.then(|| (authority.host().to_ascii_lowercase().into(), port, tls))
}
