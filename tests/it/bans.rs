//! Addresses that guess keys: seen, counted, banned, and let in again.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use crate::support::client;
use crate::support::crm::Crm;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan, TestKey};

const PROXIED: &str = "[client_address]\ntrusted_proxies = [\"127.0.0.1\"]\n";
const BAN: &str = "[ban]\nafter = \"3/10min\"\nfor = \"2h\"\nexempt = [\"198.51.100.0/24\"]\n";
const WEBHOOK: &str = "[[webhook]]\nname = \"hook\"\npath = \"/hook\"\nsender = \"header-token\"\nheader = \"x-secret\"\nsecrets = [\"env:HOOK\"]\nallow_from = [\"203.0.113.0/24\", \"192.0.2.1\"]\n";
const UNKNOWN: &str = "X-API-Key: 0123456789abcdef0123456789abcdef";

fn from(gateway: &Gateway, address: &str, line: &str) -> client::Answer {
    gateway.get("/api/x", &[line, &format!("X-Forwarded-For: {address}")])
}

fn typed(gateway: &Gateway, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidelock"));
    command.args(arguments).arg("--config").arg(gateway.config_file()).output().unwrap()
}

fn told(gateway: &Gateway, arguments: &[&str]) -> serde_json::Value {
    let output = typed(gateway, &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn who_guesses_is_banned_for_a_while() {
    let crm = Crm::usual();
    let key = TestKey::new(&["read"], "");
    let public = "[[route]]\npath = \"/login\"\naccess = \"public\"\n";
    let gateway = Plan::before(&crm).key(&key).with(PROXIED).with(BAN).with(public).start();
    let own = key.header();
    for status in [401, 401, 401, 403] {
        assert_eq!(from(&gateway, "192.0.2.7", UNKNOWN).status, status);
    }
    let banned = from(&gateway, "192.0.2.7", &own);
    assert_eq!(banned.status, 403, "a good key does not help");
    assert!(banned.text().contains("address-banned"), "{}", banned.text());
    let seconds: u64 = banned.header("retry-after").unwrap().parse().unwrap();
    assert!((7_000..=7_200).contains(&seconds), "{seconds}");
    assert_eq!(crm.seen.count(), 0);
    let login = client::get(gateway.address, "/login", &["X-Forwarded-For: 192.0.2.7"]);
    assert_eq!((login.status, from(&gateway, "192.0.2.8", &own).status), (200, 200));
    let denied = "sidelock_denied_total{key=\"unknown\",reason=\"banned\"}";
    assert_eq!(
        ["sidelock_banned_addresses", "sidelock_bans_total", denied].map(|it| gateway.metric(it)),
        [1.0, 1.0, 2.0]
    );

    let bans = told(&gateway, &["bans", "list"]);
    assert_eq!(
        (&bans["bans"][0]["address"], &bans["bans"][0]["cause"]),
        (&"192.0.2.7".into(), &"guessing".into())
    );
    assert!(typed(&gateway, &["bans", "lift", "192.0.2.7"]).status.success());
    assert_eq!(from(&gateway, "192.0.2.7", &own).status, 200);
    let again = typed(&gateway, &["bans", "lift", "192.0.2.7"]);
    assert_eq!(again.status.code(), Some(1), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(told(&gateway, &["bans", "add", "2001:db8::1", "--for", "10min"])["address"], "2001:db8::/64");
    assert_eq!(from(&gateway, "2001:db8::ffff", &own).status, 403);
    let listed = typed(&gateway, &["bans", "list"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("2001:db8::/64  20"));
    for wrong in [&["bans", "add", "example.com"][..], &["bans", "add", "192.0.2.1", "--for", "soon"]] {
        assert_eq!(typed(&gateway, wrong).status.code(), Some(2));
    }
}

#[test]
fn who_does_not_guess_is_not_banned() {
    let crm = Crm::usual();
    let (key, over) = (TestKey::new(&["read"], ""), TestKey::new(&["read"], "revoked = true"));
    let mut plan = Plan::before(&crm).key(&key).key(&over).with(PROXIED).with(BAN).with(WEBHOOK);
    plan.environment.push(("HOOK", "0123456789abcdef".to_owned()));
    let gateway = plan.start();
    // Named, a sender of webhooks, the proxy itself: whoever is behind these is many.
    for exempt in ["198.51.100.9", "203.0.113.9", "nobody"] {
        for _ in 0..5 {
            from(&gateway, exempt, UNKNOWN);
        }
    }
    for _ in 0..5 {
        from(&gateway, "192.0.2.7", "X-Nothing: x");
        from(&gateway, "192.0.2.7", &over.header());
        client::get(gateway.address, "/hook", &["X-Forwarded-For: 192.0.2.1"]);
    }
    for address in ["198.51.100.9", "203.0.113.9", "192.0.2.7", "192.0.2.1"] {
        assert_eq!(from(&gateway, address, &key.header()).status, 200, "{address}");
    }
    assert_eq!(gateway.metric("sidelock_bans_total"), 0.0);
    let refused = typed(&gateway, &["bans", "add", "198.51.100.9"]);
    assert!(refused.status.code() == Some(1) && String::from_utf8_lossy(&refused.stderr).contains("exempt"));
    assert!(typed(&gateway, &["bans", "add", "192.0.2.7"]).status.success());
    assert_eq!(from(&gateway, "192.0.2.7", &key.header()).status, 403);
    // Once it is named, its ban counts no more.
    let config = std::fs::read_to_string(gateway.config_file()).unwrap();
    std::fs::write(gateway.config_file(), config.replace("exempt = [", "exempt = [\"192.0.2.7\", ")).unwrap();
    eventually("it is exempt", || (from(&gateway, "192.0.2.7", &key.header()).status == 200).then_some(()));
    let delivery = ["X-Secret: 0123456789abcdef", "X-Forwarded-For: 192.0.2.1"];
    assert_eq!(gateway.post("/hook", &delivery, "{}").status, 200);
}

#[test]
fn addresses_are_shown_to_those_who_may_see_them() {
    let crm = Crm::usual();
    let mut gateway = Plan::before(&crm).with(PROXIED).start();
    for (address, count) in [("192.0.2.1", 2), ("2001:db8::1", 1), ("2001:db8::2", 2)] {
        for _ in 0..count {
            from(&gateway, address, UNKNOWN);
        }
    }
    let shown = told(&gateway, &["addresses"]);
    let list: Vec<_> = shown["addresses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["address"].as_str().unwrap(), it["refused"].as_u64().unwrap()))
        .collect();
    assert_eq!(list, [("2001:db8::/64", 3), ("192.0.2.1", 2)]);
    let text = typed(&gateway, &["addresses"]).stdout;
    assert!(
        String::from_utf8_lossy(&text).contains("\n192.0.2.1      2        20"),
        "{}",
        String::from_utf8_lossy(&text)
    );
    assert!(!gateway.metrics().contains("192.0.2.1"), "no address is a label");

    let file = gateway.folder.path().join("state/admin.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let pass: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let good = format!("Authorization: Bearer {}", pass["pass"].as_str().unwrap());
    for bad in [&[][..], &["Authorization: Bearer 0"], &[&*good, &*good], &["Origin: https://evil.example"]] {
        assert_eq!(client::get(gateway.admin, "/addresses", bad).status, 401, "{bad:?}");
        assert_eq!(client::post(gateway.admin, "/bans?address=192.0.2.9", bad, "").status, 401, "{bad:?}");
    }
    assert_eq!(client::get(gateway.admin, "/bans", &[&good]).text(), "{\"bans\":[],\"most\":10000}\n");
    assert_eq!(client::post(gateway.admin, "/metrics", &[&good], "").status, 405);
    gateway.stop();
    assert!(!file.exists());
    assert_eq!(typed(&gateway, &["bans", "list"]).status.code(), Some(1), "nobody is there to ask");
}

#[test]
fn the_worst_addresses_are_labels_where_that_is_wished() {
    let crm = Crm::usual();
    let mut plan = Plan::before(&crm).with(PROXIED);
    plan.server.push_str("address_labels = true\n");
    let gateway = plan.start();
    for number in 0..12 {
        for _ in 0..=number {
            from(&gateway, &format!("192.0.2.{number}"), UNKNOWN);
        }
    }
    let metrics = gateway.metrics();
    assert_eq!(metrics.matches("sidelock_auth_failures_by_address{").count(), 10);
    assert!(metrics.contains("sidelock_auth_failures_by_address{address=\"192.0.2.11\"} 12"), "{metrics}");
}
