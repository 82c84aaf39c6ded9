//! `sidelock explain`: the gate's own verdict, and what decided.

use std::net::IpAddr;

use http::{HeaderValue, Method};
use serde_json::Value;
use sidelock::config::environment::Environment;
use sidelock::config::load::load;
use sidelock::keys::key::KeyId;
use sidelock::trial::court::{Asker, Body, Court, Question, Shown, Verdict};
use sidelock::trial::step::Finding;
use sidelock::trial::walk::walk;

use crate::support::client::Connection;
use crate::support::crm::Crm;
use crate::support::gateway::{Gateway, Plan, TestKey};
use crate::support::office::Office;

const BODY: &str = r#"{"query":"{a}"}"#;

const SECTIONS: &str = r#"
[client_address]
trusted_proxies = ["127.0.0.1"]
allow_from = ["203.0.113.0/24", "198.51.100.0/24", "2001:db8::/32"]
[limits]
per_address_failures = "1000000/s"
[scopes.query]
allow = ["GET,POST /graphql graphql:query"]
[scopes.change]
allow = ["POST /graphql graphql:mutation"]
[[route]]
path = "/login/**"
access = "public"
name = "login"
[[route]]
path = "/api/open"
access = "public"
"#;

/// Every combination of these is asked twice: over the wire, and of the court.
struct World {
    gateway: Gateway,
    keys: Vec<TestKey>,
}

impl World {
    fn new(crm: &Crm) -> Self {
        let keys = vec![
            TestKey::new(&["read"], ""),
            TestKey::new(&["read", "write", "query"], "allow_from = [\"203.0.113.8/29\"]"),
            TestKey::new(&["change"], "expires = 2999-01-01T00:00:00Z"),
            TestKey::new(&["read"], "expires = 2020-01-01T00:00:00Z"),
            TestKey::new(&["read"], "revoked = true"),
            TestKey::new(&["read"], "decoy = true"),
            TestKey::new(&["query"], "mode = \"observe\"\nallow_from = [\"2001:db8::/64\"]"),
        ];
        let mut plan = Plan::before(crm).with(SECTIONS);
        plan.upstream.push_str("\ncrm = \"chatwoot\"\ncredential = { secret = \"env:CRM_TOKEN\" }");
        plan.environment = vec![("CRM_TOKEN", "token".to_owned())];
        plan.keys_section = "present = [\"x-api-key\"]".to_owned();
        let gateway = keys.iter().fold(plan, Plan::key).start();
        Self { gateway, keys }
    }
}

const METHODS: [&str; 5] = ["GET", "HEAD", "POST", "DELETE", "OPTIONS"];
const PATHS: [&str; 12] = [
    "/api/tickets/7",
    "/api/v1/profile",
    "/api/open",
    "/api/%2e%2e/x",
    "/graphql",
    "/graphql?query=%7Ba%7D",
    "/login/form",
    "/elsewhere",
    "/api/v1/Profile.json?x=1",
    "*",
    "http://crm.example/api/tickets/7?a=1",
    "http://crm.example",
];
const ADDRESSES: [&str; 4] = ["203.0.113.9", "198.51.100.1", "192.0.2.1", "2001:db8::1"];

/// `200`, or the slug of the problem.
fn told(connection: &mut Connection, method: &str, path: &str, key: Option<&TestKey>, from: &str) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: crm.example\r\nX-Forwarded-For: {from}\r\n");
    if let Some(key) = key {
        head.push_str(&format!("{}\r\n", key.header()));
    }
    let body = if matches!(method, "GET" | "HEAD") { "" } else { BODY };
    if !body.is_empty() {
        head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
    }
    connection.send(format!("{head}\r\n{body}"));
    let answer = connection.answer_to(method).unwrap();
    match (answer.status, method) {
        (200, _) => "200".to_owned(),
        // No body, so no slug.
        (status, "HEAD") => status.to_string(),
        (_, _) => {
            let problem: Value = serde_json::from_slice(&answer.body).unwrap();
            problem["type"].as_str().unwrap().rsplit(':').next().unwrap().to_owned()
        }
    }
}

