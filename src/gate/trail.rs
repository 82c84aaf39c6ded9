//! What was learned of a request on the way, for whoever records it.

use std::sync::Arc;

use super::Webhook;
use crate::client_addr::ClientAddr;
use crate::clock::WallTime;
use crate::credential::api_key::{DigestMemo, KeyDigest};
use crate::denial::{Denial, Observed};
use crate::keys::key::Standing;
use crate::keys::set::Secret;
use crate::outcome::{Caller, DeliveryResult, RouteStats};
use crate::policy::hours::Opening;
use crate::policy::senders::Sender;
use crate::tls::certificate::Facts;

/// What was learned of a request on the way, also when it is refused.
#[derive(Debug)]
pub struct Trail {
    /// The client's address.
    pub client: Option<ClientAddr>,
    /// The route's record.
    pub stats: Arc<RouteStats>,
    /// Who is calling.
    pub caller: Caller,
    /// True on a webhook: its sender gets empty answers.
    pub webhook: Option<Arc<Webhook>>,
    /// The digest of the connection's last key.
    pub memo: Arc<DigestMemo>,
    /// The certificate that the client showed, verified.
    pub certificate: Option<Arc<Facts>>,
    /// The path must not be written down: it holds, or could hold, a credential.
    pub path_is_secret: bool,
    /// Which of the caller's secrets proved it.
    pub secret: Secret,
    /// What became of a webhook delivery.
    pub delivery: DeliveryResult,
    /// What would have been refused, if the key were not only observed.
    pub observed: Option<Observed>,
    /// Who sent an update, and whether somebody was there, by the rules about senders.
    pub judged: Option<(Sender, Opening)>,
    /// Which of a webhook's secrets proved a delivery.
    pub secret_index: Option<usize>,
}

impl Trail {
    /// The digest of the key that proved the caller.
    pub fn digest(&self) -> Option<KeyDigest> {
        let Caller::Key(holder) = &self.caller else { return None };
        match self.secret {
            Secret::Current => Some(holder.key.digest),
            Secret::Previous => holder.key.previous.map(|previous| previous.digest),
        }
    }

    /// What a refusal is recorded as. Whoever presents a decoy is a thief also where a refusal comes for another reason first,
    /// such as too many failures: the alert must not depend on that.
    pub fn recorded(&self, denial: Denial) -> Denial {
        match &self.caller {
            Caller::Key(holder) if holder.key.standing == Standing::Decoy => Denial::CredentialDecoy,
            Caller::Key(_) | Caller::Keyless | Caller::Unknown => denial,
        }
    }

    /// When the presented secret stops working, if a rotation has replaced it.
    pub fn sunset(&self) -> Option<WallTime> {
        match (&self.caller, self.secret) {
            (Caller::Key(holder), Secret::Previous) => holder.previous_until(),
            (Caller::Key(_) | Caller::Keyless | Caller::Unknown, _) => None,
        }
    }

    pub(super) fn arrived_at(&mut self, webhook: &Arc<Webhook>) {
        // Where the rest of the path is the secret, the CRM gets another path and the log gets none.
        self.path_is_secret |= webhook.sender.path_prefix().is_some();
        self.stats = Arc::clone(&webhook.stats);
        self.webhook = Some(Arc::clone(webhook));
    }

    /// Nothing learned yet.
    pub const fn new(
        nowhere: Arc<RouteStats>,
        memo: Arc<DigestMemo>,
        certificate: Option<Arc<Facts>>,
    ) -> Self {
        Self {
            client: None,
            stats: nowhere,
            caller: Caller::Unknown,
            webhook: None,
            memo,
            certificate,
            path_is_secret: false,
            secret: Secret::Current,
            delivery: DeliveryResult::Forwarded,
            observed: None,
            judged: None,
            secret_index: None,
        }
    }
}
