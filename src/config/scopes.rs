//! `[scopes.<name>]`: what keys can be allowed to do, on top of what the CRM's pack says.

use super::reader::Section;
use crate::policy::crm_credential::{CredentialId, CredentialNames};
use crate::policy::pack::Pack;
use crate::policy::scope::{MOST_SCOPES, Rule, ScopeName, Scopes};

/// The pack's scopes and the user's. One of the user's takes the place of the pack's that has its name; without rules, it is
/// the pack's with a credential.
pub(super) fn read(section: Section<'_, '_>, pack: Option<&Pack>, credentials: &CredentialNames) -> Scopes {
    let never = pack.map(|pack| pack.never.as_slice()).unwrap_or_default();
    let mut scopes = Scopes::closed_to(never.iter().cloned());
    let known = pack.map(|pack| pack.scopes.as_slice()).unwrap_or_default();
    let named = section.named_sections();
    if named.len() + known.len() > MOST_SCOPES {
        section.reading().error(section.span(), format!("over {MOST_SCOPES} scopes"), None);
        return scopes;
    }
    for (name, rules) in known {
        if !named.iter().any(|(own, _, _)| own == name.as_str()) {
            scopes.add(name.clone(), rules.iter().cloned(), None);
        }
    }
    for (name, span, scope) in named {
        let of_pack = known.iter().find(|(known, _)| known.as_str() == name).map(|(_, rules)| rules);
        let credential = credential(&scope, credentials);
        let rules = rules(&scope, of_pack);
        match ScopeName::new(&name) {
            Some(name) => {
                scopes.add(name, rules, credential);
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

fn rules(scope: &Section<'_, '_>, of_pack: Option<&Vec<Rule>>) -> Vec<Rule> {
    match (scope.get("allow"), of_pack) {
        (Some(value), _) => value.parse_all(),
        (None, Some(rules)) => rules.clone(),
        (None, None) => scope.required("allow").map(|value| value.parse_all()).unwrap_or_default(),
    }
}

/// `credential`: as whom the CRM is asked.
pub(super) fn credential(section: &Section<'_, '_>, known: &CredentialNames) -> Option<CredentialId> {
    let value = section.get("credential")?;
    let name = value.text()?;
    let id = known.id(name);
    if id.is_none() {
        value.unknown("credential", name, known.iter());
    }
    id
}
