//! Webhook secrets: in a header or a query parameter, two at once, from the sender's networks.

use crate::support::crm::Crm;
use crate::support::gateway::{Gateway, Plan};

const OLD: &str = "old-secret-old-secret-old-secret-1";
const NEW: &str = "new-secret-new-secret-new-secret-2";

fn gateway(crm: &Crm, webhook: &str) -> Gateway {
    let mut plan = Plan::before(crm).with(webhook);
    plan.environment = vec![("OLD", OLD.to_owned()), ("NEW", NEW.to_owned())];
    plan.start()
}

#[test]
fn telegram_with_two_live_secrets() {
    let crm = Crm::usual();
    let gateway = gateway(
        &crm,
        "[[webhook]]\nname = \"bot\"\npath = \"/bot\"\nsender = \"telegram\"\nsecrets = [\"env:OLD\", \"env:NEW\"]\nupstream_path = \"/webhooks/telegram/token\"\n",
    );
    let header = |secret: &str| format!("X-Telegram-Bot-Api-Secret-Token: {secret}");
    for secret in [OLD, NEW] {
        let answer = gateway.post("/bot", &[&header(secret)], "{}");
        assert_eq!(answer.status, 200);
        let seen = crm.seen.last();
        assert!(seen.starts_with("POST /webhooks/telegram/token HTTP/1.1\r\n"), "{seen}");
        assert!(!seen.contains(secret) && seen.contains("x-sidelock-webhook: bot"), "{seen}");
    }
    for headers in [&[][..], &[&header("wrong")], &[&header(OLD), &header(OLD)]] {
        let headers: Vec<&str> = headers.iter().map(|it| it.as_str()).collect();
        let refused = gateway.post("/bot", &headers, "{}");
        assert!([400, 401].contains(&refused.status), "{}", refused.status);
        assert!(refused.body.is_empty(), "senders get empty bodies");
    }
    assert_eq!(gateway.get("/bot", &[&header(OLD)]).status, 405);
    assert_eq!(crm.seen.count(), 2);
    assert_eq!(gateway.metric("sidelock_webhook_deliveries_total{result=\"accepted\",webhook=\"bot\"}"), 2.0);
    assert_eq!(
        gateway.metric("sidelock_webhook_deliveries_total{result=\"webhook_secret_wrong\",webhook=\"bot\"}"),
        1.0
    );
}

#[test]
fn a_secret_in_the_query_is_neither_logged_nor_forwarded() {
    let crm = Crm::usual();
    let gateway = gateway(
        &crm,
        "[[webhook]]\nname = \"old\"\npath = \"/old\"\nquery = \"secret\"\nsecrets = [\"env:OLD\"]\n",
    );
    assert_eq!(gateway.post(&format!("/old?a=1&secret={OLD}&b=2"), &[], "x").status, 200);
    assert!(crm.seen.last().starts_with("POST /old?a=1&b=2 HTTP/1.1\r\n"));
    assert_eq!(gateway.post("/old?secret=no", &[], "x").status, 401);
    assert_eq!(gateway.post("/old", &[], "x").status, 401);
    assert!(gateway.log(3).iter().all(|line| !line.to_string().contains(OLD)));
}

#[test]
fn networks_of_the_sender() {
    let crm = Crm::usual();
    let gateway = gateway(
        &crm,
        "[client_address]\ntrusted_proxies = [\"127.0.0.1\"]\n[[webhook]]\nname = \"bot\"\npath = \"/bot\"\nsender = \"telegram\"\nsecrets = [\"env:OLD\"]\nallow_from = [\"telegram\"]\n",
    );
    let header = format!("X-Telegram-Bot-Api-Secret-Token: {OLD}");
    let from = |ip: &str| gateway.post("/bot", &[&header, &format!("X-Forwarded-For: {ip}")], "{}").status;
    assert_eq!(from("149.154.167.220"), 200);
    assert_eq!(from("91.108.6.1"), 200);
    assert_eq!(from("198.51.100.1"), 403);
}

#[test]
fn a_secret_in_the_path_is_neither_logged_nor_forwarded() {
    let crm = Crm::usual();
    let gateway = gateway(
        &crm,
        "[[webhook]]\nname = \"old\"\npath = \"/old\"\npath_prefix = \"/old/\"\nsecrets = [\"env:OLD\"]\nupstream_path = \"/hook\"\n",
    );
    assert_eq!(gateway.post(&format!("/old/{OLD}?a=1"), &[], "x").status, 200);
    assert!(crm.seen.last().starts_with("POST /hook?a=1 HTTP/1.1\r\n"), "{}", crm.seen.last());
    for path in ["/old".to_owned(), "/old/".to_owned(), "/old/no".to_owned(), format!("/old/{OLD}/x")] {
        assert_eq!(gateway.post(&path, &[], "x").status, 401, "{path}");
    }
    assert_eq!(gateway.post(&format!("/old/{OLD}?b={OLD}"), &[], "x").status, 400, "no copy in the query");
    assert_eq!(crm.seen.count(), 1);
    assert!(gateway.log(6).iter().all(|line| !line.to_string().contains(OLD)));
}

/// A secret that has ended opens nothing, though it is still written down.
#[test]
fn secrets_end() {
    let crm = Crm::usual();
    let gateway = gateway(
        &crm,
        "[[webhook]]\nname = \"bot\"\npath = \"/bot\"\nsender = \"telegram\"\nsecrets = [\"env:NEW\", { secret = \"env:OLD\", until = 2020-01-01T00:00:00Z }]\n",
    );
    let from = |secret: &str| {
        gateway.post("/bot", &[&format!("X-Telegram-Bot-Api-Secret-Token: {secret}")], "{}").status
    };
    assert_eq!((from(NEW), from(OLD)), (200, 401));
}
