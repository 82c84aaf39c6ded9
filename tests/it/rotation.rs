//! Two secrets under one id: both work while they should, and the old one ends when it should.

use crate::support::crm::Crm;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan, TestKey};
use crate::support::office::{Office, said};

fn status(gateway: &Gateway, key: &TestKey) -> u16 {
    gateway.get("/api/x", &[&key.header()]).status
}

fn rotated(old: &TestKey, previous: &str) -> TestKey {
    let digest = sidelock::credential::api_key::KeyDigest::of(old.text.as_bytes());
    TestKey::new(&["read"], &format!("previous = {{ digest = \"{digest}\", {previous} }}"))
}

#[test]
fn both_work_until_the_moment_that_is_written() {
    let crm = Crm::usual();
    let olds = [(); 2].map(|()| TestKey::new(&["read"], ""));
    let live = rotated(&olds[0], "until = 2999-01-01T00:00:00Z");
    let over = rotated(&olds[1], "until = 2020-01-01T00:00:00Z");
    let gateway = Plan::before(&crm).key(&live).key(&over).start();
    assert_eq!((status(&gateway, &live), status(&gateway, &over)), (200, 200));
    assert_eq!((status(&gateway, &olds[0]), status(&gateway, &olds[1])), (200, 401));
    let seen = crm.seen.requests().concat();
    assert!(seen.contains(&live.id) && !seen.contains(&olds[0].text), "one id, whichever secret");
    let text = std::fs::read_to_string(gateway.keys_file()).unwrap();
    let id = format!("id = \"{}\"", live.id);
    std::fs::write(gateway.keys_file(), text.replace(&id, &format!("{id}\nrevoked = true"))).unwrap();
    eventually("both are revoked", || {
        let statuses = [&live, &olds[0]].map(|key| gateway.status_of(key));
        (statuses == [Some(401); 2]).then_some(())
    });
}

#[test]
fn the_time_can_start_at_the_first_use() {
    let crm = Crm::usual();
    let old = TestKey::new(&["read"], "");
    let new = rotated(&old, "overlap = \"1ms\"");
    let gateway = Plan::before(&crm).key(&new).start();
    assert_eq!([status(&gateway, &old), status(&gateway, &old)], [200, 200], "nobody has the new one yet");
    assert_eq!(status(&gateway, &new), 200);
    eventually("the old one ends", || (gateway.status_of(&old) == Some(401)).then_some(()));
    let reloads = || gateway.metric("sidelock_reloads_total{result=\"accepted\"}");
    let (before, text) = (reloads(), std::fs::read_to_string(gateway.keys_file()).unwrap());
    std::fs::write(gateway.keys_file(), format!("{text}\n# saved again\n")).unwrap();
    eventually("it was reloaded", || (reloads() > before).then_some(()));
    assert_eq!(
        (status(&gateway, &old), status(&gateway, &new)),
        (401, 200),
        "a reload does not start it anew"
    );
}

#[test]
fn the_command_rotates_without_a_gap() {
    let crm = Crm::usual();
    let (gateway, old) = Gateway::reading(&crm);
    let run = |args: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_sidelock"))
            .args(args)
            .current_dir(gateway.folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let mut new = TestKey::new(&[], "");
    new.text = run(&["keys", "rotate", &old.id]);
    assert_eq!(new.text[4..12], old.id, "the new one carries the id");
    eventually("the new one works", || (status(&gateway, &new) == 200).then_some(()));
    assert_eq!(status(&gateway, &old), 200);
    run(&["keys", "rotate", "--finish", &old.id]);
    eventually("the old one ends", || (gateway.status_of(&old) == Some(401)).then_some(()));
    assert_eq!(status(&gateway, &new), 200);
}

#[test]
fn what_rotation_writes_and_refuses() {
    let office = Office::with("");
    let made = office.json(&["keys", "create", "--title", "x", "--scope", "read", "--expires", "10d"]);
    let id = made["id"].as_str().unwrap();
    let first = office.json(&["keys", "rotate", id, "--from-first-use", "--overlap", "48h"]);
    assert!(
        first["previous_until"].is_null() && office.keys().contains("overlap = \"2d\""),
        "{}",
        office.keys()
    );
    assert_eq!(office.json(&["keys", "show", id])["state"], "rotating");
    assert!(office.refused(&["keys", "rotate", id]).contains("--finish"));
    office.done(&["keys", "rotate", id, "--force", "--overlap", "1h"]);
    assert!(office.keys().contains("until = ") && !office.keys().contains("overlap"));
    office.done(&["keys", "rotate", "--finish", id]);
    assert!(!office.keys().contains("previous"));
    assert!(office.refused(&["keys", "rotate", "--finish", id]).contains("no old secret"));
    office.done(&["keys", "rotate", id, "--overlap", "0"]);
    assert!(!office.keys().contains("previous"));
    assert!(office.refused(&["keys", "rotate", id, "--overlap", "0", "--from-first-use"]).contains("not 0"));
    assert_eq!(office.run(&["keys", "rotate", id, "--finish", "--overlap", "1h"]).status.code(), Some(2));
}

#[test]
fn check_explains_mistakes_of_rotation_and_revocation() {
    let key = TestKey::new(&["read"], "");
    let digest = sidelock::credential::api_key::KeyDigest::of(key.text.as_bytes());
    let check = |lines: &str| {
        let office = Office::with(&format!("{}{lines}\n", key.block));
        said(&office.run(&["check"]))
    };
    let office = Office::with(&key.block.replace("Test ", "Te\\u001bst "));
    assert!(
        said(&office.run(&["check"])).contains("expected a title of 1 to 200 characters without control")
    );
    let other = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    for (lines, part) in [
        (format!("previous = {{ digest = \"{other}\" }}"), "expected one of 'until' and 'overlap'"),
        (
            format!("previous = {{ digest = \"{digest}\", overlap = \"1h\" }}"),
            "a key with this digest stands above",
        ),
        (format!("previous = {{ digest = \"{other}\", overlop = \"1h\" }}"), "did you mean 'overlap'?"),
        (format!("previous = {{ digest = \"{other}\", overlap = \"soon\" }}"), "expected a duration"),
        ("previous = true".to_owned(), "expected a table"),
        ("revoked_at = 2026-11-22T10:00:00Z".to_owned(), "without 'revoked = true' this key is in use"),
        ("owner = \"a\\u0007\"".to_owned(), "without control characters"),
    ] {
        let text = check(&lines);
        assert!(text.contains(part), "{part} is not in\n{text}");
        assert!(!text.contains(&key.text), "{text}");
    }
}
