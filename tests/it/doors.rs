//! Ways past a webhook's proof that are closed, and small promises about deliveries.

use crate::support::bot_api::TOKEN;
use crate::support::client::Connection;
use crate::support::crm::Crm;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan, TestKey};

const SECRET: &str = "old-secret-old-secret-old-secret-1";
const HEADER: &str = "X-Telegram-Bot-Api-Secret-Token: old-secret-old-secret-old-secret-1";

fn start(plan: Plan) -> Gateway {
    let mut plan = plan;
    plan.environment = vec![("OLD", SECRET.to_owned()), ("BOT_TOKEN", TOKEN.to_owned())];
    plan.start()
}

fn hook(lines: &str) -> String {
    format!(
        "[[webhook]]\nname = \"bot\"\npath = \"/hook\"\nsender = \"telegram\"\nsecrets = [\"env:OLD\"]\n{lines}\n"
    )
}

#[test]
fn a_public_route_does_not_lead_past_a_webhook() {
    let crm = Crm::usual();
    let behind = hook("upstream_path = \"/internal/inbound-of-telegram\"");
    let public = "[[route]]\npath = \"/hook/help\"\naccess = \"public\"\n[[route]]\npath = \"/**\"\naccess = \"public\"\n";
    let key = TestKey::new(&["read"], "");
    let gateway = start(Plan::before(&crm).key(&key).with(&behind).with(public));
    for path in [
        "/internal/inbound-of-telegram",
        "/internal/inbound-of-telegram/",
        "/Internal/Inbound-of-Telegram",
        "/internal/inbound-of-telegram.json",
        "/HOOK",
        "/hook/",
        "/hook/x",
        "/hook.php",
        "/hook?x=1",
    ] {
        assert_eq!(gateway.post(path, &[], "{}").status, 401, "{path}");
        assert!(gateway.post(path, &[&key.header()], "{}").status >= 400, "{path}: no scope covers it");
    }
    assert_eq!(crm.seen.count(), 0);
    for path in ["/", "/login", "/hooks", "/hook-2", "/hook/help", "/internal/inbound-of-telegrams"] {
        assert_eq!(gateway.post(path, &[], "{}").status, 200, "{path}");
    }
    assert_eq!(gateway.post("/hook", &[HEADER], r#"{"update_id":1}"#).status, 200);
}

#[test]
fn the_path_at_the_crm_is_in_no_log() {
    let crm = Crm::usual();
    let telegram = format!(
        "{}[webhook.telegram]\nbot_token = \"env:BOT_TOKEN\"\npublic_url = \"https://localhost\"\n",
        hook("upstream_path = \"/webhooks/telegram/{bot_token}\"")
    );
    let public = "[[route]]\npath = \"/**\"\naccess = \"public\"\n";
    let gateway = start(Plan::before(&crm).with(&telegram).with(public));
    assert_eq!(gateway.post(&format!("/webhooks/telegram/{TOKEN}"), &[], "{}").status, 401);
    assert!(gateway.log(1).iter().all(|line| line["path"] == "[hidden]"));
    assert_eq!(crm.seen.count(), 0);
}

#[test]
fn another_bot_numbers_its_updates_anew() {
    let crm = Crm::usual();
    let telegram = format!(
        "{}[webhook.telegram]\nbot_token = \"file:token\"\npublic_url = \"https://localhost\"\n",
        hook("upstream_path = \"/t/{bot_token}\"")
    );
    let gateway = start(Plan::before(&crm).with(&telegram).file("token", TOKEN));
    let update = r#"{"update_id":9}"#;
    for _ in 0..2 {
        assert_eq!(gateway.post("/hook", &[HEADER], update).status, 200);
    }
    assert_eq!(crm.seen.count(), 1, "a duplicate");
    let other = TOKEN.replace("123456789", "987654321");
    std::fs::write(gateway.folder.path().join("token"), &other).unwrap();
    eventually("the other bot's update goes on", || {
        assert_eq!(gateway.post("/hook", &[HEADER], update).status, 200);
        (crm.seen.count() == 2).then_some(())
    });
    assert!(crm.seen.last().starts_with("POST /t/987654321:"));
}

#[test]
fn what_stands_behind_a_body_is_not_proved() {
    let crm = Crm::usual();
    let webhook =
        "[[webhook]]\nname = \"plain\"\npath = \"/plain\"\nheader = \"X-Secret\"\nsecrets = [\"env:OLD\"]\n";
    let gateway = start(Plan::before(&crm).with(webhook));
    let mut connection = Connection::open(gateway.address);
    connection.send(format!(
        "POST /plain HTTP/1.1\r\nHost: a\r\nX-Secret: {SECRET}\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"
    ));
    assert_eq!(connection.answer().unwrap().status, 200);
    let seen = crm.seen.last().to_lowercase();
    assert!(seen.contains("abc") && !seen.contains("x-sum: 1"), "{seen}");
    connection
        .send(format!("POST /plain HTTP/1.1\r\nHost: a\r\nX-Secret: {SECRET}\r\nContent-Length: 1\r\n\r\nx"));
    assert_eq!(connection.answer().unwrap().status, 200, "the connection is kept");
}

#[test]
fn bytes_of_held_bodies_are_logged_whatever_became_of_them() {
    let crm = Crm::usual();
    let gateway = start(Plan::before(&crm).with(&hook("")));
    let body = r#"{"update_id":7}"#;
    for _ in 0..2 {
        assert_eq!(gateway.post("/hook", &[HEADER], body).status, 200);
    }
    let lines = gateway.log(2);
    assert_eq!(lines[1]["delivery"], "duplicate");
    assert!(lines.iter().all(|line| line["bytes_in"] == body.len()), "{lines:?}");
}

#[test]
fn a_held_body_must_come_whole_in_time() {
    let crm = Crm::usual();
    let timeouts = "[timeouts]\ndrain_accept = \"0s\"\nheld_body = \"300ms\"\n";
    let gateway = start(Plan::before(&crm).with(&hook("")).with(timeouts));
    let mut connection = Connection::open(gateway.address);
    connection.send(format!("POST /hook HTTP/1.1\r\nHost: a\r\n{HEADER}\r\nContent-Length: 100\r\n\r\n{{"));
    assert_eq!(connection.answer().unwrap().status, 408);
    assert!(connection.is_closed());
    assert_eq!(crm.seen.count(), 0);
}

#[test]
fn escapes_open_no_door() {
    let crm = Crm::usual();
    let hooks = "[[webhook]]\nname = \"inner\"\npath = \"/in/c:p\"\nsender = \"github\"\nsecrets = [\"env:OLD\"]\nupstream_path = \"/app/hook:in@x\"\n";
    let routes = "[[route]]\npath = \"/app/a:b/**\"\naccess = \"key\"\n[[route]]\npath = \"/**\"\naccess = \"public\"\n";
    let gateway = start(Plan::before(&crm).with(hooks).with(routes));
    for path in [
        "/app/hook:in@x",
        "/app/hook%3Ain@x",
        "/app/hook%3ain%40x",
        "/APP/hook:in%40X/",
        "/in/c%3Ap",
        "/in/c%3ap.json",
        "/app/a%3Ab/x",
        "/app/a:b/x",
    ] {
        assert_eq!(gateway.post(path, &[], "{}").status, 401, "{path}");
    }
    assert_eq!(crm.seen.count(), 0);
    assert_eq!(gateway.post("/app/hook%3Ainn", &[], "{}").status, 200);
    assert!(gateway.log(9).iter().all(|line| line["route"] != "public" || line["status"] == 200));
}

#[test]
fn a_wrong_secret_is_refused_before_its_body() {
    let crm = Crm::usual();
    let more = "[[webhook]]\nname = \"stripe\"\npath = \"/stripe\"\nsender = \"stripe\"\nsecrets = [\"env:OLD\"]\n[[webhook]]\nname = \"basic\"\npath = \"/basic\"\nsender = \"basic\"\nsecrets = [\"env:BASIC\"]\n";
    let mut plan = Plan::before(&crm).with(&hook("")).with(more);
    plan.environment =
        vec![("OLD", SECRET.to_owned()), ("BASIC", "user:a-password-of-some-length".to_owned())];
    let gateway = plan.start();
    let stale = format!("Stripe-Signature: t=1,v1={}", "0".repeat(64));
    for (path, line) in [
        ("/hook", "X-Telegram-Bot-Api-Secret-Token: wrong"),
        ("/stripe", &*stale),
        ("/basic", "Authorization: Basic eDp5"),
        ("/basic", "X-A: b"),
    ] {
        let mut connection = Connection::open(gateway.address);
        connection.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\n{line}\r\nContent-Length: 1000\r\n\r\n"));
        assert_eq!(connection.answer().unwrap().status, 401, "{path} {line}");
    }
    assert_eq!(crm.seen.count(), 0);
}

#[test]
fn what_was_live_when_a_body_began_may_have_ended_since() {
    let crm = Crm::usual();
    let webhook = hook("").replace("env:OLD", "file:token") + "[limits]\nper_address_failures = \"1000/s\"\n";
    let gateway =
        start(Plan::before(&crm).with(&webhook).file("token", "the-first-secret-the-first-secret-1"));
    let header = |secret: &str| format!("X-Telegram-Bot-Api-Secret-Token: {secret}");
    let body = r#"{"update_id":1}"#;
    let mut slow = Connection::open(gateway.address);
    let first = header("the-first-secret-the-first-secret-1");
    slow.send(format!(
        "POST /hook HTTP/1.1\r\nHost: a\r\n{first}\r\nContent-Length: {}\r\n\r\n{}",
        body.len(),
        &body[..5]
    ));
    eventually("the body is held", || (gateway.metric("sidelock_in_flight") == 1.0).then_some(()));
    std::fs::write(gateway.folder.path().join("token"), "the-second-secret-the-second-sec-2").unwrap();
    let second = header("the-second-secret-the-second-sec-2");
    eventually("the other secret is in force", || {
        (gateway.post("/hook", &[&second], r#"{"update_id":2}"#).status == 200).then_some(())
    });
    let count = crm.seen.count();
    slow.send(&body[5..]);
    assert_eq!(slow.answer().unwrap().status, 401);
    assert_eq!(crm.seen.count(), count);
    // Its figures do not pass to the secret that took its place.
    let uses = gateway.metric("sidelock_webhook_secret_uses_total{secret=\"1\",webhook=\"bot\"}");
    assert_eq!(uses, 1.0);
}

#[test]
fn figures_of_a_secret_move_with_it() {
    let crm = Crm::usual();
    let gateway = start(Plan::before(&crm).with(&hook("")));
    for id in 0..3 {
        assert_eq!(gateway.post("/hook", &[HEADER], &format!("{{\"update_id\":{id}}}")).status, 200);
    }
    let uses = |place: u8| {
        gateway.metric(&format!("sidelock_webhook_secret_uses_total{{secret=\"{place}\",webhook=\"bot\"}}"))
    };
    assert_eq!(uses(1), 3.0);
    let text = std::fs::read_to_string(gateway.config_file()).unwrap();
    std::fs::write(gateway.folder.path().join("new"), "a-new-secret-a-new-secret-a-new-secret").unwrap();
    std::fs::write(gateway.config_file(), text.replace("[\"env:OLD\"]", "[\"file:new\", \"env:OLD\"]"))
        .unwrap();
    eventually("the old one is second", || (uses(2) == 3.0).then_some(()));
    assert_eq!(uses(1), 0.0);
}

#[test]
fn a_query_secret_goes_on_in_no_spelling() {
    let crm = Crm::usual();
    let webhook = "[[webhook]]\nname = \"q\"\npath = \"/q\"\nquery = \"secret\"\nsecrets = [\"env:ODD\"]\n";
    let mut plan = Plan::before(&crm).with(webhook);
    plan.environment = vec![("ODD", "a+secret/with=odd+characters/1234".to_owned())];
    let gateway = plan.start();
    let sent = "a%2Bsecret%2Fwith%3Dodd%2Bcharacters%2F1234";
    assert_eq!(
        gateway.post(&format!("/q?secret={sent}"), &[&format!("Referer: https://x/?{sent}")], "x").status,
        200
    );
    assert!(!crm.seen.last().contains(sent), "{}", crm.seen.last());
    assert_eq!(gateway.post(&format!("/q?secret={sent}&x={sent}"), &[], "x").status, 400);
}

#[test]
fn a_token_sender_shakes_hands_too() {
    let crm = Crm::usual();
    let sender = "[sender.acme]\nverify = \"token\"\nsig = { in = \"header\", name = \"x-tok\" }\nhandshake = \"slack-url-verification\"\n[[webhook]]\nname = \"acme\"\npath = \"/acme\"\nsender = \"acme\"\nsecrets = [\"env:OLD\"]\n";
    let gateway = start(Plan::before(&crm).with(sender));
    let question = r#"{"type":"url_verification","challenge":"abc"}"#;
    let answer = gateway.post("/acme", &[&format!("X-Tok: {SECRET}")], question);
    assert_eq!((answer.status, &*answer.text(), crm.seen.count()), (200, "abc", 0));
    assert_eq!(gateway.post("/acme", &["X-Tok: wrong"], question).status, 401);
}
