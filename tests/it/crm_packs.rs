//! A gateway that knows its CRM: what no key may reach, what a body asks for, and as whom the CRM is asked.

use std::process::{Command, Output};

use crate::support::client::Connection;
use crate::support::crm::Crm;
use crate::support::eventually;
use crate::support::gateway::{Plan, TestKey};
use crate::support::office::Office;

fn line<'a>(request: &'a str, name: &str) -> Vec<&'a str> {
    request
        .lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(given, _)| given.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .collect()
}

fn before(crm: &Crm, upstream: &str) -> Plan {
    let mut plan = Plan::before(crm);
    plan.upstream.push_str(&format!("\n{upstream}"));
    plan.environment = vec![("CRM_TOKEN", "usual-token".to_owned()), ("CRM_OTHER", "other-token".to_owned())];
    plan
}

#[test]
fn a_token_takes_the_place_of_the_key_and_no_scope_opens_a_profile() {
    let crm = Crm::usual();
    // `read` is GET /api/**: as wide as people write it.
    let key = TestKey::new(&["read", "send_messages"], "");
    let upstream = "crm = \"chatwoot\"\ncredential = { secret = \"env:CRM_TOKEN\" }";
    let gateway = before(&crm, upstream).key(&key).start();
    let own = format!("api_access_token: {}", key.text);
    let session = ["access-token: a", "client: b", "uid: c", "Cookie: d"];
    let headers: Vec<&str> = std::iter::once(own.as_str()).chain(session).collect();
    assert_eq!(gateway.post("/api/v1/accounts/3/conversations/7/messages", &headers, "{}").status, 200);
    let seen = crm.seen.last();
    assert_eq!(line(&seen, "api_access_token"), ["usual-token"]);
    assert!(!seen.contains(&key.text));
    for name in ["access-token", "client", "uid", "cookie"] {
        assert_eq!(line(&seen, name), Vec::<&str>::new(), "{name}");
    }
    let count = crm.seen.count();
    for path in ["/api/v1/profile", "/api/v1/Profile/", "/api/v1/profile.json", "/API/v1/profile"] {
        let refused = gateway.get(path, &[&own]);
        assert_eq!(refused.status, 403, "{path}");
        assert!(refused.text().contains("never-allowed"), "{}", refused.text());
    }
    // The spelling with hyphens is the same field, and two of them are two credentials.
    let twin = format!("api-access-token: {}", key.text);
    assert_eq!(gateway.get("/api/v1/accounts/3/conversations", &[&twin]).status, 200);
    assert_eq!(gateway.get("/api/v1/accounts/3/conversations", &[&own, &twin]).status, 400);
    assert_eq!(crm.seen.count(), count + 1);
    let denied = format!("sidelock_denied_total{{key=\"{}\",reason=\"scope_never\"}}", key.id);
    assert_eq!(gateway.metric(&denied), 4.0);
}

