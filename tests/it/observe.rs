//! Keys that are tried out: what their own limits would refuse passes, and is counted.

use crate::support::client::Connection;
use crate::support::crm::Crm;
use crate::support::gateway::{Gateway, Plan, TestKey};
use crate::support::office::Office;

const OBSERVE: &str = "mode = \"observe\"";

fn observed(gateway: &Gateway, key: &TestKey, reason: &str) -> String {
    let series = format!("sidelock_observed_total{{key=\"{}\",reason=\"{reason}\"}}", key.id);
    let metrics = gateway.metrics();
    let line = metrics.lines().find_map(|line| line.strip_prefix(&series)).map(str::trim);
    line.unwrap_or("absent").to_owned()
}

#[test]
fn scope_address_and_rate_are_counted_and_pass() {
    let crm = Crm::usual();
    let scope = TestKey::new(&["read"], OBSERVE);
    let rate = TestKey::new(&["read"], &format!("rate = \"1/h\"\n{OBSERVE}"));
    let address = TestKey::new(&["read"], &format!("allow_from = [\"203.0.113.0/24\"]\n{OBSERVE}"));
    let enforced = TestKey::new(&["read"], "mode = \"enforce\"");
    let gateway = Plan::before(&crm).key(&scope).key(&rate).key(&address).key(&enforced).start();
    for reason in ["scope", "scope_unread", "address", "rate"] {
        assert_eq!(observed(&gateway, &scope, reason), "0");
        assert_eq!(observed(&gateway, &enforced, reason), "absent");
    }
    assert_eq!(gateway.post("/elsewhere", &[&scope.header()], "body").status, 200);
    assert!(crm.seen.last().ends_with("body"));
    assert_eq!(gateway.get("/api/x", &[&scope.header()]).status, 200);
    assert_eq!(gateway.get("/api/x", &[&address.header()]).status, 200);
    for _ in 0..3 {
        assert_eq!(gateway.get("/api/x", &[&rate.header()]).status, 200);
    }
    assert_eq!(gateway.post("/api/x", &[&enforced.header()], "").status, 403);
    for (key, reason, count) in [(&scope, "scope", "1"), (&address, "address", "1"), (&rate, "rate", "2")] {
        assert_eq!(observed(&gateway, key, reason), count, "{reason}");
    }
    assert_eq!(observed(&gateway, &scope, "rate"), "0");
    assert_eq!(observed(&gateway, &enforced, "scope"), "absent");
    let lines = gateway.log(7);
    assert_eq!(lines[0]["observed"], "scope");
    assert_eq!(
        (&lines[0]["reason"], &lines[0]["scope"]),
        (&serde_json::Value::Null, &serde_json::Value::Null)
    );
    assert_eq!(lines[1].get("observed"), None);
    assert_eq!(lines[1]["scope"], "read");
}

#[test]
fn what_is_never_let_through() {
    let crm = Crm::usual();
    let never = TestKey::new(&["read"], OBSERVE);
    let dead = ["revoked = true", "expires = 2020-01-01T00:00:00Z", "decoy = true"]
        .map(|line| TestKey::new(&["read"], &format!("{line}\n{OBSERVE}")));
    let mut plan = Plan::before(&crm).key(&never);
    plan.upstream.push_str("\ncrm = \"chatwoot\"");
    plan.keys_section = "present = [\"x-api-key\"]".to_owned();
    let plan = dead.iter().fold(plan, Plan::key);
    let gateway = plan.start();
    assert_eq!(gateway.get("/api/v1/profile", &[&never.header()]).status, 403);
    assert_eq!(gateway.get("/api//x", &[&never.header()]).status, 400);
    for key in &dead {
        assert_eq!(gateway.get("/api/x", &[&key.header()]).status, 401);
    }
    assert_eq!(crm.seen.count(), 0);
    assert_eq!(observed(&gateway, &never, "scope"), "0", "what is refused was not let through");

    let elsewhere = "[client_address]\nallow_from = [\"203.0.113.0/24\"]\n";
    let gateway = Plan::before(&crm).key(&never).with(elsewhere).start();
    assert_eq!(gateway.get("/api/x", &[&never.header()]).status, 403, "the gate's own list");
    assert_eq!(observed(&gateway, &never, "address"), "0");
}

