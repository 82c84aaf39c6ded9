//! The little readers of the webhook engine, one by one. Lines: the reader's number, its argument; the rest is its text.

use http::HeaderValue;
use ring::hmac;
use serde_json::Value;
use sidelock::credential::webhook::Settings;
use sidelock::credential::webhook::description::Charset;
use sidelock::credential::webhook::json::{self, Pointer, Scalar};
use sidelock::credential::webhook::place::without_parameter;
use sidelock::credential::webhook::template::{Item, Message};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::input::Input;
use super::telegram_update::has_every_member;
use super::webhook_schemes::{NOW, SCHEMES, Scheme, Signed, mac, sign, stamp};

const READERS: &[fn(&str, &[u8])] =
    &[pointers, twilio_form, twilio_anything, hubspot_url, xml, templates, items, timestamps, parameters];

/// One text for one reader.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let (number, argument) = (input.number(), input.text());
    READERS[number % READERS.len()](argument, input.0);
}

fn scheme(name: &str) -> &'static Scheme {
    SCHEMES.iter().find(|scheme| scheme.name == name).expect("it is in the table")
}

/// Pointers find what a tree has, and only in what every reader reads alike.
fn pointers(argument: &str, body: &[u8]) {
    let pointers = argument.split(' ').take(8);
    let (texts, wanted): (Vec<&str>, Vec<Pointer>) =
        pointers.filter_map(|text| Some((text, text.parse().ok()?))).unzip();
    let found = json::find(body, &wanted);
    assert!(json::parse(body).is_err() || found.is_ok());
    let Ok(found) = found else { return };
    let tree: Value = serde_json::from_slice(body).expect("what is taken is JSON");
    assert!(has_every_member(&tree, body), "a name that is there twice is not lost");
    for (text, found) in texts.iter().zip(found) {
        let expected = tree.pointer(text).map(|value| match value {
            Value::String(text) => Scalar::Text(text.clone()),
            Value::Number(number) if !number.is_f64() => Scalar::Number(number.to_string()),
            Value::Number(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                Scalar::Other
            }
        });
        assert_eq!(found, expected, "{text}");
    }
}

fn twilio(url: &str, body: Vec<u8>, signature: &[u8], form: &str) -> Signed {
    let mut headers = http::HeaderMap::new();
    headers.insert("x-twilio-signature", STANDARD.encode(signature).parse().expect("base64"));
    if let Ok(form) = HeaderValue::from_str(form) {
        headers.insert("content-type", form);
    }
    Signed { secret: b"token".to_vec(), method: http::Method::POST, url: url.to_owned(), headers, body }
}

/// A form, printed as Twilio prints it and signed as Twilio signs it, is believed.
fn twilio_form(url: &str, fields: &[u8]) {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let Ok(fields) = std::str::from_utf8(fields) else { return };
    if url.contains("bodySHA256") || query.contains('%') {
        return;
    }
    let mut pairs: Vec<(&str, &str)> =
        fields.split('\n').map(|line| line.split_once('=').unwrap_or((line, ""))).collect();
    let escaped = |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02X}")).collect() };
    let body: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
    pairs.sort_unstable();
    pairs.dedup();
    let signed: String = pairs.iter().flat_map(|(name, value)| [*name, *value]).collect();
    let signature = mac(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"token", format!("{url}{signed}").as_bytes());
    let delivery = twilio(url, body.join("&").into(), &signature, "application/x-www-form-urlencoded");
    let proved = delivery.proved("twilio", Settings::default());
    assert!(proved.is_ok(), "{proved:?}");
}

fn twilio_anything(url: &str, body: &[u8]) {
    let (form, body) = match body {
        [b'f', body @ ..] => ("Application/X-www-form-urlencoded ; charset=utf-8", body),
        body => ("application/json", body),
    };
    assert!(twilio(url, body.to_vec(), &[0; 20], form).proved("twilio", Settings::default()).is_err());
}

/// The URL as it was called is always one of those that may be signed.
fn hubspot_url(url: &str, body: &[u8]) {
    let scheme = scheme("hubspot-v3");
    let signed = sign(scheme, b"secret", url, "", body, &stamp(scheme)).expect("nothing of it is a field");
    assert!(signed.proved(scheme.name, Settings::default()).is_ok());
}

