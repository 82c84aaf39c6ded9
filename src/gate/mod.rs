//! The decision, in order, in one place.
//!
//! head → client → route → claim → principal → permit → token. Each step returns a value that the next one needs;
//! [`Admitted`] has private fields and is made only here, so what was not judged cannot be forwarded.

mod admitted;
mod delivery;
mod hidden;
mod lenience;
mod operation;
mod refusing;
mod repeated;
mod routes;
mod trail;

use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderName};

pub use admitted::Admitted;
use admitted::without_override;
use delivery::Arrival;
pub use delivery::{UnprovedDelivery, Webhook};
use lenience::Lenience;
use operation::Permit;
pub use operation::UnreadCall;
pub use refusing::Banning;
use repeated::{contains, holding};
pub use routes::{Access, Route, Routes};
pub use trail::Trail;

use crate::client_addr::ClientAddr;
use crate::clock::Now;
use crate::credential::api_key;
use crate::credential::places::{Places, Presented};
use crate::credential::webhook::Answer;
use crate::denial::{Ambiguity, Denial};
use crate::keys::set::{Holder, KeySet};
use crate::limits::failures::Failures;
use crate::limits::rate::Rate;
use crate::networks::Networks;
use crate::outcome::{Caller, RouteStats};
use crate::policy::allowlist::Allowlist;
use crate::policy::blank::Blanks;
use crate::policy::path::unescaped;
use crate::policy::scope::Scopes;
use crate::request_head::fields::{ListedNames, WantedNames};
use crate::request_head::{self, Head};

/// Everything that decides, immutable; a reload makes another one.
#[derive(Clone, Debug)]
pub struct Gate {
    /// Peers whose forwarded chain is believed.
    pub trusted_proxies: Networks,
    /// Who may call at all; a webhook with its own list uses that instead.
    pub allow_from: Allowlist,
    /// Odd header names that may pass.
    pub listed_names: ListedNames,
    /// Where clients put the key.
    pub places: Places,
    /// Whether the presented key goes on to the CRM.
    pub presented_key: PresentedKey,
    /// Headers by which the CRM would believe someone: with a key they do not go on.
    pub strip: WantedNames,
    /// Webhooks by their exact path.
    pub webhooks: Vec<Arc<Webhook>>,
    /// Routes that were written down, first match wins; every other path needs a key.
    pub routes: Routes,
    /// Where what is not written down goes.
    pub api: Arc<RouteStats>,
    /// The label of requests that were refused before they had a route.
    pub nowhere: Arc<RouteStats>,
    /// What keys may do.
    pub scopes: Scopes,
    /// What replies to keys must not show.
    pub blanks: Blanks,
    /// The keys.
    pub keys: Arc<KeySet>,
    /// The rate of keys without one of their own.
    pub api_rate: Rate,
    /// Refused credentials per address.
    pub failure_rate: Rate,
    /// What becomes of addresses that guess keys.
    pub banning: Banning,
}

/// What becomes of the presented key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresentedKey {
    /// Taken out: the CRM never sees it.
    Removed,
    /// Left in: the keys are the CRM's own.
    Forwarded,
}

/// What the head of a request tells.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is nearly every request, and a box would cost each"
)]
pub enum Judged {
    /// It may go to the CRM.
    Admitted(Admitted),
    /// Its body decides.
    Unproved(Box<Unproved>),
}

/// A request whose body decides; everything else is judged.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is moved once or twice, and a box would be an allocation")]
pub enum Unproved {
    /// A webhook delivery.
    Delivery(UnprovedDelivery),
    /// A call with a key, by what it asks for.
    Call(UnreadCall),
}

/// What becomes of a request whose body was read, and that is not refused.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is moved once or twice, and a box would be an allocation")]
pub enum Settled {
    /// It goes to the CRM.
    Forward(Admitted),
    /// A sender's handshake is answered.
    Answer(Answer),
    /// Nothing: the CRM has it already, or should not have it. Its sender is told that all is well.
    Ignored,
}

impl Gate {
    /// The same gate with other keys.
    #[must_use]
    pub fn with_keys(&self, keys: Arc<KeySet>) -> Self {
        Self { keys, ..self.clone() }
    }

    /// Judges one request. What is learned is left in `trail` whatever the verdict.
    ///
    /// # Errors
    /// The first [`Denial`] in the order of the steps.
    pub fn judge(
        &self,
        parts: &Parts,
        peer: IpAddr,
        now: Now,
        failures: &Failures,
        trail: &mut Trail,
    ) -> Result<Judged, Denial> {
        let client = ClientAddr::find(peer, &parts.headers, &self.trusted_proxies);
        trail.client = Some(client);
        let head = request_head::judge(parts, &self.listed_names).inspect_err(|_| {
            self.notice_decoy(parts, trail);
            // Its sender gets an empty answer all the same.
            let path = parts.uri.path();
            if let Some(webhook) = self.webhook(path) {
                trail.arrived_at(webhook);
            }
        })?;
        match self.route(head.target.path(), trail) {
            Destination::Webhook(webhook) => {
                self.delivery(&webhook, Arrival { parts, client, now }, head, failures, trail)
            }
            Destination::Public => self.keyless(parts, head, client, trail).map(Judged::Admitted),
            Destination::Api => self.with_key(parts, head, client, now, failures, trail),
        }
    }

