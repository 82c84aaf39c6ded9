//! `[upstream] crm` and `crm_file`: what is known about the CRM. The packs that come with Sidelock are written as a user's own
//! would be, in `config/crm/`; `config/crm/generic.toml` explains the form.

use std::path::PathBuf;

use super::reader::{Reading, Section, Value};
use super::source::{Report, Source};
use super::{Surroundings, crm_credential, read_file};
use crate::policy::blank::Blank;
use crate::policy::pack::{Pack, Role};
use crate::policy::path::PathPattern;
use crate::policy::scope::{Rule, ScopeName};

/// The packs that come with Sidelock.
pub const KNOWN: [(&str, &str); 8] = [
    ("chatwoot", include_str!("../../config/crm/chatwoot.toml")),
    ("django-helpdesk", include_str!("../../config/crm/django-helpdesk.toml")),
    ("espocrm", include_str!("../../config/crm/espocrm.toml")),
    ("freshdesk", include_str!("../../config/crm/freshdesk.toml")),
    ("generic", include_str!("../../config/crm/generic.toml")),
    ("odoo", include_str!("../../config/crm/odoo.toml")),
    ("twenty", include_str!("../../config/crm/twenty.toml")),
    ("zammad", include_str!("../../config/crm/zammad.toml")),
];

/// What was chosen in `[upstream]`.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    pub(super) pack: Option<Pack>,
    /// The pack's paths for people, if `public = true` asks for them.
    pub(super) public: Vec<PathPattern>,
}

/// A known pack's text.
pub fn known_source(name: &str) -> Option<Source> {
    let (name, text) = KNOWN.iter().find(|(known, _)| *known == name)?;
    Some(Source { path: PathBuf::from(format!("config/crm/{name}.toml")), text: (*text).to_owned() })
}

pub(super) fn choose(upstream: &Section<'_, '_>, around: &Surroundings<'_>) -> Chosen {
    let (name, file) = (upstream.get("crm"), upstream.get("crm_file"));
    let pack = match (name, file) {
        (None, None) => None,
        (Some(name), None) => by_name(name),
        (None, Some(file)) => from_file(file, around),
        (Some(_), Some(file)) => {
            let help = "'crm_file' is a whole pack of your own: leave 'crm' out".to_owned();
            file.reading().error(file.span(), "expected one of 'crm' and 'crm_file'", Some(help));
            None
        }
    };
    let asked = upstream.get("public").filter(|value| value.truth() == Some(true));
    let mut public = Vec::new();
    if let Some(value) = asked {
        public = pack.as_ref().map(|pack| pack.public.clone()).unwrap_or_default();
        if public.is_empty() && (pack.is_some() || (name.is_none() && file.is_none())) {
            let help = "write the paths as [[route]] with access = \"public\"".to_owned();
            let message = "no pack says which paths of this CRM are for people";
            value.reading().error(value.span(), message, Some(help));
        }
    }
    Chosen { pack, public }
}

fn by_name(value: Value<'_, '_>) -> Option<Pack> {
    let name = value.text()?;
    match known_source(name) {
        Some(source) => {
            let (pack, report) = parse(&source);
            value.reading().absorb(report);
            pack
        }
        None => {
            value.unknown("pack", name, KNOWN.iter().map(|(known, _)| *known));
            None
        }
    }
}

fn from_file(value: Value<'_, '_>, around: &Surroundings<'_>) -> Option<Pack> {
    let path = around.path(value.text()?);
    around.named_files.borrow_mut().push(path.clone());
    match read_file(&path) {
        Ok(source) => {
            let (pack, report) = parse(&source);
            value.reading().absorb(report);
            around.sources.borrow_mut().push(source);
            pack
        }
        Err(report) => {
            value.reading().absorb(report);
            None
        }
    }
}

/// Reads a pack: the pack if there is no mistake, and the mistakes.
pub fn parse(source: &Source) -> (Option<Pack>, Report) {
    let reading = Reading::new(source);
    let table = reading.parse();
    let root = reading.root(&table);
    let pack = pack(&root);
    root.finish();
    let report = reading.into_report();
    (pack.filter(|_| !report.has_errors()), report)
}

fn pack(root: &Section<'_, '_>) -> Option<Pack> {
    let name = root.required("name").and_then(pack_name);
    let version = root.required("version").and_then(|value| value.text());
    let (scopes_section, roles_section) = (root.section("scopes"), root.section("roles"));
    let scopes: Vec<_> = scopes_section.named_sections().into_iter().filter_map(scope).collect();
    let roles = roles_section.named_values().into_iter().filter_map(|entry| role(entry, &scopes)).collect();
    let never = root.get("never").map(|value| without_operation(&value, "'never'")).unwrap_or_default();
    let present = root.get("present").map(|value| value.parse_all()).unwrap_or_default();
    let strip = root.get("strip").map(|value| value.parse_all()).unwrap_or_default();
    let public = root.get("public").map(|value| value.parse_all()).unwrap_or_default();
    let credential = root.section("credential");
    let injection = if credential.is_present() { crm_credential::injection(&credential, None) } else { None };
    credential.finish();
    let blank = root.sections("blank").into_iter().map(blank).collect();
    Some(Pack {
        name: name?.as_str().into(),
        version: version?.into(),
        scopes,
        roles,
        never,
        present,
        strip,
        injection,
        public,
        blank,
    })
}

