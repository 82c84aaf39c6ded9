//! A client that speaks TLS, and the certificates of `data/tls`.

use std::io::{Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::PATIENCE;
use super::client::Connection;

pub type TlsConnection = Connection<StreamOwned<ClientConnection, TcpStream>>;

/// A certificate and its key, both PEM.
pub struct Pair(pub &'static str, pub &'static str);

macro_rules! pair {
    ($name:literal) => {
        Pair(
            include_str!(concat!("../data/tls/", $name, ".pem")),
            include_str!(concat!("../data/tls/", $name, ".key")),
        )
    };
}

pub const CA: &str = include_str!("../data/tls/ca.pem");
/// For `crm.example` and 127.0.0.1.
pub const CRM: Pair = pair!("crm");
/// For `shop.example` and `*.shops.example`.
pub const SHOP: Pair = pair!("shop");
/// A client's, for `partner.example` and `spiffe://example/partner`.
pub const PARTNER: Pair = pair!("partner");
/// Another client's.
pub const OTHER: Pair = pair!("other");
/// For `partner.example` too, signed by a stranger.
pub const FORGER: Pair = pair!("forger");

impl Pair {
    /// The certificate itself.
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.0.as_bytes()).unwrap()
    }
}

/// What a client brings: the certificate that it shows, and what it would speak.
pub fn client(shown: Option<&Pair>, alpn: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CA.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match shown {
        Some(pair) => {
            let key = PrivateKeyDer::from_pem_slice(pair.1.as_bytes()).unwrap();
            config.with_client_auth_cert(vec![pair.der()], key).unwrap()
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// Connects, and shakes hands as a client of `name`.
pub fn connect(address: SocketAddr, name: &'static str, client: &Arc<ClientConfig>) -> Result<TlsConnection> {
    shake(TcpStream::connect(address)?, name, client)
}

/// The same, with other bytes before the handshake.
pub fn connect_after(before: &[u8], address: SocketAddr, name: &'static str) -> Result<TlsConnection> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(before)?;
    shake(stream, name, &client(None, &[]))
}

fn shake(mut stream: TcpStream, name: &'static str, client: &Arc<ClientConfig>) -> Result<TlsConnection> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut session = ClientConnection::new(Arc::clone(client), name.try_into().unwrap()).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut stream)?;
    }
    Ok(Connection::over(StreamOwned::new(session, stream)))
}
