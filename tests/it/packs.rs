//! Every pack against real routes of its CRM: which scopes cover them, what no key may reach, what nothing covers.
//!
//! A line of `packs/<crm>.txt` is `METHOD /path[?query] EXPECTED [BODY]`: the names of all scopes of which each alone covers
//! the request, joined by commas; or `never`, or `nothing`. A body is JSON, or a document after `graphql `.

use std::collections::BTreeSet;

use http::Method;
use sidelock::config::pack::{KNOWN, known_source, parse};
use sidelock::policy::blank::Blanks;
use sidelock::policy::never::Never;
use sidelock::policy::operation::Message;
use sidelock::policy::pack::Pack;
use sidelock::policy::scope::{Coverage, ScopeSet, Scopes};

struct Line<'t> {
    method: Method,
    path: &'t str,
    query: Option<&'t str>,
    expected: &'t str,
    body: &'t str,
}

fn lines(text: &str) -> Vec<Line<'_>> {
    let line = |line| {
        let mut words = str::splitn(line, 4, ' ');
        let (method, target, expected) =
            (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let body = words.next().unwrap_or_default();
        Line { method: method.parse().unwrap(), path, query, expected, body }
    };
    text.lines().map(str::trim).filter(|it| !it.is_empty() && !it.starts_with('#')).map(line).collect()
}

