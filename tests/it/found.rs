//! Holes that a review found: each stays shut.

use crate::support::client::{Connection, request};
use crate::support::crm::Crm;
use crate::support::eventually;
use crate::support::gateway::{Plan, TestKey};

const PUBLIC: &str = "[[route]]\npath = \"/login/admin/**\"\naccess = \"key\"\n[[route]]\npath = \"/login/**\"\naccess = \"public\"\n";
const SECRET: &str = "hook-secret-hook-secret-hook-secret";

#[test]
fn path_parameters_do_not_slip_past_routes() {
    let crm = Crm::usual();
    let gateway = Plan::before(&crm).with(PUBLIC).start();
    for path in [
        "/login/admin;x/users",
        "/login/admin;/users",
        "/login/..%3bx/api",
        "/login/..;x/api",
        "/login/..%20/api",
        "/login/%3b",
    ] {
        assert_eq!(gateway.get(path, &[]).status, 400, "{path}");
    }
    assert_eq!(crm.seen.count(), 0);
}

/// A pack closes paths by method, and scopes may cover every method: a CRM that folds case must not see what neither has judged.
#[test]
fn a_method_in_small_letters_does_not_open_what_is_closed() {
    let (crm, key) = (Crm::usual(), TestKey::new(&["all"], ""));
    let pack = "name = \"own\"\nversion = \"1\"\nnever = [\"GET,DELETE /api/users/**\"]\n[scopes.all]\nallow = [\"ANY /api/**\"]\n";
    let mut plan = Plan::before(&crm).key(&key).with(PUBLIC).file("own.toml", pack);
    plan.upstream.push_str("\ncrm_file = \"own.toml\"");
    let gateway = plan.start();
    for (method, path, status) in [
        ("GET", "/api/users/1", 403),
        ("get", "/api/users/1", 400),
        ("Delete", "/api/users/1", 400),
        ("get", "/login/form", 400),
        ("PURGE", "/api/x", 200),
    ] {
        let mut connection = Connection::open(gateway.address);
        connection.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n", key.header()));
        assert_eq!(connection.answer().unwrap().status, status, "{method} {path}");
    }
    assert_eq!(crm.seen.count(), 1);
}

#[test]
fn a_client_that_leaves_early_is_still_counted_on_its_key() {
    let crm = Crm::with(|mut stream, seen| {
        seen.read(&mut stream);
        seen.read(&mut stream);
    });
    let key = TestKey::new(&["read"], "");
    let gateway = Plan::before(&crm).key(&key).start();
    let mut connection = Connection::open(gateway.address);
    connection.send(request("GET", "/api/x", &[&key.header()], ""));
    eventually("the CRM has it", || (crm.seen.count() == 1).then_some(()));
    drop(connection);
    let series = format!("sidelock_requests_total{{code_class=\"4xx\",key=\"{}\",route=\"api\"}}", key.id);
    eventually("it is counted", || (gateway.metric(&series) == 1.0).then_some(()));
}

#[test]
fn a_revoked_line_counts_in_a_file_with_mistakes_and_the_old_file_brings_the_key_back() {
    let crm = Crm::usual();
    let keys = [(); 4].map(|()| TestKey::new(&["read"], ""));
    let gateway = keys.iter().fold(Plan::before(&crm), |plan, key| plan.key(key)).start();
    let status = |key: &TestKey| gateway.get("/api/x", &[&key.header()]).status;
    let good = std::fs::read_to_string(gateway.keys_file()).unwrap();
    let marked = good
        .replace(&format!("id = \"{}\"", keys[1].id), &format!("id = \"{}\"\nrevoked = true", keys[1].id));
    std::fs::write(gateway.keys_file(), marked + "rubbish = 1\n").unwrap();
    eventually("the mark counts", || (gateway.status_of(&keys[1]) == Some(401)).then_some(()));
    assert_eq!(status(&keys[0]), 200);
    assert_eq!(gateway.metric("sidelock_last_reload_successful"), 0.0);
    std::fs::write(gateway.keys_file(), good).unwrap();
    eventually("the old file is in force again", || (status(&keys[1]) == 200).then_some(()));
}

