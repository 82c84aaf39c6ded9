//! What tells one delivery from another, asked of the engine itself.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use ring::hmac;
use sidelock::clock::WallTime;
use sidelock::config::sender::Senders;
use sidelock::credential::webhook::{
    Delivery, HandshakeMode, LiveSecret, Proved, ReplayMode, Sender, Settings,
};
use sidelock::denial::DeliveryFault;
use sidelock::secret::Secret;

const NOW: i64 = 1_760_000_000;
const KEY: &str = "0123456789abcdef0123456789abcdef";

fn sender(preset: &str, settings: Settings) -> Sender {
    let secret = match preset {
        "standard-webhooks" => format!("whsec_{}", STANDARD.encode(KEY)),
        _ => KEY.to_owned(),
    };
    let description = Senders::known().named(preset).unwrap().clone();
    Sender::new(description, settings, vec![LiveSecret { secret: Secret::new(secret), until: None }])
}

fn mac(message: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes()), message.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn prove(sender: &Sender, fields: &[(&str, &str)], body: &str) -> Result<Proved, DeliveryFault> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
    }
    let delivery = Delivery {
        method: &Method::POST,
        url: "https://x/x",
        path: "/x",
        query: None,
        headers: &headers,
        body: body.as_bytes(),
        peer: None,
    };
    sender.prove(&delivery, WallTime::from_unix_secs(NOW))
}

#[test]
fn an_id_outside_the_signature_makes_no_other_delivery() {
    let github = sender("github", Settings::default());
    let key = |id: &str, body: &str| {
        let signature = format!("sha256={}", hex(&mac(body)));
        let fields = [("X-Hub-Signature-256", &*signature), ("X-GitHub-Delivery", id)];
        prove(&github, &fields, body).unwrap().replay_key.unwrap()
    };
    assert_eq!(key("1", "{}"), key("2", "{}"));
    assert_ne!(key("1", "{}"), key("1", "{ }"));
}

