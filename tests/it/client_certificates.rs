//! Keys that need a client certificate, in the commands: bound, shown, explained, checked. That the gate holds to it is
//! `wire_tls.rs`'s.

use std::process::Output;

use serde_json::Value;

use crate::support::gateway::TestKey;
use crate::support::ledger::{Entry, get, text};
use crate::support::office::{Office, said};
use crate::support::tls::{CA, CRM, OTHER, PARTNER};

const LISTENER: &str =
    "[[listener]]\naddress = \"127.0.0.1:0\"\ncertificate = { file = \"crm.pem\", key = \"crm.key\" }\n";

/// With a listener that asks for certificates, or one that does not.
fn office(keys: &str, listener: &str) -> Office {
    use std::os::unix::fs::PermissionsExt;
    let office = Office::with(keys);
    for (name, text) in [
        ("crm.pem", CRM.0),
        ("crm.key", CRM.1),
        ("ca.pem", CA),
        ("partner.pem", PARTNER.0),
        ("other.pem", OTHER.0),
    ] {
        std::fs::write(office.path(name), text).unwrap();
    }
    std::fs::set_permissions(office.path("crm.key"), PermissionsExt::from_mode(0o600)).unwrap();
    let config = std::fs::read_to_string(office.path("sidelock.toml")).unwrap();
    std::fs::write(office.path("sidelock.toml"), config + LISTENER + listener).unwrap();
    office
}

fn asking(keys: &str) -> Office {
    office(keys, "client_ca = \"ca.pem\"\n")
}

fn fingerprint() -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, &PARTNER.der());
    let digits: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

#[test]
fn a_key_is_bound_shown_and_freed() {
    let office = asking("");
    let make = ["keys", "create", "--title", "Shop", "--scope", "read", "--client-cert", "partner.pem"];
    let made = office.json(&make);
    let id = made["id"].as_str().unwrap();
    let line = format!("client_cert = \"{}\"\n", fingerprint());
    assert_eq!(made["client_cert"], fingerprint());
    assert!(office.keys().contains(&line), "{}", office.keys());
    assert_eq!(office.json(&["keys", "show", id])["client_cert"], fingerprint());
    assert_eq!(office.json(&["keys", "list"])["keys"][0]["client_cert"], fingerprint());
    assert!(office.done(&["keys", "show", id]).contains(&fingerprint()));
    assert!(office.done(&["keys", "list", "--search", "certificate"]).contains("live, certificate"));

    let edit = |to: &str| office.done(&["keys", "edit", id, "--client-cert", to]);
    edit("san:Partner.example");
    assert!(office.keys().contains("client_cert = \"san:partner.example\"\n"), "{}", office.keys());
    // As openssl prints it.
    edit(&fingerprint().to_uppercase().replace("SHA256", "sha256"));
    assert!(office.keys().contains(&line), "{}", office.keys());
    office.done(&["keys", "rotate", id]);
    assert!(office.keys().contains(&line), "a new secret is bound like the old one");
    edit("");
    assert!(!office.keys().contains("client_cert"));
    assert_eq!(office.json(&["keys", "show", id])["client_cert"], Value::Null);
    assert!(office.record().contains(&fingerprint()), "changes are on record");

    let before = office.keys();
    for (typed, why) in [
        ("sha256:12", "64 hexadecimal digits"),
        ("san:", "a name that stands"),
        ("nowhere.pem", "No such file"),
        ("crm.key", "has no certificate"),
        ("sidelock.toml", "has no certificate"),
        (".", "not a regular file"),
        ("nowhere\u{1b}[2J", "No such file"),
    ] {
        let said = office.refused(&["keys", "edit", id, "--client-cert", typed]);
        assert!(said.contains(why) && !said.contains('\u{1b}'), "{typed}: {said}");
    }
    assert_eq!(office.keys(), before);
    let empty = ["keys", "create", "--title", "x", "--scope", "read", "--client-cert", ""];
    assert!(office.refused(&empty).contains("--client-cert is empty"));
    let decoy = ["keys", "create", "--title", "x", "--decoy", "--client-cert", "partner.pem"];
    assert_eq!(office.run(&decoy).status.code(), Some(2), "a decoy opens nothing anyway");
}

