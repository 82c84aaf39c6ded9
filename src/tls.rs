//! TLS towards others, the CRM and Telegram: their certificate is always verified.

use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A connection with TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No certificate authorities to verify the other side's certificate with.
    #[error("no certificate authorities in {0}")]
    NoAuthorities(String),
    /// The file with them cannot be read.
    #[error("{0}: {1}")]
    Unreadable(String, rustls_pki_types::pem::Error),
    /// The host cannot stand in a certificate.
    #[error("'{0}' is not a host name that a certificate can have")]
    HostName(Box<str>),
    /// TLS cannot be set up at all.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] tokio_rustls::rustls::Error),
}

/// The connector to `host`, and the name that its certificate must have, signed by one of `ca_file` or else of the system's
/// store.
///
/// # Errors
/// [`TlsError`].
pub fn connector(
    host: &str,
    ca_file: Option<&Path>,
) -> Result<(TlsConnector, ServerName<'static>), TlsError> {
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(name.to_owned()).map_err(|_| TlsError::HostName(host.into()))?;
    let (certificates, whence) = match ca_file {
        Some(path) => {
            let whence = path.display().to_string();
            let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            (read.map_err(|error| TlsError::Unreadable(whence.clone(), error))?, whence)
        }
        None => (rustls_native_certs::load_native_certs().certs, "the system's store".to_owned()),
    };
    let mut roots = RootCertStore::empty();
    if roots.add_parsable_certificates(certificates).0 == 0 {
        return Err(TlsError::NoAuthorities(whence));
    }
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok((TlsConnector::from(Arc::new(client)), name))
}
