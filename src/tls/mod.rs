//! TLS: towards others, the CRM and Telegram, whose certificate is always verified; and for clients, as whoever the
//! [`acceptor`] has certificates for.

pub mod acceptor;
pub mod certificate;
pub mod identity;

use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::server::VerifierBuilderError;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use identity::Identity;

/// A connection with TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No certificate authorities to verify the other side's certificate with.
    #[error("no certificate authorities in {0}")]
    NoAuthorities(String),
    /// A file with certificates or a key cannot be read.
    #[error("{0}: {1}")]
    Unreadable(String, rustls_pki_types::pem::Error),
    /// A file that is none, cannot be looked at, or is too large.
    #[error("{0}: {1}")]
    File(String, std::io::Error),
    /// A private key that is not private.
    #[error("{0} has mode {1:03o}: others can read this private key")]
    OpenKey(String, u32),
    /// A file without a certificate.
    #[error("{0} has no certificate")]
    NoCertificate(String),
    /// A certificate and a key that do not belong together, or are of a kind that is not known.
    #[error("{0} and {1}: {2}")]
    Pair(String, String, tokio_rustls::rustls::Error),
    /// The host cannot stand in a certificate.
    #[error("'{0}' is not a host name that a certificate can have")]
    HostName(Box<str>),
    /// Certificates of clients cannot be verified.
    #[error("{0}: {1}")]
    Authorities(String, VerifierBuilderError),
    /// TLS cannot be set up at all.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] tokio_rustls::rustls::Error),
}

/// The connector to `host`, and the name that its certificate must have, signed by one of `ca_file` or else of the system's
/// store. With `identity` it shows a certificate of its own.
///
/// # Errors
/// [`TlsError`].
pub fn connector(
    host: &str,
    ca_file: Option<&Path>,
    identity: Option<&Identity>,
) -> Result<(TlsConnector, ServerName<'static>), TlsError> {
    let name = server_name(host)?;
    let client = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities(ca_file)?);
    let client = match identity {
        Some(identity) => client.with_client_cert_resolver(identity.shown()),
        None => client.with_no_client_auth(),
    };
    Ok((TlsConnector::from(Arc::new(client)), name))
}

/// `host` as a certificate can name it.
///
/// # Errors
/// [`TlsError::HostName`].
pub fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    let name = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::HostName(host.into()))
}

/// Whoever may sign the other side's certificate: those in `file`, or the system's.
fn authorities(file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let (certificates, whence) = match file {
        Some(path) => (certificates(path)?, path.display().to_string()),
        None => (rustls_native_certs::load_native_certs().certs, "the system's store".to_owned()),
    };
    let mut roots = RootCertStore::empty();
    if roots.add_parsable_certificates(certificates).0 == 0 {
        return Err(TlsError::NoAuthorities(whence));
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    read.map_err(|error| TlsError::Unreadable(path.display().to_string(), error))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(tokio_rustls::rustls::crypto::ring::default_provider())
}
