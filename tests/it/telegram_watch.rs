//! The running process's watch of the webhook at Telegram.

use serde_json::json;

use crate::support::bot_api::{BotApi, TOKEN, http};
use crate::support::crm::Crm;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan};

const SECRET: &str = "MARKED-hook_secret-0123456789abcdef";
const HERE: &str = "https://localhost/bot";

fn watched(crm: &Crm, api: &BotApi, lines: &str) -> Gateway {
    let hook =
        "[[webhook]]\nname = \"bot\"\npath = \"/bot\"\nsender = \"telegram\"\nsecrets = [\"env:HOOK\"]\n";
    let mut plan = Plan::before(crm).with(&format!("{hook}{}", api.section(lines)));
    plan.environment = vec![("HOOK", SECRET.to_owned()), ("BOT_TOKEN", TOKEN.to_owned())];
    plan.start()
}

fn metric(gateway: &Gateway, name: &str) -> f64 {
    gateway.metric(&format!("sidelock_webhook_telegram_{name}{{webhook=\"bot\"}}"))
}

fn becomes(gateway: &Gateway, name: &str, value: f64) {
    eventually(name, || (metric(gateway, name) == value).then_some(()));
}

/// Ends it, and looks through everything that came out.
fn search(mut gateway: Gateway) -> String {
    let metrics = gateway.metrics();
    gateway.stop();
    let out = metrics + &gateway.said.text();
    assert!(!out.contains("MARKED") && !out.contains(TOKEN), "a secret came out: {out}");
    out
}

#[test]
fn a_webhook_that_the_crm_took_is_set_anew_once() {
    let (crm, api) = (Crm::usual(), BotApi::start());
    api.tells(&json!({
        "url": format!("https://desk.example/webhooks/telegram/{TOKEN}"),
        "pending_update_count": 5,
        "last_error_date": 1_700_000_000,
    }));
    let gateway = watched(&crm, &api, "watch = \"1s\"");
    becomes(&gateway, "reasserted_total", 1.0);
    becomes(&gateway, "registered", 1.0);
    let set = api.set();
    assert_eq!((set.len(), &set[0]["url"], &set[0]["secret_token"]), (1, &HERE.into(), &SECRET.into()));
    assert_eq!(set[0]["drop_pending_updates"], false);
    assert_eq!(metric(&gateway, "pending_updates"), 5.0);
    assert_eq!(metric(&gateway, "last_error_timestamp_seconds"), 1_700_000_000.0);
    // Taken again at once: it is told, but not called for within the minute.
    api.tells(&json!({"url": ""}));
    becomes(&gateway, "registered", 0.0);
    api.is_called(2);
    assert_eq!(api.set().len(), 1);
    assert!(
        search(gateway).contains("Telegram delivered elsewhere or nowhere; the bot's webhook is set anew")
    );
}

#[test]
fn without_reassert_it_only_tells() {
    let (crm, api) = (Crm::usual(), BotApi::start());
    api.tells(&json!({"url": "https://desk.example/x", "pending_update_count": 2}));
    let gateway = watched(&crm, &api, "watch = \"1s\"\nreassert = false");
    becomes(&gateway, "pending_updates", 2.0);
    assert_eq!(gateway.post("/bot", &[], "{}").status, 401);
    api.is_called(2);
    assert_eq!((metric(&gateway, "registered"), api.set().len()), (0.0, 0));
    search(gateway);
}

#[test]
fn deliveries_without_a_secret_ring() {
    let (crm, api) = (Crm::usual(), BotApi::start());
    api.tells(&json!({"url": HERE}));
    let gateway = watched(&crm, &api, "watch = \"1s\"");
    becomes(&gateway, "registered", 1.0);
    let header = format!("X-Telegram-Bot-Api-Secret-Token: {SECRET}");
    assert_eq!(gateway.post("/bot", &[&header], "{}").status, 200);
    assert_eq!(gateway.post("/bot", &["X-Telegram-Bot-Api-Secret-Token: wrong"], "{}").status, 401);
    api.is_called(2);
    assert_eq!(api.set().len(), 0, "only what comes without any secret rings");
    for _ in 0..10 {
        assert_eq!(gateway.post("/bot", &[], "{}").status, 401);
    }
    becomes(&gateway, "reasserted_total", 1.0);
    assert_eq!(api.set().len(), 1, "once for all of them");
    assert!(search(gateway).contains("deliveries came without a secret"));
}

