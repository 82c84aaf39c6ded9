//! Content becomes a snapshot.

use std::sync::Arc;

use dashmap::DashMap;

use crate::access_log::AccessLog;
use crate::clock::{Clock, WallTime};
use crate::config::{self, Config, Listener, Place};
use crate::gate::{Banning, Gate, Route, Webhook};
use crate::keys::key::Key;
use crate::keys::set::KeySet;
use crate::keys::state::KeyStates;
use crate::limits::deliveries::Deliveries;
use crate::limits::failures::Failures;
use crate::metrics::{AddressLabels, Metrics};
use crate::outcome::{API_ROUTE, NO_ROUTE, SenderStats};
use crate::policy::allowlist::Allowlist;
use crate::policy::blank::Blanks;
use crate::policy::senders::{Memory, Rules, SenderPolicy};
use crate::proxy::Live;
use crate::proxy::doors::Doors;
use crate::proxy::front::in_order;
use crate::proxy::lifeline::Lifelines;
use crate::proxy::upstream::Upstream;
use crate::proxy::upstream::checks::Rounds;
use crate::request_head::fields::{ListedNames, WantedNames};
use crate::supervisor::Supervisor;
use crate::telegram::watch::Watch;
use crate::tls::TlsError;

/// What a webhook's memory of deliveries is kept by: its name, and its bot, because another bot numbers its updates anew.
pub type MemoryName = (Box<str>, Option<Box<str>>);

/// What webhooks remember.
pub type Memories = DashMap<MemoryName, Arc<Deliveries>>;

/// What snapshots are made with.
#[derive(Debug)]
pub struct Workshop {
    /// States of keys, which outlive snapshots.
    pub states: Arc<KeyStates>,
    /// Records of routes, and the reload's own.
    pub metrics: Arc<Metrics>,
    /// What open connections carry.
    pub lifelines: Arc<Lifelines>,
    /// Which deliveries each webhook has seen.
    pub seen: Arc<Memories>,
    /// Whose updates were seen.
    pub senders: Arc<Memory>,
    /// What was bound at the start.
    pub places: Vec<Place>,
    /// The bots whose webhook is watched at Telegram.
    pub telegram: Arc<Watch>,
    /// Connections to the CRM that there are file descriptors for.
    pub most_to_crm: usize,
    /// The looks at the CRM.
    pub rounds: Arc<Rounds>,
    /// The access log, whose file is opened again on SIGHUP.
    pub access_log: AccessLog,
    /// Whoever wants to know of reloads.
    pub supervisor: Supervisor,
    /// The time.
    pub clock: Clock,
}

impl Workshop {
    /// One that shares nothing with the running process, to ask what some content would decide.
    ///
    /// # Errors
    /// Metrics that are registered twice.
    pub fn apart(clock: &Clock) -> Result<Self, prometheus::Error> {
        let metrics = Metrics::new(Arc::new(Failures::new(1, clock)), (0, AddressLabels::None), clock)?;
        Ok(Self {
            states: Arc::new(KeyStates::new(clock)),
            lifelines: Lifelines::new(metrics.revocation.clone(), clock),
            access_log: AccessLog::off(metrics.log_lines_dropped.clone()),
            telegram: Arc::new(Watch::new(Arc::clone(&metrics), clock.clone())),
            metrics,
            most_to_crm: usize::MAX,
            rounds: Rounds::new(),
            seen: Arc::default(),
            senders: Arc::default(),
            places: Vec::new(),
            supervisor: Supervisor::default(),
            clock: clock.clone(),
        })
    }

