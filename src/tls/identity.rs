//! A certificate with its private key, read from two files.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::digest;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::SignatureScheme;
use tokio_rustls::rustls::client::ResolvesClientCert;
use tokio_rustls::rustls::sign::CertifiedKey;

use super::certificate::Facts;
use super::{TlsError, certificates, provider};
use crate::clock::WallTime;

/// Largest file with a key or certificates, in bytes.
const MOST_BYTES: u64 = 1024 * 1024;

/// A certificate with its private key. Equal to another if certificates and key are the same.
#[derive(Clone)]
pub struct Identity {
    pair: Arc<CertifiedKey>,
    digest: [u8; 32],
    /// What the certificate says.
    pub facts: Facts,
    /// Where it came from, for messages and metrics.
    pub file: PathBuf,
}

impl Identity {
    /// Reads the chain in `certificate`, its own certificate first, and the private key in `key`, both PEM.
    ///
    /// # Errors
    /// [`TlsError`]: a file that cannot be read, a key that others can read, or a key of another certificate.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let mode = look_at(key)?;
        look_at(certificate)?;
        if mode & 0o007 != 0 {
            return Err(TlsError::OpenKey(key.display().to_string(), mode));
        }
        let chain = certificates(certificate)?;
        let facts = first(&chain, certificate)?;
        let private = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| TlsError::Unreadable(key.display().to_string(), error))?;
        let digest = digest_of(&chain, &private);
        let pair = CertifiedKey::from_der(chain, private, &provider()).map_err(|error| {
            TlsError::Pair(certificate.display().to_string(), key.display().to_string(), error)
        })?;
        Ok(Self { pair: Arc::new(pair), digest, facts, file: certificate.to_owned() })
    }

    /// For a handshake as the server.
    pub(super) fn pair(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.pair)
    }

    /// For handshakes as the client.
    pub(super) fn shown(&self) -> Arc<dyn ResolvesClientCert> {
        Arc::new(Shown(Arc::clone(&self.pair)))
    }

    /// Tells this pair from others.
    pub(super) const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// When the certificate ends.
    pub const fn expires(&self) -> WallTime {
        self.facts.not_after
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Identity {}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("file", &self.file).finish_non_exhaustive()
    }
}

/// What the first certificate in a PEM file says.
///
/// # Errors
/// [`TlsError`]: a file that cannot be read, or has none.
pub fn facts_in(file: &Path) -> Result<Facts, TlsError> {
    look_at(file)?;
    first(&certificates(file)?, file)
}

fn first(chain: &[CertificateDer<'_>], file: &Path) -> Result<Facts, TlsError> {
    let facts = chain.first().and_then(|own| Facts::read(own));
    facts.ok_or_else(|| TlsError::NoCertificate(file.display().to_string()))
}

/// The mode of a file of sensible size.
fn look_at(path: &Path) -> Result<u32, TlsError> {
    let refuse = |error| TlsError::File(path.display().to_string(), error);
    let metadata = std::fs::metadata(path).map_err(refuse)?;
    if !metadata.is_file() || metadata.len() > MOST_BYTES {
        let message = format!("not a regular file of at most {MOST_BYTES} bytes");
        return Err(refuse(std::io::Error::other(message)));
    }
    Ok(metadata.permissions().mode() & 0o777)
}

fn digest_of(chain: &[CertificateDer<'_>], key: &PrivateKeyDer<'_>) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in chain.iter().map(AsRef::as_ref).chain([key.secret_der()]) {
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// The one certificate, whoever asks.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.key.choose_scheme(schemes).map(|_| Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