    /// True if a refused request's path could hold a credential: a segment that is one, or a spelling that hides one.
    pub fn path_may_be_secret(&self, path: &str, headers: &HeaderMap) -> bool {
        if path.len() < api_key::FEWEST_BYTES {
            return path.contains('%');
        }
        let presented = || {
            self.places.present_in(headers).flat_map(|name| headers.get_all(name)).any(|value| {
                let texts = value.as_bytes().split(|byte| *byte == b' ');
                texts
                    .filter(|text| text.len() >= api_key::FEWEST_BYTES)
                    .any(|text| contains(path.as_bytes(), text))
            })
        };
        let stored = |segment: &[u8]| {
            let long = segment.len() >= api_key::FEWEST_BYTES;
            long && (self.keys.knows(segment) || self.webhooks.iter().any(|it| it.sender.is_secret(segment)))
        };
        let behind = || self.webhooks.iter().any(|webhook| webhook.holds_inner_secret(path));
        path.contains('%')
            || presented()
            || path.as_bytes().split(|byte| *byte == b'/').any(stored)
            || behind()
    }

    /// The webhook of a path: an exact one before one whose path ends in its secret.
    fn webhook(&self, path: &str) -> Option<&Arc<Webhook>> {
        let exact = self.webhooks.iter().find(|webhook| *webhook.path == *path);
        exact.or_else(|| self.webhooks.iter().find(|webhook| webhook.has_prefix_of(path)))
    }

    /// The route that was written down for a path that is no webhook's.
    pub fn route_of(&self, path: &str) -> Option<&Route> {
        let (route, above) = self.routes.first(path)?;
        Some(route).filter(|route| route.access == Access::Key || !self.is_closed(route, above, path))
    }

    fn route(&self, path: &str, trail: &mut Trail) -> Destination {
        if let Some(webhook) = self.webhook(path) {
            trail.arrived_at(webhook);
            return Destination::Webhook(Arc::clone(webhook));
        }
        match self.route_of(path) {
            Some(route) => {
                trail.stats = Arc::clone(&route.stats);
                match route.access {
                    Access::Public => Destination::Public,
                    Access::Key => Destination::Api,
                }
            }
            None => {
                trail.stats = Arc::clone(&self.api);
                Destination::Api
            }
        }
    }

    /// True where a public route would lead past a webhook's proof, or past a route above it that needs a key and is spelled
    /// with escapes here.
    fn is_closed(&self, route: &Route, above: &[Route], path: &str) -> bool {
        let needs_key =
            |above: &Route| above.access == Access::Key && above.pattern.matches(&unescaped(path));
        (path.contains('%') && above.iter().any(needs_key))
            || (!route.pattern.is_literal() && self.webhooks.iter().any(|webhook| webhook.is_behind(path)))
    }

    fn with_key(
        &self,
        parts: &Parts,
        head: Head,
        client: ClientAddr,
        now: Now,
        failures: &Failures,
        trail: &mut Trail,
    ) -> Result<Judged, Denial> {
        self.allow_from.permit(client).inspect_err(|_| self.notice_decoy(parts, trail))?;
        self.permit_address(client, failures).inspect_err(|_| self.notice_decoy(parts, trail))?;
        let refuse = |denial: Denial| self.refuse_key(denial, client, now, failures);
        let claim = self.places.find(&parts.headers);
        let claim = claim.inspect_err(|_| self.notice_decoy(parts, trail)).map_err(refuse)?;
        let holder = self.prove(&claim, now, trail).map_err(refuse)?;
        let mut head = head;
        let (strip, presented) = self.without_credential(&claim, &parts.headers, &mut head, trail)?;
        // Before the scope is looked at: a stolen key may not try every path at leisure.
        let mut lenience = Lenience::of(&holder.key);
        let taken = match holder.limiter.take(now.monotonic) {
            Ok(taken) => Some(taken),
            Err(wait) => {
                lenience.waive(Denial::RateLimited(wait))?;
                None
            }
        };
        let from = (client, trail.certificate.as_deref());
        let permit = self.permit(&holder, &parts.method, head.target.path(), from, &mut lenience)?;
        let hidden = self.hidden(&parts.method, &head)?;
        let permit = hidden::reading(permit, hidden.as_ref(), &parts.method);
        let admitted = |head: Head, strip: Vec<HeaderName>| Admitted {
            query: without_override(&head.target),
            strip,
            presented,
            hidden,
            taken,
            wants_upgrade: head.facts.wants_upgrade,
            ..Admitted::plain(head.target)
        };
        let going = match permit {
            Permit::Given(covered) => admitted(head, strip).by(&holder.key, covered),
            Permit::Waived => admitted(head, strip).unscoped(&holder.key),
            // What goes through a tunnel is in no body.
            Permit::AskBody if head.facts.wants_upgrade => {
                lenience.waive(Denial::ScopeUnread)?;
                admitted(head, strip).unscoped(&holder.key)
            }
            Permit::AskBody => {
                return Ok(UnreadCall::new(&holder.key, admitted(head, strip), lenience).judged());
            }
        };
        trail.observed = lenience.observed();
        Ok(Judged::Admitted(going))
    }

