//! Deliveries to webhooks: the sender's proof in place of a key.
//!
//! What the head alone proves is settled at once. Where the body decides, the head is screened, the proxy holds the body,
//! and [`Gate::settle`] judges both together.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderName, Method};

use super::admitted::{Query, without_override};
use super::repeated::{contains, holding};
use super::{Admitted, Gate, Judged, Settled, Trail, Unproved};
use crate::client_addr::ClientAddr;
use crate::clock::Now;
use crate::credential::api_key;
use crate::credential::webhook::place::{Place, without_parameter};
use crate::credential::webhook::telegram::Update;
use crate::credential::webhook::{Delivery, Proved, ReplayKey, Sender};
use crate::denial::{Ambiguity, DeliveryFault, Denial};
use crate::limits::deliveries::{Deliveries, Known};
use crate::limits::failures::Failures;
use crate::outcome::{Caller, DeliveryResult, DeliveryStats, RouteStats, SenderStats};
use crate::policy::allowlist::Allowlist;
use crate::policy::path::is_near;
use crate::policy::senders::{Action, SenderPolicy};
use crate::request_head::Head;
use crate::request_head::fields::same_name;

/// A path that a sender delivers to.
#[derive(Debug)]
pub struct Webhook {
    /// Its name in metrics and logs.
    pub name: Arc<str>,
    /// The public path.
    pub path: Box<str>,
    /// What paths begin with that end in the secret, for schemes that have it there.
    pub path_prefix: Option<Box<str>>,
    /// Methods that a delivery may have.
    pub methods: Vec<Method>,
    /// How a delivery is proved.
    pub sender: Arc<Sender>,
    /// Largest body that is held, in bytes.
    pub body_limit: u64,
    /// Which deliveries were seen.
    pub seen: Arc<Deliveries>,
    /// Whose updates become tickets, and the count of them.
    pub senders: Option<(SenderPolicy, Arc<SenderStats>)>,
    /// From where deliveries come; empty for the gate's own list.
    pub allow_from: Allowlist,
    /// The path at the CRM, if another one.
    pub upstream_path: Option<Box<str>>,
    /// Its record as a route.
    pub stats: Arc<RouteStats>,
    /// Its record of deliveries.
    pub deliveries: DeliveryStats,
}

/// A request as it came in.
#[derive(Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub(super) parts: &'a Parts,
    pub(super) client: ClientAddr,
    pub(super) now: Now,
}

/// A delivery whose body decides.
#[derive(Debug)]
pub struct UnprovedDelivery {
    webhook: Arc<Webhook>,
    head: Head,
    client: ClientAddr,
}

impl UnprovedDelivery {
    pub(super) fn body_limit(&self) -> u64 {
        self.webhook.body_limit
    }
}

impl Webhook {
    /// True if `path` is one of those that end in this webhook's secret.
    pub(super) fn has_prefix_of(&self, path: &str) -> bool {
        self.path_prefix.as_deref().is_some_and(|prefix| path.starts_with(prefix))
    }

    /// True for a path that the CRM may take for this webhook's: its own path there, or another spelling of one of the two
    /// (case, an extension, something behind it). No public route covers these, unless it names them whole.
    pub(super) fn is_behind(&self, path: &str) -> bool {
        let doors = [Some(&*self.path), self.upstream_path.as_deref(), self.sender.path_prefix()];
        doors.into_iter().flatten().any(|door| is_near(door, path))
    }

    /// True if a path holds what may be a token in the CRM's own path for this webhook.
    pub(super) fn holds_inner_secret(&self, path: &str) -> bool {
        let behind = self.upstream_path.as_deref().unwrap_or_default();
        let long = |part: &&str| part.len() >= api_key::FEWEST_BYTES;
        behind.split(['/', ':']).filter(long).any(|part| path.contains(part))
    }

    fn needs_body(&self) -> bool {
        self.sender.needs_body() || self.reads_updates()
    }

    fn reads_updates(&self) -> bool {
        self.senders.is_some() || self.sender.counts_updates()
    }
}

impl Gate {
    pub(super) fn delivery(
        &self,
        webhook: &Arc<Webhook>,
        arrival: Arrival<'_>,
        head: Head,
        failures: &Failures,
        trail: &mut Trail,
    ) -> Result<Judged, Denial> {
        let Arrival { parts, client, now } = arrival;
        let list = if webhook.allow_from.is_open() { &self.allow_from } else { &webhook.allow_from };
        list.permit(client)?;
        if !webhook.methods.contains(&parts.method) {
            return Err(Denial::MethodNotAllowed);
        }
        if !webhook.needs_body() {
            return match self.proved(webhook, arrival, head, b"", failures, trail)? {
                Settled::Forward(admitted) => Ok(Judged::Admitted(admitted)),
                // Only a body could say so, and none was read.
                Settled::Answer(_) | Settled::Ignored => Err(Denial::Delivery(DeliveryFault::BodyUnread)),
            };
        }
        let screened =
            with_delivery(&webhook.sender, parts, &head, b"", |it| webhook.sender.screen(it, now.wall));
        screened.map_err(|fault| self.refuse_delivery(fault, client, now, failures))?;
        let unproved = UnprovedDelivery { webhook: Arc::clone(webhook), head, client };
        Ok(Judged::Unproved(Box::new(Unproved::Delivery(unproved))))
    }

