//! One captured delivery, and the verdict on it.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};

use super::{Unreadable, described};
use crate::clock::{Clock, WallTime};
use crate::credential::webhook::description::{Description, Verify};
use crate::credential::webhook::{Delivery, LiveSecret, Proved, Sender};
use crate::denial::DeliveryFault;
use crate::secret::Secret;

/// A request as it was captured, owned.
struct Captured {
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Vec<u8>,
    peer: Option<IpAddr>,
}

/// Why a request has no chance.
enum Defect {
    /// The entry is not of this format.
    Format(&'static str),
    /// No HTTP server would take such a request.
    NotHttp(&'static str),
}

/// The verdict on `entry`, by the configured sender or by the one that the entry names.
pub(super) fn verdict(
    entry: &Value,
    configured: Option<&Sender>,
    now: Option<WallTime>,
) -> Result<Value, Unreadable> {
    let id = entry.get("id").cloned().unwrap_or(Value::Null);
    let unreadable = |message: String| Unreadable { id: id.clone(), message };
    let captured = match captured(entry.get("request").unwrap_or(&Value::Null)) {
        Ok(captured) => captured,
        Err(Defect::Format(message)) => return Err(unreadable(message.to_owned())),
        Err(Defect::NotHttp(detail)) => {
            return Ok(json!({ "id": id, "verdict": "reject", "reason": "not_http", "detail": detail }));
        }
    };
    let now = match now.or_else(|| moment(entry.get("now_unix")?)) {
        Some(now) => now,
        None if entry.get("now_unix").is_none() => Clock::system().wall(),
        None => return Err(unreadable("'now_unix' is not a number of seconds".to_owned())),
    };
    let mut useless = Vec::new();
    let proved = match configured {
        Some(sender) => prove(sender, &captured, now, Called::AsConfigured),
        None => {
            let secrets = secrets(entry.get("secrets")).map_err(|message| unreadable(message.to_owned()))?;
            let (description, settings) = described::sender(entry).map_err(unreadable)?;
            useless = useless_secrets(&description, &secrets);
            prove(&Sender::new(description, settings, secrets), &captured, now, Called::AsCaptured)
        }
    };
    Ok(match proved {
        Ok(proved) => accepted(&id, &proved),
        Err(fault) => {
            let detail = std::iter::once(fault.to_string()).chain(useless).collect::<Vec<_>>().join("; ");
            json!({ "id": id, "verdict": "reject", "reason": fault.reason(), "detail": detail })
        }
    })
}

/// What is said of secrets that are no keys in the sender's scheme: nothing is ever proved by them.
fn useless_secrets(description: &Description, secrets: &[LiveSecret]) -> Vec<String> {
    let Verify::Signature(signed) = &description.verify else { return Vec::new() };
    let error = |live: &LiveSecret| signed.key_bytes(&live.secret).err();
    let errors = secrets.iter().enumerate().filter_map(|(at, live)| Some((at, error(live)?)));
    errors.map(|(at, error)| format!("secret {at} is of no use: {error}")).collect()
}

fn accepted(id: &Value, proved: &Proved) -> Value {
    let reason = if proved.handshake.is_some() { "handshake" } else { "proved" };
    let mut verdict =
        json!({ "id": id, "verdict": "accept", "reason": reason, "secret": proved.secret_index });
    if let (Some(answer), Some(fields)) = (&proved.handshake, verdict.as_object_mut()) {
        let response = json!({
            "status": answer.status.as_u16(),
            "body": String::from_utf8_lossy(&answer.body),
        });
        fields.insert("response".to_owned(), response);
    }
    verdict
}

/// Which URL the sender called, where it signs that.
#[derive(Clone, Copy)]
enum Called {
    /// The one of the entry.
    AsCaptured,
    /// The configured public URL with the entry's target, as in the gateway.
    AsConfigured,
}

fn prove(
    sender: &Sender,
    captured: &Captured,
    now: WallTime,
    called: Called,
) -> Result<Proved, DeliveryFault> {
    let whole = captured.url.split('#').next().unwrap_or_default();
    let after = whole.split_once("://").map_or(whole, |(_, after)| after);
    let target = after.find(['/', '?']).and_then(|at| after.get(at..)).unwrap_or("/");
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let url = match called {
        Called::AsConfigured if sender.needs_url() => sender.url_of(target),
        Called::AsConfigured | Called::AsCaptured => captured.url.clone(),
    };
    let delivery = Delivery {
        method: &captured.method,
        url: &url,
        path,
        query,
        headers: &captured.headers,
        body: &captured.body,
        peer: captured.peer,
    };
    sender.prove(&delivery, now)
}

fn captured(request: &Value) -> Result<Captured, Defect> {
    let text = |key: &str| request.get(key).and_then(Value::as_str);
    if !request.is_object() {
        return Err(Defect::Format("'request' is missing"));
    }
    let method = text("method").unwrap_or("POST").parse().map_err(|_| Defect::NotHttp("no method"))?;
    let url = text("url").ok_or(Defect::Format("'request.url' is missing"))?.to_owned();
    let body = match request.get("body_base64") {
        None | Some(Value::Null) => Vec::new(),
        Some(body) => body
            .as_str()
            .and_then(|body| STANDARD.decode(body).ok())
            .ok_or(Defect::Format("'request.body_base64' is not base64"))?,
    };
    let peer = match request.get("remote_addr") {
        None | Some(Value::Null) => None,
        Some(address) => Some(
            address
                .as_str()
                .and_then(|address| address.parse().ok())
                .ok_or(Defect::Format("'request.remote_addr' is not an address"))?,
        ),
    };
    let headers = headers(request.get("headers"))?;
    Ok(Captured { method, url, headers, body, peer })
}

fn headers(list: Option<&Value>) -> Result<HeaderMap, Defect> {
    const FORM: Defect = Defect::Format("'request.headers' is not a list of [name, value]");
    let mut headers = HeaderMap::new();
    let list = match list {
        None | Some(Value::Null) => return Ok(headers),
        Some(list) => list.as_array().ok_or(FORM)?,
    };
    for field in list {
        let pair: Option<Vec<&str>> =
            field.as_array().and_then(|pair| pair.iter().map(Value::as_str).collect());
        let [name, value] = pair.as_deref().ok_or(FORM)? else {
            return Err(FORM);
        };
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Defect::NotHttp("a field's name"))?;
        let value =
            HeaderValue::from_bytes(&as_bytes(value)).map_err(|_| Defect::NotHttp("a field's value"))?;
        headers.try_append(name, value).map_err(|_| Defect::NotHttp("too many fields"))?;
    }
    Ok(headers)
}

/// A character up to U+00FF stands for one byte of the wire; what is above it is written as UTF-8.
fn as_bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for character in text.chars() {
        match u8::try_from(character) {
            Ok(byte) => out.push(byte),
            Err(_) => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out
}

fn secrets(list: Option<&Value>) -> Result<Vec<LiveSecret>, &'static str> {
    const FORM: &str = "'secrets' is not a list of strings";
    let live = |text: &Value| {
        let secret = Secret::new(text.as_str().ok_or(FORM)?);
        Ok(LiveSecret { secret, until: None })
    };
    match list {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(list) => list.as_array().ok_or(FORM)?.iter().map(live).collect(),
    }
}

/// Seconds since 1970, whole or not.
fn moment(seconds: &Value) -> Option<WallTime> {
    if let Some(whole) = seconds.as_i64() {
        return Some(WallTime::from_unix_secs(whole));
    }
    let millis = (seconds.as_f64()? * 1000.0).round();
    format!("{millis:.0}").parse().ok().map(WallTime::from_unix_millis)
}
