//! Hot reload: watch the folders, look at the content, put the good in force and keep out the bad.
//!
//! A watch event is only a hint: mounted Secrets, bind mounts and network file systems lose them, so the content is
//! looked at every two seconds all the same. What changed is decided by content, never by time stamps.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::clock::Clock;
use crate::config::environment::Environment;
use crate::config::load::{Fingerprint, Loaded, Loading, load_still};
use crate::config::{self, Config};
use crate::credential::webhook::Proof;
use crate::credential::webhook::token::Token;
use crate::gate::{Gate, Route, Webhook};
use crate::keys::key::{Key, KeyId, Standing};
use crate::keys::set::KeySet;
use crate::keys::state::KeyStates;
use crate::metrics::{Metrics, Reload};
use crate::outcome::{API_ROUTE, NO_ROUTE};
use crate::policy::allowlist::Allowlist;
use crate::proxy::Live;
use crate::proxy::upstream::{Upstream, UpstreamError};
use crate::request_head::fields::ListedNames;

/// The content is looked at this often, whatever was heard.
const POLL: Duration = Duration::from_secs(2);
/// A save is often several events; the last one counts.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// But an endless stream of them does not put the reload off for ever.
const MOST_DEBOUNCE: Duration = Duration::from_millis(400);
/// A file that leaves keys out is looked at again after this long.
const SETTLE: Duration = Duration::from_millis(400);
/// The file in the state folder that confirms a mass removal.
pub const CONFIRM_DROP: &str = "confirm-drop";
/// The file in the state folder that tells how the last reload ended.
pub const LAST_RELOAD: &str = "last-reload.json";

/// Makes snapshots, and replaces the one in force.
#[derive(Debug)]
pub struct Reloader {
    path: PathBuf,
    environment: Environment,
    live: Arc<ArcSwap<Live>>,
    workshop: Workshop,
    progress: tokio::sync::Mutex<Progress>,
}

/// What snapshots are made with.
#[derive(Debug)]
pub struct Workshop {
    /// States of keys, which outlive snapshots.
    pub states: KeyStates,
    /// Records of routes, and the reload's own.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Clock,
}

#[derive(Debug)]
struct Progress {
    /// The content that was last looked at, good or bad.
    seen: Fingerprint,
    /// The content in force.
    in_force: Fingerprint,
    /// Content that leaves keys out, seen once.
    unsettled: Option<Fingerprint>,
    /// Its `[server]` section and start-only limits, to tell what needs a restart.
    started_with: StartOnly,
    /// The keys in force, for what a mass removal would leave out.
    keys: Vec<Key>,
    key_path: Option<PathBuf>,
}

impl Progress {
    /// Content that leaves keys out must be seen twice.
    fn is_settled(&mut self, loaded: &Loaded, fingerprint: Fingerprint) -> bool {
        let settled = vanishing(&self.keys, &loaded.keys.keys) == 0 || self.unsettled == Some(fingerprint);
        self.unsettled = (!settled).then_some(fingerprint);
        settled
    }
}

/// How many of `old` are not among `new`.
fn vanishing(old: &[Key], new: &[Key]) -> usize {
    let new: HashSet<&KeyId> = new.iter().map(|key| &key.id).collect();
    old.iter().filter(|key| !new.contains(&key.id)).count()
}

/// The parts of a configuration that a reload cannot change.
#[derive(Debug, PartialEq)]
struct StartOnly {
    server: config::Server,
    limits: [usize; 4],
    access_log: config::AccessLog,
}

/// How a look at the files ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing changed.
    Same,
    /// New content is in force.
    Accepted,
    /// It was refused, for this reason.
    Refused(String),
    /// The content in force is back on disk.
    Restored,
    /// Keys would vanish: the file is looked at once more, for it may be half-written.
    Unsettled,
}