    pub(super) fn settle_delivery(
        &self,
        unproved: UnprovedDelivery,
        parts: &Parts,
        body: &[u8],
        now: Now,
        failures: &Failures,
        trail: &mut Trail,
    ) -> Result<Settled, Denial> {
        let UnprovedDelivery { webhook, head, client } = unproved;
        // As it is now: what was live when the body began may have ended since.
        let webhook = self.webhooks.iter().find(|now| now.name == webhook.name && now.path == webhook.path);
        let webhook = webhook.ok_or(Denial::Delivery(DeliveryFault::NotConfigured))?;
        self.proved(webhook, Arrival { parts, client, now }, head, body, failures, trail)
    }

    fn proved(
        &self,
        webhook: &Webhook,
        arrival: Arrival<'_>,
        head: Head,
        body: &[u8],
        failures: &Failures,
        trail: &mut Trail,
    ) -> Result<Settled, Denial> {
        let Arrival { parts, client, now } = arrival;
        let proved =
            with_delivery(&webhook.sender, parts, &head, body, |it| webhook.sender.prove(it, now.wall))
                .map_err(|fault| self.refuse_delivery(fault, client, now, failures))?;
        trail.caller = Caller::Keyless;
        trail.secret_index = proved.secret_index;
        if let Some(answer) = proved.handshake {
            trail.delivery = DeliveryResult::Handshake;
            return Ok(Settled::Answer(answer));
        }
        let mut admitted = self.admit_delivery(webhook, parts, head, &proved, trail)?;
        let update = webhook.reads_updates().then(|| Update::read(body));
        let by_update = update.as_ref().and_then(|read| read.as_ref().ok());
        let key = match by_update {
            Some(update) if webhook.sender.counts_updates() => Some(ReplayKey::of_update(update.id)),
            Some(_) | None => proved.replay_key,
        };
        if let Some(key) = key {
            match webhook.seen.claim(key) {
                Ok(claim) => admitted.claim = Some(claim),
                Err(Known::UnderWay) => return Err(Denial::DeliveryUnderWay),
                Err(Known::Done) => {
                    trail.delivery = DeliveryResult::Duplicate;
                    return Ok(Settled::Ignored);
                }
            }
        }
        if let Some((policy, stats)) = &webhook.senders {
            let action = match by_update {
                Some(update) => {
                    let judgement = policy.judge_update(update, now.wall);
                    stats.judged(&judgement);
                    trail.judged = Some((judgement.sender, judgement.hours));
                    admitted.mark = (judgement.action == Action::Mark).then(|| judgement.mark());
                    judgement.action
                }
                None => policy.unreadable(),
            };
            if action == Action::Refuse {
                trail.delivery = DeliveryResult::Withheld;
                return Ok(Settled::Ignored);
            }
        }
        Ok(Settled::Forward(admitted))
    }

    /// What of a proved delivery goes on: no copy of the secret that travelled with it.
    fn admit_delivery(
        &self,
        webhook: &Webhook,
        parts: &Parts,
        head: Head,
        proved: &Proved,
        trail: &mut Trail,
    ) -> Result<Admitted, Denial> {
        let mut strip = self.own_keys(parts, &head);
        let query = match webhook.sender.secret_place() {
            Some(Place::Header(name)) => {
                strip.extend(same_names(&parts.headers, name));
                without_override(&head.target)
            }
            Some(Place::Query(name)) => {
                Query::Without(without_parameter(head.target.query().unwrap_or_default(), name))
            }
            Some(Place::Path(_) | Place::Json(_) | Place::Unnamed(_)) | None => {
                without_override(&head.target)
            }
        };
        for presented in &proved.presented {
            let path = if trail.path_is_secret { "" } else { head.target.path() };
            let path_and_query = query.with_path(path, head.target.query());
            if contains(path_and_query.as_bytes(), presented.expose()) {
                trail.path_is_secret = true;
                return Err(Denial::Ambiguous(Ambiguity::CredentialInTarget));
            }
            holding(&parts.headers, presented.expose(), None, &mut strip);
        }
        let upstream_path = webhook.upstream_path.clone();
        Ok(Admitted { strip, query, upstream_path, ..Admitted::plain(head.target) })
    }

    fn refuse_delivery(
        &self,
        fault: DeliveryFault,
        client: ClientAddr,
        now: Now,
        failures: &Failures,
    ) -> Denial {
        let denial = Denial::Delivery(fault);
        if denial.is_authentication_failure() {
            failures.refuse(denial, client.group(), self.failure_rate, now)
        } else {
            denial
        }
    }
}

/// Hands the engine a delivery made of the request's parts.
fn with_delivery<T>(
    sender: &Sender,
    parts: &Parts,
    head: &Head,
    body: &[u8],
    judge: impl FnOnce(&Delivery<'_>) -> T,
) -> T {
    let url =
        if sender.needs_url() { sender.url_of(head.target.path_and_query().as_str()) } else { String::new() };
    judge(&Delivery {
        method: &parts.method,
        url: &url,
        path: head.target.path(),
        query: head.target.query(),
        headers: &parts.headers,
        body,
        peer: None,
    })
}

fn same_names<'a>(headers: &'a HeaderMap, name: &'a HeaderName) -> impl Iterator<Item = HeaderName> + 'a {
    headers.keys().filter(move |given| same_name(given.as_str(), name.as_str())).cloned()
}
