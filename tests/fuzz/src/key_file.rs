//! The key file's text.

use std::path::PathBuf;
use std::sync::LazyLock;

use sidelock::config::environment::Environment;
use sidelock::config::source::Source;
use sidelock::config::{Names, key_file, parse};

/// Those of the configuration that is delivered as an example.
static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let text = include_str!("../../../config/sidelock.toml").to_owned();
    parse(&Source { path: PathBuf::from("/nonexistent/sidelock.toml"), text }, &Environment::Unread).known
});

/// One key file.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let source = Source { path: PathBuf::from("/nonexistent/keys.toml"), text: text.to_owned() };
    let (file, revoked, report) = key_file::parse(&source, &NAMES);
    assert_eq!(file.is_none(), report.has_errors(), "taken, or told why not");
    if let Some(file) = file {
        assert!(revoked.len() <= file.keys.len());
        let mut ids: Vec<&str> = file.keys.iter().map(|key| key.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), file.keys.len(), "every key has an id of its own");
    }
    let sources = [source];
    drop((report.render(&sources, false), report.summary(&sources)));
}