fn pack_name(value: Value<'_, '_>) -> Option<ScopeName> {
    let name = ScopeName::new(value.text()?);
    if name.is_none() {
        let help = "1 to 64 of a-z 0-9 _ . : -".to_owned();
        value.reading().error(value.span(), "not a name for a pack", Some(help));
    }
    name
}

fn scope((name, span, section): Named<'_, '_>) -> Option<(ScopeName, Vec<Rule>)> {
    let rules: Vec<Rule> = section.required("allow").map(|value| value.parse_all()).unwrap_or_default();
    let reading = section.reading();
    section.finish();
    let name = ScopeName::new(&name);
    if name.is_none() {
        reading.error(span, "not a name for a scope", Some("1 to 64 of a-z 0-9 _ . : -".to_owned()));
    }
    Some((name?, rules))
}

type Named<'r, 's> = (String, std::ops::Range<usize>, Section<'r, 's>);

fn role((name, value): (String, Value<'_, '_>), scopes: &[(ScopeName, Vec<Rule>)]) -> Option<Role> {
    let known = || scopes.iter().map(|(name, _)| name.as_str());
    let mut held = Vec::new();
    for item in value.items() {
        let Some(wanted) = item.text() else { continue };
        match scopes.iter().find(|(name, _)| name.as_str() == wanted) {
            Some((name, _)) => held.push(name.clone()),
            None => item.unknown("scope", wanted, known()),
        }
    }
    let name = ScopeName::new(&name);
    if name.is_none() {
        let help = "1 to 64 of a-z 0-9 _ . : -".to_owned();
        value.reading().error(value.span(), "not a name for a role", Some(help));
    }
    Some(Role { name: name?, scopes: held })
}

/// Paths that are closed are closed whatever the body says: a rule that must read it first would have a way around it. The
/// same is true of what replies must not show.
fn without_operation(value: &Value<'_, '_>, what: &str) -> Vec<Rule> {
    let rule = |item: &Value<'_, '_>| {
        let rule: Rule = item.parse()?;
        if rule.operation.is_some() {
            let help = "leave the operation out: the rule is about all of them".to_owned();
            item.reading().error(item.span(), format!("{what} does not look into bodies"), Some(help));
        }
        Some(rule)
    };
    value.items().iter().filter_map(rule).collect()
}

fn blank(section: Section<'_, '_>) -> Blank {
    let replies_to = section.required("replies_to").map(|value| without_operation(&value, "'replies_to'"));
    let fields = section.required("fields").map(|value| value.parse_all()).unwrap_or_default();
    section.finish();
    Blank { replies_to: replies_to.unwrap_or_default(), fields }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "name = \"own\"\nversion = \"1\"\nnever = [\"ANY /admin/**\"]\n[credential]\nheader = \"X-Key\"\n[scopes.read]\nallow = [\"GET /api/**\", \"POST /graphql graphql:query\"]\n[roles]\nread_only = [\"read\"]\n[[blank]]\nreplies_to = [\"GET /api/me\"]\nfields = [\"token\", \"/payload/*/secret\"]\n";

    fn mistakes(text: &str) -> String {
        let (pack, report) = parse(&Source { path: PathBuf::from("own.toml"), text: text.to_owned() });
        let told: Vec<String> = report
            .mistakes()
            .iter()
            .map(|it| format!("{} {}", it.message, it.help.as_deref().unwrap_or_default()))
            .collect();
        assert_eq!(pack.is_none(), !told.is_empty());
        told.join("\n")
    }

    #[test]
    fn a_pack_of_ones_own() {
        assert_eq!(mistakes(GOOD), "");
        for (from, to, why) in [
            ("name = \"own\"", "", "'name' is missing"),
            ("name = \"own\"", "name = \"Own pack\"", "not a name"),
            ("version", "vrsion", "did you mean 'version'?"),
            ("[\"read\"]", "[\"raed\"]", "no scope is called 'raed' did you mean 'read'?"),
            ("ANY /admin/**", "ANY /graphql graphql:mutation", "does not look into bodies"),
            ("GET /api/**", "GET /api/**/x", "can only be the last"),
            ("GET /api/me", "POST /graphql graphql:query", "does not look into bodies"),
            ("graphql:query", "graphql:read", "expected an operation"),
            ("X-Key", "Host", "connection's own"),
            ("fields", "felds", "'fields' is missing"),
            ("/payload/*/secret", "/payload//secret", "expected a field's name"),
            ("read_only =", "\"Read only\" =", "not a name for a role"),
        ] {
            let text = mistakes(&GOOD.replacen(from, to, 1));
            assert!(text.contains(why), "{why} is not in {text}");
        }
    }

    #[test]
    fn every_known_pack_is_read_and_in_order() {
        for (name, _) in KNOWN {
            let (pack, report) = parse(&known_source(name).unwrap());
            assert_eq!(report.mistakes(), [], "{name}");
            assert_eq!(*pack.unwrap().name, *name);
        }
        assert!(KNOWN.is_sorted());
    }
}
