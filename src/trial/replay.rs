//! Past requests asked anew: who would be refused now that was not, and who allowed.
//!
//! Everything is judged as if it came at one moment, which is now: the question is what a file does from here on. So a key
//! that expired since its requests were allowed is told as newly refused, and one that was renewed as newly allowed.
//! What the access log does not hold is not guessed; such requests are counted by what is missing.

use std::collections::HashMap;
use std::net::IpAddr;

use http::Method;

use super::court::{Asker, Court, Missing, Question, Shown, Verdict};
use super::shape::shape;
use crate::clock::WallTime;
use crate::denial::{Denial, words};
use crate::keys::key::KeyId;
use crate::networks::Networks;
use crate::records::line::Record;

/// Most groups of changed verdicts that are told apart.
pub const MOST_GROUPS: usize = 2_000;

/// A path that the log does not show.
const HIDDEN: &str = "[hidden]";

/// A court in session over past requests.
#[derive(Debug)]
pub struct Replay<'c> {
    court: &'c Court,
    now: WallTime,
    /// Behind these, the log does not say whether the address was certain.
    trusted: Networks,
    groups: HashMap<Kind, Group>,
    totals: Totals,
}

/// Requests, by what came of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Judged as they were then.
    pub same: u64,
    /// Judged otherwise.
    pub changed: u64,
    /// Of the changed ones, those in no group, because there are [`MOST_GROUPS`] others.
    pub left_out: u64,
    /// Not judged, in the order of [`Unjudged::ALL`].
    pub unjudged: [u64; Unjudged::ALL.len()],
}

/// What the log lacks for a judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unjudged {
    /// The path could have held a credential.
    Hidden,
    /// The body decides, or was what was refused.
    Body,
    /// A webhook sender's proof decides.
    Proof,
    /// A rate was the reason.
    Rate,
    /// A header, the query or the spelling was the reason.
    Head,
    /// It was refused before its key was looked at.
    Key,
    /// A proxy's address stands for a client's that was in doubt.
    Address,
    /// The line is of another version, or somebody changed it.
    Foreign,
}

/// What changed about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Change {
    /// It was allowed, and would be refused.
    NewlyRefused,
    /// It was refused, and would be allowed.
    NewlyAllowed,
}

/// Requests that are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    /// What changed.
    pub change: Change,
    /// The id of the key; `None` without one.
    pub key: Option<Box<str>>,
    /// The method.
    pub method: Box<str>,
    /// The [shape](super::shape) of the path.
    pub shape: Box<str>,
    /// Why it would be refused; or why it was.
    pub reason: Box<str>,
}

/// How many there were, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Requests; where the log is sampled, those that the lines stand for.
    pub count: u64,
    /// The earliest.
    pub first: WallTime,
    /// The latest.
    pub last: WallTime,
    /// One of the paths.
    pub example: Box<str>,
}

/// What was decided then.
enum Before<'r> {
    Allowed,
    Refused(&'r str),
}

impl Unjudged {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::Hidden,
        Self::Body,
        Self::Proof,
        Self::Rate,
        Self::Head,
        Self::Key,
        Self::Address,
        Self::Foreign,
    ];

    /// The word for programs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hidden => "hidden",
            Self::Body => "body",
            Self::Proof => "proof",
            Self::Rate => "rate",
            Self::Head => "head",
            Self::Key => "key",
            Self::Address => "address",
            Self::Foreign => "foreign",
        }
    }

    /// Why, for people.
    pub const fn why(self) -> &'static str {
        match self {
            Self::Hidden => "their path could hold a credential and is not in the log",
            Self::Body => "their body decides, or was refused, and no body is in the log",
            Self::Proof => "they are deliveries, which their sender's secret or signature decides",
            Self::Rate => "they were refused by a rate, which only the running gateway knows",
            Self::Head => "a header, the query or the spelling was refused, and the log has none of them",
            Self::Key => "they were refused before their key was looked at",
            Self::Address => "the log has a proxy's address in place of the client's",
            Self::Foreign => "their lines are not as this version writes them",
        }
    }
}

impl<'c> Replay<'c> {
    /// Nothing replayed yet. `trusted` are the proxies of the configuration.
    pub fn new(court: &'c Court, now: WallTime, trusted: Networks) -> Self {
        Self { court, now, trusted, groups: HashMap::new(), totals: Totals::default() }
    }

    /// Asks about one past request.
    pub fn note(&mut self, record: &Record<'_>) {
        let weight = record.weight();
        match self.change(record) {
            Ok(None) => self.totals.same += weight,
            Ok(Some((change, reason))) => {
                self.totals.changed += weight;
                self.count(record, change, reason);
            }
            Err(missing) => {
                let at = Unjudged::ALL.iter().position(|it| *it == missing).unwrap_or_default();
                if let Some(count) = self.totals.unjudged.get_mut(at) {
                    *count += weight;
                }
            }
        }
    }

    /// The counts so far.
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// The groups, the largest first.
    pub fn groups(&self) -> Vec<(&Kind, &Group)> {
        let mut all: Vec<_> = self.groups.iter().collect();
        all.sort_by(|(a, one), (b, other)| {
            let order =
                |kind: &Kind, group: &Group| (kind.change, std::cmp::Reverse(group.count), group.first);
            let names = |kind: &Kind| (kind.key.clone(), kind.shape.clone(), kind.method.clone());
            order(a, one).cmp(&order(b, other)).then_with(|| names(a).cmp(&names(b)))
        });
        all
    }

