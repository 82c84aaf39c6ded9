//! `sidelock keys`: each verb, and what it refuses.

use std::os::unix::fs::PermissionsExt;

use crate::support::gateway::TestKey;
use crate::support::office::{Office, said};

fn create(office: &Office, title: &str, more: &[&str]) -> (String, String) {
    let args = [&["keys", "create", "--title", title, "--scope", "read"], more].concat();
    let made = office.json(&args);
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

#[test]
fn created_with_everything_and_shown_once() {
    let office = Office::with("# mine\n");
    let args = [
        "--scope",
        "write,read",
        "--expires",
        "30d",
        "--allow-from",
        "203.0.113.0/24,2001:db8::1",
        "--rate",
        "9/min burst 20",
        "--owner",
        "billing",
        "--note",
        "asked by Anna",
    ];
    let (id, key) = create(&office, "Shop \"one\"", &args);
    let file = office.keys();
    assert!(file.starts_with("# mine\n\n[[key]]\n") && !file.contains(&key));
    for line in [
        "title = \"Shop \\\"one\\\"\"",
        "scopes = [\"read\", \"write\"]",
        "allow_from = [\"203.0.113.0/24\", \"2001:db8::1\"]",
        "rate = \"9/min burst 20\"",
        "owner = \"billing\"",
        "note = \"asked by Anna\"",
    ] {
        assert!(file.contains(line), "{line} is not in\n{file}");
    }
    let shown = office.json(&["keys", "show", &id]);
    assert_eq!((&shown["state"], &shown["last_used"]), (&"live".into(), &serde_json::Value::Null));
    let bare = office.done(&["keys", "create", "--title", "x", "--scope", "read"]);
    assert!(bare.starts_with("slk_") && bare.lines().count() == 1, "bare on a pipe");
    office.done(&["keys", "create", "--title", "f", "--scope", "read", "--output", "new.key"]);
    let mode = std::fs::metadata(office.path("new.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = office.keys();
    let again = office.refused(&["keys", "create", "--title", "f", "--scope", "read", "--output", "new.key"]);
    assert!(again.contains("nothing was changed") && office.keys() == before, "{again}");
}

#[test]
fn a_pasted_key_names_itself_and_is_never_repeated() {
    let office = Office::with("");
    let (id, key) = create(&office, "First", &[]);
    assert_eq!(office.json(&["keys", "show", &key])["id"], id.as_str());
    let cut = &key[..key.len() - 1];
    std::fs::create_dir_all(office.path("state")).unwrap();
    std::fs::write(office.path("state/access.ndjson"), "").unwrap();
    for args in [
        &["keys", "show", cut][..],
        &["keys", "revoke", cut, "--reason", "leak"],
        &["keys", "create", "--title", &key, "--scope", "read"],
        &["keys", "revoke", &id, "--reason", &key],
        &["keys", "edit", &id, "--note", &format!("was {key}")],
        &["explain", "GET", "/api/x", "--key", cut],
        &["report", "--key", cut],
        &["log", "--key", cut],
    ] {
        let output = office.run(args);
        let told = said(&output) + &String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && !told.contains(cut), "{told}");
    }
    assert!(!office.keys().contains(&key) && !office.record().contains(&key));
    office.done(&["keys", "revoke", &key, "--reason", "leak"]);
    assert!(office.keys().contains("revoked = true"));
}

#[test]
fn a_key_for_ever_can_be_rotated() {
    let block = TestKey::new(&["read"], "created = 2020-01-01T00:00:00Z\nexpires = 9999-01-01T00:00:00Z");
    let office = Office::with(&block.block);
    office.done(&["keys", "rotate", &block.id]);
    assert!(office.keys().contains("expires = 9999-12-30T22:00:00Z"), "{}", office.keys());
}

#[test]
fn the_first_key_makes_the_file() {
    let office = Office::with("");
    std::fs::remove_file(office.path("keys.toml")).unwrap();
    assert!(said(&office.run(&["keys", "list"])).contains("cannot be read"));
    assert!(!office.path("keys.toml").exists(), "looking makes nothing");
    let (id, _) = create(&office, "First", &[]);
    assert!(office.keys().contains(&id));
    let mode = std::fs::metadata(office.path("keys.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_create_refuses() {
    let office = Office::with("");
    let with = |args: &[&'static str]| [&["keys", "create", "--title", "x"], args].concat();
    let text = office.refused(&with(&["--scope", "raed"]));
    assert!(text.contains("did you mean 'read'? known: read, write"), "{text}");
    for (title, why) in [("a\u{1b}[2J", "control character"), ("", "1 to 200"), ("a\nb", "control character")]
    {
        let text = office.refused(&["keys", "create", "--title", title, "--scope", "read"]);
        assert!(text.contains(why), "{text}");
    }
    for args in [
        &["--scope", "read", "--never-expires"][..],
        &["--scope", "read", "--reason", "x"],
        &["--scope", "read", "--never-expires", "--reason", "x", "--expires", "1d"],
        &["--scope", "read", "--allow-from", "10.1.0.0/8"],
        &["--scope", "read", "--rate", "often"],
    ] {
        assert_eq!(office.run(&with(args)).status.code(), Some(2), "{args:?}");
    }
    assert_eq!(office.keys(), "");
    office.done(&with(&["--scope", "read", "--never-expires", "--reason", "the CRM's own cron job"]));
    assert!(
        office.keys().contains("reason = \"the CRM's own cron job\"") && !office.keys().contains("expires")
    );
}

#[test]
fn print_leaves_the_file_alone() {
    let office = Office::with("# mine\n");
    let output = office.run(&["keys", "create", "--title", "x", "--scope", "read", "--print"]);
    assert!(output.status.success());
    let toml = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(toml.contains("[[key]]") && !toml.contains("slk_") && said(&output).contains("slk_"));
    assert_eq!(office.keys(), "# mine\n");
    office.save(&toml);
    office.done(&["check"]);
}

#[test]
fn listed_searched_and_sorted() {
    let office = Office::with("");
    let (b, _) = create(&office, "Beta", &["--expires", "10d"]);
    let (a, _) = create(&office, "alpha", &["--expires", "20d", "--owner", "Finance"]);
    let (c, _) = create(&office, "gam\u{202e}ma", &["--never-expires", "--reason", "x"]);
    office.done(&["keys", "revoke", &c, "--reason", "leaked"]);
    let ids = |args: &[&str]| -> Vec<String> {
        let listed = office.json(&[&["keys", "list"], args].concat());
        listed["keys"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&[]), [&b[..], &a, &c]);
    assert_eq!(ids(&["--sort", "title"]), [&a[..], &b, &c]);
    assert_eq!(ids(&["--sort", "expires"]), [&b[..], &a, &c]);
    assert_eq!(ids(&["--sort", "state"]), [&a[..], &b, &c]);
    assert_eq!(ids(&["--search", "FINANCE"]), [&a[..]]);
    assert_eq!(ids(&["--search", "expiring"]), [&b[..]]);
    assert_eq!(ids(&["--search", "revoked"]), [&c[..]]);
    assert_eq!(ids(&["--search", &a.to_uppercase()]), [&a[..]]);
    let table = office.done(&["keys", "list"]);
    assert!(table.contains("gam\\u{202e}ma") && !table.contains('\u{202e}'), "{table}");
    assert!(table.lines().nth(1).unwrap().contains("expiring") && table.contains("in 9d"), "{table}");
}

#[test]
fn found_by_id_or_title_and_nothing_else() {
    let office = Office::with("");
    let (a, _) = create(&office, "Shop", &[]);
    let (b, _) = create(&office, "Shop", &[]);
    create(&office, "Other", &[]);
    assert_eq!(office.json(&["keys", "show", "Other"])["title"], "Other");
    let text = office.refused(&["keys", "show", "Shop"]);
    assert!(text.contains(&a) && text.contains(&b), "{text}");
    assert!(office.refused(&["keys", "show", "Othr"]).contains("did you mean 'Other'?"));
}

#[test]
fn edited_field_by_field() {
    let office = Office::with("");
    let (id, _) = create(&office, "Shop", &["--owner", "a", "--rate", "5/s"]);
    office.done(&[
        "keys",
        "edit",
        &id,
        "--add-scope",
        "write",
        "--title",
        "New",
        "--owner",
        "",
        "--note",
        "n",
    ]);
    let file = office.keys();
    assert!(file.contains("scopes = [\"read\", \"write\"]") && file.contains("title = \"New\""), "{file}");
    assert!(
        !file.contains("owner") && file.contains("note = \"n\"") && file.contains("rate = \"5/s\""),
        "{file}"
    );
    office.done(&["keys", "edit", &id, "--scopes", "write", "--default-rate", "--allow-from", "10.0.0.0/8"]);
    let file = office.keys();
    assert!(file.contains("scopes = [\"write\"]") && !file.contains("rate") && file.contains("10.0.0.0/8"));
    office.done(&["keys", "edit", &id, "--from-anywhere", "--never-expires", "--reason", "why"]);
    let file = office.keys();
    assert!(!file.contains("allow_from") && !file.contains("expires") && file.contains("reason = \"why\""));
    assert!(office.refused(&["keys", "edit", &id, "--remove-scope", "read"]).contains("does not have"));
    assert!(office.refused(&["keys", "edit", &id, "--title", "\u{7}"]).contains("control character"));
    assert_eq!(office.run(&["keys", "edit", &id]).status.code(), Some(2), "nothing to edit");
}

#[test]
fn revoked_with_a_reason_and_pruned_in_time() {
    let office = Office::with("# top\n");
    let (a, _) = create(&office, "A", &[]);
    let (b, _) = create(&office, "B", &[]);
    office.done(&["keys", "revoke", &a, "--reason", "left the company"]);
    let file = office.keys();
    assert!(
        file.contains("revoked = true\nrevoked_at = ") && file.contains("\"left the company\""),
        "{file}"
    );
    assert_eq!(office.json(&["keys", "show", &a])["state"], "revoked");
    assert!(said(&office.run(&["keys", "revoke", &a, "--reason", "again"])).contains("revoked already"));
    assert!(office.refused(&["keys", "rotate", &a]).contains("is revoked"));
    office.done(&["keys", "prune"]);
    assert_eq!(office.keys(), file, "90 days are not over");
    let dry = office.run(&["keys", "prune", "--older-than", "0s", "--dry-run"]);
    assert!(said(&dry).contains(&a) && !said(&dry).contains(&b) && office.keys() == file);
    assert_eq!(office.json(&["keys", "prune", "--older-than", "0s"])["removed"], serde_json::json!([a]));
    assert!(
        !office.keys().contains(&a) && office.keys().starts_with("# top\n\n[[key]]\n"),
        "{}",
        office.keys()
    );
    assert!(!office.path("state/confirm-drop").exists(), "one of two is not most of them");
    office.done(&["keys", "revoke", &b, "--reason", "x"]);
    office.done(&["keys", "prune", "--older-than", "0s"]);
    assert_eq!(office.keys(), "# top\n");
    assert!(office.path("state/confirm-drop").exists(), "the running process is told that this is meant");
}

#[test]
fn imported_many_at_once_or_none() {
    let office = Office::with("");
    let own = TestKey::new(&[], "").text;
    let import = |args: &[&str], input: &str| {
        office.with_input(&[&["keys", "import", "--scope", "read"], args].concat(), input)
    };
    let slip = &own[..own.len() - 1];
    let bad =
        format!("{own}\nshort\n{slip}\n a-key-of-a-partner-0001 \n\n{own}\na b c d e f g h i j k l\nx,y\n");
    let output = import(&[], &bad);
    let text = said(&output);
    assert_eq!((output.status.code(), office.keys().as_str()), (Some(1), ""));
    for line in [
        "line 2: a key of another form needs at least 20",
        "line 3: this key is mistyped",
        "line 4: spaces around the key are left out",
        "line 6: the same key as in line 1",
        "line 7: a key has at most 512 characters, all of them visible",
        "line 8: this line has a comma",
        "nothing was imported: 5 bad lines",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let titled = format!("Shop,{own}\r\n\"A, B\", a-key-of-a-partner-0001 \n");
    let output = import(&["--lines", "title-key", "--json"], &titled);
    assert!(output.status.success(), "{}", said(&output));
    let well = said(&output) + &String::from_utf8_lossy(&output.stdout);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&told["imported"][0]["title"], &told["imported"][1]["title"]),
        (&"Shop".into(), &"A, B".into())
    );
    assert_eq!(told["imported"][0]["id"], own[4..12], "its own id stays");
    let output = import(&[], "a-key-of-a-partner-0001\n");
    assert!(said(&output).contains("line 1: the key file has this key already"), "{}", said(&output));
    let all = format!("{text}{well}{}{}{}", office.keys(), office.record(), said(&output));
    for key in [&own, slip, "a-key-of-a-partner", "a b c d"] {
        assert!(!all.contains(key), "{key} came out");
    }
}

#[test]
fn a_key_is_shown_when_it_is_made_and_never_again() {
    let office = Office::with("");
    let mut keys = Vec::new();
    let mut out = String::new();
    let (id, key) = create(&office, "Shop", &["--owner", "o"]);
    keys.push(key);
    let rotated = office.json(&["keys", "rotate", &id, "--overlap", "48h"]);
    keys.push(rotated["key"].as_str().unwrap().to_owned());
    for args in [
        &["keys", "list"][..],
        &["keys", "list", "--json"],
        &["keys", "show", &id],
        &["keys", "show", &id, "--json"],
        &["keys", "edit", &id, "--note", "n", "--json"],
        &["keys", "rotate", &id],
        &["keys", "rotate", "--finish", &id, "--json"],
        &["keys", "revoke", &id, "--reason", "x", "--json"],
        &["keys", "prune", "--older-than", "0s", "--json"],
        &["check", "--json"],
        &["log", "--changes"],
        &["log", "--changes", "--json"],
        &["log", "--changes", "--verify", "--json"],
    ] {
        let output = office.run(args);
        out.push_str(&String::from_utf8_lossy(&output.stdout));
        out.push_str(&said(&output));
    }
    out.push_str(&office.record());
    assert!(out.contains(&id) && out.contains("sha256:"), "the search has something to search");
    assert!(keys.iter().all(|key| !out.contains(&key[13..])), "a key came out");
    let digest = sidelock::credential::api_key::KeyDigest::of(keys[0].as_bytes()).to_string();
    assert!(!out.contains(&digest) && out.contains(&digest[..19]), "digests are cut short");
}
