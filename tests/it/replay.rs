//! The past asked anew: `sidelock check --replay` and `sidelock explain --request-id`.

use serde_json::Value;
use sidelock::credential::api_key::KeyDigest;

use crate::support::crm::Crm;
use crate::support::gateway::{Plan, TestKey};
use crate::support::ledger::{Entry, get, refused, text};
use crate::support::office::{Office, said};

fn block(id: &str, lines: &str) -> String {
    let digest = KeyDigest::of(id.as_bytes());
    format!("[[key]]\nid = \"{id}\"\ntitle = \"Title of {id}\"\ndigest = \"{digest}\"\n{lines}\n")
}

fn post(secs: i64, key: &'static str, path: &str) -> Entry {
    Entry { method: "POST", scope: Some("write"), ..get(secs, key, path) }
}

fn denied(entry: Entry, status: u16, reason: &str) -> Entry {
    Entry { status, scope: None, more: format!(",\"reason\":\"{reason}\""), ..entry }
}

fn office(keys: &str, log: &[Entry]) -> Office {
    let office = Office::with(keys);
    std::fs::create_dir(office.path("state")).unwrap();
    std::fs::write(office.path("state/access.ndjson"), text(log)).unwrap();
    office
}

/// Key, method, shape, reason and count of each group.
fn groups(replayed: &Value, list: &str) -> Vec<String> {
    let groups = replayed[list].as_array().unwrap().iter();
    groups
        .map(|it| {
            let text = |name: &str| it[name].as_str().unwrap_or("-").to_owned();
            let [key, method, path, reason] = ["key", "method", "path", "reason"].map(text);
            format!("{} {key} {method} {path} {reason}", it["count"])
        })
        .collect()
}

fn past() -> [Entry; 13] {
    [
        get(0, "stays", "/api/tickets/1"),
        get(1, "shop", "/api/tickets/1"),
        post(2, "shop", "/api/tickets/2/notes"),
        post(3, "shop", "/api/tickets/33/notes"),
        get(4, "gone", "/api/x"),
        denied(post(5, "bot", "/api/x"), 403, "scope"),
        Entry { client: "198.51.100.7".to_owned(), ..get(6, "office", "/api/x") },
        get(7, "office", "/api/x"),
        // The CRM's trouble is not the gate's.
        Entry {
            status: 502,
            more: ",\"reason\":\"upstream_broken\"".to_owned(),
            ..get(8, "stays", "/api/y")
        },
        denied(get(9, "old", "/api/x"), 401, "expired"),
        refused(10, "192.0.2.1", "unknown"),
        refused(11, "192.0.2.1", "missing"),
        // What passed because its key was observed.
        Entry {
            scope: None,
            more: ",\"observed\":\"scope\",\"sampled\":10".to_owned(),
            ..post(12, "stays", "/api/z")
        },
    ]
}

fn present() -> [String; 5] {
    [
        block("stays", "scopes = [\"read\"]"),
        block("shop", "scopes = [\"read\"]"),
        block("bot", "scopes = [\"write\"]"),
        block("office", "scopes = [\"read\"]\nallow_from = [\"203.0.113.0/24\"]"),
        block("old", "scopes = [\"read\"]\nexpires = 2999-01-01T00:00:00Z"),
    ]
}

#[test]
fn who_would_be_newly_refused_or_allowed() {
    let (log, keys) = (past(), present());
    let office = office(&keys.concat(), &log);
    let replay =
        |more: &[&str]| office.json(&[&["check", "--replay", "all"], more].concat())["replay"].clone();
    let replayed = replay(&[]);
    assert_eq!(
        groups(&replayed, "newly_refused"),
        [
            "10 stays POST /api/z scope",
            "2 shop POST /api/tickets/{id}/notes scope",
            "1 gone GET /api/x unknown",
            "1 office GET /api/x address",
        ]
    );
    assert_eq!(groups(&replayed, "newly_allowed"), ["1 bot POST /api/x scope", "1 old GET /api/x expired"]);
    let notes = &replayed["newly_refused"][1];
    assert_eq!(
        (&notes["first"], &notes["last"], &notes["example"]),
        (&"2026-11-22T10:00:02Z".into(), &"2026-11-22T10:00:03Z".into(), &"/api/tickets/2/notes".into())
    );
    assert_eq!((&replayed["same"], &replayed["changed"]), (&6.into(), &16.into()));
    let output = office.run(&["check", "--replay", "all"]);
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && table.contains("NEWLY REFUSED") && table.contains("NEWLY ALLOWED"),
        "{table}"
    );
    assert!(
        said(&output).contains("6 requests would be judged as they were, 16 otherwise"),
        "{}",
        said(&output)
    );
    assert_eq!(office.run(&["check", "--replay", "all", "--strict"]).status.code(), Some(3));

    // Another key file, that nobody has put in force yet.
    let other = keys.concat().replace("\"write\"]", "\"read\"]") + &block("gone", "scopes = [\"read\"]");
    office.save(&other);
    std::fs::rename(office.path("keys.toml"), office.path("new.toml")).unwrap();
    office.save(&keys.concat());
    let replayed = replay(&["--keys", "new.toml"]);
    assert!(!groups(&replayed, "newly_refused").iter().any(|it| it.contains("gone")), "{replayed}");
    assert_eq!(groups(&replayed, "newly_allowed"), ["1 old GET /api/x expired"]);
    let none = office.json(&["check", "--replay", "2026-11-22T10:00:13Z"])["replay"].clone();
    assert_eq!((&none["same"], &none["changed"]), (&0.into(), &0.into()));
}