fn fixture(name: &str) -> String {
    let path = format!("{}/tests/it/packs/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn pack(name: &str) -> Pack {
    parse(&known_source(name).unwrap()).0.unwrap()
}

fn scopes(pack: &Pack) -> Scopes {
    let mut scopes = Scopes::closed_to(pack.never.iter().cloned());
    for (name, rules) in &pack.scopes {
        scopes.add(name.clone(), rules.iter().cloned(), None);
    }
    scopes
}

/// What the gate would say of one scope alone.
fn judged(scopes: &Scopes, name: &str, line: &Line<'_>) -> &'static str {
    let held = ScopeSet::of(scopes.id(name));
    let content_type = Some("application/json");
    let message =
        Message { method: &line.method, query: line.query, content_type, body: line.body.as_bytes() };
    match scopes.covering(&held, &line.method, line.path) {
        Coverage::Covered(_) => "covered",
        Coverage::NeedsBody if scopes.covering_message(&held, line.path, &message).is_ok() => "covered",
        Coverage::NeedsBody | Coverage::Uncovered => "nothing",
        Coverage::Never => "never",
    }
}

fn told(pack: &Pack, scopes: &Scopes, line: &Line<'_>) -> String {
    let each: Vec<_> =
        pack.scopes.iter().map(|(name, _)| (name.as_str(), judged(scopes, name.as_str(), line))).collect();
    if each.iter().all(|(_, verdict)| *verdict == "never") {
        return "never".to_owned();
    }
    let covering: Vec<&str> =
        each.iter().filter(|(_, verdict)| *verdict == "covered").map(|(name, _)| *name).collect();
    if covering.is_empty() { "nothing".to_owned() } else { covering.join(",") }
}

#[test]
fn each_route_has_the_scope_that_it_should_have() {
    let mut wrong = Vec::new();
    for (name, _) in KNOWN {
        let (pack, text) = (pack(name), fixture(name));
        let scopes = scopes(&pack);
        for line in lines(&text) {
            let found = told(&pack, &scopes, &line);
            let sorted = |names: &str| names.split(',').map(str::to_owned).collect::<BTreeSet<_>>();
            if sorted(&found) != sorted(line.expected) {
                wrong
                    .push(format!("{name}: {} {} is {found}, not {}", line.method, line.path, line.expected));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A rule that no route of the fixture needs is a rule that nobody has looked at.
#[test]
fn each_rule_is_shown_by_a_route() {
    let mut idle = Vec::new();
    for (name, _) in KNOWN {
        let (pack, text) = (pack(name), fixture(name));
        let lines = lines(&text);
        assert!((30..=120).contains(&lines.len()), "{name} has {} routes", lines.len());
        for (scope, rules) in &pack.scopes {
            for rule in rules {
                let shown = lines.iter().any(|line| {
                    let expected = line.expected.split(',').any(|word| word == scope.as_str());
                    expected && rule.is_about(&line.method, line.path)
                });
                if !shown {
                    idle.push(format!("{name}: {} {rule:?}", scope.as_str()));
                }
            }
        }
        for rule in &pack.never {
            let mut alone = Never::default();
            alone.add(rule);
            let has = |line: &&Line<'_>| line.expected == "never" && alone.has(&line.method, line.path);
            if lines.iter().find(has).is_none() {
                idle.push(format!("{name}: never {rule:?}"));
            }
        }
    }
    assert!(idle.is_empty(), "{}", idle.join("\n"));
}

/// A request that names what the pack hides there, with whatever the CRM makes of it.
#[test]
fn what_is_hidden_cannot_be_asked_for() {
    let post = |name, path, body| (name, Method::POST, path, None, body);
    let get = |name, path, query| (name, Method::GET, path, Some(query), "");
    for (name, method, path, query, body) in [
        get("chatwoot", "/api/v1/accounts/3/inboxes", "sort=hmac_token"),
        get("chatwoot", "/api/v1/accounts/3/contacts/5/contactable_inboxes", "sort=Auth_Token"),
        get("chatwoot", "/api/v1/accounts/3/contacts/5/contactable_inboxes.json", "q=account_sid"),
        get(
            "espocrm",
            "/api/v1/Email",
            "searchParams=%7B%22where%22:%5B%7B%22attribute%22:%22%5Cu0073mtpPassword%22%7D%5D%7D",
        ),
        get("zammad", "/api/v1/users", "sort_by=password"),
        post("odoo", "/json/2/res.partner/search", r#"{"domain":[["signup_token","=like","a%"]]}"#),
        post("odoo", "/json/2/res.partner/search_count", r#"{"domain":[["signup_token","=like","a%"]]}"#),
        post("odoo", "/json/2/res.partner/fields_get", r#"{"allfields":["signup_url"]}"#),
        post(
            "odoo",
            "/json/2/crm.lead/search_read",
            r#"{"domain":[["partner_id.signup_token","like","a"]]}"#,
        ),
        post("odoo", "/json/2/mail.message/read", r#"{"fields":["access_token"]}"#),
        post("odoo", "/json/2/helpdesk.ticket/read_group", r#"{"groupby":["access_token"]}"#),
        post("odoo", "/json/2/crm.lead/formatted_read_group", r#"{"groupby":["partner_id.signup_url"]}"#),
        post("twenty", "/graphql", r#"{"query":"{a}","variables":"{\"by\":\"\\u0061ccessToken\"}"}"#),
    ] {
        let hidden = Blanks::new(&pack(name).blank).hidden_from(&method, path);
        let hidden = hidden.unwrap_or_else(|| panic!("{name} hides nothing at {path}"));
        let content_type = Some("application/json");
        let message = Message { method: &method, query, content_type, body: body.as_bytes() };
        assert!(matches!(hidden.named_by(&message), Ok(Some(_))), "{name} {path} {query:?} {body}");
    }
}

/// What a role is for: reading changes nothing, and neither role takes data away in bulk.
#[test]
fn roles_hold_what_their_names_say() {
    for (name, _) in KNOWN {
        let pack = pack(name);
        let role = |wanted: &str| {
            let role = pack.roles.iter().find(|role| role.name.as_str() == wanted);
            role.unwrap_or_else(|| panic!("{name} has no role {wanted}"))
        };
        let names = |role: &str| -> BTreeSet<String> { role_names(role, &pack) };
        assert!(!role("read_only").scopes.is_empty() && !role("read_write").scopes.is_empty());
        assert!(names("read_only").iter().all(|scope| scope.starts_with("read_")), "{name}");
        assert!(names("read_only").is_subset(&names("read_write")), "{name}");
        assert!(!names("read_write").contains("export") && !names("read_write").contains("bulk"), "{name}");
        for scope in ["read_messages", "send_messages", "manage_tickets", "export"] {
            assert!(pack.scopes.iter().any(|(known, _)| known.as_str() == scope), "{name} has no {scope}");
        }
    }
}

fn role_names(wanted: &str, pack: &Pack) -> BTreeSet<String> {
    let held = pack.roles.iter().filter(|role| role.name.as_str() == wanted).flat_map(|role| &role.scopes);
    held.map(|scope| scope.as_str().to_owned()).collect()
}

/// What is public is for people: none of it is a path that a key could have a scope for, or that no key may reach, but for
/// what people do too.
#[test]
fn what_is_public_is_not_what_keys_are_for() {
    const BOTH: [(&str, &str); 2] = [
        ("django-helpdesk", "/reports/usermonth/"),
        // How people log in, and nothing that a key should do.
        ("odoo", "/web/session/authenticate"),
    ];
    for (name, _) in KNOWN {
        let (pack, text) = (pack(name), fixture(name));
        for line in lines(&text).iter().filter(|line| line.expected != "nothing") {
            let open = pack.public.iter().any(|pattern| pattern.matches(line.path));
            assert!(!open || BOTH.contains(&(name, line.path)), "{name}: {} is public", line.path);
        }
    }
}

/// Each fact says how well it is known, and where from.
#[test]
fn each_pack_names_its_sources() {
    for (name, text) in KNOWN {
        assert!(text.starts_with("# "), "{name}");
        let marked = text.matches("[V]").count() + text.matches("[V2]").count() + text.matches("[B]").count();
        assert!(marked >= 3, "{name} has {marked} marks");
        assert!(text.contains("ources: ") || text.contains("ource: ") || name == "generic", "{name}");
    }
}
