//! `sidelock telegram set-webhook` and `status`, against a stand-in of the Bot API.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::bot_api::{BotApi, TOKEN, http};

const SECRET: &str = "MARKED-hook_secret-0123456789abcdef";
const HERE: &str = "https://localhost/telegram/webhook";

/// A folder with a configuration whose `[[webhook]]` ends with `rest`.
fn folder(rest: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[upstream]\nurl = \"http://127.0.0.1:1\"\n[keys]\nfile = \"keys.toml\"\n[[webhook]]\nname = \"bot\"\npath = \"/telegram/webhook\"\nsender = \"telegram\"\nsecrets = [\"env:HOOK\", \"env:HOOK_OLD\"]\n{rest}"
    );
    std::fs::write(folder.path().join("sidelock.toml"), config).unwrap();
    let keys = folder.path().join("keys.toml");
    std::fs::write(&keys, "").unwrap();
    std::fs::set_permissions(keys, PermissionsExt::from_mode(0o600)).unwrap();
    folder
}

/// Runs the program; neither the token nor a secret may come out, whatever happens.
fn sidelock_as(token: &str, folder: &Path, args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_sidelock"))
        .args(args)
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .env("SIDELOCK_LOG", "trace")
        .env("BOT_TOKEN", token)
        .env("SECOND_TOKEN", "987654321:MARKED-second-token-AAHdqTcvCH1vGWJxfSe")
        .env("HOOK", SECRET)
        .env("HOOK_OLD", "MARKED-old-hook-secret-0123456789abcdef")
        .output()
        .unwrap();
    let all = format!("{}{}", out(&output), said(&output));
    let key = token.split(':').nth(1).unwrap_or(token);
    assert!(!all.contains("MARKED") && !all.contains(key), "a secret came out: {all}");
    output
}

