//! `sidelock check` and the other commands as people meet them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::crm::Crm;
use crate::support::eventually;
use crate::support::gateway::{Gateway, TestKey};

const GOOD: &str = "[server]\nlisten = [\"127.0.0.1:0\"]\n[upstream]\nurl = \"http://127.0.0.1:1\"\n[keys]\nfile = \"keys.toml\"\n[scopes.read_messages]\nallow = [\"GET /api/**\"]\n";

fn write(folder: &Path, config: &str, keys: &str) {
    std::fs::write(folder.join("sidelock.toml"), config).unwrap();
    let path = folder.join("keys.toml");
    std::fs::write(&path, keys).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
}

fn sidelock(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sidelock"))
        .args(args)
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_mistake_at_once_with_its_line_and_what_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    let bad = GOOD
        .replace("listen", "lisen")
        .replace("http://127.0.0.1:1", "127.0.0.1")
        .replace("GET /api/**", "get api")
        + "[limits]\nper_key = \"many\"\n[[webhook]]\nname = \"x\"\npath = \"/x\"\nsender = \"telegrm\"\nsecrets = [\"hunter2hunter2\"]\n[timeouts]\nkeep_alive = 5\n[sever]\n";
    write(folder.path(), &bad, "");
    let output = sidelock(folder.path(), &["check"]);
    assert_eq!(output.status.code(), Some(2));
    let text = said(&output);
    for part in [
        "did you mean 'listen'?",
        "not the address of a CRM",
        "sidelock.toml:8",
        "expected methods",
        "expected a rate",
        "did you mean 'telegram'?",
        "expected a reference to a secret",
        "expected a string, found integer",
        "did you mean 'server'?",
        "^^^",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!text.contains("hunter2"), "a secret in the wrong place is not shown\n{text}");
}

#[test]
fn mistakes_in_the_key_file_too() {
    let folder = tempfile::tempdir().unwrap();
    let key = TestKey::new(&["read_messages"], "");
    let keys = format!(
        "{}{}{}",
        key.block,
        key.block,
        TestKey::new(&["read_mesages"], "expires = 2027-01-01\nrats = 1").block
    );
    write(folder.path(), GOOD, &keys);
    let text = said(&sidelock(folder.path(), &["check"]));
    for part in [
        "a key with this id stands above",
        "a key with this digest stands above",
        "did you mean 'read_messages'?",
        "time zone",
        "did you mean 'rate'?",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    write(folder.path(), GOOD, &key.block);
    std::fs::set_permissions(folder.path().join("keys.toml"), PermissionsExt::from_mode(0o644)).unwrap();
    assert!(said(&sidelock(folder.path(), &["check"])).contains("chmod 640"));
}

#[test]
fn exit_codes_and_json() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), GOOD, &TestKey::new(&["read_messages"], "").block);
    let good = sidelock(folder.path(), &["check"]);
    assert_eq!(good.status.code(), Some(0));
    assert!(
        said(&good).contains("good (1 key, 1 scope, 0 webhooks, 0 routes; 0 warnings)"),
        "{}",
        said(&good)
    );
    write(folder.path(), &GOOD.replace("[upstream]", "admin = \"0.0.0.0:9180\"\n[upstream]"), "");
    assert_eq!(sidelock(folder.path(), &["check"]).status.code(), Some(0));
    assert_eq!(sidelock(folder.path(), &["check", "--strict"]).status.code(), Some(3));
    let json = sidelock(folder.path(), &["check", "--json"]);
    let parsed: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&parsed["ok"], &parsed["mistakes"][0]["severity"]), (&true.into(), &"warning".into()));
    assert_eq!(sidelock(folder.path(), &["check", "--config", "missing.toml"]).status.code(), Some(2));
    assert_eq!(sidelock(folder.path(), &["nonsense"]).status.code(), Some(2));
}

#[test]
fn a_port_in_use_and_bad_files_stop_the_start_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config =
        GOOD.replace("127.0.0.1:0", &address).replace("[upstream]", "admin = \"127.0.0.1:0\"\n[upstream]");
    write(folder.path(), &config, "");
    let output = sidelock(folder.path(), &["run"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains(&format!("cannot listen on {address}")), "{}", said(&output));
    write(folder.path(), "nonsense", "");
    let output = sidelock(folder.path(), &["run"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("not started"));
}

#[test]
fn keys_are_made_shown_once_and_in_force_at_once() {
    let crm = Crm::usual();
    let (gateway, _) = Gateway::reading(&crm);
    let folder = gateway.folder.path();
    let before = std::fs::read_to_string(gateway.keys_file()).unwrap();
    let output =
        sidelock(folder, &["keys", "create", "--title", "New \"one\"", "--scope", "read", "--rate", "9/min"]);
    assert!(output.status.success(), "{}", said(&output));
    let key = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    let after = std::fs::read_to_string(gateway.keys_file()).unwrap();
    assert!(after.starts_with(&before) && !after.contains(&key) && after.contains("New \\\"one\\\""));
    let mode = std::fs::metadata(gateway.keys_file()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let header = format!("X-API-Key: {key}");
    eventually("the new key works", || (gateway.get("/api/x", &[&header]).status == 200).then_some(()));
    let output = sidelock(folder, &["keys", "create", "--title", "x", "--scope", "raed"]);
    assert!(
        said(&output).contains("no scope is called 'raed'; did you mean 'read'? known: read, write"),
        "{}",
        said(&output)
    );
}

#[test]
fn reload_answers_and_confirms_a_mass_removal() {
    let crm = Crm::usual();
    let (gateway, key) = Gateway::reading(&crm);
    let folder = gateway.folder.path();
    let output = sidelock(folder, &["reload"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(
        said(&output).contains("1 keys in force") || said(&output).contains("1 key"),
        "{}",
        said(&output)
    );
    std::fs::write(gateway.keys_file(), "# nobody\n").unwrap();
    eventually("it is refused", || (gateway.metric("sidelock_last_reload_successful") == 0.0).then_some(()));
    assert_eq!(gateway.get("/api/x", &[&key.header()]).status, 200);
    let output = sidelock(folder, &["reload"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("would vanish"), "{}", said(&output));
    let output = sidelock(folder, &["reload", "--confirm-drop"]);
    assert!(output.status.success(), "{}", said(&output));
    eventually("the key is gone", || (gateway.get("/api/x", &[&key.header()]).status == 401).then_some(()));
}