    /// Makes the snapshot of some content. Connections to the CRM are kept if its section did not change.
    ///
    /// # Errors
    /// The CRM's TLS cannot be set up.
    pub fn live(&self, config: &Config, keys: Vec<Key>, before: Option<&Live>) -> Result<Live, TlsError> {
        let keep_alive = config.timeouts.upstream_keep_alive;
        let mut wanted = config.upstream.clone();
        wanted.max_connections = wanted.max_connections.min(self.most_to_crm);
        let kept = before
            .map(|live| &live.upstream)
            .filter(|it| *it.config() == wanted && it.keep_alive() == keep_alive);
        let upstream = match kept {
            Some(upstream) => Arc::clone(upstream),
            None => Upstream::new(wanted, keep_alive, &self.metrics.upstreams, &self.clock)?,
        };
        self.rounds.follow(&upstream);
        let keys = Arc::new(KeySet::join(keys, &self.states, config.limits.per_key));
        self.metrics.read_keys(Arc::clone(&keys));
        let gate = self.gate(config, keys);
        self.metrics.retain_routes(|name| {
            [API_ROUTE, NO_ROUTE].contains(&name)
                || gate.webhooks.iter().any(|webhook| *webhook.name == *name)
                || gate.routes.iter().any(|route| **route.stats.name() == *name)
        });
        let has_webhook = |name: &str| config.webhooks.iter().any(|webhook| *webhook.name == *name);
        self.seen.retain(|memory, _| config.webhooks.iter().any(|webhook| memory_of(webhook) == *memory));
        self.metrics.retain_webhooks(has_webhook);
        self.telegram.follow(&config.webhooks);
        self.metrics.retain_senders(|name| {
            config.webhooks.iter().any(|webhook| *webhook.name == *name && webhook.senders.is_some())
        });
        let old = before.map_or(&[][..], |live| &live.fronts);
        let fronts = in_order(&self.places, &config.listeners, old);
        self.metrics.wire.certificates(fronts.iter().flat_map(|listener| certificates(listener)));
        let (timeouts, body_limit) = (Arc::new(config.timeouts), config.limits.body);
        Ok(Live { gate, upstream, doors: Doors::new(config), fronts, timeouts, body_limit })
    }

    fn senders(&self, webhook: &str, rules: &Rules) -> (SenderPolicy, Arc<SenderStats>) {
        let policy = SenderPolicy::new(webhook.into(), rules.clone(), Arc::clone(&self.senders));
        (policy, self.metrics.senders(webhook))
    }

    /// What decides, of some content.
    pub fn gate(&self, config: &Config, keys: Arc<KeySet>) -> Gate {
        let webhook = |webhook: &config::Webhook| {
            Arc::new(Webhook {
                name: (*webhook.name).into(),
                path: webhook.path.clone(),
                path_prefix: webhook.sender.path_prefix().map(Into::into),
                methods: webhook.methods.clone(),
                sender: Arc::clone(&webhook.sender),
                allow_from: Allowlist::new(webhook.allow_from.clone()),
                upstream_path: webhook.upstream_path.clone(),
                body_limit: webhook.body_limit,
                seen: Arc::clone(&self.seen.entry(memory_of(webhook)).or_default()),
                senders: webhook.senders.as_ref().map(|rules| self.senders(&webhook.name, rules)),
                stats: self.metrics.route(&webhook.name),
                deliveries: self.metrics.webhook(&webhook.name, &webhook.sender.secret_prints()),
            })
        };
        let route = |route: &config::Route| Route {
            pattern: route.pattern.clone(),
            access: route.access,
            stats: self.metrics.route(&route.name),
        };
        // What Sidelock shows the CRM, and whatever else it would believe, is never the client's to say.
        let strip = config.upstream.credentials.headers();
        let strip = strip.chain(config.pack.iter().flat_map(|pack| &pack.strip)).cloned();
        let mut listed = config.keys.places.listed_names();
        listed.extend(config.upstream.pass_headers.iter().cloned());
        Gate {
            trusted_proxies: config.client_address.trusted_proxies.clone(),
            allow_from: Allowlist::new(config.client_address.allow_from.clone()),
            listed_names: ListedNames::new(listed),
            places: config.keys.places.clone(),
            presented_key: config.keys.presented_key,
            strip: WantedNames::new(strip.collect()),
            webhooks: config.webhooks.iter().map(webhook).collect(),
            routes: config.routes.iter().map(route).collect(),
            api: self.metrics.route(API_ROUTE),
            nowhere: self.metrics.route(NO_ROUTE),
            scopes: config.scopes.clone(),
            blanks: config.pack.as_ref().map(|pack| Blanks::new(&pack.blank)).unwrap_or_default(),
            keys,
            api_rate: config.limits.per_key,
            failure_rate: config.limits.per_address_failures,
            banning: Banning { rule: config.ban.rule, exempt: config.never_banned() },
        }
    }
}

/// What metrics say of a listener's certificates.
fn certificates(listener: &Listener) -> impl Iterator<Item = (String, String, WallTime)> {
    listener.tls.iter().flat_map(|tls| &tls.identities).map(|identity| {
        let name = identity.facts.names.first().map(ToString::to_string);
        let name = name.unwrap_or_else(|| identity.file.display().to_string());
        (listener.place.to_string(), name, identity.expires())
    })
}

fn memory_of(webhook: &config::Webhook) -> MemoryName {
    (webhook.name.clone(), webhook.telegram.as_ref().map(|telegram| telegram.bot_id().into()))
}