#[test]
fn check_tells_who_asks_in_vain() {
    let bound = TestKey::new(&["read"], "client_cert = \"san:partner.example\"");
    let free = TestKey::new(&["read"], "");
    let gone = TestKey::new(&["read"], "client_cert = \"san:partner.example\"\nrevoked = true");
    let check = |office: &Office| office.run(&["check", "--strict"]);
    let is = |output: &Output, code: i32, why: &str| {
        assert!(output.status.code() == Some(code) && said(output).contains(why), "{why}: {}", said(output));
    };
    is(&check(&office(&bound.block, "")), 3, "no listener asks for client certificates");
    is(&check(&office(&gone.block, "")), 0, "0 warnings");
    is(&check(&asking(&bound.block)), 0, "0 warnings");
    is(&check(&asking(&free.block)), 3, "no key needs one");
}

fn step(explained: &Value) -> Option<(&str, &str)> {
    let steps = explained["steps"].as_array().unwrap();
    let step = steps.iter().find(|step| step["step"] == "certificate")?;
    Some((step["verdict"].as_str().unwrap(), step["by"].as_str().unwrap()))
}

#[test]
fn explain_asks_for_it() {
    let by_print = TestKey::new(&["read"], &format!("client_cert = \"{}\"", fingerprint()));
    let by_name = TestKey::new(&["read"], "client_cert = \"san:partner.example\"");
    let free = TestKey::new(&["read"], "");
    let keys = [&by_print, &by_name, &free].map(|key| key.block.as_str()).concat();
    let office = asking(&keys);
    let explain = |office: &Office, key: &TestKey, more: &[&str]| {
        office.json(&[&["explain", "GET", "/api/x", "--key", &key.id], more].concat())
    };
    for key in [&by_print, &by_name] {
        let without = explain(&office, key, &[]);
        assert_eq!(without["reason"], "client_certificate");
        let (verdict, by) = step(&without).unwrap();
        assert!(verdict == "refused" && by.contains("no client certificate is shown"), "{by}");
        assert!(without["advice"][0].as_str().unwrap().contains("--client-cert FILE"), "{without}");
        let with = explain(&office, key, &["--client-cert", "partner.pem"]);
        assert_eq!((&with["allowed"], step(&with).unwrap().0), (&true.into(), "passed"), "{with}");
        let other = explain(&office, key, &["--client-cert", "other.pem"]);
        assert!(step(&other).unwrap().1.contains("another client certificate"), "{other}");
        assert_eq!(other["allowed"], false);
    }
    let known = explain(&office, &by_name, &["--client-cert", "san:partner.example"]);
    assert_eq!(known["allowed"], true, "{known}");
    assert_eq!(step(&explain(&office, &free, &[])), None, "no step for a key that needs none");

    let deaf = self::office(&keys, "");
    let unasked = explain(&deaf, &by_print, &["--client-cert", "partner.pem"]);
    assert_eq!(unasked["reason"], "client_certificate");
    assert!(step(&unasked).unwrap().1.contains("no listener asks"), "{unasked}");
    assert!(unasked["advice"][0].as_str().unwrap().contains("'client_ca'"), "{unasked}");
}

/// The log has no certificates: what was allowed is taken to have shown its own, and what was refused for it to have shown none.
#[test]
fn the_past_is_not_turned_round() {
    let bound = TestKey::new(&["read"], "client_cert = \"san:partner.example\"");
    let office = asking(&bound.block);
    std::fs::create_dir_all(office.path("state")).unwrap();
    let id: &'static str = bound.id.clone().leak();
    let fine = get(1, id, "/api/x");
    let reason = ",\"reason\":\"client_certificate\"".to_owned();
    let refused = Entry { status: 403, scope: None, more: reason, ..get(2, id, "/api/x") };
    std::fs::write(office.path("state/access.ndjson"), text(&[fine.clone(), refused.clone()])).unwrap();
    let replayed = office.json(&["check", "--replay", "all"])["replay"].clone();
    assert_eq!((&replayed["same"], &replayed["changed"]), (&2.into(), &0.into()), "{replayed}");
    let told = office.json(&["explain", "--request-id", &fine.id]);
    assert_eq!(step(&told["now"]).unwrap().0, "not_judged", "{told}");
    let told = office.json(&["explain", "--request-id", &refused.id]);
    assert_eq!(step(&told["now"]).unwrap().0, "refused", "{told}");
    office.done(&["keys", "edit", &bound.id, "--client-cert", ""]);
    let replayed = office.json(&["check", "--replay", "all"])["replay"].clone();
    assert_eq!(replayed["newly_allowed"].as_array().unwrap().len(), 1, "{replayed}");
}