impl Workshop {
    /// Makes the snapshot of some content. Connections to the CRM are kept if its section did not change.
    ///
    /// # Errors
    /// The CRM's TLS cannot be set up.
    pub fn live(
        &self,
        config: &Config,
        keys: Vec<Key>,
        before: Option<&Live>,
    ) -> Result<Live, UpstreamError> {
        let keep_alive = config.timeouts.upstream_keep_alive;
        let kept = before
            .map(|live| &live.upstream)
            .filter(|it| *it.config() == config.upstream && it.keep_alive() == keep_alive);
        let upstream = match kept {
            Some(upstream) => Arc::clone(upstream),
            None => Upstream::new(config.upstream.clone(), keep_alive, &self.metrics.upstream_connections)?,
        };
        let keys = Arc::new(KeySet::join(keys, &self.states, config.limits.per_key));
        self.metrics.read_keys(Arc::clone(&keys));
        let gate = self.gate(config, keys);
        self.metrics.retain_routes(|name| {
            [API_ROUTE, NO_ROUTE].contains(&name)
                || gate.webhooks.iter().any(|webhook| *webhook.name == *name)
                || gate.routes.iter().any(|route| **route.stats.name() == *name)
        });
        Ok(Live { gate, upstream, timeouts: config.timeouts, body_limit: config.limits.body })
    }

    fn gate(&self, config: &Config, keys: Arc<KeySet>) -> Gate {
        let webhook = |webhook: &config::Webhook| {
            Arc::new(Webhook {
                name: (*webhook.name).into(),
                path: webhook.path.clone(),
                methods: webhook.methods.clone(),
                proof: Proof::Token(Token::new(webhook.place.clone(), webhook.secrets.clone())),
                allow_from: Allowlist::new(webhook.allow_from.clone()),
                upstream_path: webhook.upstream_path.clone(),
                stats: self.metrics.route(&webhook.name),
            })
        };
        let route = |route: &config::Route| Route {
            pattern: route.pattern.clone(),
            access: route.access,
            stats: self.metrics.route(&route.name),
        };
        let mut listed = config.keys.places.listed_names();
        listed.extend(config.upstream.pass_headers.iter().cloned());
        Gate {
            trusted_proxies: config.client_address.trusted_proxies.clone(),
            allow_from: Allowlist::new(config.client_address.allow_from.clone()),
            listed_names: ListedNames::new(listed),
            places: config.keys.places.clone(),
            presented_key: config.keys.presented_key,
            webhooks: config.webhooks.iter().map(webhook).collect(),
            routes: config.routes.iter().map(route).collect(),
            api: self.metrics.route(API_ROUTE),
            nowhere: self.metrics.route(NO_ROUTE),
            scopes: config.scopes.clone(),
            keys,
            api_rate: config.limits.per_key,
            failure_rate: config.limits.per_address_failures,
        }
    }
}

impl Reloader {
    /// Goes on from the content that the process started with.
    pub fn new(
        path: PathBuf,
        environment: Environment,
        live: Arc<ArcSwap<Live>>,
        workshop: Workshop,
        loaded: &Loaded,
        fingerprint: Fingerprint,
    ) -> Self {
        let progress = Progress {
            seen: fingerprint,
            in_force: fingerprint,
            unsettled: None,
            started_with: StartOnly::of(&loaded.config),
            keys: loaded.keys.keys.clone(),
            key_path: loaded.config.keys.file.clone(),
        };
        Self { path, environment, live, workshop, progress: tokio::sync::Mutex::new(progress) }
    }

    /// Looks at the files once. `insist` reads references to secrets again even if no file changed.
    pub async fn look(&self, insist: bool) -> Look {
        let mut progress = self.progress.lock().await;
        let glance = Fingerprint::of(&self.path, progress.key_path.as_deref());
        if glance == progress.seen && !insist {
            return Look::Same;
        }
        if glance == progress.in_force && !insist {
            progress.seen = glance;
            return self.ended(&progress, Look::Restored, Reload::Restored);
        }
        let (loading, fingerprint) = load_still(&self.path, &self.environment, progress.key_path.as_deref());
        let refusal = match &loading.loaded {
            None => Some(loading.report.summary(&loading.sources)),
            Some(loaded) => self.mass_removal(&progress, &loading, loaded),
        };
        if let Some(loaded) = &loading.loaded {
            if (refusal.is_some() || vanishing(&progress.keys, &loaded.keys.keys) > 0)
                && progress.unsettled != Some(fingerprint)
            {
                self.revoke_what_is_marked(&mut progress, &loaded.keys.keys);
            }
            if refusal.is_none() && !progress.is_settled(loaded, fingerprint) {
                return Look::Unsettled;
            }
        }
        progress.seen = fingerprint;
        match (refusal, loading.loaded) {
            (Some(why), _) => self.ended(&progress, Look::Refused(why), Reload::Refused),
            (None, Some(loaded)) => self.accept(&mut progress, loaded, fingerprint),
            (None, None) => Look::Same,
        }
    }

