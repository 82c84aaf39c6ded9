//! Both files together: read, judged, and either whole or refused.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ring::digest;

use super::environment::Environment;
use super::key_file::{self, KeyFile};
use super::source::{Report, Source};
use super::{Config, read_file};

/// What reading both files gave.
#[derive(Debug)]
pub struct Loading {
    /// The files as read, for snippets.
    pub sources: Vec<Source>,
    /// Mistakes and warnings.
    pub report: Report,
    /// What can be put in force; `None` if there are errors.
    pub loaded: Option<Loaded>,
    /// The key file's path, if the configuration could be read that far.
    pub key_path: Option<PathBuf>,
}

/// Content that can be put in force.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The key file.
    pub keys: KeyFile,
}

/// SHA-256 over both files' bytes: whether something changed is a question of content, not of time stamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Looks at both files' content and at the key file's mode, without making sense of them.
    pub fn of(path: &Path, key_path: Option<&Path>) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for file in std::iter::once(path).chain(key_path) {
            let mode = std::fs::metadata(file).map_or(0, |metadata| metadata.permissions().mode());
            context.update(&mode.to_le_bytes());
            match read_file(file) {
                Ok(source) => {
                    context.update(&u64::try_from(source.text.len()).unwrap_or(u64::MAX).to_le_bytes());
                    context.update(source.text.as_bytes());
                }
                Err(report) => {
                    report.mistakes().iter().for_each(|mistake| context.update(mistake.message.as_bytes()))
                }
            }
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.finish().as_ref());
        Self(out)
    }
}

/// Reads both files, again if they change meanwhile, so that the fingerprint is that of what was read.
pub fn load_still(path: &Path, environment: &Environment, key_path: Option<&Path>) -> (Loading, Fingerprint) {
    const TRIES: usize = 5;
    let mut loading = load(path, environment);
    for _ in 0..TRIES {
        let key_path = loading.key_path.clone().or_else(|| key_path.map(Path::to_owned));
        let before = Fingerprint::of(path, key_path.as_deref());
        loading = load(path, environment);
        if Fingerprint::of(path, key_path.as_deref()) == before {
            return (loading, before);
        }
    }
    let fingerprint = Fingerprint::of(path, key_path);
    (loading, fingerprint)
}

/// Reads the configuration and the key file that it names.
pub fn load(path: &Path, environment: &Environment) -> Loading {
    let mut loading =
        Loading { sources: Vec::new(), report: Report::default(), loaded: None, key_path: None };
    let source = match read_file(path) {
        Ok(source) => source,
        Err(report) => {
            loading.report = report;
            return loading;
        }
    };
    let (config, report) = super::parse(&source, environment);
    loading.report = report;
    loading.sources.push(source);
    let Some(config) = config else { return loading };
    loading.key_path.clone_from(&config.keys.file);
    let keys = match &config.keys.file {
        None => Some(KeyFile::default()),
        Some(key_path) => loading.keys(key_path, &config),
    };
    if !loading.report.has_errors() {
        loading.loaded = keys.map(|keys| Loaded { config, keys });
    }
    loading
}

impl Loading {
    fn keys(&mut self, path: &Path, config: &Config) -> Option<KeyFile> {
        if let Err(report) = key_file::check_permissions(path) {
            self.report.absorb(report);
            return None;
        }
        match read_file(path) {
            Err(report) => {
                self.report.absorb(report);
                None
            }
            Ok(source) => {
                let (keys, report) = key_file::parse(&source, &config.scopes);
                self.report.absorb(report);
                self.sources.push(source);
                keys
            }
        }
    }

    /// SHA-256 of the key file's text, in hexadecimal, for confirming a mass removal of exactly this content.
    pub fn key_file_digest(&self) -> Option<String> {
        let path = self.key_path.as_ref()?;
        let source = self.sources.iter().find(|source| source.path == *path)?;
        let digest = digest::digest(&digest::SHA256, source.text.as_bytes());
        Some(digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}
