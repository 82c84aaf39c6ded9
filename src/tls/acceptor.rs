//! TLS for clients: 1.2 and 1.3 with the suites that rustls has, certificates by name, and certificates of clients where a
//! listener asks for them.

use std::path::Path;
use std::sync::Arc;

use ring::digest;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::Ticketer;
use tokio_rustls::rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerSessionMemoryCache, WebPkiClientVerifier,
};
use tokio_rustls::rustls::sign::CertifiedKey;

use super::identity::Identity;
use super::{TlsError, authorities, certificates, provider};

/// Most sessions of clients that cannot use tickets, kept for resumption.
const MOST_SESSIONS: usize = 1_024;

/// ALPN's name for HTTP/2.
pub const H2: &[u8] = b"h2";

/// Which HTTP a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// HTTP/1.1 and 1.0.
    One,
    /// HTTP/2 too, for whoever asks for it.
    OneAndTwo,
}

/// What a listener needs for handshakes. Equal to another if a client could not tell them apart.
#[derive(Clone)]
pub struct Acceptor {
    tls: TlsAcceptor,
    digest: [u8; 32],
    /// Its certificates, the first one for whoever names no other.
    pub identities: Vec<Identity>,
}

impl Acceptor {
    /// With certificates by name, the first for all other names. Where `client_ca` is given, clients are asked for a certificate
    /// and may do without; one that none of these authorities signed ends the handshake.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(
        identities: Vec<Identity>,
        client_ca: Option<&Path>,
        versions: Versions,
    ) -> Result<Self, TlsError> {
        let mut context = digest::Context::new(&digest::SHA256);
        identities.iter().for_each(|identity| context.update(identity.digest()));
        let builder =
            ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let names = Arc::new(ByName::of(&identities));
        let mut config = match client_ca {
            None => {
                let mut config = builder.with_no_client_auth().with_cert_resolver(names);
                // Its keys change every six hours, and with each configuration.
                config.ticketer = Ticketer::new()?;
                config.session_storage = ServerSessionMemoryCache::new(MOST_SESSIONS);
                config
            }
            Some(file) => {
                certificates(file)?.iter().for_each(|certificate| context.update(certificate));
                context.update(b"client_ca");
                let roots = Arc::new(authorities(Some(file))?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| TlsError::Authorities(file.display().to_string(), error))?;
                let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(names);
                // SECURITY: a resumed session would show a certificate that was verified long ago.
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
                config
            }
        };
        if versions == Versions::OneAndTwo {
            config.alpn_protocols.push(H2.to_vec());
            context.update(H2);
        }
        config.alpn_protocols.push(b"http/1.1".to_vec());
        let mut out = [0; 32];
        out.copy_from_slice(context.finish().as_ref());
        Ok(Self { tls: TlsAcceptor::from(Arc::new(config)), digest: out, identities })
    }

    /// For one handshake.
    pub const fn tls(&self) -> &TlsAcceptor {
        &self.tls
    }
}

impl PartialEq for Acceptor {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Acceptor {}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").field("identities", &self.identities).finish_non_exhaustive()
    }
}

/// Certificates by the names that they are for.
#[derive(Debug)]
struct ByName {
    named: Vec<(Box<str>, Arc<CertifiedKey>)>,
    other: Option<Arc<CertifiedKey>>,
}

impl ByName {
    fn of(identities: &[Identity]) -> Self {
        let names = |identity: &Identity| {
            let pair = identity.pair();
            identity.facts.names.clone().into_iter().map(move |name| (name, Arc::clone(&pair)))
        };
        Self {
            named: identities.iter().flat_map(names).collect(),
            other: identities.first().map(Identity::pair),
        }
    }

    /// The first that is for this very name, or else for all names at its place.
    fn find(&self, wanted: &str) -> Option<Arc<CertifiedKey>> {
        let wanted = wanted.to_ascii_lowercase();
        let exact = self.named.iter().find(|(name, _)| **name == *wanted);
        let (_, domain) = wanted.split_once('.').unwrap_or_default();
        let wild = || {
            self.named.iter().find(|(name, _)| !domain.is_empty() && name.strip_prefix("*.") == Some(domain))
        };
        exact.or_else(wild).map(|(_, pair)| Arc::clone(pair)).or_else(|| self.other.clone())
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name().unwrap_or_default())
    }
}
