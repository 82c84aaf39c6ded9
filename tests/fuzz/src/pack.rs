//! A pack's text.

use std::path::PathBuf;

use http::Method;
use sidelock::config::pack;
use sidelock::config::source::Source;
use sidelock::policy::scope::{Coverage, ScopeSet, Scopes};

/// One pack.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let source = Source { path: PathBuf::from("/nonexistent/pack.toml"), text: text.to_owned() };
    let (pack, report) = pack::parse(&source);
    assert_eq!(pack.is_none(), report.has_errors(), "taken, or told why not");
    if let Some(pack) = pack {
        let mut scopes = Scopes::closed_to(pack.never.iter().cloned());
        let known: Vec<_> = pack
            .scopes
            .iter()
            .map(|(name, rules)| scopes.add(name.clone(), rules.iter().cloned(), None))
            .collect();
        let held = ScopeSet::of(known);
        for path in ["/", "/api/users/7", "/graphql", "/rest/metadata"] {
            let without = scopes.covering(&ScopeSet::default(), &Method::POST, path);
            assert!(matches!(without, Coverage::Uncovered | Coverage::Never), "no scope, no way");
            let upper = scopes.covering(&held, &Method::POST, &path.to_ascii_uppercase());
            let never = scopes.covering(&held, &Method::POST, path) == Coverage::Never;
            assert_eq!(never, upper == Coverage::Never, "what is closed is closed in every case");
        }
        for role in &pack.roles {
            assert!(role.scopes.iter().all(|scope| scopes.id(scope.as_str()).is_some()));
        }
    }
    let sources = [source];
    drop((report.render(&sources, false), report.summary(&sources)));
}