const GRAPHQL: &str = "[scopes.query]\nallow = [\"POST /graphql graphql:query\"]\n";

#[test]
fn a_call_that_is_read_or_cannot_be_goes_on_byte_for_byte() {
    let crm = Crm::usual();
    let key = TestKey::new(&["query"], OBSERVE);
    let gateway = Plan::before(&crm).with(GRAPHQL).key(&key).start();
    let post = |headers: &[&str], body: &str| {
        let own = key.header();
        let headers: Vec<&str> = std::iter::once(own.as_str()).chain(headers.iter().copied()).collect();
        let answer = gateway.post("/graphql", &headers, body);
        assert_eq!(answer.status, 200, "{headers:?}: {}", answer.text());
        let seen = crm.seen.last();
        assert_eq!(seen.split_once("\r\n\r\n").unwrap().1, body, "the same bytes");
    };
    let json = "Content-Type: application/json";
    post(&[json], r#"{"query" :"{a}"}"#);
    assert_eq!(observed(&gateway, &key, "scope"), "0");
    post(&[json], r#"{"query" :"mutation {a}"}"#);
    assert_eq!(
        (observed(&gateway, &key, "scope").as_str(), observed(&gateway, &key, "scope_unread").as_str()),
        ("1", "0")
    );
    post(&[json, "Content-Encoding: gzip"], "\u{1f}not really");
    assert_eq!(observed(&gateway, &key, "scope_unread"), "1");
    // Over the 1 MiB that is held, with a length that tells and with one that does not.
    let large = format!("{{\"query\":\"{{a}}\"{}}}", " ".repeat(1024 * 1024));
    post(&[json], &large);
    assert_eq!(observed(&gateway, &key, "scope_unread"), "2");
    let mut client = Connection::open(gateway.address);
    let (first, rest) = large.split_at(700_000);
    client.send(format!(
        "POST /graphql HTTP/1.1\r\nHost: crm.example\r\n{}\r\n{json}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{rest}\r\n0\r\n\r\n",
        key.header(),
        first.len(),
        rest.len()
    ));
    assert_eq!(client.answer().unwrap().status, 200);
    assert_eq!(dechunked(&crm.seen.last()), large);
    assert_eq!(observed(&gateway, &key, "scope_unread"), "3");
    let lines = gateway.log(5);
    assert_eq!((&lines[0]["scope"], lines[0].get("observed")), (&"query".into(), None));
    assert_eq!((&lines[4]["observed"], &lines[4]["bytes_in"]), (&"scope_unread".into(), &large.len().into()));
}

/// The body of a chunked request as it came over the wire.
fn dechunked(request: &str) -> String {
    let mut rest = request.split_once("\r\n\r\n").unwrap().1;
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        body.push_str(&after[..size]);
        rest = after[size..].strip_prefix("\r\n").unwrap();
    }
    body
}

#[test]
fn an_enforced_key_s_large_body_is_refused_as_before() {
    let crm = Crm::usual();
    let key = TestKey::new(&["query"], "");
    let gateway = Plan::before(&crm).with(GRAPHQL).key(&key).start();
    let large = " ".repeat(1024 * 1024 + 1);
    assert_eq!(gateway.post("/graphql", &[&key.header()], &large).status, 413);
    assert_eq!(crm.seen.count(), 0);
}

#[test]
fn commands_tell_which_keys_are_observed() {
    let office = Office::with("");
    let made = office.json(&["keys", "create", "--title", "Shop", "--scope", "read"]);
    let id = made["id"].as_str().unwrap();
    let before = office.keys();
    office.done(&["keys", "edit", id, "--mode", "observe"]);
    assert_eq!(office.run(&["check", "--strict"]).status.code(), Some(3));
    let checked = office.run(&["check"]);
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success() && said.contains("this key is observed"), "{said}");
    assert!(office.done(&["keys", "list"]).contains("live, observed"));
    assert_eq!(office.json(&["keys", "show", id])["mode"], "observe");
    office.done(&["keys", "edit", id, "--mode", "enforce"]);
    assert_eq!(office.keys(), before);
    assert_eq!(office.run(&["keys", "edit", id, "--mode", "off"]).status.code(), Some(2));
    office.save(&before.replace("scopes = ", "mode = \"watch\"\nscopes = "));
    assert_eq!(office.run(&["check"]).status.code(), Some(2));
}