    fn accept(&self, progress: &mut Progress, loaded: Loaded, fingerprint: Fingerprint) -> Look {
        let Loaded { config, keys } = loaded;
        match self.workshop.live(&config, keys.keys.clone(), Some(&self.live.load())) {
            Err(error) => self.ended(progress, Look::Refused(error.to_string()), Reload::Refused),
            Ok(live) => {
                self.live.store(Arc::new(live));
                let gone = vanishing(&progress.keys, &keys.keys);
                if gone > 0 {
                    tracing::warn!(gone, "keys are no longer in the file: they are revoked");
                }
                progress.in_force = fingerprint;
                progress.keys = keys.keys;
                progress.key_path.clone_from(&config.keys.file);
                progress.started_with.tell_what_must_wait(&config);
                self.ended(progress, Look::Accepted, Reload::Accepted)
            }
        }
    }

    fn ended(&self, progress: &Progress, look: Look, result: Reload) -> Look {
        let wall = self.workshop.clock.wall();
        self.workshop.metrics.reloaded(result, wall);
        let keys = progress.keys.len();
        match &look {
            Look::Refused(why) => {
                tracing::error!(%why, "reload refused: the last good content stays in force")
            }
            Look::Accepted => tracing::info!(keys, "reloaded"),
            Look::Restored => tracing::info!(keys, "the content in force is back on disk"),
            Look::Same | Look::Unsettled => {}
        }
        let reason = if let Look::Refused(why) = &look { Some(why.as_str()) } else { None };
        let told = serde_json::json!({
            "result": match result {
                Reload::Accepted => "accepted",
                Reload::Refused => "refused",
                Reload::Restored => "restored",
            },
            "time": wall.rfc3339(),
            "keys": keys,
            "reason": reason,
        });
        let path = progress.started_with.server.state_dir.join(LAST_RELOAD);
        if let Err(error) = write_whole(&path, told.to_string().as_bytes()) {
            tracing::warn!(%error, path = %path.display(), "cannot write");
        }
        look
    }

    /// Why the new keys must not take the place of the old ones, if that is so.
    fn mass_removal(&self, progress: &Progress, loading: &Loading, loaded: &Loaded) -> Option<String> {
        let (old, left) = (progress.keys.len(), loaded.keys.keys.len());
        let gone = vanishing(&progress.keys, &loaded.keys.keys);
        let confirmed = loaded.keys.confirm_drop_to == Some(left) || self.is_confirmed(progress, loading);
        (gone * 2 > old && !confirmed).then(|| {
            format!(
                "{gone} of {old} keys would vanish at once; to revoke keys write 'revoked = true', to mean it run \
                 'sidelock reload --confirm-drop' or write 'confirm_drop_to = {left}' at the top of the key file"
            )
        })
    }

    fn is_confirmed(&self, progress: &Progress, loading: &Loading) -> bool {
        let path = progress.started_with.server.state_dir.join(CONFIRM_DROP);
        let confirmed = std::fs::read_to_string(&path).ok();
        let is_this = confirmed.is_some()
            && confirmed.as_deref().map(str::trim) == loading.key_file_digest().as_deref();
        if is_this && let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(%error, path = %path.display(), "cannot remove");
        }
        is_this
    }

    /// Explicit revocations count even in a file that is otherwise kept out.
    fn revoke_what_is_marked(&self, progress: &mut Progress, new: &[Key]) {
        let marked: HashSet<&KeyId> =
            new.iter().filter(|key| key.standing == Standing::Revoked).map(|key| &key.id).collect();
        let mut changed = false;
        for key in &mut progress.keys {
            if marked.contains(&key.id) && key.standing == Standing::Live {
                key.standing = Standing::Revoked;
                changed = true;
            }
        }
        if !changed {
            return;
        }
        let live = self.live.load();
        let rate = live.gate.api_rate;
        let keys = Arc::new(KeySet::join(progress.keys.clone(), &self.workshop.states, rate));
        self.workshop.metrics.read_keys(Arc::clone(&keys));
        self.live.store(Arc::new(Live {
            gate: live.gate.with_keys(keys),
            upstream: Arc::clone(&live.upstream),
            timeouts: live.timeouts,
            body_limit: live.body_limit,
        }));
    }

    async fn folders(&self) -> BTreeSet<PathBuf> {
        let progress = self.progress.lock().await;
        let files = std::iter::once(self.path.as_path()).chain(progress.key_path.as_deref());
        files.flat_map(watched).collect()
    }
}