#[test]
fn one_path_for_reading_and_changing() {
    let crm = Crm::answering(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"data\":{}}",
    );
    let (reader, writer) = (TestKey::new(&["read_records"], ""), TestKey::new(&["manage_records"], ""));
    let gateway = before(&crm, "crm = \"twenty\"").key(&reader).key(&writer).start();
    let json = "Content-Type: application/json";
    let (query, mutation) = ("{\"query\" : \"{ people { id } }\"}", r#"{"query":"mutation { a }"}"#);
    let post = |key: &TestKey, headers: &[&str], body: &str| {
        let own = key.header();
        let headers: Vec<&str> = std::iter::once(own.as_str()).chain(headers.iter().copied()).collect();
        gateway.post("/graphql", &headers, body)
    };
    assert_eq!(post(&reader, &[json], query).status, 200);
    let seen = crm.seen.last();
    assert!(seen.ends_with(query), "the same bytes: {seen}");
    assert_eq!(post(&writer, &[json], mutation).status, 200);
    assert_eq!(gateway.get("/graphql?query=%7Ba%7D", &[&reader.header()]).status, 200);
    let count = crm.seen.count();
    for (headers, body, status, slug) in [
        (&[json][..], mutation, 403, "scope-missing"),
        (&[json], "", 403, "scope-missing"),
        (&[json, json], query, 403, "scope-missing"),
        (&["Content-Type: text/plain"], query, 403, "scope-missing"),
        (&[json, "Content-Encoding: gzip"], query, 403, "body-unread"),
        (&[json], &format!("{query}{}", " ".repeat(1024 * 1024)), 413, "body-too-large"),
    ] {
        let refused = post(&reader, headers, body);
        assert_eq!(refused.status, status, "{headers:?} {slug}");
        assert!(refused.text().contains(slug), "{headers:?} {}", refused.text());
    }
    assert_eq!(post(&writer, &[json], query).status, 403);
    // What a query opens, a tunnel would leave open for anything.
    let mut client = Connection::open(gateway.address);
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==";
    client.send(format!(
        "GET /graphql?query=%7Ba%7D HTTP/1.1\r\nHost: crm.example\r\n{}\r\n{upgrade}\r\n\r\n",
        reader.header()
    ));
    assert_eq!(client.answer().unwrap().status, 403);
    assert_eq!(crm.seen.count(), count);
    let scopes: Vec<_> = gateway.log(10).iter().map(|line| line["scope"].clone()).collect();
    assert_eq!((&scopes[0], &scopes[1]), (&"read_records".into(), &"manage_records".into()));
}

#[test]
fn the_crm_is_asked_as_the_key_or_the_scope_says() {
    let crm = Crm::usual();
    let usual = TestKey::new(&["read", "write"], "");
    let own = TestKey::new(&["read", "reports"], "credential = \"other\"");
    let by_scope = TestKey::new(&["reports"], "");
    let upstream = "credential = { header = \"X-Token\", secret = \"env:CRM_TOKEN\" }";
    let gateway = before(&crm, upstream)
        .with("[scopes.reports]\nallow = [\"GET /reports\"]\ncredential = \"basic\"\n")
        .with("[upstream.credentials.other]\nheader = \"X-Other\"\nprefix = \"Key \"\nsecret = \"env:CRM_OTHER\"\n")
        .with("[upstream.credentials.basic]\nheader = \"Authorization\"\nprefix = \"Basic \"\nbasic = \"{secret}:X\"\nsecret = \"env:CRM_OTHER\"\n")
        .key(&usual)
        .key(&own)
        .key(&by_scope)
        .start();
    // "other-token:X"
    let basic = "Basic b3RoZXItdG9rZW46WA==";
    for (key, path, header, value) in [
        (&usual, "/api/x", "x-token", "usual-token"),
        (&own, "/api/x", "x-other", "Key other-token"),
        (&own, "/reports", "x-other", "Key other-token"),
        (&by_scope, "/reports", "authorization", basic),
    ] {
        // A client cannot add another of them.
        let answer = gateway.get(path, &[&key.header(), "X-Token: mine", "X-Other: mine"]);
        assert_eq!(answer.status, 200, "{path}");
        let seen = crm.seen.last();
        for known in ["x-token", "x-other", "authorization"] {
            let expected: &[&str] = if known == header { &[value] } else { &[] };
            assert_eq!(line(&seen, known), expected, "{path} {known}");
        }
    }
}

#[test]
fn a_pack_of_ones_own_is_followed() {
    let crm = Crm::usual();
    let key = TestKey::new(&["read_visits"], "");
    const PACK: &str = "name = \"own\"\nversion = \"1\"\npublic = [\"/login/**\"]\nnever = []\n[scopes.read_visits]\nallow = [\"GET /visits\"]\n";
    let gateway = before(&crm, "crm_file = \"own.toml\"\npublic = true")
        .with("[[route]]\npath = \"/login/admin\"\naccess = \"key\"\n")
        .file("own.toml", PACK)
        .key(&key)
        .start();
    assert_eq!(gateway.get("/visits", &[&key.header()]).status, 200);
    assert_eq!(gateway.get("/login/", &[]).status, 200);
    assert_eq!(gateway.get("/visits", &[]).status, 401);
    // What the user wrote down goes before what the pack offers.
    assert_eq!(gateway.get("/login/admin", &[]).status, 401);
    let file = gateway.folder.path().join("own.toml");
    std::fs::write(&file, PACK.replace("never = []", "never = [\"GET /visits\"]")).unwrap();
    eventually("the edit is in force", || {
        (gateway.get("/visits", &[&key.header()]).status == 403).then_some(())
    });
    std::fs::write(&file, PACK.replace("GET /visits", "GET visits")).unwrap();
    eventually("it is refused", || (gateway.metric("sidelock_last_reload_successful") == 0.0).then_some(()));
}

#[test]
fn a_scope_of_ones_own_takes_the_place_of_the_packs() {
    let crm = Crm::usual();
    let key = TestKey::new(&["read_messages", "send_messages"], "");
    let gateway = before(&crm, "crm = \"chatwoot\"\ncredential = { secret = \"env:CRM_TOKEN\" }")
        .with("[scopes.read_messages]\nallow = [\"GET /only\"]\n[scopes.send_messages]\ncredential = \"other\"\n")
        .with("[upstream.credentials.other]\nsecret = \"env:CRM_OTHER\"\n")
        .key(&key)
        .start();
    let conversations = "/api/v1/accounts/3/conversations";
    assert_eq!(gateway.get(conversations, &[&key.header()]).status, 403);
    assert_eq!(gateway.get("/only", &[&key.header()]).status, 200);
    assert_eq!(line(&crm.seen.last(), "api_access_token"), ["usual-token"]);
    // Without rules it is still the pack's, asked as another user, in the pack's own header.
    assert_eq!(gateway.post(conversations, &[&key.header()], "{}").status, 200);
    assert_eq!(line(&crm.seen.last(), "api_access_token"), ["other-token"]);
}

#[test]
fn a_key_that_is_revoked_while_its_body_comes_is_refused() {
    let crm = Crm::usual();
    let (key, other) = (TestKey::new(&["read_records"], ""), TestKey::new(&["read_records"], ""));
    let gateway = before(&crm, "crm = \"twenty\"").key(&key).key(&other).start();
    let body = r#"{"query":"{ people { id } }"}"#;
    let mut client = Connection::open(gateway.address);
    client.send(format!(
        "POST /graphql HTTP/1.1\r\nHost: crm.example\r\n{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        key.header(),
        body.len()
    ));
    client.send(&body[..5]);
    let text = std::fs::read_to_string(gateway.keys_file()).unwrap();
    let block = key.block.replace("scopes =", "revoked = true\nscopes =");
    std::fs::write(gateway.keys_file(), text.replace(&key.block, &block)).unwrap();
    eventually("the revocation is in force", || {
        (gateway.get("/rest/people", &[&key.header()]).status == 401).then_some(())
    });
    client.send(&body[5..]);
    // Its connection may be gone already.
    assert!(client.answer().is_none_or(|answer| answer.status == 401));
    assert!(crm.seen.requests().iter().all(|request| !request.contains("/graphql")));
}

fn sidelock(office: &Office, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sidelock"))
        .args(args)
        .current_dir(office.folder.path())
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

/// An office whose `[upstream]` has more lines.
fn office(upstream: &str, sections: &str, keys: &str) -> Office {
    let office = Office::with(keys);
    let file = office.path("sidelock.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("[keys]", &format!("{upstream}\n[keys]")) + sections).unwrap();
    office
}

#[test]
fn mistakes_tell_what_was_meant() {
    let key = TestKey::new(&["read_mesages"], "credential = \"reportng\"").block;
    let named = "[upstream.credentials.reporting]\nsecret = \"file:/dev/null\"\n[scopes.x]\nallow = [\"GET /x\"]\ncredential = \"reprting\"\n";
    for (upstream, sections, keys, part) in [
        ("crm = \"chatwot\"", "", "", "did you mean 'chatwoot'?"),
        ("crm = \"chatwoot\"\ncrm_file = \"x.toml\"", "", "", "expected one of 'crm' and 'crm_file'"),
        ("crm_file = \"x.toml\"", "", "", "x.toml: cannot be read"),
        ("public = true", "", "", "no pack says which paths"),
        ("crm = \"freshdesk\"\npublic = true", "", "", "no pack says which paths"),
        ("crm = \"chatwoot\"", "", key.as_str(), "did you mean 'read_messages'?"),
        ("crm = \"chatwoot\"", named, key.as_str(), "no credential is called 'reportng'"),
        ("", named, "", "'header' is missing"),
        ("", named, "", "did you mean 'reporting'?"),
        (
            "credential = { header = \"x-k\", basic = \"x\", secret = \"file:x\" }",
            "",
            "",
            "expected '{secret}' once",
        ),
    ] {
        let office = office(upstream, sections, keys);
        let output = sidelock(&office, &["check"]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{upstream} {text}");
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let office = office("crm_file = \"own.toml\"", "", "");
    std::fs::write(office.path("own.toml"), "name = \"own\"\nversion = \"1\"\nnevr = []\n").unwrap();
    let text = String::from_utf8_lossy(&sidelock(&office, &["check"]).stderr).into_owned();
    assert!(text.contains("own.toml:3") && text.contains("did you mean 'never'?"), "{text}");
}

#[test]
fn a_role_is_its_scopes() {
    let sections = "[upstream.credentials.reporting]\nsecret = \"env:NOT_SET\"\n";
    let office = office("crm = \"zammad\"", sections, "");
    let create = |more: &[&str]| {
        let args = [&["keys", "create", "--title", "T"], more].concat();
        let output = sidelock(&office, &args);
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert!(
        create(&["--role", "read_only", "--scope", "reports,read_messages", "--credential", "reporting"]).0
    );
    let file = std::fs::read_to_string(office.path("keys.toml")).unwrap();
    assert!(file.contains("scopes = [\"read_messages\", \"read_contacts\", \"reports\"]"), "{file}");
    assert!(file.contains("credential = \"reporting\""), "{file}");
    let (made, told) = create(&["--role", "read_onli"]);
    assert!(!made && told.contains("no role is called 'read_onli'; did you mean 'read_only'?"), "{told}");
    let (made, told) = create(&["--scope", "reports", "--credential", "x"]);
    assert!(!made && told.contains("no credential is called 'x'; known: reporting"), "{told}");
    let (made, told) = create(&[]);
    assert!(!made && told.contains("--scope"), "{told}");
    let id = file.lines().find_map(|line| line.strip_prefix("id = \"")).unwrap().trim_end_matches('"');
    assert!(sidelock(&office, &["keys", "edit", id, "--credential", ""]).status.success());
    assert!(!std::fs::read_to_string(office.path("keys.toml")).unwrap().contains("credential"));
}
