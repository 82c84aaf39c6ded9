//! What a key may do: by method and path and, where these do not tell, by what the body asks for. The proxy holds such a
//! body, and [`Gate::settle`] reads it.

use http::request::Parts;
use http::{HeaderName, Method, header};

use super::{Admitted, Gate, Judged, Settled, Trail, Unproved};
use crate::client_addr::ClientAddr;
use crate::clock::Now;
use crate::credential::api_key::KeyDigest;
use crate::denial::Denial;
use crate::keys::key::Key;
use crate::keys::set::Holder;
use crate::limits::failures::Failures;
use crate::policy::operation::{MOST_BYTES, Message};
use crate::policy::scope::{Coverage, Covered};
use crate::tls::certificate::Facts;

/// What method and path grant.
pub(super) enum Permit<'s> {
    Given(Covered<'s>),
    AskBody,
}

/// A call with a key whose scopes cover some operations of the path.
#[derive(Debug)]
pub struct UnreadCall {
    /// Of the key's present secret.
    digest: KeyDigest,
    /// Without a scope yet.
    admitted: Admitted,
}

impl UnreadCall {
    pub(super) const fn new(key: &Key, admitted: Admitted) -> Self {
        Self { digest: key.digest, admitted }
    }

    pub(super) fn judged(self) -> Judged {
        Judged::Unproved(Box::new(Unproved::Call(self)))
    }
}

impl Unproved {
    /// Largest body that is held for it, in bytes.
    pub fn body_limit(&self) -> u64 {
        match self {
            Self::Delivery(delivery) => delivery.body_limit(),
            Self::Call(_) => u64::try_from(MOST_BYTES).unwrap_or(u64::MAX),
        }
    }
}

impl Gate {
    /// What method and path grant, from this address and with the certificate that was shown.
    pub(super) fn permit(
        &self,
        holder: &Holder,
        method: &Method,
        path: &str,
        client: ClientAddr,
        shown: Option<&Facts>,
    ) -> Result<Permit<'_>, Denial> {
        holder.key.allow_from.permit(client)?;
        if let Some(wanted) = &holder.key.client_cert
            && !shown.is_some_and(|shown| wanted.is(shown))
        {
            return Err(Denial::CertificateNotShown);
        }
        match self.scopes.covering(&holder.key.scopes, method, path) {
            Coverage::Covered(covered) => Ok(Permit::Given(covered)),
            Coverage::NeedsBody => Ok(Permit::AskBody),
            Coverage::Uncovered => Err(Denial::ScopeMissing),
            Coverage::Never => Err(Denial::ScopeNever),
        }
    }

    /// Judges a request together with its body.
    ///
    /// # Errors
    /// The first [`Denial`] in the order of the steps.
    pub fn settle(
        &self,
        unproved: Unproved,
        parts: &Parts,
        body: &[u8],
        now: Now,
        failures: &Failures,
        trail: &mut Trail,
    ) -> Result<Settled, Denial> {
        match unproved {
            Unproved::Delivery(delivery) => self.settle_delivery(delivery, parts, body, now, failures, trail),
            Unproved::Call(call) => self.settle_call(call, parts, body, now).map(Settled::Forward),
        }
    }

    /// The key is proved once more: it may have been revoked or changed while its body came, and the gate with it.
    fn settle_call(
        &self,
        call: UnreadCall,
        parts: &Parts,
        body: &[u8],
        now: Now,
    ) -> Result<Admitted, Denial> {
        let UnreadCall { digest, admitted } = call;
        let holder = self.keys.prove(&digest, now.wall).map_err(|unproved| unproved.denial)?.holder;
        if parts.headers.contains_key(header::CONTENT_ENCODING) {
            return Err(Denial::ScopeUnread);
        }
        let message = Message {
            method: &parts.method,
            query: admitted.target.query(),
            content_type: only(parts, &header::CONTENT_TYPE),
            body,
        };
        let covered = self.scopes.covering_message(&holder.key.scopes, admitted.target.path(), &message)?;
        Ok(admitted.by(&holder.key, covered))
    }
}

/// The value of a field that stands there once.
fn only<'p>(parts: &'p Parts, name: &HeaderName) -> Option<&'p str> {
    let mut values = parts.headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        (_, _) => None,
    }
}
