//! `[upstream.health_check]`: the CRM's addresses are asked how they are.

use std::time::Duration;

use http::uri::PathAndQuery;

use super::reader::Section;
use super::units::Span;

/// The section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// `path`: what is asked for with GET; an answer of 2xx or 3xx is well. Required.
    pub path: PathAndQuery,
    /// `every`: between two looks at one address; default 5 s, at least 100 ms. An address that is out is looked at every second
    /// at least.
    pub every: Duration,
    /// `timeout`: from the look-up of its name to the head of the answer; default 2 s.
    pub timeout: Duration,
    /// `fall`: looks that fail in a row before an address is out; default 2.
    pub fall: u32,
    /// `rise`: looks that succeed in a row before it is in again; default 1.
    pub rise: u32,
}

impl HealthCheck {
    /// `None` if it is not written, or has no path.
    pub(super) fn read(section: Section<'_, '_>) -> Option<Self> {
        if !section.is_present() {
            return None;
        }
        let path = section.required("path").and_then(|value| {
            let path =
                value.text()?.parse().ok().filter(|path: &PathAndQuery| path.as_str().starts_with('/'));
            if path.is_none() {
                let help = "as in path = \"/health\"".to_owned();
                value.reading().error(value.span(), "expected a path that begins with '/'", Some(help));
            }
            path
        });
        let span = |key, default| {
            let value = section.get(key);
            let parsed = value.and_then(|value| value.parse::<Span>()).map_or(default, |span| span.0);
            if let Some(value) = value.filter(|_| parsed < Duration::from_millis(100)) {
                value.reading().error(value.span(), "expected at least 100ms", None);
            }
            parsed
        };
        let number = |key, default| {
            let number = section.get(key).and_then(|value| value.number(1, 100));
            number.and_then(|number| u32::try_from(number).ok()).unwrap_or(default)
        };
        let (every, timeout) =
            (span("every", Duration::from_secs(5)), span("timeout", Duration::from_secs(2)));
        let (fall, rise) = (number("fall", 2), number("rise", 1));
        section.finish();
        path.map(|path| Self { path, every, timeout, fall, rise })
    }
}