    /// Notes who presents a decoy in a request that is refused for another reason first: a stolen key is worth an alert
    /// wherever it is tried, also twice, with another scheme, or by somebody who tries every place at once.
    #[cold]
    fn notice_decoy(&self, parts: &Parts, trail: &mut Trail) {
        let values = self.places.present_in(&parts.headers).flat_map(|name| parts.headers.get_all(name));
        let mut words = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b' '));
        if let Some(holder) = words.find_map(|word| self.keys.decoy(word)) {
            trail.caller = Caller::Key(holder);
        }
    }

    /// The holder of the presented key, noted in the trail also where the key is no longer good.
    fn prove(&self, claim: &Presented<'_>, now: Now, trail: &mut Trail) -> Result<Arc<Holder>, Denial> {
        let digest = trail.memo.digest(claim.text).ok_or(Denial::CredentialMalformed)?;
        match self.keys.prove(&digest, now.wall) {
            Ok(proved) => {
                proved.used(now.wall, trail.client.and_then(ClientAddr::for_allowlist));
                trail.secret = proved.secret;
                trail.caller = Caller::Key(Arc::clone(proved.holder));
                Ok(Arc::clone(proved.holder))
            }
            Err(unproved) => {
                if let Some(holder) = unproved.holder {
                    trail.caller = Caller::Key(Arc::clone(holder));
                }
                let mistyped =
                    unproved.denial == Denial::CredentialUnknown && api_key::is_mistyped(claim.text);
                Err(if mistyped { Denial::CredentialMalformed } else { unproved.denial })
            }
        }
    }

    /// Fields that must not go on. The presented key is looked for wherever it may have been repeated: a header that
    /// holds it is left out, a target that holds it is refused.
    fn without_credential(
        &self,
        claim: &Presented<'_>,
        headers: &HeaderMap,
        head: &mut Head,
        trail: &mut Trail,
    ) -> Result<(Vec<HeaderName>, Option<HeaderName>), Denial> {
        let mut strip = std::mem::take(&mut head.facts.not_forwarded);
        let kept = |name: &HeaderName| self.presented_key == PresentedKey::Forwarded && name == claim.header;
        strip.extend(self.strip.present_in(headers).filter(|name| !kept(name)).cloned());
        if self.presented_key == PresentedKey::Forwarded {
            return Ok((strip, None));
        }
        if contains(head.target.path_and_query().as_str().as_bytes(), claim.text) {
            trail.path_is_secret = true;
            return Err(Denial::Ambiguous(Ambiguity::CredentialInTarget));
        }
        holding(headers, claim.text, Some(claim.header), &mut strip);
        Ok((strip, Some(claim.header.clone())))
    }

    fn keyless(
        &self,
        parts: &Parts,
        head: Head,
        client: ClientAddr,
        trail: &mut Trail,
    ) -> Result<Admitted, Denial> {
        self.allow_from.permit(client)?;
        trail.caller = Caller::Keyless;
        Ok(Admitted {
            strip: self.own_keys(parts, &head),
            query: without_override(&head.target),
            wants_upgrade: head.facts.wants_upgrade,
            ..Admitted::plain(head.target)
        })
    }

    /// On routes that need no key, a key of ours in its usual place still does not go on; the CRM's own tokens do.
    fn own_keys(&self, parts: &Parts, head: &Head) -> Vec<HeaderName> {
        let mut strip = head.facts.not_forwarded.clone();
        let holds_own = |name: &HeaderName| {
            parts.headers.get_all(name).iter().any(|value| {
                value
                    .as_bytes()
                    .split(|byte| *byte == b' ')
                    .any(|text| api_key::is_own(text) || self.keys.knows(text))
            })
        };
        strip.extend(self.places.present_in(&parts.headers).filter(|name| holds_own(name)).cloned());
        strip
    }
}

enum Destination {
    Webhook(Arc<Webhook>),
    Public,
    Api,
}