    fn change<'r>(&self, record: &'r Record<'_>) -> Result<Option<(Change, &'r str)>, Unjudged> {
        let before = before(record)?;
        let method: Method = record.method.parse().map_err(|_| Unjudged::Foreign)?;
        let from: IpAddr = record.client.parse().map_err(|_| Unjudged::Foreign)?;
        let key = record.key.map(|id| KeyId::new(id).ok_or(Unjudged::Foreign)).transpose()?;
        let asker = match (&key, &before) {
            (Some(id), _) => Asker::Key(id),
            (None, Before::Refused("unknown" | "malformed")) => Asker::Unknown,
            (None, Before::Refused(_) | Before::Allowed) => Asker::Stranger,
        };
        let target = &record.path;
        // The log has no certificates, but for the lack of one.
        let lacks = |reason: &str| reason == Denial::CertificateNotShown.reason();
        let lacked = matches!(before, Before::Refused(reason) if lacks(reason));
        let shown = if lacked { Shown::Nothing } else { Shown::AsNeeded };
        let question = Question { method: &method, target, asker, from, shown, at: self.now, body: None };
        let judgement = self.court.judge(&question);
        let is_address = |reason: &str| reason == Denial::AddressNotAllowed.reason();
        let now = match &judgement.verdict {
            Verdict::Open(Missing::Body) => return Err(Unjudged::Body),
            Verdict::Open(Missing::Proof) => return Err(Unjudged::Proof),
            Verdict::Allowed { .. } => None,
            Verdict::Refused(_) => judgement.reason(),
        };
        if self.trusted.contains(from)
            && (now.is_some_and(is_address)
                || matches!(before, Before::Refused(reason) if is_address(reason)))
        {
            return Err(Unjudged::Address);
        }
        match (before, now) {
            (Before::Allowed, Some(reason)) => Ok(Some((Change::NewlyRefused, reason))),
            (Before::Refused(reason), None) if self.is_by_query(reason, &method, target) => {
                Err(Unjudged::Head)
            }
            (Before::Refused(reason), None) => Ok(Some((Change::NewlyAllowed, reason))),
            // The gate's own list refused it, and its key is not in the log.
            (Before::Refused(reason), Some(now))
                if is_address(reason) && key.is_none() && !is_address(now) =>
            {
                Err(Unjudged::Key)
            }
            (Before::Allowed, None) | (Before::Refused(_), Some(_)) => Ok(None),
        }
    }

    /// True where the query may have been what was refused: it may name no field that the reply hides.
    fn is_by_query(&self, reason: &str, method: &Method, path: &str) -> bool {
        let denials = [Denial::ScopeNever, Denial::ScopeUnread];
        denials.iter().any(|denial| denial.reason() == reason)
            && self.court.gate().blanks.hidden_from(method, path).is_some()
    }

    fn count(&mut self, record: &Record<'_>, change: Change, reason: &str) {
        let kind = Kind {
            change,
            key: record.key.map(Into::into),
            method: record.method.into(),
            shape: shape(&record.path).into(),
            reason: reason.into(),
        };
        let (weight, time) = (record.weight(), record.time);
        let is_full = self.groups.len() >= MOST_GROUPS;
        match self.groups.get_mut(&kind) {
            Some(group) => {
                group.count += weight;
                group.first = group.first.min(time);
                group.last = group.last.max(time);
            }
            None if is_full => self.totals.left_out += weight,
            None => {
                let example = record.path.as_ref().into();
                self.groups.insert(kind, Group { count: weight, first: time, last: time, example });
            }
        }
    }
}

/// What the gate decided; what came after it, at the CRM, is none of its business.
fn before<'r>(record: &'r Record<'_>) -> Result<Before<'r>, Unjudged> {
    if record.path == HIDDEN {
        return Err(Unjudged::Hidden);
    }
    let Some(reason) = record.reason else { return Ok(Before::Allowed) };
    match words::of_reason(reason).ok_or(Unjudged::Foreign)? {
        Denial::Ambiguous(_) | Denial::ExpectationUnknown | Denial::TargetTooLong => Err(Unjudged::Head),
        Denial::RateLimited(_) | Denial::TooManyFailures(_) | Denial::AddressBanned(_) => Err(Unjudged::Rate),
        Denial::BodyTooLarge | Denial::BodyTooSlow | Denial::BodyBroken | Denial::Overloaded => {
            Err(Unjudged::Body)
        }
        Denial::UpstreamUnreachable
        | Denial::UpstreamDown(_)
        | Denial::UpstreamFull
        | Denial::UpstreamConnectTimeout
        | Denial::UpstreamTimeout
        | Denial::UpstreamBroken
        | Denial::ReplyUnreadable(_) => Ok(Before::Allowed),
        Denial::MethodNotAllowed
        | Denial::CredentialMissing
        | Denial::CredentialMalformed
        | Denial::CredentialUnknown
        | Denial::CredentialExpired
        | Denial::CredentialRevoked
        | Denial::CredentialDecoy
        | Denial::Delivery(_)
        | Denial::DeliveryUnderWay
        | Denial::AddressNotAllowed
        | Denial::ScopeMissing
        | Denial::ScopeNever
        | Denial::ScopeUnread
        | Denial::CertificateNotShown => Ok(Before::Refused(reason)),
    }
}
