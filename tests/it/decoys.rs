//! Keys that lie about to be stolen: a thief is told nothing, and the operator everything.

use crate::support::client::Answer;
use crate::support::crm::Crm;
use crate::support::gateway::{Gateway, Plan, TestKey};
use crate::support::office::Office;

fn touches(gateway: &Gateway, key: &TestKey) -> String {
    let series = format!("sidelock_denied_total{{key=\"{}\",reason=\"decoy\"}}", key.id);
    let metrics = gateway.metrics();
    let line = metrics.lines().find_map(|line| line.strip_prefix(&series)).map(str::trim);
    line.unwrap_or("absent").to_owned()
}

/// What a client can tell two answers by, but for the id and the time.
fn told(answer: &Answer) -> (u16, Vec<String>, String) {
    let mut names: Vec<String> = answer
        .head
        .lines()
        .skip(1)
        .filter(|line| !line.to_ascii_lowercase().starts_with("x-request-id") && !line.starts_with("date"))
        .map(str::to_owned)
        .collect();
    names.sort();
    let body = answer.text();
    (answer.status, names, body.split("\"request_id\"").next().unwrap().to_owned())
}

#[test]
fn a_decoy_is_an_unknown_key_to_whoever_presents_it() {
    let crm = Crm::usual();
    let plain = TestKey::new(&["read"], "decoy = true");
    let expired = TestKey::new(&["read"], "decoy = true\nexpires = 2020-01-01T00:00:00Z");
    let revoked = TestKey::new(&["read"], "decoy = true\nrevoked = true");
    let stranger = TestKey::new(&[], "");
    let gateway = Plan::before(&crm).key(&plain).key(&expired).key(&revoked).start();
    for key in [&plain, &expired, &revoked] {
        assert_eq!(touches(&gateway, key), "0", "there before it happens");
    }
    let unknown = told(&gateway.get("/api/x", &[&stranger.header()]));
    for key in [&plain, &expired, &revoked] {
        assert_eq!(told(&gateway.get("/api/x", &[&key.header()])), unknown);
        assert_eq!(touches(&gateway, key), "1");
    }
    assert_eq!(unknown.0, 401);
    assert_eq!(crm.seen.count(), 0);
    assert_eq!(gateway.metric("sidelock_auth_failures_total{reason=\"decoy\"}"), 3.0);
    assert_eq!(gateway.metric("sidelock_keys{state=\"decoy\"}"), 3.0);
    for other in ["active", "expired", "revoked"] {
        assert_eq!(gateway.metric(&format!("sidelock_keys{{state=\"{other}\"}}")), 0.0, "{other}");
    }
    let metrics = gateway.metrics();
    assert!(metrics.contains("# TYPE sidelock_key_info") && !metrics.contains("sidelock_key_expires"));
    let lines = gateway.log(4);
    assert_eq!((&lines[1]["key"], &lines[1]["reason"]), (&plain.id.as_str().into(), &"decoy".into()));
}

#[test]
fn no_other_refusal_hides_a_decoy() {
    let crm = Crm::usual();
    let (decoy, stranger) = (TestKey::new(&[], "decoy = true"), TestKey::new(&[], ""));
    let gateway =
        Plan::before(&crm).key(&decoy).with("[limits]\nper_address_failures = \"1/h burst 1\"\n").start();
    assert_eq!(gateway.get("/api/x", &[&stranger.header()]).status, 401);
    assert_eq!(gateway.get("/api/x", &[&stranger.header()]).status, 429);
    assert_eq!(gateway.get("/api/x", &[&decoy.header()]).status, 429, "as for any unknown key");
    assert_eq!(touches(&gateway, &decoy), "1");

    let elsewhere = "[client_address]\nallow_from = [\"203.0.113.0/24\"]\n";
    let gateway = Plan::before(&crm).key(&decoy).with(elsewhere).start();
    let unknown = told(&gateway.get("/api/x", &[&stranger.header()]));
    assert_eq!(told(&gateway.get("/api/x", &[&decoy.header()])), unknown);
    assert_eq!((unknown.0, touches(&gateway, &decoy).as_str()), (403, "1"));
    assert_eq!(crm.seen.count(), 0);
}