#[test]
fn copies_of_a_webhook_secret_do_not_go_on() {
    let crm = Crm::usual();
    let mut plan = Plan::before(&crm)
        .with("[[webhook]]\nname = \"h\"\npath = \"/h\"\nheader = \"x-hook\"\nsecrets = [\"env:HOOK\"]\n[[webhook]]\nname = \"q\"\npath = \"/q\"\nquery = \"s\"\nsecrets = [\"env:HOOK\"]\n");
    plan.environment.push(("HOOK", SECRET.to_owned()));
    let gateway = plan.start();
    let (hook, copy) = (format!("X-Hook: {SECRET}"), format!("Cookie: a={SECRET}"));
    assert_eq!(gateway.post("/h", &[&hook, &copy], "x").status, 200);
    assert_eq!(gateway.post(&format!("/h?x={SECRET}"), &[&hook], "x").status, 400);
    assert_eq!(
        gateway.post(&format!("/q?s={SECRET}"), &[&format!("Referer: http://a/?s={SECRET}")], "x").status,
        200
    );
    assert_eq!(gateway.post(&format!("/q?s={SECRET}&S={SECRET}"), &[], "x").status, 400);
    gateway.get(&format!("/nowhere/{SECRET}"), &[]);
    assert!(!crm.seen.requests().concat().contains(SECRET));
    assert!(gateway.log(5).iter().all(|line| !line.to_string().contains(SECRET)));
}

#[test]
fn keys_that_are_not_our_own_form_stay_here_too() {
    use sidelock::credential::api_key::KeyDigest;
    let crm = Crm::usual();
    let mut key = TestKey::new(&["read"], "");
    let imported = "an-imported-key-of-a-partner";
    key.block = key.block.replace(
        &KeyDigest::of(key.text.as_bytes()).to_string(),
        &KeyDigest::of(imported.as_bytes()).to_string(),
    );
    let gateway = Plan::before(&crm).key(&key).with(PUBLIC).start();
    let header = format!("X-API-Key: {imported}");
    assert_eq!(gateway.get("/login/x", &[&header]).status, 200);
    assert_eq!(gateway.get("/api/x", &[&header]).status, 200);
    assert!(!crm.seen.requests().concat().contains(imported));
    for path in [format!("/api//{imported}"), format!("/api/{imported}")] {
        gateway.get(&path, &[&header]);
        gateway.get(&path, &[]);
    }
    assert!(gateway.log(6).iter().all(|line| !line.to_string().contains(imported)));
}

#[test]
fn half_a_head_behind_a_request_has_the_heads_deadline() {
    let crm = Crm::usual();
    let key = TestKey::new(&["read"], "");
    let gateway = Plan::before(&crm)
        .key(&key)
        .with("[timeouts]\nrequest_head = \"300ms\"\nkeep_alive = \"1h\"\ndrain_accept = \"0s\"\n")
        .start();
    let mut connection = Connection::open(gateway.address);
    connection.send(request("GET", "/api/x", &[&key.header()], "") + "GET /ap");
    assert_eq!(connection.answer().unwrap().status, 200);
    assert!(connection.is_closed());
}

#[test]
fn the_admin_listener_answers_while_requests_drain() {
    let crm = Crm::with(|mut stream, seen| {
        seen.read(&mut stream);
        seen.read(&mut stream);
    });
    let key = TestKey::new(&["read"], "");
    let gateway =
        Plan::before(&crm).key(&key).with("[timeouts]\ndrain_accept = \"0s\"\ndrain = \"8s\"\n").start();
    let mut connection = Connection::open(gateway.address);
    connection.send(request("GET", "/api/x", &[&key.header()], ""));
    eventually("the CRM has it", || (crm.seen.count() == 1).then_some(()));
    gateway.signal("TERM");
    eventually("it drains", || gateway.said.text().contains("no longer ready").then_some(()));
    eventually("the gateway no longer listens", || {
        std::net::TcpStream::connect(gateway.address).is_err().then_some(())
    });
    assert_eq!(crate::support::client::get(gateway.admin, "/healthz", &[]).status, 200);
    assert_eq!(crate::support::client::get(gateway.admin, "/readyz", &[]).status, 503);
    drop(connection);
}

#[test]
fn a_rewritten_secret_file_is_taken() {
    let crm = Crm::usual();
    let gateway = Plan::before(&crm)
        .with("[[webhook]]\nname = \"h\"\npath = \"/h\"\nheader = \"x-hook\"\nsecrets = [\"file:keys.secret\"]\n")
        .file("keys.secret", "first-secret-first-secret")
        .start();
    let status = |secret: &str| gateway.post("/h", &[&format!("X-Hook: {secret}")], "x").status;
    assert_eq!(status("first-secret-first-secret"), 200);
    std::fs::write(gateway.folder.path().join("keys.secret"), "second-secret-second-secret").unwrap();
    eventually("the new one works", || (status("second-secret-second-secret") == 200).then_some(()));
    assert_ne!(status("first-secret-first-secret"), 200);
}

#[test]
fn a_key_out_of_scope_is_limited_all_the_same() {
    let crm = Crm::usual();
    let key = TestKey::new(&["read"], "rate = \"3/day\"");
    let gateway = Plan::before(&crm).key(&key).start();
    let statuses = [(); 5].map(|()| gateway.post("/api/x", &[&key.header()], "").status);
    assert_eq!(statuses, [403, 403, 403, 429, 429]);
}
