//! Who is let in, and what each refusal tells.

use crate::support::client::{Connection, ask, request};
use crate::support::crm::Crm;
use crate::support::gateway::{Gateway, Plan, TestKey};

#[test]
fn a_key_in_any_place_opens_what_its_scopes_say() {
    let crm = Crm::usual();
    let (gateway, key) = Gateway::reading(&crm);
    let bearer = format!("Authorization: Bearer {}", key.text);
    for header in [&key.header(), &bearer] {
        let answer = gateway.get("/api/tickets", &[header]);
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "{}", answer.head);
    }
    let refused = gateway.post("/api/tickets", &[&key.header()], "{}");
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("urn:sidelock:problem:scope-missing"), "{}", refused.text());
    assert_eq!(gateway.get("/elsewhere", &[&key.header()]).status, 403, "deny by default");
    assert_eq!(crm.seen.count(), 2, "nothing that was refused reached the CRM");
}

#[test]
fn refusals_are_problems_and_keep_the_connection() {
    let crm = Crm::usual();
    let (gateway, key) = Gateway::reading(&crm);
    let mut connection = Connection::open(gateway.address);
    for (headers, status) in [
        (&[][..], 401),
        (&["X-API-Key: 0123456789abcdefXYZ"][..], 401),
        (&["X-API-Key: short"][..], 401),
        (&["Authorization: Basic dTpw"][..], 401),
        (&[key.header().as_str()][..], 200),
    ] {
        connection.send(request("GET", "/api/x", headers, ""));
        let answer = connection.answer().unwrap();
        assert_eq!(answer.status, status, "{headers:?}");
        assert!(answer.keeps_connection());
        if status == 401 {
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
            assert!(answer.header("www-authenticate").is_some());
            let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(problem["request_id"], answer.header("x-request-id").unwrap());
            assert_eq!(problem["status"], 401);
        }
    }
}

#[test]
fn expired_and_revoked_are_told_to_the_holder() {
    let crm = Crm::usual();
    let expired = TestKey::new(&["read"], "expires = 2020-01-01T00:00:00Z");
    let revoked = TestKey::new(&["read"], "revoked = true");
    let gateway = Plan::before(&crm).key(&expired).key(&revoked).start();
    let told = |key: &TestKey| gateway.get("/api/x", &[&key.header()]).text();
    assert!(told(&expired).contains("key-expired"));
    assert!(told(&revoked).contains("key-revoked"));
    assert_eq!(crm.seen.count(), 0);
}

#[test]
fn two_credentials_are_refused_in_every_spelling() {
    let crm = Crm::usual();
    let (gateway, key) = Gateway::reading(&crm);
    let bearer = format!("Authorization: Bearer {}", key.text);
    for second in [key.header(), bearer, format!("x-api-KEY: {}", key.text), "X-API-Key:".to_owned()] {
        let answer = gateway.get("/api/x", &[&key.header(), &second]);
        assert_eq!(answer.status, 400, "{second}");
    }
    let underscore = gateway.get("/api/x", &[&key.header(), &format!("X_API_Key: {}", key.text)]);
    assert_eq!(underscore.status, 400);
    let in_query = gateway.get(&format!("/api/x?key={}", key.text), &[&key.header()]);
    assert_eq!(in_query.status, 400);
    assert_eq!(crm.seen.count(), 0);
}

#[test]
fn a_key_repeated_in_another_header_does_not_go_on() {
    let crm = Crm::usual();
    let (gateway, key) = Gateway::reading(&crm);
    let cookie = format!("Cookie: a={}; b=1", key.text);
    assert_eq!(gateway.get("/api/x", &[&key.header(), &cookie]).status, 200);
    assert!(!crm.seen.last().contains(&key.text));
}

#[test]
fn addresses_decide_by_socket_or_by_trusted_proxy() {
    let crm = Crm::usual();
    let elsewhere = TestKey::new(&["read"], "allow_from = [\"203.0.113.0/24\"]");
    let gateway = Plan::before(&crm).key(&elsewhere).start();
    let spoofed = gateway.get("/api/x", &[&elsewhere.header(), "X-Forwarded-For: 203.0.113.9"]);
    assert_eq!(spoofed.status, 403, "nobody's word counts unless trusted");

    let gateway = Plan::before(&crm)
        .key(&elsewhere)
        .with("[client_address]\ntrusted_proxies = [\"127.0.0.1\"]\n")
        .start();
    let get = |forwarded: &str| gateway.get("/api/x", &[&elsewhere.header(), forwarded]).status;
    assert_eq!(get("X-Forwarded-For: 203.0.113.9"), 200);
    assert_eq!(get("Forwarded: for=203.0.113.9"), 200);
    assert_eq!(get("X-Forwarded-For: 203.0.113.9, 198.51.100.1"), 403, "the rightmost stranger");
    assert_eq!(get("X-Forwarded-For: rubbish"), 403);
    assert_eq!(get("Accept: */*"), 403, "a trusted proxy that says nothing");
}

#[test]
fn a_global_allowlist_comes_before_keys() {
    let crm = Crm::usual();
    let key = TestKey::new(&["read"], "");
    let gateway =
        Plan::before(&crm).key(&key).with("[client_address]\nallow_from = [\"203.0.113.0/24\"]\n").start();
    assert_eq!(gateway.get("/api/x", &[&key.header()]).status, 403);
    assert_eq!(gateway.get("/api/x", &[]).status, 403);
}

#[test]
fn public_routes_pass_without_a_key_and_first_match_wins() {
    let crm = Crm::usual();
    let routes = r#"
[[route]]
path = "/login/admin/**"
access = "key"
[[route]]
path = "/login/**"
access = "public"
"#;
    let gateway = Plan::before(&crm).with(routes).start();
    let own = gateway.get("/login/x", &["Authorization: Bearer the-crm-own-session-token"]);
    assert_eq!(own.status, 200);
    assert!(crm.seen.last().contains("the-crm-own-session-token"), "the CRM's own login needs it");
    assert_eq!(gateway.get("/login/admin/x", &[]).status, 401);
    assert_eq!(gateway.get("/loginx", &[]).status, 401);
    let key = TestKey::new(&[], "");
    gateway.get("/login/x", &[&key.header()]);
    assert!(!crm.seen.last().contains(&key.text), "a key of ours goes nowhere");
}

#[test]
fn keys_that_are_the_crms_own_can_go_on() {
    let crm = Crm::usual();
    let key = TestKey::new(&["read"], "");
    let mut plan = Plan::before(&crm).key(&key);
    plan.keys_section = "present = [\"api_access_token\"]\nforward = true\n".to_owned();
    let gateway = plan.start();
    let answer = gateway.get("/api/x", &[&format!("api_access_token: {}", key.text)]);
    assert_eq!(answer.status, 200);
    assert!(crm.seen.last().contains(&format!("api_access_token: {}", key.text)));
    assert_eq!(gateway.get("/api/x", &[&format!("Api-Access-Token: {}", key.text)]).status, 200);
}

#[test]
fn pipelined_requests_are_judged_one_by_one() {
    let crm = Crm::usual();
    let (gateway, key) = Gateway::reading(&crm);
    let mut connection = Connection::open(gateway.address);
    let (good, bad) = (request("GET", "/api/a", &[&key.header()], ""), request("GET", "/api/b", &[], ""));
    connection.send(good.clone() + &bad + &good);
    let statuses: Vec<u16> = (0..3).map(|_| connection.answer().unwrap().status).collect();
    assert_eq!(statuses, [200, 401, 200]);
    assert_eq!(crm.seen.count(), 2);
    assert_eq!(ask(gateway.address, good).status, 200);
}