#[test]
fn another_secret_is_told_to_telegram() {
    let (crm, api) = (Crm::usual(), BotApi::start());
    api.tells(&json!({"url": HERE}));
    let hook =
        "[[webhook]]\nname = \"bot\"\npath = \"/bot\"\nsender = \"telegram\"\nsecrets = [\"file:hook\"]\n";
    let mut plan = Plan::before(&crm).with(&format!("{hook}{}", api.section("watch = \"1s\"")));
    plan.environment = vec![("BOT_TOKEN", TOKEN.to_owned())];
    let gateway = plan.file("hook", SECRET).start();
    becomes(&gateway, "registered", 1.0);
    api.is_called(2);
    assert_eq!(api.set().len(), 0, "as it stands it is right");
    let other = "MARKED-another_secret-0123456789abc";
    std::fs::write(gateway.folder.path().join("hook"), other).unwrap();
    becomes(&gateway, "reasserted_total", 1.0);
    assert_eq!(api.set()[0]["secret_token"], other);
    api.is_called(2);
    assert_eq!(api.set().len(), 1);
    assert!(search(gateway).contains("another secret is in force"));
}

#[test]
fn refusals_that_telegram_reports_are_mended() {
    let (crm, api) = (Crm::usual(), BotApi::start());
    let now = sidelock::clock::Clock::system().wall().unix_secs();
    let refused = |at: i64| json!({"url": HERE, "last_error_date": at, "last_error_message": "Wrong response from the webhook: 401 Unauthorized"});
    api.tells(&refused(now - 3600));
    let gateway = watched(&crm, &api, "watch = \"1s\"");
    becomes(&gateway, "registered", 1.0);
    api.is_called(2);
    assert_eq!(api.set().len(), 0, "that was an hour ago");
    api.tells(&refused(now - 5));
    becomes(&gateway, "reasserted_total", 1.0);
    api.is_called(2);
    assert_eq!(api.set().len(), 1, "what was before it was set says nothing");
    assert!(search(gateway).contains("deliveries of Telegram's were refused"));
}

#[test]
fn a_bot_api_that_fails_is_counted_and_told_once() {
    let (crm, api) = (Crm::usual(), BotApi::start());
    api.answers(http(500, &format!("{{\"ok\":false,\"error_code\":500,\"description\":\"{TOKEN}\"}}")));
    let gateway = watched(&crm, &api, "watch = \"1s\"");
    eventually("failures", || (metric(&gateway, "watch_failures_total") >= 2.0).then_some(()));
    assert!(!gateway.metrics().contains("telegram_registered{"), "nobody knows where Telegram delivers");
    api.tells(&json!({"url": HERE}));
    api.state.lock().odd = None;
    becomes(&gateway, "registered", 1.0);
    eventually("the log tells", || gateway.said.text().contains("can be looked after again").then_some(()));
    assert_eq!(search(gateway).matches("cannot look after").count(), 1);
}

#[test]
fn reloads_change_who_is_watched() {
    let (crm, api) = (Crm::usual(), BotApi::start());
    api.tells(&json!({"url": HERE}));
    let gateway = watched(&crm, &api, "");
    let series = "sidelock_webhook_telegram_registered{";
    assert!(!gateway.metrics().contains(series), "not watched yet");
    assert_eq!(api.calls(), 0);
    let file = gateway.config_file();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("bot_token", "watch = \"1s\"\nbot_token")).unwrap();
    becomes(&gateway, "registered", 1.0);
    std::fs::write(
        &file,
        text.replace("bot_token", "watch = \"1s\"\nbot_token").replace("localhost", "127.0.0.1"),
    )
    .unwrap();
    eventually("the new URL is set", || {
        api.set().last().is_some_and(|set| set["url"] == "https://127.0.0.1/bot").then_some(())
    });
    let other = BotApi::start();
    other.tells(&json!({"url": HERE}));
    let moved = text.replace(&api.address.to_string(), &other.address.to_string());
    std::fs::write(&file, moved.replace("bot_token", "watch = \"1s\"\nbot_token")).unwrap();
    other.is_called(1);
    let before = api.calls();
    other.is_called(3);
    assert!(api.calls() <= before + 1, "whoever is no longer watched is left in peace");
    std::fs::write(&file, &text).unwrap();
    eventually("its series are gone", || (!gateway.metrics().contains(series)).then_some(()));
    search(gateway);
}
