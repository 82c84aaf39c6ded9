//! When keys were last used outlives the process, and commands see it.

use std::process::Command;

use crate::support::crm::Crm;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan, TestKey};

fn shown(gateway: &Gateway, id: &str) -> serde_json::Value {
    let output = Command::new(env!("CARGO_BIN_EXE_sidelock"))
        .args(["keys", "list", "--json", "--config"])
        .arg(gateway.config_file())
        .output()
        .unwrap();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let keys = told.as_array().cloned().unwrap_or_else(|| told["keys"].as_array().unwrap().clone());
    keys.into_iter().find(|key| key["id"] == id).unwrap()
}

#[test]
fn it_survives_a_restart() {
    let crm = Crm::usual();
    let old = TestKey::new(&["read"], "");
    let digest = old.block.lines().find_map(|line| line.strip_prefix("digest = ")).unwrap().to_owned();
    let key =
        TestKey::new(&["read"], &format!("previous = {{ digest = {digest}, until = 2999-01-01T00:00:00Z }}"));
    let (idle, mut gateway) = {
        let idle = TestKey::new(&["read"], "");
        let gateway = Plan::before(&crm).key(&key).key(&idle).start();
        (idle, gateway)
    };
    for presented in [&key, &old, &old] {
        let answer = gateway.get("/api/x", &[&presented.header()]);
        let sunset = (presented.id == old.id).then_some("Tue, 01 Jan 2999 00:00:00 GMT");
        assert_eq!((answer.status, answer.header("sunset")), (200, sunset));
    }
    let of_key = |name: &str| format!("sidelock_key_previous_{name}{{key=\"{}\"}}", key.id);
    assert_eq!(gateway.metric(&of_key("uses_total")), 2.0);
    assert!(gateway.metric(&of_key("ends_timestamp_seconds")) > 3e10);
    let series = format!("sidelock_key_last_used_timestamp_seconds{{key=\"{}\"}}", key.id);
    let used = gateway.metric(&series);
    assert!(used > 1e9, "{used}");
    gateway.stop();
    let seen = shown(&gateway, &key.id);
    assert!(seen["last_used"].is_string() && seen["previous"]["last_used"].is_string(), "{seen}");
    assert!(shown(&gateway, &idle.id)["last_used"].is_null());
    let kept = std::fs::read_to_string(gateway.folder.path().join("state/last-used.ndjson")).unwrap();
    assert!(kept.contains("\"previous_count\":2") && !kept.contains(&idle.id), "{kept}");
    gateway.again();
    let restored = eventually("the metric is back", || Some(gateway.metric(&series)).filter(|at| *at > 0.0));
    assert!((restored - used).abs() < 1.0, "{restored} {used}");
}

#[test]
fn the_next_rotation_counts_anew() {
    let crm = Crm::usual();
    let [first, second, third] = [(); 3].map(|()| TestKey::new(&["read"], ""));
    let digest = |key: &TestKey| {
        key.block
            .lines()
            .find_map(|line| line.strip_prefix("digest = "))
            .unwrap()
            .trim_matches('"')
            .to_owned()
    };
    let block = |new: &TestKey, old: &TestKey| {
        format!(
            "[[key]]\nid = \"one\"\ntitle = \"One\"\ndigest = \"{}\"\nscopes = [\"read\"]\nprevious = {{ digest = \"{}\", until = 2999-01-01T00:00:00Z }}\n",
            digest(new),
            digest(old)
        )
    };
    let mut plan = Plan::before(&crm);
    plan.keys = block(&second, &first);
    let mut gateway = plan.start();
    for _ in 0..3 {
        assert_eq!(gateway.get("/api/x", &[&first.header()]).status, 200);
    }
    gateway.stop();
    let previous = shown(&gateway, "one")["previous"].clone();
    assert_eq!((&previous["uses"], &previous["last_from"]), (&3.into(), &"127.0.0.1".into()), "{previous}");
    let keys = gateway.keys_file();
    std::fs::write(&keys, block(&third, &second)).unwrap();
    gateway.again();
    let series = "sidelock_key_previous_uses_total{key=\"one\"}";
    assert_eq!((gateway.metric(series), gateway.get("/api/x", &[&second.header()]).status), (0.0, 200));
    assert_eq!(gateway.metric(series), 1.0);
    gateway.stop();
    assert_eq!(shown(&gateway, "one")["previous"]["uses"], 1);
}
