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