#[test]
fn a_signed_id_holds_across_repetitions() {
    let standard = sender("standard-webhooks", Settings::default());
    let key = |id: &str, at: i64| {
        let signature = STANDARD.encode(mac(&format!("{id}.{at}.{{}}")));
        let (at, signature) = (at.to_string(), format!("v1,{signature}"));
        let fields = [("webhook-id", id), ("webhook-timestamp", &*at), ("webhook-signature", &*signature)];
        prove(&standard, &fields, "{}").unwrap().replay_key.unwrap()
    };
    assert_eq!(key("a", NOW), key("a", NOW + 1));
    assert_ne!(key("a", NOW), key("b", NOW));
    // Typeform's id stands in the body, and the body is signed.
    let typeform = sender("typeform", Settings::default());
    let key = |body: &str| {
        let signature = format!("sha256={}", STANDARD.encode(mac(body)));
        prove(&typeform, &[("Typeform-Signature", &*signature)], body).unwrap().replay_key.unwrap()
    };
    assert_eq!(key(r#"{"event_id":"1"}"#), key(r#"{"event_id":"1","attempt":2}"#));
    assert_ne!(
        key(r#"{"event_id":"1","event_id":"1"}"#),
        key(r#"{"event_id":"1"}"#),
        "no strict JSON, no id"
    );
}

/// Mailgun signs time and token one after the other: where one ends is not signed.
#[test]
fn moving_a_digit_makes_no_other_delivery() {
    let mailgun = sender("mailgun", Settings::default());
    let signature = hex(&mac(&format!("{NOW}a0b1")));
    let key = |at: &str, token: &str| {
        let body =
            format!(r#"{{"signature":{{"timestamp":"{at}","token":"{token}","signature":"{signature}"}}}}"#);
        prove(&mailgun, &[], &body).unwrap().replay_key.unwrap()
    };
    assert_eq!(key("1760000000", "a0b1"), key("176000000", "0a0b1"));
}

#[test]
fn leaving_a_signature_out_makes_no_other_delivery() {
    let calendly = sender("calendly", Settings::default());
    let good = hex(&mac(&format!("{NOW}.{{}}")));
    let key = |items: &str| {
        let value = format!("t={NOW},{items}");
        prove(&calendly, &[("Calendly-Webhook-Signature", &*value)], "{}").unwrap().replay_key.unwrap()
    };
    let other = "0".repeat(64);
    assert_eq!(key(&format!("v1={good}")), key(&format!("v1={other},v1={good}")));
}

#[test]
fn the_usual_and_what_is_configured() {
    let body = "[]";
    let signature = format!("sha256={}", hex(&mac(body)));
    let with = |preset: &str, replay: ReplayMode| {
        let sender = sender(preset, Settings { replay, ..Settings::default() });
        let name = if preset == "github" { "X-Hub-Signature-256" } else { "X-Telegram-Bot-Api-Secret-Token" };
        let value = if preset == "github" { &*signature } else { KEY };
        prove(&sender, &[(name, value)], body).unwrap().replay_key.is_some()
    };
    assert!(with("github", ReplayMode::Usual) && !with("github", ReplayMode::Off));
    assert!(!with("telegram", ReplayMode::On), "nothing is signed there");
    for (preset, usual) in [("zammad", false), ("kommo-chats", false), ("intercom", true)] {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, KEY.as_bytes());
        let signature = hex(hmac::sign(&key, body.as_bytes()).as_ref());
        let prefixed = format!("sha1={signature}");
        let field = if preset == "kommo-chats" {
            ("X-Signature", &*signature)
        } else {
            ("X-Hub-Signature", &*prefixed)
        };
        for (replay, on) in [(ReplayMode::Usual, usual), (ReplayMode::On, true), (ReplayMode::Off, false)] {
            let sender = sender(preset, Settings { replay, ..Settings::default() });
            assert_eq!(
                prove(&sender, &[field], body).unwrap().replay_key.is_some(),
                on,
                "{preset} {replay:?}"
            );
        }
    }
}

#[test]
fn handshakes_are_answered_or_forwarded() {
    let body = r#"{"type":"url_verification","challenge":"c"}"#;
    let at = NOW.to_string();
    let signature = format!("v0={}", hex(&mac(&format!("v0:{NOW}:{body}"))));
    let fields = [("X-Slack-Request-Timestamp", &*at), ("X-Slack-Signature", &*signature)];
    let answer = |handshake| {
        let slack = sender("slack", Settings { handshake, ..Settings::default() });
        prove(&slack, &fields, body).unwrap().handshake
    };
    assert_eq!(answer(HandshakeMode::Answer).unwrap().body, b"c");
    assert_eq!(answer(HandshakeMode::Forward), None);
    let slack = sender("slack", Settings::default());
    let forged = [("X-Slack-Request-Timestamp", &*at), ("X-Slack-Signature", "v0=00")];
    assert!(prove(&slack, &forged, body).is_err(), "a challenge alone proves nothing");
}

#[test]
fn what_travels_along_is_told_so_that_no_copy_goes_on() {
    let basic = sender("basic", Settings::default());
    assert_eq!(prove(&basic, &[("authorization", "Basic !")], "").unwrap_err(), DeliveryFault::SecretWrong);
    let encoded = STANDARD.encode(KEY);
    let proved = prove(&basic, &[("authorization", &format!("bAsIc {encoded}"))], "").unwrap();
    assert_eq!(proved.presented[1].expose(), encoded.as_bytes());
    let bearer = sender("bearer", Settings::default());
    let proved = prove(&bearer, &[("authorization", &format!("bearer {KEY}"))], "").unwrap();
    assert_eq!(proved.presented[0].expose(), KEY.as_bytes());
    assert!(!format!("{bearer:?} {basic:?}").contains(KEY));
}

/// Whoever replays could give an id another value that the signature does not cover.
#[test]
fn an_id_in_a_body_that_is_not_signed_makes_no_other_delivery() {
    let text = "[sender.own]\nverify = \"mac\"\nalg = \"hmac-sha256\"\nsig = { in = \"json\", ptr = \"/sig\", enc = \"hex\" }\nmsg = \"{json:/token}\"\nbody_signed = false\nid = [{ in = \"json\", name = \"/event/id\", signed = true }]\n";
    let senders = sidelock::config::sender::parse(&sidelock::config::source::Source {
        path: "own.toml".into(),
        text: text.to_owned(),
    })
    .unwrap();
    let description = senders.named("own").unwrap().clone();
    let secret = LiveSecret { secret: Secret::new(KEY), until: None };
    let own = Sender::new(description, Settings::default(), vec![secret]);
    let signature = hex(&mac("t"));
    let key = |id: u8| {
        let body = format!("{{\"token\":\"t\",\"sig\":\"{signature}\",\"event\":{{\"id\":\"{id}\"}}}}");
        prove(&own, &[], &body).unwrap().replay_key.unwrap()
    };
    assert_eq!(key(1), key(2));
}
