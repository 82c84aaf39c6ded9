//! A gate that is asked about requests nobody sent.
//!
//! Only digests of keys are stored, so each key gets a stand-in text that lives as long as the court; the gate looks it up
//! like any other. Rates, and what an address has failed at before, are the running gateway's alone: here both are endless.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderValue, Method, Request, Uri, header};

use crate::clock::{ManualClock, Now, WallTime};
use crate::config::{ClientCertificates, Config};
use crate::credential::api_key::{DigestMemo, KeyDigest};
use crate::credential::places::Places;
use crate::denial::{Ambiguity, Denial, Observed};
use crate::gate::{Gate, Judged, Settled, Trail, Unproved};
use crate::keys::key::{Key, KeyId};
use crate::keys::set::KeySet;
use crate::limits::failures::Failures;
use crate::limits::rate::{Per, Rate};
use crate::networks::Networks;
use crate::policy::scope::ScopeName;
use crate::reload::Workshop;
use crate::tls::certificate::Facts;

/// A host that is in no network (RFC 6761 section 6.4); no rule looks at it.
const HOST: HeaderValue = HeaderValue::from_static("gateway.invalid");

/// The gate and what is needed to ask it.
pub struct Court {
    gate: Gate,
    places: Places,
    failures: Failures,
    memo: Arc<DigestMemo>,
    /// By key id.
    stand_ins: HashMap<KeyId, StandIn>,
    /// A text that no key has.
    unknown: String,
    default_rate: Rate,
    failure_rate: Rate,
    /// Whether any listener asks for certificates.
    pub certificates: ClientCertificates,
}

struct StandIn {
    text: String,
    rate: Option<Rate>,
    /// What a certificate says that the key is good with.
    needed: Option<Arc<Facts>>,
}

/// A request that nobody sent.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The method.
    pub method: &'a Method,
    /// As on a request line: the path, and a query if there is one.
    pub target: &'a str,
    /// What it presents.
    pub asker: Asker<'a>,
    /// The client's address, whichever way it came.
    pub from: IpAddr,
    /// The client certificate of its connection.
    pub shown: Shown<'a>,
    /// When it comes.
    pub at: WallTime,
    /// Its body; `None` where it is not known.
    pub body: Option<Body<'a>>,
}

impl<'a> Question<'a> {
    /// The path: of an absolute form, what follows the host.
    pub fn path(&self) -> &'a str {
        let whole = self.target.split('?').next().unwrap_or_default();
        match whole.split_once("://") {
            Some((_, rest)) if !whole.starts_with('/') => {
                rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or("/")
            }
            Some(_) | None => whole,
        }
    }

    /// What follows `?`.
    pub fn query(&self) -> Option<&'a str> {
        self.target.split_once('?').map(|(_, query)| query)
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker<'a> {
    /// Somebody without a credential.
    Stranger,
    /// Somebody with a key that is not in the file.
    Unknown,
    /// The holder of this key's present secret; of a key that is not in the file, if that does not have it.
    Key(&'a KeyId),
}

/// What a connection showed; verified, in any case.
#[derive(Clone, Copy, Debug)]
pub enum Shown<'a> {
    /// Whichever the key needs: nobody wrote down what it was.
    AsNeeded,
    /// None.
    Nothing,
    /// A certificate that says this.
    This(&'a Arc<Facts>),
}

/// A known body.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Its `Content-Type`.
    pub content_type: &'a HeaderValue,
}

/// What the gate said, and what it learned on the way.
#[derive(Debug)]
pub struct Judgement {
    /// The answer.
    pub verdict: Verdict,
    /// What was learned.
    pub trail: Trail,
}

impl Judgement {
    /// The reason of a refusal as it is recorded, which is not always the one that the client is told.
    pub fn reason(&self) -> Option<&'static str> {
        let Verdict::Refused(denial) = self.verdict else { return None };
        Some(self.trail.recorded(denial).reason())
    }
}

/// The gate's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to the CRM.
    Allowed {
        /// By which scope; `None` where none is needed or the key is only observed.
        scope: Option<ScopeName>,
        /// What would refuse it, if the key were not only observed.
        observed: Option<Observed>,
    },
    /// It does not.
    Refused(Denial),
    /// Something decides that is not known here.
    Open(Missing),
}

/// What a verdict lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// What the body asks for.
    Body,
    /// A webhook sender's proof.
    Proof,
}

/// Why there is no court.
#[derive(Debug, thiserror::Error)]
pub enum CourtError {
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    NoRandomness,
    /// Two metrics have one name.
    #[error("metrics cannot be set up: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl Court {
    /// The gate that this configuration and these keys make.
    ///
    /// # Errors
    /// [`CourtError`].
    pub fn new(config: &Config, keys: &[Key]) -> Result<Self, CourtError> {
        let clock = ManualClock::at(WallTime::default()).clock();
        let workshop = Workshop::apart(&clock)?;
        let nonce = nonce()?;
        let mut stand_ins = HashMap::with_capacity(keys.len());
        let keys = keys.iter().enumerate().map(|(at, key)| {
            let text = format!("{nonce}-{at}");
            let digest = KeyDigest::of(text.as_bytes());
            let needed = key.client_cert.as_deref().map(|wanted| Arc::new(wanted.met()));
            stand_ins.insert(key.id.clone(), StandIn { text, rate: key.rate, needed });
            Key { digest, previous: None, rate: Some(ENDLESS), ..key.clone() }
        });
        let keys = KeySet::join(keys.collect(), &workshop.states, ENDLESS);
        let gate = Gate {
            // Addresses are given as the client's own.
            trusted_proxies: Networks::default(),
            failure_rate: ENDLESS,
            ..workshop.gate(config, Arc::new(keys))
        };
        Ok(Self {
            gate,
            places: config.keys.places.clone(),
            failures: Failures::new(1, &clock),
            memo: Arc::default(),
            stand_ins,
            unknown: format!("{nonce}-unknown"),
            default_rate: config.limits.per_key,
            failure_rate: config.limits.per_address_failures,
            certificates: config.client_certificates(),
        })
    }