#[test]
fn a_decoy_is_noticed_however_it_is_tried() {
    let crm = Crm::usual();
    let decoy = TestKey::new(&[], "decoy = true");
    let gateway = Plan::before(&crm).key(&decoy).start();
    let (text, header) = (&decoy.text, decoy.header());
    let tries = [
        ("/api/x", vec![header.clone(), format!("Authorization: Bearer {text}")]),
        ("/api/x", vec![header.clone(), header.clone()]),
        ("/api/x", vec![format!("X_API_Key: {text}")]),
        ("/api/x", vec![format!("Authorization: Token {text}")]),
        ("//api/x", vec![header]),
    ];
    for (path, headers) in &tries {
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let answer = gateway.get(path, &headers);
        assert!((400..=401).contains(&answer.status), "{path} {headers:?} {}", answer.status);
    }
    assert_eq!(touches(&gateway, &decoy), "5");
    assert_eq!(crm.seen.count(), 0);
}

#[test]
fn guessing_a_decoy_is_guessing() {
    let crm = Crm::usual();
    let (decoy, unknown) = (TestKey::new(&[], "decoy = true"), TestKey::new(&[], ""));
    let ban = "[ban]\nafter = \"3/10min\"\nfor = \"1h\"\nexempt_loopback = false\n";
    let statuses = [&decoy, &unknown].map(|key| {
        let gateway = Plan::before(&crm).key(&decoy).with(ban).start();
        (0..6).map(|_| gateway.get("/api/x", &[&key.header()]).status).collect::<Vec<_>>()
    });
    assert_eq!(statuses[0], statuses[1]);
    assert!(statuses[0].contains(&403));
}

#[test]
fn decoys_beyond_the_cap_of_labels_are_told_too() {
    let crm = Crm::usual();
    let (key, decoy) = (TestKey::new(&["read"], ""), TestKey::new(&[], "decoy = true"));
    let mut gateway = Plan::before(&crm).key(&key).key(&decoy).start();
    gateway.stop();
    let config = std::fs::read_to_string(gateway.config_file()).unwrap();
    std::fs::write(gateway.config_file(), config.replace("[server]\n", "[server]\nkey_labels = 1\n"))
        .unwrap();
    gateway.again();
    assert_eq!(touches(&gateway, &decoy), "0");
    gateway.get("/api/x", &[&decoy.header()]);
    assert_eq!(touches(&gateway, &decoy), "1");
    assert_eq!(gateway.metric("sidelock_denied_total{key=\"other\",reason=\"decoy\"}"), 0.0);
}

#[test]
fn made_listed_and_left_alone_by_commands() {
    let office = Office::with("");
    let made = office.json(&["keys", "create", "--decoy", "--title", "Old admin key", "--owner", "security"]);
    let id = made["id"].as_str().unwrap();
    let file = office.keys();
    assert!(file.contains("decoy = true") && !file.contains("scopes") && !file.contains("expires"), "{file}");
    office.done(&["check", "--strict"]);
    assert_eq!(office.json(&["keys", "show", id])["state"], "decoy");
    let listed = office.done(&["keys", "list", "--search", "decoy"]);
    assert!(listed.contains(id) && !listed.contains("never"), "{listed}");
    for verb in [&["keys", "rotate", id][..], &["keys", "revoke", id, "--reason", "x"]] {
        let refused = office.refused(verb);
        assert!(refused.contains("a decoy"), "{refused}");
    }
    office.done(&["keys", "prune", "--older-than", "1s", "--yes"]);
    assert_eq!(office.keys(), file);
    for more in [["--scope", "read"], ["--rate", "1/s"], ["--expires", "1d"], ["--allow-from", "::1"]] {
        let args = [&["keys", "create", "--decoy", "--title", "x"][..], &more].concat();
        assert_eq!(office.run(&args).status.code(), Some(2), "{more:?}");
    }
}
