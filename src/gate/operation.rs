//! What a key may do: by method and path and, where these do not tell, by what the body asks for. The proxy holds such a
//! body, and [`Gate::settle`] reads it.

use http::request::Parts;
use http::{HeaderName, Method, header};

use super::hidden::unnamed;
use super::lenience::Lenience;
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
use crate::request_head::target::Target;
use crate::tls::certificate::Facts;

/// What method and path grant.
pub(super) enum Permit<'s> {
    Given(Covered<'s>),
    AskBody,
    /// Nothing: it passes because the key is only observed.
    Waived,
}

/// A call with a key whose scopes cover some operations of the path.
#[derive(Debug)]
pub struct UnreadCall {
    /// Of the key's present secret.
    digest: KeyDigest,
    /// Without a scope yet.
    admitted: Admitted,
    lenience: Lenience,
}

impl UnreadCall {
    pub(super) const fn new(key: &Key, admitted: Admitted, lenience: Lenience) -> Self {
        Self { digest: key.digest, admitted, lenience }
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

    /// True for a call that must not fail because its body cannot be held: the key is only observed.
    pub fn may_go_unread(&self) -> bool {
        match self {
            Self::Delivery(_) => false,
            Self::Call(call) => call.lenience.is_given(),
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
        (client, shown): (ClientAddr, Option<&Facts>),
        lenience: &mut Lenience,
    ) -> Result<Permit<'_>, Denial> {
        holder.key.allow_from.permit(client).or_else(|denial| lenience.waive(denial))?;
        if let Some(wanted) = &holder.key.client_cert
            && !shown.is_some_and(|shown| wanted.is(shown))
        {
            return Err(Denial::CertificateNotShown);
        }
        match self.scopes.covering(&holder.key.scopes, method, path) {
            Coverage::Covered(covered) => Ok(Permit::Given(covered)),
            Coverage::NeedsBody => Ok(Permit::AskBody),
            Coverage::Uncovered => lenience.waive(Denial::ScopeMissing).map(|()| Permit::Waived),
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
            Unproved::Call(call) => {
                self.settle_call(call, parts, Some(body), now, trail).map(Settled::Forward)
            }
        }
    }

    /// Judges a request whose body cannot be held.
    ///
    /// # Errors
    /// A [`Denial`], unless it [may go unread](Unproved::may_go_unread).
    pub fn settle_unread(
        &self,
        unproved: Unproved,
        parts: &Parts,
        now: Now,
        trail: &mut Trail,
    ) -> Result<Settled, Denial> {
        match unproved {
            Unproved::Delivery(_) => Err(Denial::BodyTooLarge),
            Unproved::Call(call) => self.settle_call(call, parts, None, now, trail).map(Settled::Forward),
        }
    }

    /// The key is proved once more: it may have been revoked or changed while its body came, and the gate with it.
    fn settle_call(
        &self,
        call: UnreadCall,
        parts: &Parts,
        body: Option<&[u8]>,
        now: Now,
        trail: &mut Trail,
    ) -> Result<Admitted, Denial> {
        let UnreadCall { digest, admitted, lenience } = call;
        let holder = self.keys.prove(&digest, now.wall).map_err(|unproved| unproved.denial)?.holder;
        let mut lenience = lenience.still(&holder.key);
        let target = admitted.target.clone();
        let message = message(parts, &target, body);
        let covered = match &message {
            Some(message) => self.scopes.covering_message(&holder.key.scopes, target.path(), message),
            None => Err(Denial::ScopeUnread),
        };
        let covered = covered.map(Some).or_else(|denial| lenience.waive(denial).map(|()| None))?;
        let hidden = self.blanks.hidden_from(&parts.method, target.path());
        if let Some(hidden) = &hidden {
            // Whatever the key's mode: what it must not see is no limit of its own.
            unnamed(hidden, message.as_ref().ok_or(Denial::ScopeUnread)?)?;
        }
        let admitted = Admitted { hidden, ..admitted };
        let going = match covered {
            Some(covered) => admitted.by(&holder.key, covered),
            None => admitted.unscoped(&holder.key),
        };
        trail.observed = lenience.observed();
        Ok(going)
    }
}

/// The request as a whole; `None` where its body was not read, or could be read in another way by the CRM.
fn message<'p>(parts: &'p Parts, target: &'p Target, body: Option<&'p [u8]>) -> Option<Message<'p>> {
    let body = body.filter(|_| !parts.headers.contains_key(header::CONTENT_ENCODING))?;
    Some(Message {
        method: &parts.method,
        query: target.query(),
        content_type: only(parts, &header::CONTENT_TYPE),
        body,
    })
}

/// The value of a field that stands there once.
fn only<'p>(parts: &'p Parts, name: &HeaderName) -> Option<&'p str> {
    let mut values = parts.headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        (_, _) => None,
    }
}
