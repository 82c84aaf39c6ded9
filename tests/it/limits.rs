//! How often: per key, and per address for refused credentials.

use crate::support::client::Connection;
use crate::support::client::request;
use crate::support::crm::Crm;
use crate::support::eventually;
use crate::support::gateway::{Plan, TestKey};

#[test]
fn each_key_has_its_own_rate() {
    let crm = Crm::usual();
    let slow = TestKey::new(&["read"], "rate = \"2/day\"");
    let usual = TestKey::new(&["read"], "");
    let gateway = Plan::before(&crm).key(&slow).key(&usual).with("[limits]\nper_key = \"5/day\"\n").start();
    let ask = |key: &TestKey| gateway.get("/api/x", &[&key.header()]);
    let statuses: Vec<u16> = (0..3).map(|_| ask(&slow).status).collect();
    assert_eq!(statuses, [200, 200, 429]);
    let statuses: Vec<u16> = (0..6).map(|_| ask(&usual).status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429]);
    let refused = ask(&slow);
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() > 1000);
    assert_eq!(refused.header("ratelimit-policy"), Some("\"key\";q=2;w=86400"));
    assert!(refused.header("ratelimit").unwrap().starts_with("\"key\";r=0;t="));
    assert!(refused.keeps_connection());
}

#[test]
fn a_changed_rate_counts_at_once_and_an_unchanged_one_survives_reloads() {
    let crm = Crm::usual();
    let slow = TestKey::new(&["read"], "rate = \"2/day\"");
    let other = TestKey::new(&["read"], "rate = \"1/day\"");
    let gateway = Plan::before(&crm).key(&slow).key(&other).start();
    let ask = |key: &TestKey| gateway.get("/api/x", &[&key.header()]).status;
    assert_eq!([ask(&slow), ask(&slow), ask(&slow)], [200, 200, 429]);
    assert_eq!([ask(&other), ask(&other)], [200, 429]);
    let text = std::fs::read_to_string(gateway.keys_file()).unwrap().replace("2/day", "9/day");
    std::fs::write(gateway.keys_file(), text).unwrap();
    eventually("the new rate is in force", || (ask(&slow) == 200).then_some(()));
    assert_eq!(ask(&other), 429, "its bucket was not filled again");
}

#[test]
fn refused_credentials_are_slowed_and_valid_keys_are_not() {
    let crm = Crm::usual();
    let key = TestKey::new(&["read"], "");
    let gateway =
        Plan::before(&crm).key(&key).with("[limits]\nper_address_failures = \"10/day burst 3\"\n").start();
    let mut connection = Connection::open(gateway.address);
    let mut ask = |header: &str| {
        connection.send(request("GET", "/api/x", &[header], ""));
        connection.answer().unwrap()
    };
    for _ in 0..3 {
        assert_eq!(ask("X-API-Key: 0123456789abcdefgh").status, 401);
    }
    let slowed = ask("X-API-Key: 0123456789abcdefgh");
    assert_eq!(slowed.status, 429);
    assert!(slowed.header("retry-after").is_some());
    assert_eq!(ask(&key.header()).status, 200, "a shared address is not locked out");
    assert_eq!(gateway.metric("sidelock_auth_failure_worst_source"), 4.0);
    assert_eq!(gateway.metric("sidelock_auth_failures_total{reason=\"unknown\"}"), 3.0);
    assert_eq!(gateway.metric("sidelock_auth_failures_total{reason=\"too_many_failures\"}"), 1.0);
}
