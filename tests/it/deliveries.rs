//! Signed deliveries through the running gateway: held, verified, forwarded once with the same bytes.

use std::io::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;
use serde_json::Value;

use crate::support::client::{Answer, Connection, request};
use crate::support::crm::Crm;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan};

const OLD: &str = "old-secret-old-secret-old-secret-1";
const NEW: &str = "new-secret-new-secret-new-secret-2";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What GitHub sends (docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries).
fn github(secret: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    format!("X-Hub-Signature-256: sha256={}", hex(hmac::sign(&key, body.as_bytes()).as_ref()))
}

fn gateway(crm: &Crm, lines: &str) -> Gateway {
    let webhook = format!("[[webhook]]\nname = \"hook\"\npath = \"/hook\"\n{lines}\n");
    let mut plan = Plan::before(crm).with(&webhook);
    plan.environment = vec![("OLD", OLD.to_owned()), ("NEW", NEW.to_owned())];
    plan.start()
}

const GITHUB: &str = "sender = \"github\"\nsecrets = [\"env:OLD\", \"env:NEW\"]";

fn deliveries(gateway: &Gateway, result: &str) -> f64 {
    gateway.metric(&format!("sidelock_webhook_deliveries_total{{result=\"{result}\",webhook=\"hook\"}}"))
}

#[test]
fn a_signed_delivery_goes_on_byte_for_byte_and_only_once() {
    let crm = Crm::usual();
    let gateway = gateway(&crm, GITHUB);
    let body = "{\"a\": 1,\n \"b\": \"\u{e9}\"}";
    let answer = gateway.post("/hook", &[&github(NEW, body)], body);
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    let seen = crm.seen.last();
    assert!(seen.starts_with("POST /hook HTTP/1.1\r\n") && seen.ends_with(body), "{seen}");
    assert!(seen.contains("x-hub-signature-256: sha256="), "the CRM may verify again: {seen}");
    let again = gateway.post("/hook", &[&github(NEW, body)], body);
    assert_eq!((again.status, again.body.len()), (200, 0), "a duplicate is fine, and goes nowhere");
    assert_eq!(crm.seen.count(), 1);
    assert_eq!((deliveries(&gateway, "accepted"), deliveries(&gateway, "duplicate")), (1.0, 1.0));
    let uses = |secret| {
        gateway.metric(&format!("sidelock_webhook_secret_uses_total{{secret=\"{secret}\",webhook=\"hook\"}}"))
    };
    assert_eq!((uses(1), uses(2)), (0.0, 2.0));
    assert!(gateway.metric("sidelock_webhook_last_success_timestamp_seconds{webhook=\"hook\"}") > 1e9);
    let log = gateway.log(2);
    assert_eq!((&log[0]["delivery"], &log[1]["delivery"]), (&Value::Null, &"duplicate".into()));
}

#[test]
fn what_is_not_genuine_never_reaches_the_crm() {
    let crm = Crm::usual();
    let gateway = gateway(&crm, GITHUB);
    let body = "{\"a\": 1}";
    let good = github(OLD, body);
    let last = if good.ends_with('0') { '1' } else { '0' };
    let changed = format!("{}{last}", &good[..good.len() - 1]);
    for (headers, body, reason) in [
        (&[][..], body, "webhook_signature_missing"),
        (&[&*good][..], "{\"a\": 2}", "webhook_signature_wrong"),
        (&[&changed], body, "webhook_signature_wrong"),
        (&[&github("another", body)], body, "webhook_signature_wrong"),
        (&[&*good, &*good], body, "webhook_field_doubled"),
        (&["X-Hub-Signature-256: sha256=xx"], body, "webhook_signature_malformed"),
    ] {
        let before = deliveries(&gateway, reason);
        let refused = gateway.post("/hook", headers, body);
        assert_eq!((refused.status, refused.body.len()), (401, 0), "{reason}");
        assert_eq!(deliveries(&gateway, reason), before + 1.0, "{reason}");
    }
    assert_eq!(crm.seen.count(), 0);
    // None of it spoils the connection or the true delivery.
    assert_eq!(gateway.post("/hook", &[&good], body).status, 200);
}

