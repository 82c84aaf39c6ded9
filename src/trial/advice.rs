//! What would have to change for another verdict, in words.

use super::court::{Court, Judgement, Missing, Question, Shown, Verdict};
use super::walk::Walk;
use crate::config::ClientCertificates;
use crate::denial::{Denial, Observed};
use crate::keys::key::Key;
use crate::policy::allowlist::Allowlist;
use crate::policy::scope::ScopeName;

/// Most scopes that are offered.
const MOST_OFFERED: usize = 8;

/// Sentences, the nearest first; none where nothing needs to change.
pub fn advice(court: &Court, question: &Question<'_>, judgement: &Judgement) -> Vec<String> {
    let walk = Walk { court, question, judgement };
    match &judgement.verdict {
        Verdict::Allowed { observed: None, .. } => Vec::new(),
        Verdict::Allowed { observed: Some(observed), .. } => {
            let mut all = vec!["it passes because the key is only observed (mode = \"observe\")".to_owned()];
            all.extend(match observed {
                Observed::Scope => walk.scope(),
                Observed::Address => walk.address(),
                Observed::ScopeUnread => vec![Denial::ScopeUnread.advice().to_owned()],
                Observed::Rate => Vec::new(),
            });
            all
        }
        Verdict::Open(Missing::Body) => {
            vec![
                "the body decides: ask again with --body FILE, and --content-type if it is not JSON"
                    .to_owned(),
            ]
        }
        Verdict::Open(Missing::Proof) => {
            vec!["'sidelock webhook verify' tells whether a captured delivery is believed".to_owned()]
        }
        Verdict::Refused(denial) => walk.refused(*denial),
    }
}

impl Walk<'_> {
    fn refused(&self, denial: Denial) -> Vec<String> {
        if let Some(advice) = self.hidden_advice(denial) {
            return vec![advice];
        }
        let id = self.holder().map_or("", |holder| holder.key.id.as_str());
        match denial {
            Denial::ScopeMissing => self.scope(),
            Denial::AddressNotAllowed => self.address(),
            Denial::ScopeNever => {
                let what = "nothing in the key file opens it: what is closed to every key hands out stronger secrets";
                vec![format!(
                    "{what} or runs the CRM; use the CRM's own log-in, or a pack of your own (crm_file)"
                )]
            }
            Denial::CredentialMissing => vec!["present a key: ask again with --key ID".to_owned()],
            Denial::CredentialUnknown => {
                vec!["make a key with 'sidelock keys create', or put its block back".to_owned()]
            }
            Denial::CredentialExpired => {
                vec![format!("'sidelock keys edit {id} --expires 90d' lets it work again")]
            }
            Denial::CredentialRevoked => {
                let how = "make a new one with 'sidelock keys create'";
                vec![format!("{how}; if it was revoked by mistake, take 'revoked = true' out of its block")]
            }
            Denial::AddressBanned(_) => vec!["'sidelock bans lift ADDRESS' ends it now".to_owned()],
            Denial::CertificateNotShown => self.certificate(id),
            Denial::CredentialDecoy => vec!["nothing: it is made to open nothing".to_owned()],
            Denial::Ambiguous(_)
            | Denial::MethodNotAllowed
            | Denial::ExpectationUnknown
            | Denial::TargetTooLong
            | Denial::CredentialMalformed
            | Denial::Delivery(_)
            | Denial::TooManyFailures(_)
            | Denial::ScopeUnread
            | Denial::RateLimited(_)
            | Denial::BodyTooLarge
            | Denial::BodyTooSlow
            | Denial::BodyBroken
            | Denial::DeliveryUnderWay
            | Denial::Overloaded
            | Denial::UpstreamUnreachable
            | Denial::UpstreamDown(_)
            | Denial::UpstreamFull
            | Denial::UpstreamConnectTimeout
            | Denial::UpstreamTimeout
            | Denial::UpstreamBroken
            | Denial::ReplyUnreadable(_) => vec![denial.advice().to_owned()],
        }
    }

    /// What the connection lacks.
    fn certificate(&self, id: &str) -> Vec<String> {
        let mut all = Vec::new();
        if self.court.certificates == ClientCertificates::NotAsked {
            all.push(
                "no listener asks for client certificates: give a [[listener]] with TLS a 'client_ca'"
                    .to_owned(),
            );
        }
        if matches!(self.question.shown, Shown::Nothing) {
            all.push("ask again with --client-cert FILE, as if it were shown".to_owned());
        }
        all.push(format!("'sidelock keys edit {id} --client-cert FILE' binds the key to another one"));
        all
    }

    /// Which scopes would cover it.
    fn scope(&self) -> Vec<String> {
        let Some(holder) = self.holder() else { return Vec::new() };
        let scopes = &self.court.gate().scopes;
        let held = |name: &ScopeName| scopes.id(name.as_str()).is_some_and(|id| holder.key.scopes.has(id));
        let id = holder.key.id.as_str();
        let mut offered: Vec<&ScopeName> = Vec::new();
        let mut all = Vec::new();
        for (name, rule) in scopes.rules_about(self.question.method, self.path()) {
            if !held(name) && !offered.contains(&name) && offered.len() < MOST_OFFERED {
                offered.push(name);
                let how = format!("'sidelock keys edit {id} --add-scope {}'", name.as_str());
                all.push(format!("{how}: '{rule}' of that scope covers it"));
            }
        }
        if all.is_empty() {
            let rule = format!("{} {}", self.question.method, self.path());
            all.push(format!(
                "no other scope covers it either: write a rule such as '{rule}' in [scopes.<name>]"
            ));
        }
        all
    }

    fn address(&self) -> Vec<String> {
        let from = self.question.from.to_canonical();
        vec![match (self.webhook(), self.holder()) {
            (Some(webhook), _) if !webhook.allow_from.is_open() => {
                format!("add {from} or its network to allow_from of the webhook '{}'", webhook.name)
            }
            (None, Some(holder)) if self.is_key_s_doing() => {
                let all = listed(&holder.key, from);
                format!("'sidelock keys edit {} --allow-from {all}' adds the address", holder.key.id.as_str())
            }
            (_, _) => format!("add {from} or its network to [client_address] allow_from"),
        }]
    }

    fn is_key_s_doing(&self) -> bool {
        let permits =
            |list: &Allowlist| self.judgement.trail.client.is_some_and(|it| list.permit(it).is_ok());
        permits(&self.court.gate().allow_from)
    }
}

fn listed(key: &Key, from: std::net::IpAddr) -> String {
    let nets = key.allow_from.networks().nets().map(|net| net.to_string());
    nets.chain([from.to_string()]).collect::<Vec<_>>().join(",")
}
