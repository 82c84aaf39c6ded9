//! Where secrets come from: `env:NAME` or `file:PATH`, never the configuration's own text.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::reader::Value;
use crate::secret::Secret;

/// The environment: the process's own, or a map in tests.
#[derive(Clone, Debug)]
pub enum Environment {
    /// The process's.
    Process,
    /// A test's.
    Map(HashMap<String, String>),
    /// Not looked at: every secret that is properly referred to is a placeholder. For commands about keys, which need no
    /// other secret: whoever revokes a key in a hurry need not be able to read the webhooks' and the CRM's.
    Unread,
}

/// Long, and of letters that every kind of secret may have.
const PLACEHOLDER: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Longest secret file, in bytes.
const MOST_BYTES: u64 = 64 * 1024;

impl Environment {
    /// A variable.
    #[expect(clippy::disallowed_methods, reason = "this is the place that the rule names")]
    pub fn get(&self, name: &str) -> Option<String> {
        match self {
            Self::Process => std::env::var(name).ok(),
            Self::Map(map) => map.get(name).cloned(),
            Self::Unread => None,
        }
    }

    /// The secret that `value` refers to; relative files start at `base`. Every mistake is noted where it stands.
    pub fn secret(&self, value: Value<'_, '_>, base: &Path) -> Option<Secret> {
        let refuse = |message: String| {
            value.reading().error(value.span(), message, None);
            None
        };
        let reference = value.text()?;
        if let (Self::Unread, Some(("env" | "file", _))) = (self, reference.split_once(':')) {
            return Some(Secret::new(PLACEHOLDER));
        }
        let text = match reference.split_once(':') {
            Some(("env", name)) => match self.get(name) {
                Some(text) => text,
                None => return refuse(format!("the environment variable {name} is not set")),
            },
            Some(("file", path)) => match read(&base.join(path)) {
                Ok(text) => {
                    warn_if_open(value, &base.join(path));
                    text
                }
                Err(message) => return refuse(format!("{path}: {message}")),
            },
            Some(_) | None => {
                let help =
                    "write 'env:NAME' or 'file:/path'; a secret does not belong in this file".to_owned();
                value.reading().error(value.span(), "expected a reference to a secret", Some(help));
                return None;
            }
        };
        let trimmed = text.trim_end_matches(['\n', '\r']);
        let usable = !trimmed.is_empty() && trimmed.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
        if !usable {
            return refuse("the secret is empty, or has characters other than printable ASCII".to_owned());
        }
        Some(Secret::new(trimmed))
    }
}

fn read(path: &PathBuf) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > MOST_BYTES {
        return Err(format!("over {MOST_BYTES} bytes: this is no secret"));
    }
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

/// Kubernetes mounts secrets readable for all within the container, so this is a warning and no error.
fn warn_if_open(value: Value<'_, '_>, path: &Path) {
    let open = std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o007 != 0);
    if open {
        let help = Some(format!("run: chmod 600 {}", path.display()));
        value.reading().warning(value.span(), "everyone on this machine can read this secret", help);
    }
}
