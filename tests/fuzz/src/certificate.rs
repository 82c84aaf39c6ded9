//! Certificates, for their names and their end; and what a key may say of the one that it needs.

use sidelock::tls::certificate::{Facts, Wanted};

/// A certificate in DER, or the words that describe one.
pub fn run(data: &[u8]) {
    if let Some(facts) = Facts::read(data) {
        assert!(
            facts
                .names
                .iter()
                .all(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()))
        );
        assert!(Wanted::Fingerprint(facts.fingerprint).is(&facts));
        for name in &facts.names {
            assert!(Wanted::Name(name.clone()).is(&facts));
        }
    }
    drop(std::str::from_utf8(data).map(str::parse::<Wanted>));
}
