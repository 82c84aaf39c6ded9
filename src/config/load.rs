//! Both files together: read, judged, and either whole or refused.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ring::digest;

use super::environment::Environment;
use super::key_file::{self, KeyFile};
use super::source::{Report, Source};
use super::{ClientCertificates, Config, Names, Parsed, read_file};
use crate::keys::key::KeyId;

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
    /// Files with secrets, and a pack, that the configuration refers to.
    pub named_files: Vec<PathBuf>,
    /// Keys marked `revoked = true`, also in a key file with mistakes.
    pub revoked: Vec<KeyId>,
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
    /// Looks at the content and modes of the configuration and the files that it names, without making sense of them.
    pub fn of(path: &Path, named: &[PathBuf]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for file in std::iter::once(path).chain(named.iter().map(PathBuf::as_path)) {
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

/// Reads the files, again if they change meanwhile, so that the fingerprint is that of what was read. `named` are the files
/// that an earlier reading found, for a configuration that can no longer be read.
pub fn load_still(path: &Path, environment: &Environment, named: &[PathBuf]) -> (Loading, Fingerprint) {
    const TRIES: usize = 5;
    let mut loading = load(path, environment);
    for _ in 0..TRIES {
        let files = loading.files(named);
        let before = Fingerprint::of(path, &files);
        loading = load(path, environment);
        if Fingerprint::of(path, &files) == before {
            return (loading, before);
        }
    }
    let fingerprint = Fingerprint::of(path, &loading.files(named));
    (loading, fingerprint)
}

/// Reads the configuration and the key file that it names.
pub fn load(path: &Path, environment: &Environment) -> Loading {
    load_with(path, environment, None)
}

/// Reads the configuration, and `other` in place of the key file that it names.
pub fn load_with(path: &Path, environment: &Environment, other: Option<&Path>) -> Loading {
    let mut loading = Loading {
        sources: Vec::new(),
        report: Report::default(),
        loaded: None,
        key_path: None,
        named_files: Vec::new(),
        revoked: Vec::new(),
    };
    let source = match read_file(path) {
        Ok(source) => source,
        Err(report) => {
            loading.report = if is_missing(path) { missing(path) } else { report };
            return loading;
        }
    };
    let Parsed { config, keys, known, named_files, sources, report } = super::parse(&source, environment);
    loading.report = report;
    loading.sources.push(source);
    loading.sources.extend(sources);
    loading.named_files = named_files;
    let keys = other.map(Path::to_owned).or(keys);
    loading.key_path.clone_from(&keys);
    // Also below a configuration with mistakes: all of them are shown at once.
    let keys = match &keys {
        None => Some(KeyFile::default()),
        Some(path) => loading.keys(path, &known),
    };
    if known.certificates == ClientCertificates::Asked
        && keys.as_ref().is_some_and(|file| file.keys.iter().all(|key| key.client_cert.is_none()))
    {
        let help = "a 'client_ca' asks for a certificate and does not demand one; bind keys with \
                    'sidelock keys edit KEY --client-cert FILE'";
        let message = "a listener asks for client certificates, and no key needs one".to_owned();
        loading.report.file_warning(path, message, Some(help));
    }
    if !loading.report.has_errors() {
        loading.loaded = config.zip(keys).map(|(config, keys)| Loaded { config, keys });
    }
    loading
}

fn is_missing(path: &Path) -> bool {
    path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

fn missing(path: &Path) -> Report {
    let mut report = Report::default();
    let help = "name another file with --config, or make this one: `sidelock init` with the same --config";
    report.file_error(path, "does not exist", Some(help));
    report
}

impl Loading {
    /// The files that the configuration names; `before` if it could not be read that far.
    pub fn files(&self, before: &[PathBuf]) -> Vec<PathBuf> {
        if self.key_path.is_none() && self.named_files.is_empty() && self.loaded.is_none() {
            return before.to_vec();
        }
        self.key_path.iter().chain(&self.named_files).cloned().collect()
    }

    fn keys(&mut self, path: &Path, known: &Names) -> Option<KeyFile> {
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
                let (keys, revoked, report) = key_file::parse(&source, known);
                self.revoked = revoked;
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