#[test]
fn the_court_says_what_the_gate_does() {
    let crm = Crm::usual();
    let World { gateway, keys } = World::new(&crm);
    let environment = Environment::Map([("CRM_TOKEN".to_owned(), "token".to_owned())].into());
    let loaded = load(&gateway.config_file(), &environment).loaded.unwrap();
    let court = Court::new(&loaded.config, &loaded.keys.keys).unwrap();
    let ids: Vec<KeyId> = keys.iter().map(|key| KeyId::new(&key.id).unwrap()).collect();
    let json = HeaderValue::from_static("application/json");
    let mut verdicts = std::collections::BTreeMap::<String, usize>::new();
    for (address, key) in ADDRESSES.iter().flat_map(|it| (0..=keys.len()).map(move |key| (*it, key))) {
        let mut connection = Connection::open(gateway.address);
        for (method, path) in METHODS.iter().flat_map(|it| PATHS.iter().map(move |path| (*it, *path))) {
            let told = told(&mut connection, method, path, keys.get(key), address);
            let question = Question {
                method: &method.parse::<Method>().unwrap(),
                target: path,
                asker: ids.get(key).map_or(Asker::Stranger, Asker::Key),
                from: address.parse::<IpAddr>().unwrap(),
                shown: Shown::Nothing,
                at: sidelock::clock::Clock::system().wall(),
                body: Some(Body {
                    bytes: if matches!(method, "GET" | "HEAD") { b"" } else { BODY.as_bytes() },
                    content_type: &json,
                }),
            };
            let judgement = court.judge(&question);
            let said = match &judgement.verdict {
                Verdict::Allowed { .. } => "200".to_owned(),
                Verdict::Refused(denial) if method == "HEAD" => denial.status().as_u16().to_string(),
                Verdict::Refused(denial) => denial.slug().to_owned(),
                Verdict::Open(missing) => panic!("{question:?}: {missing:?}"),
            };
            assert_eq!(said, told, "{method} {path} key {key} from {address}");
            let steps = walk(&court, &question, &judgement);
            let refusals = steps.iter().filter(|step| step.finding == Finding::Refused).count();
            let is_refused = matches!(judgement.verdict, Verdict::Refused(_));
            assert_eq!(refusals, usize::from(is_refused), "{question:?} {steps:?}");
            *verdicts.entry(said).or_default() += 1;
        }
    }
    // Every kind of verdict was among them.
    for kind in [
        "200",
        "ambiguous-request",
        "address-not-allowed",
        "credential-missing",
        "credential-not-accepted",
        "key-expired",
        "key-revoked",
        "scope-missing",
        "never-allowed",
    ] {
        assert!(verdicts.get(kind).is_some_and(|count| *count > 1), "{kind}: {verdicts:?}");
    }
}

fn step<'v>(explained: &'v Value, name: &str) -> (&'v str, &'v str) {
    let steps = explained["steps"].as_array().unwrap();
    let step =
        steps.iter().find(|step| step["step"] == name).unwrap_or_else(|| panic!("{name}: {explained}"));
    (step["verdict"].as_str().unwrap(), step["by"].as_str().unwrap())
}

fn block(id: &str, lines: &str) -> String {
    let digest = sidelock::credential::api_key::KeyDigest::of(id.as_bytes());
    format!("[[key]]\nid = \"{id}\"\ntitle = \"Title of {id}\"\ndigest = \"{digest}\"\n{lines}\n")
}