#[test]
fn what_the_log_does_not_hold_is_not_guessed() {
    let more = "[scopes.query]\nallow = [\"POST /graphql graphql:query\"]\n[client_address]\ntrusted_proxies = [\"10.0.0.0/8\"]\nallow_from = [\"203.0.113.0/24\"]\n[[webhook]]\nname = \"bot\"\npath = \"/bot\"\nsender = \"telegram\"\nsecrets = [\"file:secret\"]\n";
    let from = |client: &str, entry: Entry| Entry { client: client.to_owned(), ..entry };
    let log = [
        get(0, "k", "[hidden]"),
        post(1, "k", "/graphql"),
        denied(post(2, "k", "/graphql"), 413, "body_too_large"),
        Entry { key: None, route: "bot", ..post(3, "", "/bot") },
        denied(get(4, "k", "/api/x"), 429, "rate"),
        denied(get(5, "k", "/api//x"), 400, "ambiguous"),
        // Refused by an older list of the gate's.
        denied(Entry { key: None, ..get(6, "", "/api/x") }, 403, "address"),
        from("10.0.0.1", get(7, "k", "/api/x")),
        from("nowhere", get(8, "k", "/api/x")),
        denied(get(9, "k", "/api/x"), 418, "of_tomorrow"),
        // The list refused it, and does.
        from("192.0.2.1", denied(Entry { key: None, ..get(10, "", "/api/x") }, 403, "address")),
    ];
    let office = office(&block("k", "scopes = [\"query\", \"read\"]"), &log);
    std::fs::write(office.path("secret"), "0123456789abcdef0123456789abcdef").unwrap();
    let config = std::fs::read_to_string(office.path("sidelock.toml")).unwrap() + more;
    std::fs::write(office.path("sidelock.toml"), config).unwrap();
    let replayed = &office.json(&["check", "--replay", "all"])["replay"];
    let expected = serde_json::json!({
        "hidden": 1, "body": 2, "proof": 1, "rate": 1, "head": 1, "key": 1, "address": 1, "foreign": 2,
    });
    assert_eq!(replayed["not_judged"], expected, "{replayed}");
    assert_eq!((&replayed["same"], &replayed["changed"]), (&1.into(), &0.into()), "{replayed}");
    let said = said(&office.run(&["check", "--replay", "all"]));
    assert!(said.contains("1 requests were not judged: they were refused by a rate"), "{said}");
}

#[test]
fn many_groups_are_bounded_and_counted() {
    let log: Vec<Entry> = (0..2_010).map(|at| post(at, "k", &format!("/api/kind-{}", word(at)))).collect();
    let office = office(&block("k", "scopes = []"), &log);
    let replayed = &office.json(&["check", "--replay", "all"])["replay"];
    assert_eq!(replayed["newly_refused"].as_array().unwrap().len(), 2_000);
    assert_eq!((&replayed["changed"], &replayed["left_out"]), (&2_010.into(), &10.into()));
}

/// A word of letters for a number.
fn word(number: i64) -> String {
    number.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect()
}