fn sidelock(folder: &Path, args: &[&str]) -> Output {
    sidelock_as(TOKEN, folder, args)
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn set_webhook_sends_url_secret_and_settings_and_confirms() {
    let api = BotApi::start();
    let folder =
        folder(&api.section("allowed_updates = [\"message\", \"callback_query\"]\nmax_connections = 7"));
    let output = sidelock(folder.path(), &["telegram", "set-webhook"]);
    assert!(output.status.success(), "{}", said(&output));
    let expected = json!({
        "url": HERE,
        "secret_token": SECRET,
        "max_connections": 7,
        "drop_pending_updates": false,
        "allowed_updates": ["message", "callback_query"],
    });
    assert_eq!(api.set(), [expected], "the first of the secrets");
    assert!(out(&output).contains(&format!("Telegram delivers to {HERE}")), "{}", out(&output));
    assert!(said(&output).contains("localhost is 127.0.0.1 here"), "{}", said(&output));
    assert_eq!(api.calls(), 2, "set, and asked again");

    let output =
        sidelock(folder.path(), &["telegram", "set-webhook", "--webhook", "bot", "--drop-pending-updates"]);
    assert!(output.status.success() && out(&output).contains("thrown away"), "{}", out(&output));
    assert_eq!(api.set()[1]["drop_pending_updates"], true);

    api.state.lock().forgetful = true;
    api.tells(&json!({"url": "https://other.example/x"}));
    let output = sidelock(folder.path(), &["telegram", "set-webhook"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("says otherwise"), "{}", said(&output));
}

#[test]
fn what_telegram_cannot_reach_or_take_is_not_sent() {
    let api = BotApi::start();
    for (from, to, code, why) in [
        ("https://localhost", "http://localhost", 2, "https only"),
        ("https://localhost", "https://localhost:8080", 2, "443, 80, 88 and 8443"),
        ("https://localhost", "https://[::1]:8443", 1, "IPv4 only"),
        ("bot_token = \"env:BOT_TOKEN\"", "bot_token = \"env:HOOK\"", 2, "no bot token"),
        ("bot_token = \"env:BOT_TOKEN\"", "bot_token = \"123456789:MARKED\"", 2, "reference to a secret"),
        ("api = \"http://127.0.0.1", "api = \"http://192.0.2.1", 2, "readable on the way"),
        ("max_connections = 1", "max_connections = 101", 2, "from 1 to 100"),
        ("max_connections = 1", "watch = \"10ms\"", 2, "from '1s' to '1d'"),
    ] {
        let section = api.section("max_connections = 1").replace(from, to);
        let output = sidelock(folder(&section).path(), &["telegram", "set-webhook"]);
        assert_eq!(output.status.code(), Some(code), "{to}: {}", said(&output));
        assert!(said(&output).contains(why), "{to}: {}", said(&output));
    }
    let rest = "[webhook.telegram]\nbot_token = \"env:BOT_TOKEN\"\npublic_url = \"https://localhost\"\n";
    let twice = format!(
        "{rest}[[webhook]]\nname = \"b\"\npath = \"/b\"\nsender = \"telegram\"\nsecrets = [\"env:HOOK\"]\n{rest}"
    );
    let output = sidelock(folder(&twice).path(), &["check"]);
    assert!(said(&output).contains("the same bot token stands above"), "{}", said(&output));
    let config = folder(&api.section(""));
    let path = config.path().join("sidelock.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(config.path().join("odd"), "MARKED with a space").unwrap();
    for (header, why) in [
        ("x-telegram-bot-api-secret-token", "not one that Telegram takes"),
        ("x-t", "only Telegram's updates have a bot"),
    ] {
        let header = format!("header = \"{header}\"");
        let text = text.replace("sender = \"telegram\"", &header).replace("\"env:HOOK\"", "\"file:odd\"");
        std::fs::write(&path, text).unwrap();
        let output = sidelock(config.path(), &["telegram", "set-webhook"]);
        assert!(said(&output).contains(why), "{header}: {}", said(&output));
    }
    let none = sidelock(folder("").path(), &["telegram", "status"]);
    assert!(said(&none).contains("no [[webhook]] has a [webhook.telegram]"), "{}", said(&none));
    let unknown = sidelock(folder(rest).path(), &["telegram", "status", "--webhook", "x"]);
    assert!(said(&unknown).contains("'x'"), "{}", said(&unknown));
    let two = format!(
        "{rest}[[webhook]]\nname = \"b\"\npath = \"/b\"\nsender = \"telegram\"\nsecrets = [\"env:HOOK\"]\n{}",
        rest.replace("BOT_TOKEN", "SECOND_TOKEN")
    );
    let which = sidelock(folder(&two).path(), &["telegram", "set-webhook"]);
    assert!(said(&which).contains("say which one with --webhook: bot, b"), "{}", said(&which));
    assert_eq!(api.calls(), 0);
}

#[test]
fn status_in_words_and_as_json() {
    let api = BotApi::start();
    let config = folder(&api.section(""));
    let status = |expected: i32, parts: &[&str]| -> Value {
        let words = sidelock(config.path(), &["telegram", "status"]);
        assert_eq!(words.status.code(), Some(expected), "{}{}", out(&words), said(&words));
        for part in parts {
            assert!(out(&words).contains(part), "{part} is not in\n{}", out(&words));
        }
        let json = sidelock(config.path(), &["telegram", "status", "--webhook", "bot", "--json"]);
        assert_eq!(json.status.code(), Some(expected));
        let told: Value = serde_json::from_slice(&json.stdout).unwrap();
        assert_eq!(told["healthy"], expected == 0);
        told["webhooks"][0].clone()
    };
    let told = status(1, &["bot: in trouble", "the bot has no webhook"]);
    assert_eq!(told["telegram"]["registered"], "nowhere");

    // What Chatwoot leaves behind: its path is the token.
    api.tells(&json!({"url": format!("https://u:MARKED@desk.example/webhooks/telegram/{TOKEN}")}));
    let told = status(1, &["! Telegram delivers to https://desk.example/…, not to", "pass Sidelock by"]);
    assert_eq!(told["telegram"]["registered_at"], "https://desk.example/…");

    let (recent, old) = (now() - 90, now() - 3 * 86_400);
    api.tells(&json!({"url": HERE, "max_connections": 40, "ip_address": "203.0.113.7", "allowed_updates": ["message"]}));
    let told = status(0, &["bot: healthy", HERE, "no update waits", "203.0.113.7", "at most 40", "message"]);
    assert_eq!((&told["healthy"], &told["trouble"]), (&true.into(), &json!([])));

    let escaped = TOKEN.replace(':', "%3A");
    let echo = format!("Wrong response from the webhook: 401 {TOKEN} \u{1b}[31m{SECRET} {escaped}");
    api.tells(&json!({"pending_update_count": 3, "last_error_date": recent, "last_error_message": echo}));
    let told = status(
        1,
        &[
            "3 updates wait",
            "seconds ago",
            "401 [token] [31m[secret] 123456789%3A[token]",
            "Sidelock refused the secret",
        ],
    );
    assert!(told["telegram"]["last_error"]["age_seconds"].as_u64().unwrap() >= 90);

    api.tells(&json!({"last_error_date": old, "pending_update_count": 1}));
    status(0, &["1 update waits", "3 days ago", "nothing has failed since"]);
    api.tells(&json!({"last_synchronization_error_date": recent}));
    status(1, &["data centres"]);
    api.tells(&json!({"last_synchronization_error_date": 0, "pending_update_count": 101}));
    status(1, &["101 updates wait"]);
    api.tells(&json!({"pending_update_count": 0, "has_custom_certificate": true, "max_connections": 3}));
    status(
        0,
        &["a certificate that was uploaded", "at most 3 deliveries at once; the configuration says 40"],
    );
}

#[test]
fn a_bot_api_in_trouble() {
    let api = BotApi::start();
    let config = folder(&api.section(""));
    let refused = |why: &str| {
        for verb in ["status", "set-webhook"] {
            let output = sidelock(config.path(), &["telegram", verb]);
            assert_eq!(output.status.code(), Some(1), "{why}");
            let text = out(&output) + &said(&output);
            assert!(text.contains(why), "{why} is not in\n{text}");
        }
    };
    let huge = format!("{{\"ok\":true,\"result\":\"{}\"}}", "x".repeat(2 << 20));
    for (answer, why) in [
        (http(200, &huge), "over 1048576 bytes"),
        (http(200, "<html>"), "is not the Bot API (status 200"),
        (http(302, "{\"ok\":true,\"result\":true}"), "is not the Bot API (status 302"),
        (http(200, "{\"ok\":true}"), "is not the Bot API"),
        (http(200, "{\"ok\":true,\"ok\":false,\"result\":{}}"), "is not the Bot API"),
        (
            http(404, "{\"ok\":false,\"error_code\":404,\"description\":\"Not Found\"}"),
            "does not know this bot token",
        ),
        (
            http(
                429,
                "{\"ok\":false,\"error_code\":429,\"description\":\"x\",\"parameters\":{\"retry_after\":9}}",
            ),
            "a pause of 9 s",
        ),
        (
            http(
                400,
                &json!({"ok": false, "error_code": 400, "description": format!("bad {TOKEN}")}).to_string(),
            ),
            "Telegram refused: bad [token] (400)",
        ),
        (b"nonsense\r\n\r\n".to_vec(), "was not HTTP or broke off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec(), "was not HTTP or broke off"),
    ] {
        api.answers(answer);
        refused(why);
    }
    let other = sidelock_as("1:another-token-0123456789abcdef", config.path(), &["telegram", "status"]);
    assert_eq!(other.status.code(), Some(1));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let section = api.section("").replace(&api.address.to_string(), &free.to_string());
    let down = sidelock(folder(&section).path(), &["telegram", "status", "--json"]);
    assert_eq!(down.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&down.stdout).unwrap();
    assert!(told["webhooks"][0]["trouble"][0].as_str().unwrap().contains("cannot be reached"), "{told}");
}