/// What to watch for one file: its folder, and after symbolic links its own folder and itself (a bind-mounted file is
/// changed in place, without its folder noticing).
fn watched(file: &Path) -> Vec<PathBuf> {
    let folder = |path: &Path| match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Some(PathBuf::from(".")),
        Some(parent) => Some(parent.to_owned()),
        None => None,
    };
    let mut out: Vec<PathBuf> = folder(file).into_iter().collect();
    if let Ok(real) = file.canonicalize() {
        out.extend(folder(&real));
        out.push(real);
    }
    out
}

#[async_trait]
impl BackgroundService for Reloader {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let (hint, mut hints) = mpsc::channel(1);
        let heard = hint.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading is no change, and this process reads what it watches. An error may hide a change.
            if event.is_err() || event.is_ok_and(|event| tells_of_a_change(event.kind)) {
                // Full means that a hint is already waiting.
                let _full = heard.try_send(());
            }
        });
        let mut watching = match watcher {
            Ok(watcher) => Some(Watching { watcher, paths: BTreeSet::new() }),
            Err(error) => {
                tracing::warn!(%error, "cannot watch files; they are looked at every two seconds");
                None
            }
        };
        let Ok(mut hangup) = signal(SignalKind::hangup()) else {
            tracing::error!("cannot listen for SIGHUP");
            return;
        };
        let mut poll = tokio::time::interval(POLL);
        loop {
            if let Some(watching) = &mut watching {
                watching.rearm(self.folders().await);
            }
            let insist = tokio::select! {
                _ = shutdown.changed() => return,
                _ = hangup.recv() => true,
                _ = poll.tick() => false,
                _ = hints.recv() => {
                    settle(&mut hints).await;
                    false
                }
            };
            if self.look(insist).await == Look::Unsettled {
                tokio::time::sleep(SETTLE).await;
                self.look(insist).await;
            }
        }
    }
}

const fn tells_of_a_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => matches!(access, AccessKind::Close(AccessMode::Write)),
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}

/// Waits until no hint has come for a while.
async fn settle(hints: &mut mpsc::Receiver<()>) {
    let last = Instant::now() + MOST_DEBOUNCE;
    while timeout_at((Instant::now() + DEBOUNCE).min(last), hints.recv()).await.is_ok()
        && Instant::now() < last
    {}
}

struct Watching {
    watcher: RecommendedWatcher,
    paths: BTreeSet<PathBuf>,
}

impl Watching {
    /// Watches exactly `wanted`. A path that was replaced since must be watched anew, so all files are.
    fn rearm(&mut self, wanted: BTreeSet<PathBuf>) {
        for path in &self.paths {
            if !wanted.contains(path) || path.is_file() {
                // Its inode may be gone already.
                drop(self.watcher.unwatch(path));
            }
        }
        for path in &wanted {
            let known = self.paths.contains(path) && !path.is_file();
            if !known && let Err(error) = self.watcher.watch(path, RecursiveMode::NonRecursive) {
                tracing::debug!(%error, path = %path.display(), "cannot watch");
            }
        }
        self.paths = wanted;
    }
}

impl StartOnly {
    fn of(config: &Config) -> Self {
        let limits = &config.limits;
        Self {
            server: config.server.clone(),
            limits: [limits.head, limits.fields, limits.connections, limits.connections_per_address],
            access_log: config.access_log.clone(),
        }
    }

    fn tell_what_must_wait(&self, config: &Config) {
        let new = Self::of(config);
        for (section, changed) in [
            ("[server]", self.server != new.server),
            ("[limits] head, fields, connections or connections_per_address", self.limits != new.limits),
            ("[access_log]", self.access_log != new.access_log),
        ] {
            if changed {
                tracing::warn!(
                    section,
                    "changed, but cannot change live: it takes effect at the next restart"
                );
            }
        }
    }
}

/// Writes a small file so that a reader sees all of it or the one before.
///
/// # Errors
/// As the file system says.
pub fn write_whole(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, content)?;
    std::fs::rename(temporary, path)
}
