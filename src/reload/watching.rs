//! Hints that a file may have changed, from the operating system.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// What is watched now.
pub(super) struct Watching {
    watcher: RecommendedWatcher,
    paths: BTreeSet<PathBuf>,
}

impl Watching {
    /// Watches nothing yet; every change sends a hint. `None` where watching does not work: the poll remains.
    pub(super) fn start(hint: mpsc::Sender<()>) -> Option<Self> {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading is no change, and this process reads what it watches. An error may hide a change.
            if event.is_err() || event.is_ok_and(|event| tells_of_a_change(event.kind)) {
                // Full means that a hint is already waiting.
                let _full = hint.try_send(());
            }
        });
        match watcher {
            Ok(watcher) => Some(Self { watcher, paths: BTreeSet::new() }),
            Err(error) => {
                tracing::warn!(%error, "cannot watch files; they are looked at every two seconds");
                None
            }
        }
    }

    /// Watches exactly `wanted`. A path that was replaced since must be watched anew, so all files are.
    pub(super) fn rearm(&mut self, wanted: BTreeSet<PathBuf>) {
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

/// What to watch for one file: its folder, and after symbolic links its own folder and itself (a bind-mounted file is
/// changed in place, without its folder noticing).
pub(super) fn watched(file: &Path) -> Vec<PathBuf> {
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