#[test]
fn a_real_gateways_log_is_judged_as_it_was() {
    let crm = Crm::usual();
    let (reader, decoy) = (TestKey::new(&["read"], ""), TestKey::new(&[], "decoy = true"));
    let observed = TestKey::new(&["read"], "mode = \"observe\"");
    let mut gateway = Plan::before(&crm).key(&reader).key(&decoy).key(&observed).start();
    let refused = gateway.post("/api/x", &[&reader.header()], "");
    gateway.get("/api/x", &[&reader.header()]);
    gateway.get("/api/x", &[&decoy.header()]);
    gateway.get("/api/x", &["X-API-Key: 0123456789abcdefXYZ"]);
    gateway.get("/api/x", &[]);
    gateway.post("/api/x", &[&observed.header()], "");
    gateway.stop();
    let office = Office { folder: std::mem::replace(&mut gateway.folder, tempfile::tempdir().unwrap()) };
    let replay = || office.json(&["check", "--replay", "1h"])["replay"].clone();
    let same = replay();
    assert_eq!((&same["same"], &same["changed"]), (&6.into(), &0.into()), "{same}");
    let keys = office.keys();
    office.save(&keys.replace("mode = \"observe\"", "").replace("decoy = true", ""));
    let changed = replay();
    assert_eq!(groups(&changed, "newly_refused"), [format!("1 {} POST /api/x scope", observed.id)]);
    assert_eq!(groups(&changed, "newly_allowed"), Vec::<String>::new(), "no scope yet");

    let id = refused.header("x-request-id").unwrap();
    let told = office.json(&["explain", "--request-id", id]);
    assert_eq!((&told["record"]["reason"], &told["now"]["reason"]), (&"scope".into(), &"scope".into()));
    assert_eq!((&told["now"]["key"], &told["now"]["method"]), (&reader.id.as_str().into(), &"POST".into()));
    office.save(&keys.replace("\"read\"]", "\"read\", \"write\"]"));
    let told = office.done(&["explain", "--request-id", id]);
    assert!(told.contains("refused as scope") && told.contains("allowed by the scope write"), "{told}");
    assert!(told.contains("are not in the log"), "{told}");
}

#[test]
fn a_past_request_that_is_not_there_or_cannot_be_asked() {
    let hidden = Entry { id: "00000000000000aa".to_owned(), ..refused(0, "192.0.2.1", "unknown") };
    let hidden = Entry { path: "[hidden]".to_owned(), ..hidden };
    let expired = Entry { id: "00000000000000bb".to_owned(), ..get(0, "k", "/api/x") };
    let keys = block("k", "scopes = [\"read\"]\nexpires = 2026-11-22T10:00:01Z");
    let office = office(&keys, &[hidden, expired]);
    assert!(
        office
            .refused(&["explain", "--request-id", "00000000000000cc"])
            .contains("no request in the access log")
    );
    let told = office.json(&["explain", "--request-id", "00000000000000aa"]);
    assert_eq!(told["now"], Value::Null);
    assert!(told["not_asked"].as_str().unwrap().contains("could hold a credential"), "{told}");
    // In force then, over by whenever this runs.
    let at = ["--at", "2026-12-01"];
    let told = office.json(&[&["explain", "--request-id", "00000000000000bb"], &at[..]].concat());
    assert_eq!(
        (&told["then"], &told["now"]["reason"]),
        (&"allowed by the scope read".into(), &"expired".into())
    );
    let text = office.done(&[&["explain", "--request-id", "00000000000000bb"], &at[..]].concat());
    assert!(text.contains("at the time of the request: allowed by the scope read"), "{text}");
    assert_eq!(office.run(&["explain", "GET", "/", "--request-id", "x"]).status.code(), Some(2));
}

#[test]
fn a_query_that_was_refused_for_a_hidden_field_is_not_guessed() {
    let log = [
        denied(get(0, "k", "/api/me"), 403, "scope_never"),
        denied(get(1, "k", "/api/me/7"), 403, "scope_unread"),
        // Closed then, and open now; nothing is hidden there.
        denied(get(2, "k", "/api/x"), 403, "scope_never"),
        denied(get(3, "k", "/api/me"), 403, "scope"),
        get(4, "k", "/api/me"),
    ];
    let office = office(&block("k", "scopes = [\"read\"]"), &log);
    let pack = "name = \"own\"\nversion = \"1\"\n[scopes.own]\nallow = [\"GET /api/me\"]\n[[blank]]\nreplies_to = [\"GET /api/me/**\"]\nfields = [\"access_token\"]\n";
    std::fs::write(office.path("own.toml"), pack).unwrap();
    let config = std::fs::read_to_string(office.path("sidelock.toml")).unwrap();
    let config = config.replace("[keys]", "crm_file = \"own.toml\"\n[keys]");
    std::fs::write(office.path("sidelock.toml"), config).unwrap();
    let replayed = &office.json(&["check", "--replay", "all"])["replay"];
    assert_eq!(groups(replayed, "newly_allowed"), ["1 k GET /api/x scope_never", "1 k GET /api/me scope"]);
    assert_eq!((&replayed["not_judged"]["head"], &replayed["same"]), (&2.into(), &1.into()), "{replayed}");
}
