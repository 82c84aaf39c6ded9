//! `[scopes.<name>]`: what keys can be allowed to do.

use super::reader::Section;
use crate::policy::scope::{MOST_SCOPES, ScopeName, Scopes};

pub(super) fn read(section: Section<'_, '_>) -> Scopes {
    let mut scopes = Scopes::default();
    let named = section.named_sections();
    if named.len() > MOST_SCOPES {
        section.reading().error(section.span(), format!("over {MOST_SCOPES} scopes"), None);
        return scopes;
    }
    for (name, span, scope) in named {
        let rules = scope.required("allow").map(|value| value.parse_all()).unwrap_or_default();
        match ScopeName::new(&name) {
            Some(name) => {
                scopes.add(name, rules);
            }
            None => {
                let help = "1 to 64 of a-z 0-9 _ . : -".to_owned();
                section.reading().error(span, "not a name for a scope", Some(help));
            }
        }
        scope.finish();
    }
    scopes
}
