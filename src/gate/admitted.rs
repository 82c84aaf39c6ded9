//! The proof that a request was admitted, and what becomes of it. Only the gate makes one.

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};

use crate::credential::webhook::place::without_parameters;
use crate::keys::key::Key;
use crate::limits::deliveries::Claim;
use crate::limits::limiter::Taken;
use crate::policy::blank::Hidden;
use crate::policy::crm_credential::CredentialId;
use crate::policy::scope::{Covered, ScopeName};
use crate::request_head::target::Target;

/// Proof that a request passed every step. Forwarding needs one.
#[derive(Debug)]
pub struct Admitted {
    pub(super) target: Target,
    pub(super) strip: Vec<HeaderName>,
    /// The header that the key came in, unless it goes on. Apart from the others, which are nearly always none: a list of one
    /// would cost every request an allocation.
    pub(super) presented: Option<HeaderName>,
    pub(super) query: Query,
    pub(super) upstream_path: Option<Box<str>>,
    pub(super) scope: Option<ScopeName>,
    pub(super) credential: Option<CredentialId>,
    pub(super) taken: Option<Taken>,
    pub(super) wants_upgrade: bool,
    /// The right to act on a webhook delivery.
    pub(super) claim: Option<Claim>,
    /// What the CRM is told of an update's sender.
    pub(super) mark: Option<HeaderValue>,
    /// What the reply must not show.
    pub(super) hidden: Option<Hidden>,
}

/// What becomes of the query.
#[derive(Debug)]
pub(super) enum Query {
    AsSent,
    Without(String),
}

impl Admitted {
    /// Everything goes on as it came.
    pub(super) const fn plain(target: Target) -> Self {
        Self {
            target,
            strip: Vec::new(),
            presented: None,
            query: Query::AsSent,
            upstream_path: None,
            scope: None,
            credential: None,
            taken: None,
            wants_upgrade: false,
            claim: None,
            mark: None,
            hidden: None,
        }
    }

    /// With what allows it, and as whom the CRM is asked: a key's word goes before its scope's.
    pub(super) fn by(self, key: &Key, Covered { scope, credential }: Covered<'_>) -> Self {
        Self { scope: Some(scope.clone()), credential: key.credential.or(credential), ..self }
    }

    /// Without any scope: what passes because the key is only observed.
    pub(super) fn unscoped(self, key: &Key) -> Self {
        Self { credential: key.credential, ..self }
    }

    /// The right to act on a webhook delivery, to be used up when the CRM took it.
    pub const fn take_claim(&mut self) -> Option<Claim> {
        self.claim.take()
    }

    /// The value of `X-Sidelock-Sender`.
    pub const fn mark(&self) -> Option<&HeaderValue> {
        self.mark.as_ref()
    }

    /// What the reply must not show.
    pub const fn hidden(&self) -> Option<&Hidden> {
        self.hidden.as_ref()
    }

    /// The same, for whoever reads the reply.
    pub const fn take_hidden(&mut self) -> Option<Hidden> {
        self.hidden.take()
    }

    /// Fields of the request that do not go on.
    pub fn strip(&self) -> impl Iterator<Item = &HeaderName> {
        self.presented.iter().chain(&self.strip)
    }

    /// Path and query for the CRM: as judged, but for a webhook's own path and what was taken out of the query.
    pub fn upstream_target(&self) -> PathAndQuery {
        let query = match &self.query {
            Query::AsSent if self.upstream_path.is_none() => return self.target.path_and_query().clone(),
            Query::AsSent => self.target.query().unwrap_or_default(),
            Query::Without(query) => query,
        };
        let path = self.upstream_path.as_deref().unwrap_or_else(|| self.target.path());
        let mark = if query.is_empty() { "" } else { "?" };
        // Parts of judged targets and configured paths, both of which the grammar holds.
        format!("{path}{mark}{query}").parse().unwrap_or_else(|_| PathAndQuery::from_static("/"))
    }

    /// The scope that allowed it.
    pub const fn scope(&self) -> Option<&ScopeName> {
        self.scope.as_ref()
    }

    /// As whom the CRM is asked, where the key or its scope says so.
    pub const fn credential(&self) -> Option<CredentialId> {
        self.credential
    }

    /// The token that was taken.
    pub const fn taken(&self) -> Option<Taken> {
        self.taken
    }

    /// True if the client asks for a protocol change.
    pub const fn wants_upgrade(&self) -> bool {
        self.wants_upgrade
    }
}

/// Rails and Laravel read a method from `_method`; the one that was judged must be the one that acts. PHP reads that name
/// out of others too.
pub(super) fn without_override(target: &Target) -> Query {
    let Some(query) = target.query() else { return Query::AsSent };
    if !query.bytes().any(|byte| matches!(byte, b'_' | b'%' | b'.' | b'[' | b'+')) {
        return Query::AsSent;
    }
    let kept = without_parameters(query, |name| php_name(name) == b"_method");
    if kept.len() == query.len() { Query::AsSent } else { Query::Without(kept) }
}

/// A parameter's name as PHP makes a variable of it: without leading spaces, with `_` for a space, a `.`, and a `[` that
/// opens nothing (php.net/manual/language.variables.external).
fn php_name(name: &[u8]) -> Vec<u8> {
    let odd = |byte: &u8| matches!(byte, b' ' | b'.' | b'[');
    name.trim_ascii_start().iter().map(|byte| if odd(byte) { b'_' } else { *byte }).collect()
}

impl Query {
    /// The target as it goes on, for looking at it.
    pub(super) fn with_path(&self, path: &str, sent: Option<&str>) -> String {
        match self {
            Self::AsSent => format!("{path}?{}", sent.unwrap_or_default()),
            Self::Without(query) => format!("{path}?{query}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    #[test]
    fn the_method_is_not_changed_by_a_parameter_in_any_spelling() {
        let query = |text: &str| {
            let uri = format!("/x?{text}").parse().unwrap();
            let target = Target::judge(&uri, &Method::POST, "crm.example").unwrap();
            without_override(&target).with_path("/x", target.query())
        };
        for odd in [
            "_method=DELETE",
            "%5Fmethod=DELETE",
            ".method=DELETE",
            "+_method=DELETE",
            "%5bmethod=x",
            "_method",
        ] {
            assert_eq!(query(&format!("a=1&{odd}&b_c=%20")), "/x?a=1&b_c=%20", "{odd}");
        }
        assert_eq!(query("a_method=1&_methods=%5F"), "/x?a_method=1&_methods=%5F");
    }
}