/// An organization is believed only where it stands between two brackets, alone.
fn xml(organization: &str, body: &[u8]) {
    let signed = Signed {
        secret: b"secret".to_vec(),
        method: http::Method::POST,
        url: "https://crm.example/hook?token=secret".to_owned(),
        headers: http::HeaderMap::new(),
        body: body.to_vec(),
    };
    let settings = Settings {
        place: Some(sidelock::credential::webhook::place::Place::Query("token".into())),
        organization_id: Some(organization.into()),
        ..Settings::default()
    };
    if signed.proved("salesforce-outbound", settings).is_ok() {
        let text = std::str::from_utf8(body).expect("UTF-8");
        assert!(!organization.is_empty() && text.contains(&format!(">{organization}<")));
        assert!(text.contains("OrganizationId") && !text.contains("<!"));
    }
}

fn templates(text: &str, other: &[u8]) {
    if let Ok(message) = text.parse::<Message>() {
        assert!(message.tokens().len() <= text.len());
    }
    for value in ["sig", "ts"] {
        if let Ok(item) = Item::parse(text, value) {
            assert!(text.contains(value) && item.variables().all(|name| text.contains(name)));
        }
    }
    if let Ok(charset) = text.parse::<Charset>() {
        assert_eq!(charset.as_str(), text);
        let _ = charset.covers(other);
    }
    drop(text.parse::<Pointer>());
}

/// No list of items is a signature but one that has it.
fn items(field: &str, body: &[u8]) {
    let scheme = scheme("stripe");
    let Some(mut signed) = sign(scheme, b"secret", "", "", body, &stamp(scheme)) else { return };
    let good = signed.headers[scheme.signature.0].to_str().expect("ASCII").to_owned();
    let good = good.rsplit_once('=').map_or("", |(_, good)| good);
    // `*` stands for the good one, so that it need not be guessed.
    let field = field.replace('*', good);
    let Ok(value) = HeaderValue::from_str(&field) else { return };
    signed.headers.insert(scheme.signature.0, value);
    let proved = signed.proved(scheme.name, Settings::default());
    assert!(proved.is_err() || (field.contains(good) && field.contains(&format!("t={NOW}"))));
}

/// A time stamp is believed only within the window, and in one form.
fn timestamps(text: &str, kind: &[u8]) {
    if text.trim() != text || text.is_empty() {
        return;
    }
    let number = || {
        text.parse::<i128>().ok().filter(|_| text.len() <= 19 && text.bytes().all(|it| it.is_ascii_digit()))
    };
    let (name, expected) = match kind.first() {
        Some(b's') => ("slack", number().is_some_and(|at| (at - i128::from(NOW)).abs() <= 300)),
        _ => ("twenty", number().is_some_and(|at| (at - i128::from(NOW) * 1000).abs() <= 300_000)),
    };
    let scheme = scheme(name);
    if let Some(signed) = sign(scheme, b"secret", "", "", b"body", text) {
        assert_eq!(signed.proved(name, Settings::default()).is_ok(), expected, "{name} {text}");
    }
    zendesk(text);
}

/// The time, then the body, with the time as RFC 3339 has it.
fn zendesk(text: &str) {
    let Ok(stamp) = HeaderValue::from_str(text) else { return };
    let signature = STANDARD.encode(mac(hmac::HMAC_SHA256, b"secret", format!("{text}body").as_bytes()));
    let mut headers = http::HeaderMap::new();
    headers.insert("x-zendesk-webhook-signature", signature.parse().expect("base64"));
    headers.insert("x-zendesk-webhook-signature-timestamp", stamp);
    let signed = Signed {
        secret: b"secret".to_vec(),
        method: http::Method::POST,
        url: String::new(),
        headers,
        body: b"body".to_vec(),
    };
    if signed.proved("zendesk", Settings::default()).is_ok() {
        // NOW is 08:53:20.
        let about = ["2025-10-09T08:4", "2025-10-09T08:5"].iter().any(|start| text.starts_with(start));
        assert!(about && text.ends_with('Z') && (20..=30).contains(&text.len()), "{text}");
    }
}

/// What is taken out of a query is gone in every spelling, and nothing else is.
fn parameters(query: &str, name: &[u8]) {
    let Ok(name) = std::str::from_utf8(name) else { return };
    let rest = without_parameter(query, name);
    assert_eq!(without_parameter(&rest, name), rest);
    assert!(rest.len() <= query.len());
    assert!(
        name.is_empty()
            || rest.split('&').all(|pair| pair.split('=').next() != Some(name))
            || name.contains(['+', '%', '&', '='])
    );
}
