//! A judgement told step by step, in the gate's own order: what passed, and by which rule, up to what refused.
//!
//! The verdict is the gate's. Here it only gets its place in the order ([`decided_at`] names the step of each refusal), and in
//! [`grounds`](super::grounds) its words.

use http::Method;

use super::court::{Court, Judgement, Missing, Question, Verdict};
use crate::denial::{Ambiguity, Denial, Observed};
use crate::gate::{Access, Webhook};
use crate::keys::key::Standing;
use crate::keys::set::Holder;
use crate::outcome::Caller;
use crate::policy::scope::Coverage;

/// One step of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which one.
    pub name: Name,
    /// What came of it.
    pub finding: Finding,
    /// The thing that decided, in words. Parts of it are other people's text.
    pub by: String,
}

/// The steps, in the order of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// Whether the request reads one way only.
    Request,
    /// Where its path leads.
    Route,
    /// Whether the address may call at all.
    Address,
    /// Whether a delivery may have this method.
    Method,
    /// Whether there is one credential.
    Credential,
    /// Whose it is, and whether it is still good.
    Key,
    /// How often.
    Rate,
    /// Whether the key may be used from there.
    KeyAddress,
    /// What method and path grant.
    Scope,
    /// What the body asks for.
    Body,
    /// Whether a delivery is its sender's.
    Proof,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It lets the request through.
    Passed,
    /// It refuses the request.
    Refused,
    /// It would refuse the request, if the key were not only observed.
    Observed,
    /// What it needs is not known here.
    NotJudged,
}

impl Name {
    /// The word for programs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Route => "route",
            Self::Address => "address",
            Self::Method => "method",
            Self::Credential => "credential",
            Self::Key => "key",
            Self::Rate => "rate",
            Self::KeyAddress => "key_address",
            Self::Scope => "scope",
            Self::Body => "body",
            Self::Proof => "proof",
        }
    }
}

impl Finding {
    /// The word for programs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Refused => "refused",
            Self::Observed => "observed",
            Self::NotJudged => "not_judged",
        }
    }
}

/// The steps of `judgement`, up to the one that refused.
pub fn walk(court: &Court, question: &Question<'_>, judgement: &Judgement) -> Vec<Step> {
    let walk = Walk { court, question, judgement };
    let last = walk.refused_at();
    let mut steps = Vec::new();
    for name in walk.way() {
        let finding = walk.finding(*name, last);
        steps.push(Step { name: *name, finding, by: walk.by(*name, finding) });
        if finding == Finding::Refused {
            break;
        }
    }
    steps
}

/// At which step a refusal is made.
pub const fn decided_at(denial: Denial) -> Name {
    match denial {
        Denial::Ambiguous(Ambiguity::SeveralCredentials | Ambiguity::CredentialInTarget)
        | Denial::CredentialMissing
        | Denial::CredentialMalformed => Name::Credential,
        Denial::Ambiguous(_)
        | Denial::MethodNotAllowed
        | Denial::ExpectationUnknown
        | Denial::TargetTooLong => Name::Request,
        Denial::CredentialUnknown
        | Denial::CredentialExpired
        | Denial::CredentialRevoked
        | Denial::CredentialDecoy
        | Denial::TooManyFailures(_) => Name::Key,
        Denial::AddressNotAllowed => Name::Address,
        Denial::RateLimited(_) => Name::Rate,
        Denial::ScopeMissing | Denial::ScopeNever => Name::Scope,
        Denial::ScopeUnread | Denial::BodyTooLarge | Denial::BodyTooSlow | Denial::BodyBroken => Name::Body,
        // Made of what is not asked here: a sender's secret, the running process, the CRM.
        Denial::Delivery(_)
        | Denial::DeliveryUnderWay
        | Denial::Overloaded
        | Denial::UpstreamUnreachable
        | Denial::UpstreamConnectTimeout
        | Denial::UpstreamTimeout
        | Denial::UpstreamBroken => Name::Proof,
    }
}

pub(super) struct Walk<'a> {
    pub(super) court: &'a Court,
    pub(super) question: &'a Question<'a>,
    pub(super) judgement: &'a Judgement,
}

impl<'a> Walk<'a> {
    pub(super) fn path(&self) -> &'a str {
        self.question.target.split('?').next().unwrap_or_default()
    }

    pub(super) fn webhook(&self) -> Option<&'a Webhook> {
        self.judgement.trail.webhook.as_deref()
    }

    /// Whoever was proved, or would have been.
    pub(super) fn holder(&self) -> Option<&'a Holder> {
        match &self.judgement.trail.caller {
            Caller::Key(holder) => Some(holder),
            Caller::Keyless | Caller::Unknown => None,
        }
    }

    /// The steps that such a request takes.
    fn way(&self) -> &'static [Name] {
        use Name::{Address, Body, Credential, Key, KeyAddress, Method, Proof, Rate, Request, Route, Scope};
        let route = self.court.gate().route_of(self.path());
        if self.webhook().is_some() {
            &[Request, Route, Address, Method, Proof]
        } else if route.is_some_and(|route| route.access == Access::Public) {
            &[Request, Route, Address]
        } else if self.needs_body() {
            &[Request, Route, Address, Credential, Key, Rate, KeyAddress, Scope, Body]
        } else {
            &[Request, Route, Address, Credential, Key, Rate, KeyAddress, Scope]
        }
    }

    fn refused_at(&self) -> Option<Name> {
        let Verdict::Refused(denial) = self.judgement.verdict else { return None };
        let at = decided_at(denial);
        let is_delivery = self.webhook().is_some();
        // Some refusals are made at two steps.
        Some(if denial == Denial::MethodNotAllowed && is_delivery && !self.is_never_forwarded() {
            Name::Method
        } else if at == Name::Address && !is_delivery && self.is_in_use() {
            Name::KeyAddress
        } else if denial == Denial::ScopeMissing && self.needs_body() {
            Name::Body
        } else {
            at
        })
    }

    fn is_never_forwarded(&self) -> bool {
        matches!(*self.question.method, Method::CONNECT | Method::TRACE)
    }

    /// Where the gate's own list refuses, no key is looked at, but for decoys.
    fn is_in_use(&self) -> bool {
        self.holder().is_some_and(|holder| holder.key.standing == Standing::Live)
    }

    /// True where the key's scopes leave it to the body.
    pub(super) fn needs_body(&self) -> bool {
        let Some(holder) = self.holder() else { return false };
        let scopes = &self.court.gate().scopes;
        let coverage = scopes.covering(&holder.key.scopes, self.question.method, self.path());
        matches!(coverage, Coverage::NeedsBody)
    }

    fn finding(&self, name: Name, last: Option<Name>) -> Finding {
        let observed = match self.judgement.trail.observed {
            Some(Observed::Address) => Some(Name::KeyAddress),
            Some(Observed::Scope) if self.needs_body() => Some(Name::Body),
            Some(Observed::Scope) => Some(Name::Scope),
            Some(Observed::ScopeUnread) => Some(Name::Body),
            Some(Observed::Rate) | None => None,
        };
        let is_open = self.judgement.verdict == Verdict::Open(Missing::Body);
        if last == Some(name) {
            Finding::Refused
        } else if observed == Some(name) {
            Finding::Observed
        } else if matches!(name, Name::Rate | Name::Proof) || (name == Name::Body && is_open) {
            Finding::NotJudged
        } else {
            Finding::Passed
        }
    }
}
