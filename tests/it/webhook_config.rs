//! What `sidelock check` says about webhooks and their senders.

use std::process::Command;

const GOOD: &str = "[server]\nlisten = [\"127.0.0.1:0\"]\n[upstream]\nurl = \"http://127.0.0.1:1\"\n";
const LONG: &str = "0123456789abcdef0123456789abcdef";

/// What is said about one `[[webhook]]` with this text, and the exit code of `check --strict`.
fn check(webhook: &str) -> (String, Option<i32>) {
    let folder = tempfile::tempdir().unwrap();
    let (block, rest) = webhook.split_once("\n\n").unwrap_or((webhook, ""));
    let text = format!("{GOOD}[[webhook]]\nname = \"x\"\npath = \"/x\"\n{block}\n{rest}");
    std::fs::write(folder.path().join("sidelock.toml"), text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_sidelock"))
        .args(["check", "--strict"])
        .current_dir(folder.path())
        .envs([
            ("NO_COLOR", "1"),
            ("LONG", LONG),
            ("SHORT", "0123456789abcde"),
            ("ODD", "not base64, no token"),
            ("WHSEC", "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
            ("WHSEC_SHORT", "whsec_MDEyMzQ1Njc4OWFiY2RlZg=="),
            ("BASIC", "crm-webhooks:0123456789abcdef"),
            ("HEX", "51793776d101a51622016a8f2c52c380cb3b08fa79f15d680f90bda7615051c4"),
        ])
        .output()
        .unwrap();
    (String::from_utf8_lossy(&output.stderr).into_owned(), output.status.code())
}

#[test]
fn what_is_missing_or_means_nothing() {
    for (webhook, said) in [
        ("sender = \"standard-webhook\"\nsecrets = [\"env:WHSEC\"]", "did you mean 'standard-webhooks'?"),
        ("sender = \"meta\"\nsecrets = [\"env:LONG\"]", "'meta' needs 'verify_token'"),
        ("sender = \"espocrm\"\nsecrets = [\"env:LONG\"]", "'espocrm' needs 'webhook_id'"),
        ("sender = \"hubspot-v3\"\nsecrets = [\"env:LONG\"]", "'hubspot-v3' needs 'public_url'"),
        ("sender = \"twilio\"\nsecrets = [\"env:LONG\"]", "'twilio' needs 'public_url'"),
        (
            "sender = \"salesforce-outbound\"\nquery = \"key\"\nsecrets = [\"env:LONG\"]",
            "needs 'organization_id'",
        ),
        (
            "sender = \"salesforce-outbound\"\norganization_id = \"0\"\nsecrets = [\"env:LONG\"]",
            "needs 'header'",
        ),
        (
            "sender = \"github\"\nwebhook_id = \"1\"\nsecrets = [\"env:LONG\"]",
            "means nothing for the sender 'github'",
        ),
        (
            "sender = \"github\"\nquery = \"s\"\nsecrets = [\"env:LONG\"]",
            "means nothing for the sender 'github'",
        ),
        ("sender = \"github\"\ntolerance = \"5 min\"\nsecrets = [\"env:LONG\"]", "'tolerance' means nothing"),
        ("sender = \"github\"\nbody = \"33MiB\"\nsecrets = [\"env:LONG\"]", "from 1 to 32MiB"),
        ("sender = \"github\"\npublic_url = \"crm.example\"\nsecrets = [\"env:LONG\"]", "not the address"),
        ("path_prefix = \"/x/\"\nsecrets = [\"env:LONG\"]", "say 'upstream_path'"),
        ("path_prefix = \"/x\"\nsecrets = [\"env:LONG\"]", "ends with '/'"),
        ("header = \"a\"\nquery = \"b\"\nsecrets = [\"env:LONG\"]", "exclude each other"),
        ("sender = \"github\"\nallow_from = [\"github\"]\nsecrets = [\"env:LONG\"]", "not a network"),
        (
            "sender = \"telegram\"\nsecrets = [\"env:ODD\"]",
            "accepts only secrets like ^[A-Za-z0-9_-]{1,256}$",
        ),
        ("sender = \"standard-webhooks\"\nsecrets = [\"env:ODD\"]", "the secret is not base64"),
        ("sender = \"discord\"\nsecrets = [\"env:LONG\"]", "another length"),
        ("sender = \"discord\"\nsecrets = [\"env:ODD\"]", "not hexadecimal"),
        ("sender = \"basic\"\nsecrets = [\"env:LONG\"]", "expected user:password"),
        (
            "sender = \"github\"\nsecrets = [{ secret = \"env:LONG\", until = 2030-01-01 }]",
            "with its time zone",
        ),
        ("sender = \"github\"\nsecrets = [{ secre = \"env:LONG\" }]", "did you mean 'secret'?"),
        (
            "sender = \"acme\"\nsecrets = [\"env:LONG\"]\n\n[sender.acme]\nverify = \"mac\"\nalg = \"hmac-sha256\"\nsig = { in = \"header\", name = \"s\", enc = \"hex\" }\nmsg = \"{ts}\"",
            "the body is not signed",
        ),
    ] {
        let (text, code) = check(webhook);
        assert_eq!(code, Some(2), "{webhook}\n{text}");
        assert!(text.contains(said), "{said} is not in\n{text}");
        assert!(!text.contains(LONG), "{text}");
    }
}

#[test]
fn what_can_be_guessed_gets_a_warning() {
    for (webhook, said) in [
        ("sender = \"telegram\"\nsecrets = [\"env:SHORT\"]", "32 or more are hard to guess"),
        ("sender = \"github\"\nsecrets = [\"env:SHORT\"]", "16 or more are hard to guess"),
        ("sender = \"standard-webhooks\"\nsecrets = [\"env:WHSEC_SHORT\"]", "24 or more are hard to guess"),
    ] {
        let (text, code) = check(webhook);
        assert_eq!(code, Some(3), "{webhook}\n{text}");
        assert!(text.contains(said), "{said} is not in\n{text}");
    }
}

#[test]
fn what_is_right_is_good() {
    for webhook in [
        "sender = \"standard-webhooks\"\nsecrets = [\"env:WHSEC\"]",
        "sender = \"discord\"\nsecrets = [\"env:HEX\"]",
        "sender = \"basic\"\nsecrets = [\"env:BASIC\"]",
        "sender = \"telegram\"\nquery = \"secret\"\nsecrets = \"env:LONG\"",
        "sender = \"stripe\"\ntolerance = 60\nsecrets = [{ secret = \"env:LONG\", until = 2030-01-01T00:00:00Z }]",
        "sender = \"acme\"\nsecrets = [\"env:LONG\"]\nallow_from = [\"acme\"]\n\n[sender.acme]\nverify = \"mac\"\nalg = \"hmac-sha256\"\nsig = { in = \"header\", name = \"s\", enc = \"hex\" }\nmsg = \"{body}\"\nallow_cidrs = [\"192.0.2.0/24\"]",
    ] {
        let (text, code) = check(webhook);
        assert_eq!(code, Some(0), "{webhook}\n{text}");
    }
}

/// A configured webhook, with its secrets and their ends, in place of what the file says.
#[test]
fn captured_deliveries_and_a_configured_webhook() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "{GOOD}[[webhook]]\nname = \"bot\"\npath = \"/x\"\nsender = \"telegram\"\nsecrets = [\"env:NEW\", {{ secret = \"env:OLD\", until = 2026-01-01T00:00:00Z }}]\n"
    );
    std::fs::write(folder.path().join("sidelock.toml"), text).unwrap();
    let delivery = serde_json::json!({
        "id": 1,
        "request": { "method": "POST", "url": "https://x/x", "headers": [["X-Telegram-Bot-Api-Secret-Token", "b".repeat(32)]] },
    });
    std::fs::write(folder.path().join("captured"), delivery.to_string()).unwrap();
    let verdict = |webhook: &str, now: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_sidelock"))
            .args(["webhook", "verify", "captured", "--webhook", webhook, "--now", now])
            .current_dir(folder.path())
            .envs([("NEW", "a".repeat(32)), ("OLD", "b".repeat(32))])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    assert!(
        verdict("bot", "2025-12-31T23:59:59Z").contains(r#""verdict":"accept","reason":"proved","secret":1"#)
    );
    assert!(verdict("bot", "2026-01-01T00:00:00Z").contains("webhook_secret_wrong"));
    assert!(verdict("bto", "1").contains("no webhook is called 'bto'; known: bot"));
}

#[test]
fn doors_that_are_open_or_shut_for_ever() {
    let here = "sender = \"telegram\"\nsecrets = [\"env:LONG\"]\nupstream_path = \"/inner\"\n\n";
    for (rest, said) in [
        (
            "[[route]]\npath = \"/inner\"\naccess = \"public\"",
            "the CRM may take this path for that of the webhook 'x'",
        ),
        ("[[route]]\npath = \"/X/\"\naccess = \"public\"", "delivers without a proof"),
        ("[[route]]\npath = \"/x\"\naccess = \"public\"", "the webhook 'x' answers here, this route never"),
        (
            "[[webhook]]\nname = \"y\"\npath = \"/y\"\npath_prefix = \"/x\"\nsecrets = [\"env:LONG\"]\nupstream_path = \"/z\"",
            "ends with '/'",
        ),
    ] {
        let (text, code) = check(&format!("{here}{rest}"));
        assert!(text.contains(said) && code != Some(0), "{rest}: {code:?} {text}");
    }
    for rest in
        ["[[route]]\npath = \"/**\"\naccess = \"public\"", "[[route]]\npath = \"/inner\"\naccess = \"key\""]
    {
        let (text, code) = check(&format!("{here}{rest}"));
        assert_eq!(code, Some(0), "{text}");
    }
    let (text, code) = check(
        "path_prefix = \"/p/\"\nsecrets = [\"env:LONG\"]\nupstream_path = \"/a\"\n\n[[webhook]]\nname = \"y\"\npath = \"/p/y\"\nsender = \"github\"\nsecrets = [\"env:LONG\"]",
    );
    assert!(text.contains("has some of the same paths") && code == Some(3), "{text}");
    let ended = "sender = \"github\"\nsecrets = [{ secret = \"env:LONG\", until = 2020-01-01T00:00:00Z }]";
    let (text, code) = check(ended);
    assert!(text.contains("its secrets have ended") && code == Some(3), "{text}");
}

#[test]
fn what_could_never_work_is_said() {
    let own = |sig: &str| {
        format!("sender = \"own\"\nsecrets = [\"env:LONG\"]\n\n[sender.own]\nverify = \"token\"\nsig = {sig}")
    };
    let json = own("{ in = \"json\", ptr = \"/t\" }");
    for (webhook, said) in [
        (
            "path_prefix = \"/\"\nsecrets = [\"env:LONG\"]\nupstream_path = \"/y\"",
            "this prefix takes every path",
        ),
        (&*json, "a secret in the body is not looked for"),
        ("sender = \"espocrm\"\nwebhook_id = \"\"\nsecrets = [\"env:LONG\"]", "'webhook_id' is empty"),
        ("header = \"X_Tok\"\nsecrets = [\"env:LONG\"]", "list it in [upstream] pass_headers"),
        ("header = \"Content-Length\"\nsecrets = [\"env:LONG\"]", "has a meaning of its own"),
        ("header = \"X-Forwarded-For\"\nsecrets = [\"env:LONG\"]", "has a meaning of its own"),
        ("query = \"_method\"\nsecrets = [\"env:LONG\"]", "no secret can stand in the parameter"),
        ("sender = \"github\"\nmethods = []\nsecrets = [\"env:LONG\"]", "without a method"),
        ("sender = \"github\"\nmethods = [\"TRACE\"]\nsecrets = [\"env:LONG\"]", "never let through"),
        ("path_prefix = \"/p/\"\nsecrets = [\"env:ODD\"]\nupstream_path = \"/y\"", "can stand in no path"),
        ("header = \"X-Tok\"\nreplay = true\nsecrets = [\"env:LONG\"]", "nothing tells one delivery"),
        (
            "sender = \"github\"\nbody = \"16MiB\"\nsecrets = [\"env:LONG\"]\n\n[limits]\nheld_bodies = \"4MiB\"",
            "bodies that find no room",
        ),
        (
            "sender = \"github\"\nsecrets = [\"env:LONG\"]\n\n[[webhook]]\nname = \"y\"\npath = \"/y\"\nsender = \"meta\"\nverify_token = \"env:SHORT\"\nsecrets = [\"env:LONG\"]",
            "has the same secret",
        ),
        (
            "sender = \"own\"\nsecrets = [\"env:LONG\"]\n\n[sender.own]\nverify = \"mac\"\nalg = \"hmac-sha256\"\nsig = { in = \"header\", name = \"x-s\", enc = \"hex\" }\nts = { in = \"header\", name = \"x-t\", unit = \"s\", past = 9, future = 9 }\nmsg = \"{body}\"",
            "the time stamp is not signed",
        ),
    ] {
        let (text, code) = check(webhook);
        assert!(text.contains(said) && code != Some(0), "{webhook}: {code:?} {text}");
    }
}
