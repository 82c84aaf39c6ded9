//! Deliveries to webhooks: the sender's proof in place of a key.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderName, Method};

use super::admitted::{Query, without_override};
use super::repeated::{contains, holding};
use super::{Admitted, Gate, Trail};
use crate::client_addr::ClientAddr;
use crate::clock::Now;
use crate::credential::webhook::place::{Place, without_parameter};
use crate::credential::webhook::{Delivery, Proved, Sender};
use crate::denial::{Ambiguity, DeliveryFault, Denial};
use crate::limits::failures::Failures;
use crate::outcome::{Caller, RouteStats};
use crate::policy::allowlist::Allowlist;
use crate::request_head::Head;
use crate::request_head::fields::same_name;

/// A path that a sender delivers to.
#[derive(Debug)]
pub struct Webhook {
    /// Its name in metrics and logs.
    pub name: Arc<str>,
    /// The public path.
    pub path: Box<str>,
    /// Methods that a delivery may have.
    pub methods: Vec<Method>,
    /// How a delivery is proved.
    pub sender: Arc<Sender>,
    /// From where deliveries come; empty for the gate's own list.
    pub allow_from: Allowlist,
    /// The path at the CRM, if another one.
    pub upstream_path: Option<Box<str>>,
    /// Its record.
    pub stats: Arc<RouteStats>,
}

/// A request as it came in.
#[derive(Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub(super) parts: &'a Parts,
    pub(super) client: ClientAddr,
    pub(super) now: Now,
}

impl Webhook {
    /// True if deliveries to `path` are this webhook's.
    pub(super) fn owns(&self, path: &str) -> bool {
        *self.path == *path || self.sender.path_prefix().is_some_and(|prefix| path.starts_with(prefix))
    }
}

impl Gate {
    pub(super) fn delivery(
        &self,
        webhook: &Webhook,
        arrival: Arrival<'_>,
        head: Head,
        failures: &Failures,
        trail: &mut Trail,
    ) -> Result<Admitted, Denial> {
        let Arrival { parts, client, now } = arrival;
        let list = if webhook.allow_from.is_open() { &self.allow_from } else { &webhook.allow_from };
        list.permit(client)?;
        if !webhook.methods.contains(&parts.method) {
            return Err(Denial::MethodNotAllowed);
        }
        let proved = prove_by_head(&webhook.sender, parts, &head, now).map_err(|fault| {
            let denial = Denial::Delivery(fault);
            if denial.is_authentication_failure() {
                failures.refuse(denial, client.group(), self.failure_rate)
            } else {
                denial
            }
        })?;
        trail.caller = Caller::Keyless;
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
        if let Some(presented) = &proved.presented {
            let path = if trail.path_is_secret { "" } else { head.target.path() };
            let path_and_query = query.with_path(path, head.target.query());
            if contains(path_and_query.as_bytes(), presented.expose()) {
                trail.path_is_secret = true;
                return Err(Denial::Ambiguous(Ambiguity::CredentialInTarget));
            }
            strip.extend(holding(&parts.headers, presented.expose()));
        }
        Ok(Admitted {
            target: head.target,
            strip,
            query,
            upstream_path: webhook.upstream_path.clone(),
            scope: None,
            credential: None,
            taken: None,
            wants_upgrade: false,
        })
    }
}

/// Proves a delivery whose body does not decide. One whose body does is refused here: what was not read is not believed.
fn prove_by_head(sender: &Sender, parts: &Parts, head: &Head, now: Now) -> Result<Proved, DeliveryFault> {
    if sender.needs_body() {
        return Err(DeliveryFault::BodyUnread);
    }
    let url =
        if sender.needs_url() { sender.url_of(head.target.path_and_query().as_str()) } else { String::new() };
    let delivery = Delivery {
        method: &parts.method,
        url: &url,
        path: head.target.path(),
        query: head.target.query(),
        headers: &parts.headers,
        body: b"",
        peer: None,
    };
    sender.prove(&delivery, now.wall)
}

fn same_names<'a>(headers: &'a HeaderMap, name: &'a HeaderName) -> impl Iterator<Item = HeaderName> + 'a {
    headers.keys().filter(move |given| same_name(given.as_str(), name.as_str())).cloned()
}