#[test]
fn what_decided_and_what_would_have_to_change() {
    let office = Office::with(
        &[
            block("reader", "scopes = [\"read\"]\nexpires = 2030-01-01T00:00:00Z\nrate = \"9/min\""),
            block("office", "scopes = [\"read\"]\nallow_from = [\"203.0.113.0/24\"]"),
            block("gone", "scopes = [\"read\"]\nrevoked = true\nrevoked_reason = \"leaked\""),
        ]
        .concat(),
    );
    let explain = |args: &[&str]| office.json(&[&["explain"], args].concat());
    let at = ["--at", "2029-12-31T00:00:00Z"];

    let fine = explain(&[&["GET", "/api/x", "--key", "Title of reader"], &at[..]].concat());
    assert_eq!(
        (&fine["allowed"], &fine["key"], &fine["scope"]),
        (&true.into(), &"reader".into(), &"read".into())
    );
    assert_eq!(step(&fine, "scope"), ("passed", "'GET /api/**' of the scope 'read' covers it"));
    assert!(step(&fine, "key").1.contains("expires at 2030-01-01T00:00:00Z (in 1 days)"), "{fine}");
    assert_eq!(step(&fine, "rate").0, "not_judged");
    assert!(step(&fine, "rate").1.starts_with("9/min (the key's own)"), "{fine}");
    assert_eq!(fine["advice"], serde_json::json!([]));

    let write = explain(&[&["POST", "/api/x", "--key", "reader"], &at[..]].concat());
    assert_eq!(
        (&write["allowed"], &write["status"], &write["reason"]),
        (&false.into(), &403.into(), &"scope".into())
    );
    assert_eq!(step(&write, "scope").0, "refused");
    let advice = write["advice"][0].as_str().unwrap();
    assert!(
        advice.contains("keys edit reader --add-scope write") && advice.contains("'POST /api/**'"),
        "{advice}"
    );

    let late = explain(&["GET", "/api/x", "--key", "reader", "--at", "2030-01-01T00:00:00Z"]);
    assert_eq!((&late["reason"], step(&late, "key").0), (&"expired".into(), "refused"));

    let far = explain(&["GET", "/api/x", "--key", "office", "--from", "198.51.100.7"]);
    assert_eq!(step(&far, "key_address").0, "refused");
    assert!(step(&far, "key_address").1.contains("in no network of the key's allow_from: 203.0.113.0/24"));
    assert!(far["advice"][0].as_str().unwrap().contains("--allow-from 203.0.113.0/24,198.51.100.7"), "{far}");
    let near = explain(&["GET", "/api/x", "--key", "office", "--from", "203.0.113.7"]);
    assert_eq!(
        step(&near, "key_address"),
        ("passed", "203.0.113.7 is in 203.0.113.0/24 of the key's allow_from")
    );

    // The address is the client's own, also where the gateway would ask a proxy for it.
    let config = std::fs::read_to_string(office.path("sidelock.toml")).unwrap();
    let proxies = "[client_address]\ntrusted_proxies = [\"203.0.113.0/24\"]\n";
    std::fs::write(office.path("sidelock.toml"), config + proxies).unwrap();
    let near = explain(&["GET", "/api/x", "--key", "office", "--from", "203.0.113.7"]);
    assert_eq!(near["allowed"], true, "{near}");

    let gone = explain(&["GET", "/api/x", "--key", "gone"]);
    assert!(step(&gone, "key").1.contains("was revoked (leaked)"), "{gone}");
    assert_eq!(explain(&["GET", "/api/x"])["reason"], "missing");
    assert_eq!(explain(&["GET", "/api/../x", "--key", "reader"])["reason"], "ambiguous");
    let text = office.done(&["explain", "GET", "/a\u{1b}[2J", "--key", "reader"]);
    assert!(text.contains("REFUSED") && !text.contains('\u{1b}'), "{text}");
    assert!(office.refused(&["explain", "GET", "/", "--key", "raeder"]).contains("did you mean 'reader'?"));
    for args in [&["explain"][..], &["explain", "GET"], &["explain", "GET", "/", "--from", "here"]] {
        assert_eq!(office.run(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn bodies_closed_paths_and_webhooks() {
    let office = Office::with(&block("k", "scopes = [\"query\", \"read\"]"));
    let config = std::fs::read_to_string(office.path("sidelock.toml")).unwrap();
    let more = "[scopes.query]\nallow = [\"POST /graphql graphql:query\"]\n[scopes.change]\nallow = [\"POST /graphql graphql:mutation\"]\n[[webhook]]\nname = \"bot\"\npath = \"/bot\"\nsender = \"telegram\"\nsecrets = [\"env:NOT_SET_HERE\"]\nallow_from = [\"192.0.2.0/24\"]\n";
    let config = config.replace("[keys]", "crm = \"chatwoot\"\n[keys]") + more;
    std::fs::write(office.path("sidelock.toml"), config).unwrap();
    std::fs::write(office.path("query.json"), BODY).unwrap();
    std::fs::write(office.path("change.json"), BODY.replace('{', "{\"x\":1,")).unwrap();
    std::fs::write(office.path("change.json"), r#"{"query":"mutation{a}"}"#).unwrap();
    let explain = |args: &[&str]| office.json(&[&["explain"], args].concat());
    let graphql = |more: &[&str]| explain(&[&["POST", "/graphql", "--key", "k"], more].concat());

    let open = graphql(&[]);
    assert_eq!((&open["allowed"], step(&open, "body").0), (&Value::Null, "not_judged"));
    assert!(step(&open, "body").1.contains("'POST /graphql graphql:query' of the scope 'query'"), "{open}");
    assert_eq!(graphql(&["--body", "query.json"])["allowed"], true);
    let change = graphql(&["--body", "change.json"]);
    assert_eq!((&change["reason"], step(&change, "body").0), (&"scope".into(), "refused"));
    assert!(change["advice"][0].as_str().unwrap().contains("--add-scope change"), "{change}");
    let plain = graphql(&["--body", "query.json", "--content-type", "text/plain"]);
    assert_eq!(plain["allowed"], false);

    let closed = explain(&["GET", "/api/v1/Profile", "--key", "k"]);
    assert_eq!(closed["reason"], "scope_never");
    assert!(step(&closed, "scope").1.contains("is closed to every key"), "{closed}");

    let bot = explain(&["POST", "/bot", "--from", "192.0.2.7"]);
    assert_eq!(
        (&bot["allowed"], &bot["route"], step(&bot, "proof").0),
        (&Value::Null, &"bot".into(), "not_judged")
    );
    let far = explain(&["POST", "/bot"]);
    assert_eq!((&far["reason"], step(&far, "address").0), (&"address".into(), "refused"));
    assert!(far["advice"][0].as_str().unwrap().contains("webhook 'bot'"), "{far}");
    assert_eq!(step(&explain(&["PUT", "/bot", "--from", "192.0.2.7"]), "method").0, "refused");
}

const PACK: &str = r#"
name = "own"
version = "1"
[scopes.all]
allow = ["ANY /api/**"]
[scopes.query]
allow = ["POST /api/me jsonrpc:get"]
[[blank]]
replies_to = ["GET,POST /api/me/**"]
fields = ["access_token", "pin"]
"#;

/// Whose key, what is asked, the reason of a refusal, and of two steps the name, the verdict and a part of its words.
type Case<'a> = (&'a str, &'a [&'a str], Option<&'a str>, [(&'a str, &'a str, &'a str); 2]);

#[test]
fn hidden_fields_are_named() {
    let keys = block("k", "scopes = [\"all\"]")
        + &block("watched", "scopes = []\nmode = \"observe\"")
        + &block("q", "scopes = [\"query\"]");
    let office = Office::with(&keys);
    let config = office.path("sidelock.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("[keys]", "crm_file = \"own.toml\"\n[keys]")).unwrap();
    std::fs::write(office.path("own.toml"), PACK).unwrap();
    let write = |name: &str, text: &str| std::fs::write(office.path(name), text).unwrap();
    write("form", "sort=id");
    write("plain.json", "{\"sort\":\"id\",\"method\":\"get\"}");
    write("bad.json", "{\"sort\":\"access_\\u0074oken\"}");
    let form = ["--body", "form", "--content-type", "application/x-www-form-urlencoded"];
    let (plain, bad) = (["--body", "plain.json"], ["--body", "bad.json"]);
    let rule = "'ANY /api/**' of the scope 'all' covers it";
    let cases: [Case<'_>; 9] = [
        (
            "k",
            &["GET", "/api/me?sort=access_token"],
            Some("scope_never"),
            [("scope", "refused", "its query names 'access_token'"), ("key", "passed", "")],
        ),
        ("k", &["GET", "/api/me?sort=id"], None, [("scope", "passed", rule), ("key", "passed", "")]),
        (
            "k",
            &["GET", "/api/me?sort=%ff"],
            Some("scope_unread"),
            [("scope", "refused", "its query cannot be read"), ("key", "passed", "")],
        ),
        (
            "k",
            &["POST", "/api/me"],
            None,
            [("scope", "passed", rule), ("body", "not_judged", "hide: access_token, pin")],
        ),
        (
            "k",
            &[&["POST", "/api/me"], &form[..]].concat(),
            Some("scope_unread"),
            [("scope", "passed", rule), ("body", "refused", "its body cannot be read")],
        ),
        (
            "k",
            &[&["POST", "/api/me"], &bad[..]].concat(),
            Some("scope_never"),
            [("scope", "passed", rule), ("body", "refused", "its body names 'access_token'")],
        ),
        (
            "k",
            &[&["POST", "/api/me"], &plain[..]].concat(),
            None,
            [("scope", "passed", rule), ("body", "passed", "it names nothing")],
        ),
        (
            "watched",
            &[&["POST", "/api/me"], &bad[..]].concat(),
            Some("scope_never"),
            [("scope", "observed", "it has no scopes"), ("body", "refused", "its body names 'access_token'")],
        ),
        (
            "q",
            &["POST", "/api/me"],
            None,
            [
                ("scope", "passed", "leave it to what the body asks for"),
                ("body", "not_judged", "'POST /api/me jsonrpc:get' of the scope 'query'; it must be JSON"),
            ],
        ),
    ];
    for (key, args, reason, steps) in cases {
        let told = office.json(&[&["explain", "--key", key], args].concat());
        assert_eq!(told["reason"].as_str(), reason, "{told}");
        for (name, verdict, by) in steps {
            let found = step(&told, name);
            assert_eq!(found.0, verdict, "{name} {told}");
            assert!(found.1.contains(by), "{by}: {told}");
        }
        let all = told["steps"].as_array().unwrap();
        let refusals = all.iter().filter(|step| step["verdict"] == "refused").count();
        assert_eq!(refusals, usize::from(reason.is_some()), "{told}");
        let advice = told["advice"].to_string();
        match reason {
            Some("scope_never") => assert!(advice.contains("leave the field out"), "{told}"),
            Some(_) => assert!(advice.contains("no key may send another"), "{told}"),
            None => {}
        }
    }
}