    /// Asks the gate.
    pub fn judge(&self, question: &Question<'_>) -> Judgement {
        let shown = self.shown(question);
        let mut trail = Trail::new(Arc::clone(&self.gate.nowhere), Arc::clone(&self.memo), shown);
        let verdict = match self.parts(question) {
            Some(parts) => self.verdict(question, &parts, &mut trail),
            // What the parser does not read, the gate is not asked about.
            None => Verdict::Refused(Denial::Ambiguous(Ambiguity::Syntax)),
        };
        let verdict = match verdict {
            // Nobody has its secret here.
            Verdict::Refused(Denial::Delivery(_)) => Verdict::Open(Missing::Proof),
            Verdict::Refused(_) | Verdict::Allowed { .. } | Verdict::Open(_) => verdict,
        };
        Judgement { verdict, trail }
    }

    /// The gate.
    pub const fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The rate of a key, and whether it is its own.
    pub fn rate_of(&self, id: &KeyId) -> (Rate, Whose) {
        match self.stand_ins.get(id).and_then(|stand_in| stand_in.rate) {
            Some(rate) => (rate, Whose::Own),
            None => (self.default_rate, Whose::Default),
        }
    }

    /// The rate of refused credentials of one address.
    pub const fn failure_rate(&self) -> Rate {
        self.failure_rate
    }

    /// What the connection would have shown: nobody is believed who was not asked.
    fn shown(&self, question: &Question<'_>) -> Option<Arc<Facts>> {
        match (self.certificates, question.shown, question.asker) {
            (ClientCertificates::Asked, Shown::This(facts), _) => Some(Arc::clone(facts)),
            (ClientCertificates::Asked, Shown::AsNeeded, Asker::Key(id)) => {
                self.stand_ins.get(id).and_then(|stand_in| stand_in.needed.clone())
            }
            (_, _, _) => None,
        }
    }

    fn verdict(&self, question: &Question<'_>, parts: &Parts, trail: &mut Trail) -> Verdict {
        let now = Now { monotonic: crate::clock::Moment::default(), wall: question.at };
        let unproved = match self.gate.judge(parts, question.from, now, &self.failures, trail) {
            Err(denial) => return Verdict::Refused(denial),
            Ok(Judged::Admitted(admitted)) => return allowed(admitted.scope(), trail),
            Ok(Judged::Unproved(unproved)) => *unproved,
        };
        let (Unproved::Call(_), Some(body)) = (&unproved, question.body) else {
            let is_call = matches!(unproved, Unproved::Call(_));
            return Verdict::Open(if is_call { Missing::Body } else { Missing::Proof });
        };
        let fits = u64::try_from(body.bytes.len()).is_ok_and(|bytes| bytes <= unproved.body_limit());
        let settled = if fits {
            self.gate.settle(unproved, parts, body.bytes, now, &self.failures, trail)
        } else if unproved.may_go_unread() {
            self.gate.settle_unread(unproved, parts, now, trail)
        } else {
            Err(Denial::BodyTooLarge)
        };
        match settled {
            Ok(Settled::Forward(admitted)) => allowed(admitted.scope(), trail),
            Ok(Settled::Answer(_) | Settled::Ignored) => Verdict::Open(Missing::Proof),
            Err(denial) => Verdict::Refused(denial),
        }
    }

    fn parts(&self, question: &Question<'_>) -> Option<Parts> {
        // As a request line is read: a path, `*`, or an absolute form, whose host is the request's.
        let uri: Uri = question.target.parse().ok()?;
        let host = match uri.authority() {
            Some(authority) => HeaderValue::from_str(authority.as_str()).ok()?,
            None => HOST,
        };
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = question.method.clone();
        parts.uri = uri;
        parts.headers.insert(header::HOST, host);
        if let Some((name, value)) =
            self.credential(question.asker).and_then(|text| self.places.present(text))
        {
            parts.headers.insert(name, value);
        }
        let has_none = matches!(*question.method, Method::GET | Method::HEAD);
        if let Some(body) = question.body.filter(|body| !has_none || !body.bytes.is_empty()) {
            parts.headers.insert(header::CONTENT_LENGTH, body.bytes.len().into());
            parts.headers.insert(header::CONTENT_TYPE, body.content_type.clone());
        }
        Some(parts)
    }

    fn credential(&self, asker: Asker<'_>) -> Option<&str> {
        match asker {
            Asker::Stranger => None,
            Asker::Unknown => Some(&self.unknown),
            Asker::Key(id) => Some(self.stand_ins.get(id).map_or(&*self.unknown, |stand_in| &*stand_in.text)),
        }
    }
}

impl std::fmt::Debug for Court {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Court").finish_non_exhaustive()
    }
}

/// Whose a rate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The key's own.
    Own,
    /// That of all keys without one of their own.
    Default,
}

/// More than anyone asks here.
const ENDLESS: Rate = Rate::new(MOST_PER_SECOND, Per::Second);
const MOST_PER_SECOND: std::num::NonZeroU32 = std::num::NonZeroU32::MAX;

fn allowed(scope: Option<&ScopeName>, trail: &Trail) -> Verdict {
    Verdict::Allowed { scope: scope.cloned(), observed: trail.observed }
}

/// Nobody can have guessed it, so that no stored key and no path holds a stand-in.
fn nonce() -> Result<String, CourtError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| CourtError::NoRandomness)?;
    Ok(format!("stand-in-{:032x}", u128::from_le_bytes(bytes)))
}
