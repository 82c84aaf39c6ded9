//! From where keys are used: told in metrics and by commands, and known again after a restart.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::crm::Crm;
use crate::support::gateway::{Gateway, Plan, TestKey};

const PROXIED: &str = "[client_address]\ntrusted_proxies = [\"127.0.0.1\"]\n";

fn uses(gateway: &Gateway, key: &TestKey, method: &str, from: &str) -> u16 {
    let headers = [key.header(), format!("X-Forwarded-For: {from}")];
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    match method {
        "GET" => gateway.get("/api/x", &headers).status,
        _ => gateway.post("/api/x", &headers, "").status,
    }
}

/// The key's networks, and how many were new.
fn told(gateway: &Gateway, key: &TestKey) -> (f64, f64) {
    let of_key = |name: &str| gateway.metric(&format!("sidelock_{name}{{key=\"{}\"}}", key.id));
    (of_key("key_networks"), of_key("key_new_networks_total"))
}

fn keys(gateway: &Gateway, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidelock"));
    let output =
        command.arg("keys").args(arguments).arg("--config").arg(gateway.config_file()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_network_that_a_key_never_had_is_counted_and_shown() {
    let crm = Crm::usual();
    let (key, idle) = (TestKey::new(&["read"], ""), TestKey::new(&["read"], ""));
    let mut gateway = Plan::before(&crm).key(&key).key(&idle).with(PROXIED).start();
    let series = format!("sidelock_key_new_networks_total{{key=\"{}\"}} 0", key.id);
    assert_eq!(uses(&gateway, &key, "GET", "192.0.2.1"), 200);
    assert!(gateway.metrics().contains(&series), "the counter starts at zero, so that it can increase");
    for from in ["192.0.2.1", "192.0.2.9", "192.0.2.1"] {
        uses(&gateway, &key, "GET", from);
    }
    assert_eq!(told(&gateway, &key), (1.0, 0.0));
    assert_eq!(uses(&gateway, &key, "POST", "2001:db8::7"), 403, "a thief tries what the key may do");
    assert_eq!(told(&gateway, &key), (2.0, 1.0));
    // What the proxy says is not clear: nobody knows the network.
    uses(&gateway, &key, "GET", "somewhere");
    assert_eq!((told(&gateway, &key), told(&gateway, &idle)), ((2.0, 1.0), (0.0, 0.0)));
    gateway.stop();

    let shown: serde_json::Value =
        serde_json::from_str(&keys(&gateway, &["show", &key.id, "--json"])).unwrap();
    let names = |list: &str, field: &str| -> Vec<String> {
        shown[list].as_array().unwrap().iter().map(|it| it[field].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("networks", "network"), ["192.0.2.0/24", "2001:db8::/48"]);
    assert_eq!(names("addresses", "address"), ["2001:db8::7", "192.0.2.1", "192.0.2.9"]);
    assert!(names("networks", "first_seen").iter().all(|at| at.ends_with(":00:00Z")), "{shown}");
    let text = keys(&gateway, &["show", &key.id]);
    assert!(
        text.contains("\nnetwork         192.0.2.0/24  first ")
            && text.contains("\naddress         2001:db8::7  "),
        "{text}"
    );
    assert!(keys(&gateway, &["list", "--json"]).contains("\"networks\":2"));
    let file = gateway.folder.path().join("state/networks.ndjson");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    gateway.again();
    assert_eq!(uses(&gateway, &key, "GET", "192.0.2.77"), 200);
    assert_eq!(told(&gateway, &key), (2.0, 0.0), "what is known is known again");
    uses(&gateway, &key, "GET", "198.51.100.1");
    assert_eq!(told(&gateway, &key), (3.0, 1.0));
    gateway.stop();
    // A key that is gone leaves nothing behind; a damaged file is no obstacle.
    std::fs::write(gateway.keys_file(), &idle.block).unwrap();
    let kept = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{}\n\u{0}{{", &kept[..kept.len() - 9])).unwrap();
    gateway.again();
    uses(&gateway, &idle, "GET", "192.0.2.1");
    gateway.stop();
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept.contains(&idle.id) && !kept.contains(&key.id), "{kept}");
}
