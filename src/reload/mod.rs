//! Hot reload: watch the folders, look at the content, put the good in force and keep out the bad.
//!
//! A watch event is only a hint: mounted Secrets, bind mounts and network file systems lose them, so the content is
//! looked at every two seconds all the same. What changed is decided by content, never by time stamps.

pub mod keeper;
mod start_only;
mod watching;
mod whole;
mod workshop;

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::clock::WallTime;
use crate::config::environment::Environment;
use crate::config::load::{Fingerprint, Loaded, Loading, load_still};
use crate::keys::key::{Key, KeyId, Standing};
use crate::keys::set::KeySet;
use crate::metrics::Reload;
use crate::proxy::Live;
use keeper::Keeper;
use start_only::StartOnly;
use watching::{Watching, watched};
pub use whole::write_whole;
pub use workshop::{Memories, MemoryName, Workshop};

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
    keeper: Keeper,
    /// Hears when SIGHUP is listened for.
    up: parking_lot::Mutex<Option<mpsc::Sender<()>>>,
}

#[derive(Debug)]
struct Progress {
    /// The content that was last looked at, good or bad.
    seen: Fingerprint,
    /// The content in force.
    in_force: Option<Fingerprint>,
    /// Content that leaves keys out, seen once.
    unsettled: Option<Fingerprint>,
    /// Its `[server]` section and start-only limits, to tell what needs a restart.
    started_with: StartOnly,
    /// The keys in force, for what a mass removal would leave out.
    keys: Vec<Key>,
    /// The key file and the files with secrets.
    named: Vec<PathBuf>,
    /// The look before this one: what is new was written since.
    looked: WallTime,
}

impl Progress {
    /// Content that leaves keys out must be seen twice.
    fn is_settled(&mut self, loaded: &Loaded, fingerprint: Fingerprint) -> bool {
        let settled = vanishing(&self.keys, &loaded.keys.keys) == 0 || self.unsettled == Some(fingerprint);
        self.unsettled = (!settled).then_some(fingerprint);
        settled
    }
}

/// When the newest of these files was written; long ago for none.
fn written(files: &[PathBuf]) -> WallTime {
    let written = files.iter().filter_map(|file| std::fs::metadata(file).ok()?.modified().ok());
    written.max().map_or_else(WallTime::default, WallTime::from)
}