#[test]
fn without_a_signature_the_body_is_not_even_read() {
    let crm = Crm::usual();
    let gateway = gateway(&crm, GITHUB);
    let mut connection = Connection::open(gateway.address);
    connection.send("POST /hook HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
    assert_eq!(connection.answer().unwrap().status, 401);
}

#[test]
fn bodies_are_bounded_each_and_all_together() {
    let crm = Crm::usual();
    let lines = format!("{GITHUB}\nbody = \"8KiB\"\n[limits]\nheld_bodies = \"32KiB\"");
    let gateway = gateway(&crm, &lines);
    let fits = "x".repeat(8 * 1024);
    assert_eq!(gateway.post("/hook", &[&github(OLD, &fits)], &fits).status, 200);
    let long = "x".repeat(8 * 1024 + 1);
    assert_eq!(gateway.post("/hook", &[&github(OLD, &long)], &long).status, 413);
    let chunked = |body: &str| {
        let mut connection = Connection::open(gateway.address);
        let signature = github(OLD, body);
        let head =
            format!("POST /hook HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n{signature}\r\n\r\n");
        connection.send(format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len()));
        connection.answer().unwrap().status
    };
    assert_eq!(chunked(&long), 413);
    assert_eq!(chunked(&fits[1..]), 200, "the same bytes, however they were framed");
    assert!(crm.seen.last().contains("content-length: 8191"), "{}", crm.seen.last());

    // An address may take half of the room: two that hold all but their last byte leave none for a third. A third that comes too early may take the room of the
    // second, so all three try again together.
    let part = "y".repeat(8 * 1024);
    let head = request("POST", "/hook", &[&github(OLD, &part)], &part);
    let refused = eventually("there is no room left", || {
        let held = [(); 2].map(|()| {
            let mut connection = Connection::open(gateway.address);
            connection.send(&head[..head.len() - 1]);
            connection
        });
        let answer = gateway.post("/hook", &[&github(OLD, "zzzz")], "zzzz");
        drop(held);
        (answer.status == 503).then_some(answer)
    });
    assert_eq!(refused.header("retry-after"), Some("1"));
    eventually("the room is given back", || {
        (gateway.post("/hook", &[&github(OLD, "q")], "q").status == 200).then_some(())
    });
}

#[test]
fn a_delivery_that_failed_may_come_again() {
    let answers = std::sync::atomic::AtomicUsize::new(0);
    let crm = Crm::with(move |mut stream, seen| {
        while seen.read(&mut stream).is_some() {
            let first = answers.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
            let status = if first { "500 No" } else { "200 OK" };
            drop(stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes()));
        }
    });
    let gateway = gateway(&crm, GITHUB);
    let signature = github(OLD, "b");
    let statuses: Vec<u16> = (0..3).map(|_| gateway.post("/hook", &[&signature], "b").status).collect();
    assert_eq!((statuses, crm.seen.count()), (vec![500, 200, 200], 2));
    assert_eq!(deliveries(&gateway, "upstream_error"), 1.0);
}

