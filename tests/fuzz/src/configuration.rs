//! The configuration's text.

use std::path::PathBuf;

use sidelock::config::environment::Environment;
use sidelock::config::parse;
use sidelock::config::source::Source;

/// One configuration. Its folder does not exist, and no secret is read.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let source = Source { path: PathBuf::from("/nonexistent/sidelock.toml"), text: text.to_owned() };
    let parsed = parse(&source, &Environment::Unread);
    assert_eq!(parsed.config.is_none(), parsed.report.has_errors(), "taken, or told why not");
    let sources = [source];
    for colour in [false, true] {
        let shown = parsed.report.render(&sources, colour);
        assert!(parsed.report.mistakes().iter().all(|_| !shown.is_empty()));
    }
    drop(parsed.report.summary(&sources));
}