/// How many of `old` are not among `new`.
fn vanishing(old: &[Key], new: &[Key]) -> usize {
    let new: HashSet<&KeyId> = new.iter().map(|key| &key.id).collect();
    old.iter().filter(|key| !new.contains(&key.id)).count()
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

impl Reloader {
    /// Goes on from the content that the process started with.
    pub fn new(
        path: PathBuf,
        environment: Environment,
        live: Arc<ArcSwap<Live>>,
        workshop: Workshop,
        loaded: &Loaded,
        (fingerprint, named): (Fingerprint, Vec<PathBuf>),
        keeper: Keeper,
    ) -> Self {
        let progress = Progress {
            seen: fingerprint,
            in_force: Some(fingerprint),
            unsettled: None,
            started_with: StartOnly::of(&loaded.config),
            keys: loaded.keys.keys.clone(),
            named,
            looked: workshop.clock.wall(),
        };
        let progress = tokio::sync::Mutex::new(progress);
        Self { path, environment, live, workshop, keeper, progress, up: None.into() }
    }

    /// Says a word once it listens for SIGHUP; drops `up` if it never will.
    #[must_use]
    pub fn telling(self, up: mpsc::Sender<()>) -> Self {
        Self { up: Some(up).into(), ..self }
    }

    /// Looks at the files once. `insist` reads references to secrets again even if no file changed.
    pub async fn look(&self, insist: bool) -> Look {
        let mut progress = self.progress.lock().await;
        let looked = std::mem::replace(&mut progress.looked, self.workshop.clock.wall());
        let glance = Fingerprint::of(&self.path, &progress.named);
        if glance == progress.seen && !insist {
            // Keys also end by time.
            self.cut(None);
            return Look::Same;
        }
        let look = self.read(&mut progress, glance, insist);
        self.cut(Some(written(&progress.named).max(looked)));
        look
    }

    /// Ends the connections of keys that are over.
    fn cut(&self, edited: Option<WallTime>) {
        let cut = self.workshop.lifelines.cut(&self.live.load().gate.keys, edited);
        if cut > 0 {
            tracing::info!(cut, "connections of keys that are over were closed");
        }
    }

    fn read(&self, progress: &mut Progress, glance: Fingerprint, insist: bool) -> Look {
        if Some(glance) == progress.in_force && !insist {
            progress.seen = glance;
            return self.ended(progress, Look::Restored, Reload::Restored);
        }
        let (loading, fingerprint) = load_still(&self.path, &self.environment, &progress.named);
        let refusal = match &loading.loaded {
            None => Some(loading.report.summary(&loading.sources)),
            Some(loaded) => self.mass_removal(progress, &loading, loaded),
        };
        if refusal.is_some()
            || loading.loaded.as_ref().is_some_and(|it| vanishing(&progress.keys, &it.keys.keys) > 0)
        {
            self.revoke_what_is_marked(progress, &loading.revoked);
        }
        if let Some(loaded) = &loading.loaded {
            let meant = self.is_confirmed(progress, &loading, loaded);
            if refusal.is_none() && !meant && !progress.is_settled(loaded, fingerprint) {
                return Look::Unsettled;
            }
        }
        progress.named = loading.files(&progress.named);
        progress.seen = fingerprint;
        match (refusal, loading.loaded) {
            (Some(why), _) => self.ended(progress, Look::Refused(why), Reload::Refused),
            (None, Some(loaded)) => self.accept(progress, loaded, fingerprint),
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
                // A confirmation is good for one removal; usually there is none.
                if !self.keeper.is_retired() {
                    drop(std::fs::remove_file(progress.started_with.server.state_dir.join(CONFIRM_DROP)));
                }
                progress.in_force = Some(fingerprint);
                progress.unsettled = None;
                progress.keys = keys.keys;
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
        // Whoever asks wants to know of the process that took over.
        if self.keeper.is_retired() {
            return look;
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
        let confirmed = self.is_confirmed(progress, loading, loaded);
        (gone * 2 > old && !confirmed).then(|| {
            format!(
                "{gone} of {old} keys would vanish at once; to revoke keys write 'revoked = true', to mean it run \
                 'sidelock reload --confirm-drop' or write 'confirm_drop_to = {left}' at the top of the key file"
            )
        })
    }

    fn is_confirmed(&self, progress: &Progress, loading: &Loading, loaded: &Loaded) -> bool {
        let confirmed =
            std::fs::read_to_string(progress.started_with.server.state_dir.join(CONFIRM_DROP)).ok();
        let by_command = confirmed.is_some()
            && confirmed.as_deref().map(str::trim) == loading.key_file_digest().as_deref();
        by_command || loaded.keys.confirm_drop_to == Some(loaded.keys.keys.len())
    }

    /// Explicit revocations count even in a file that is otherwise kept out.
    fn revoke_what_is_marked(&self, progress: &mut Progress, marked: &[KeyId]) {
        let marked: HashSet<&KeyId> = marked.iter().collect();
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
        tracing::warn!(
            "keys that are marked as revoked are revoked, although the file as a whole is kept out"
        );
        // What is in force is no longer what any file says: the old content must be loaded again if it comes back.
        progress.in_force = None;
        let live = self.live.load();
        let rate = live.gate.api_rate;
        let keys = Arc::new(KeySet::join(progress.keys.clone(), &self.workshop.states, rate));
        self.workshop.metrics.read_keys(Arc::clone(&keys));
        self.live.store(Arc::new(Live {
            gate: live.gate.with_keys(keys),
            upstream: Arc::clone(&live.upstream),
            doors: live.doors.clone(),
            fronts: live.fronts.clone(),
            timeouts: Arc::clone(&live.timeouts),
            body_limit: live.body_limit,
        }));
    }

    async fn folders(&self) -> BTreeSet<PathBuf> {
        let progress = self.progress.lock().await;
        let files = std::iter::once(self.path.as_path()).chain(progress.named.iter().map(PathBuf::as_path));
        files.flat_map(watched).collect()
    }
}

#[async_trait]
impl BackgroundService for Reloader {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let (hint, mut hints) = mpsc::channel(1);
        let mut watching = Watching::start(hint);
        let (hangup, up) = (signal(SignalKind::hangup()), self.up.lock().take());
        let Ok(mut hangup) = hangup else {
            tracing::error!("cannot listen for SIGHUP");
            return;
        };
        if let Some(up) = up {
            // Nobody waits for it if the start has failed.
            let _ = up.try_send(());
        }
        let mut poll = tokio::time::interval(POLL);
        loop {
            if let Some(watching) = &mut watching {
                watching.rearm(self.folders().await);
            }
            let insist = tokio::select! {
                _ = shutdown.changed() => return,
                _ = hangup.recv() => {
                    self.workshop.supervisor.reloading();
                    self.workshop.access_log.reopen();
                    true
                }
                _ = poll.tick() => {
                    self.keeper.keep_sometimes(self.workshop.clock.monotonic());
                    false
                }
                _ = hints.recv() => {
                    settle(&mut hints).await;
                    false
                }
            };
            if self.look(insist).await == Look::Unsettled {
                tokio::time::sleep(SETTLE).await;
                self.look(insist).await;
            }
            if insist {
                self.workshop.supervisor.ready();
            }
        }
    }
}

/// Waits until no hint has come for a while.
async fn settle(hints: &mut mpsc::Receiver<()>) {
    let last = Instant::now() + MOST_DEBOUNCE;
    while timeout_at((Instant::now() + DEBOUNCE).min(last), hints.recv()).await.is_ok()
        && Instant::now() < last
    {}
}