#[test]
fn an_equal_one_under_way_is_asked_to_wait() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = parking_lot::Mutex::new(wait);
    let crm = Crm::with(move |mut stream, seen| {
        while seen.read(&mut stream).is_some() {
            wait.lock().recv().unwrap();
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    let gateway = gateway(&crm, GITHUB);
    let signature = github(OLD, "b");
    let mut first = Connection::open(gateway.address);
    first.send(request("POST", "/hook", &[&signature], "b"));
    eventually("the first one is at the CRM", || (crm.seen.count() == 1).then_some(()));
    let second = gateway.post("/hook", &[&signature], "b");
    assert_eq!((second.status, second.header("retry-after")), (503, Some("1")));
    go.send(()).unwrap();
    assert_eq!(first.answer().unwrap().status, 200);
    assert_eq!(gateway.post("/hook", &[&signature], "b").status, 200);
    assert_eq!(crm.seen.count(), 1);
}

#[test]
fn a_sender_that_hangs_up_finds_its_delivery_remembered() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = parking_lot::Mutex::new(wait);
    let crm = Crm::with(move |mut stream, seen| {
        while seen.read(&mut stream).is_some() {
            wait.lock().recv().unwrap();
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    let gateway = gateway(&crm, GITHUB);
    let signature = github(OLD, "b");
    let mut first = Connection::open(gateway.address);
    first.send(request("POST", "/hook", &[&signature], "b"));
    eventually("it is at the CRM", || (crm.seen.count() == 1).then_some(()));
    let open = || gateway.metric("process_open_fds");
    let before = open();
    drop(first);
    eventually("the sender is gone", || (open() < before).then_some(()));
    assert_eq!(gateway.metric("sidelock_connections"), 1.0, "what goes on without it keeps its place");
    go.send(()).unwrap();
    eventually("the CRM took it", || (deliveries(&gateway, "accepted") == 1.0).then_some(()));
    assert_eq!(gateway.post("/hook", &[&signature], "b").status, 200);
    assert_eq!((crm.seen.count(), deliveries(&gateway, "duplicate")), (1, 1.0));
}

#[test]
fn an_ambiguous_head_gets_an_empty_answer_too() {
    let crm = Crm::usual();
    let gateway = gateway(&crm, GITHUB);
    let refused = gateway.post("/hook", &[&github(OLD, "b"), "X_Hub_Signature_256: x"], "b");
    assert_eq!((refused.status, refused.body.len()), (400, 0));
    assert_eq!(deliveries(&gateway, "ambiguous"), 1.0);
}

#[test]
fn honest_equals_where_the_sender_has_them() {
    let crm = Crm::usual();
    let lines = "sender = \"zammad\"\nsecrets = [\"env:OLD\"]";
    let gateway = gateway(&crm, lines);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, OLD.as_bytes());
    let signature = format!("X-Hub-Signature: sha1={}", hex(hmac::sign(&key, b"b").as_ref()));
    for _ in 0..2 {
        assert_eq!(gateway.post("/hook", &[&signature], "b").status, 200);
    }
    assert_eq!(crm.seen.count(), 2);
}

fn slack(body: &str) -> [String; 2] {
    let stamp = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let key = hmac::Key::new(hmac::HMAC_SHA256, OLD.as_bytes());
    let signed = hex(hmac::sign(&key, format!("v0:{stamp}:{body}").as_bytes()).as_ref());
    [format!("X-Slack-Request-Timestamp: {stamp}"), format!("X-Slack-Signature: v0={signed}")]
}

#[test]
fn a_clock_that_is_wrong_is_said_once() {
    let crm = Crm::usual();
    let gateway = gateway(&crm, "sender = \"slack\"\nsecrets = [\"env:OLD\"]");
    let key = hmac::Key::new(hmac::HMAC_SHA256, OLD.as_bytes());
    let signed = hex(hmac::sign(&key, b"v0:1600000000:{}").as_ref());
    let old = ["X-Slack-Request-Timestamp: 1600000000", &*format!("X-Slack-Signature: v0={signed}")];
    for _ in 0..2 {
        assert_eq!(gateway.post("/hook", &old, "{}").status, 401);
    }
    assert_eq!(deliveries(&gateway, "webhook_timestamp_too_old"), 2.0);
    let said = || gateway.said.text().matches("a clock that is wrong").count();
    eventually("it is said", || (said() > 0).then_some(()));
    assert_eq!(said(), 1);
}

#[test]
fn handshakes_are_answered_or_forwarded() {
    let challenge = "{\"type\":\"url_verification\",\"challenge\":\"abc<b>\"}";
    let ask = |gateway: &Gateway| -> Answer {
        let [stamp, signature] = slack(challenge);
        gateway.post("/hook", &[&stamp, &signature], challenge)
    };
    let crm = Crm::usual();
    let lines = "sender = \"slack\"\nsecrets = [\"env:OLD\"]";
    let answering = gateway(&crm, lines);
    let answer = ask(&answering);
    assert_eq!((answer.status, answer.text().as_str()), (200, "abc<b>"));
    assert_eq!(answer.header("content-type"), Some("text/plain"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!((crm.seen.count(), deliveries(&answering, "handshake")), (0, 1.0));
    let forwarding = gateway(&crm, &format!("{lines}\nhandshake = \"forward\""));
    assert_eq!(ask(&forwarding).text(), "ok");
    assert_eq!(crm.seen.count(), 1);

    let meta = gateway(&crm, "sender = \"meta\"\nsecrets = [\"env:OLD\"]\nverify_token = \"env:NEW\"");
    let target =
        |token: &str| format!("/hook?hub.mode=subscribe&hub.verify_token={token}&hub.challenge=1158201444");
    assert_eq!(meta.get(&target(NEW), &[]).text(), "1158201444");
    let refused = meta.get(&target("wrong"), &[]);
    assert_eq!((refused.status, refused.body.len()), (401, 0));
    assert!(meta.log(2).iter().all(|line| !line.to_string().contains(NEW)));
}

#[test]
fn a_url_that_is_signed_is_the_public_one() {
    let crm = Crm::usual();
    let lines = "sender = \"twilio\"\nsecrets = [\"env:OLD\"]\npublic_url = \"https://crm.example.com\"";
    let gateway = gateway(&crm, lines);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, OLD.as_bytes());
    let signed = hmac::sign(&key, b"https://crm.example.com/hook?a=1Body2From+1");
    let signature = format!("X-Twilio-Signature: {}", BASE64_STANDARD.encode(signed));
    let kind = "Content-Type: application/x-www-form-urlencoded";
    let body = "From=%2B1&Body=2";
    assert_eq!(gateway.post("/hook?a=1", &[&signature, kind], body).status, 200);
    assert_eq!(gateway.post("/hook?a=2", &[&signature, kind], body).status, 401);
}

#[test]
fn a_sender_gets_the_answer_that_it_needs() {
    let crm = Crm::usual();
    let lines = "sender = \"salesforce-outbound\"\nquery = \"s\"\nsecrets = [\"env:OLD\"]\norganization_id = \"00D1\"";
    let gateway = gateway(&crm, lines);
    let body = |id: &str| format!("<e><OrganizationId>{id}</OrganizationId></e>");
    let target = format!("/hook?s={OLD}");
    let answer = gateway.post(&target, &[], &body("00D1"));
    assert!(answer.status == 200 && answer.text().contains("<Ack>true</Ack>"), "{}", answer.text());
    assert!(crm.seen.last().starts_with("POST /hook HTTP/1.1\r\n"), "{}", crm.seen.last());
    assert_eq!(gateway.post(&target, &[], &body("00D2")).status, 401);
    assert_eq!(crm.seen.count(), 1);
}

fn update(id: u64, from: i64) -> String {
    format!(
        "{{\"update_id\":{id},\"message\":{{\"message_id\":1,\"date\":1,\"text\":\"x\",\"from\":{{\"id\":{from},\"is_bot\":false,\"first_name\":\"A\"}},\"chat\":{{\"id\":{from},\"type\":\"private\"}}}}}}"
    )
}

#[test]
fn telegrams_updates_come_once() {
    let crm = Crm::usual();
    let header = format!("X-Telegram-Bot-Api-Secret-Token: {OLD}");
    let lines = "sender = \"telegram\"\nsecrets = [\"env:OLD\"]";
    let remembering = gateway(&crm, lines);
    for (id, count) in [(1, 1), (1, 1), (2, 2), (1, 2)] {
        let answer = remembering.post("/hook", &[&header], &update(id, 7));
        assert_eq!((answer.status, crm.seen.count()), (200, count), "{id}");
    }
    assert_eq!(deliveries(&remembering, "duplicate"), 2.0);
    // What is no update has no number: it is the CRM's to judge.
    assert_eq!(remembering.post("/hook", &[&header], "{}").text(), "ok");
    let forgetful = gateway(&crm, &format!("{lines}\nreplay = false"));
    for _ in 0..2 {
        assert_eq!(forgetful.post("/hook", &[&header], &update(1, 7)).text(), "ok");
    }
}

#[test]
fn whose_updates_become_tickets() {
    let header = format!("X-Telegram-Bot-Api-Secret-Token: {OLD}");
    let rules = |action: &str| {
        format!(
            "sender = \"telegram\"\nsecrets = [\"env:OLD\"]\n[webhook.senders]\nexpected = [7]\nblocked = [9]\naction = \"{action}\"\nfirst_seen = \"count\""
        )
    };
    let mark =
        |seen: &str| seen.lines().find_map(|line| Some(line.strip_prefix("x-sidelock-sender: ")?.to_owned()));
    for (action, from, goes, marked) in [
        ("count", 8, true, None),
        ("count", 9, true, None),
        ("mark", 7, true, None),
        ("mark", 8, true, Some("unexpected, first-seen")),
        ("mark", 9, false, None),
        ("refuse", 7, true, None),
        ("refuse", 8, false, None),
    ] {
        let crm = Crm::usual();
        let gateway = gateway(&crm, &rules(action));
        let spoof = "X-Sidelock-Sender: expected";
        let answer = gateway.post("/hook", &[&header, spoof], &update(1, from));
        assert_eq!((answer.status, answer.body.is_empty()), (200, !goes), "{action} {from}");
        assert_eq!(crm.seen.count(), usize::from(goes), "{action} {from}");
        if goes {
            assert_eq!(mark(&crm.seen.last()).as_deref(), marked, "{action} {from}");
        } else {
            assert_eq!(deliveries(&gateway, "withheld"), 1.0);
        }
        let sender = if from == 7 { "expected" } else { "unexpected" };
        let series =
            format!("sidelock_webhook_senders_total{{hours=\"in\",sender=\"{sender}\",webhook=\"hook\"}}");
        assert_eq!(gateway.metric(&series), 1.0, "{action} {from}");
    }
}

#[test]
fn what_a_review_found_stays_mended() {
    let crm = Crm::usual();
    let hooks = "sender = \"telegram\"\nsecrets = [\"env:OLD\"]\nupstream_path = \"/webhooks/telegram/{bot_token}\"\n[webhook.telegram]\nbot_token = \"env:BOT\"\npublic_url = \"https://crm.example.com\"\n[[webhook]]\nname = \"prefix\"\npath = \"/p\"\npath_prefix = \"/p/\"\nsecrets = [\"env:OLD\"]\nupstream_path = \"/x\"\n[[webhook]]\nname = \"inner\"\npath = \"/p/inner\"\nsender = \"github\"\nsecrets = [\"env:OLD\"]\n";
    let mut plan =
        Plan::before(&crm).with(&format!("[[webhook]]\nname = \"hook\"\npath = \"/hook/{OLD}\"\n{hooks}"));
    const TOKEN: &str = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw";
    plan.environment = vec![("OLD", OLD.to_owned()), ("BOT", TOKEN.to_owned())];
    let gateway = plan.start();
    // An exact path comes before one that ends in a secret.
    assert_eq!(gateway.post("/p/inner", &[&github(OLD, "b")], "b").status, 200);
    // The secret in the path of a delivery that is refused after its body was read is in no log.
    let header = format!("X-Telegram-Bot-Api-Secret-Token: {OLD}");
    assert_eq!(gateway.post(&format!("/hook/{OLD}"), &[&header], "{}").status, 400);
    assert!(gateway.log(2).iter().all(|line| !line.to_string().contains(OLD)));
    drop(gateway);

    let lines = hooks.split("[[webhook]]").next().unwrap();
    let mut plan =
        Plan::before(&crm).with(&format!("[[webhook]]\nname = \"hook\"\npath = \"/hook\"\n{lines}"));
    plan.environment = vec![("OLD", OLD.to_owned()), ("BOT", TOKEN.to_owned())];
    let gateway = plan.start();
    assert_eq!(gateway.post("/hook", &[&header], &update(1, 7)).status, 200);
    assert!(crm.seen.last().starts_with(&format!("POST /webhooks/telegram/{TOKEN} HTTP/1.1\r\n")));
    // Commands about keys need no bot token.
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_sidelock"))
        .args(["keys", "list", "--config"])
        .arg(gateway.config_file())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
