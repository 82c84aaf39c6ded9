//! Schemes written down a second time, as their senders sign: what judges the engine is not the engine.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, Method};
use ring::{digest, hmac};
use sidelock::clock::WallTime;
use sidelock::config::sender::Senders;
use sidelock::credential::webhook::{Delivery, LiveSecret, Proved, Sender, Settings};
use sidelock::denial::DeliveryFault;
use sidelock::secret::Secret;

/// The time at which everything is judged, in seconds since 1970.
pub(crate) const NOW: i64 = 1_760_000_000;

/// How a sender signs.
pub(crate) struct Scheme {
    pub(crate) name: &'static str,
    mac: Mac,
    /// The secret is `whsec_` and base64.
    is_encoded: bool,
    /// The signature's field, and what it holds.
    pub(crate) signature: (&'static str, &'static str),
    is_hex: bool,
    /// The time stamp's field, and units in a second.
    pub(crate) timestamp: Option<(&'static str, i64)>,
    pub(crate) id: Option<&'static str>,
    message: &'static str,
}

enum Mac {
    Sha1,
    Sha256,
    /// A hash with the secret in the message.
    Hash,
}

const fn hex(name: &'static str, signature: (&'static str, &'static str), message: &'static str) -> Scheme {
    Scheme {
        name,
        mac: Mac::Sha256,
        is_encoded: false,
        signature,
        is_hex: true,
        timestamp: None,
        id: None,
        message,
    }
}

const fn base64(
    name: &'static str,
    signature: (&'static str, &'static str),
    message: &'static str,
) -> Scheme {
    Scheme { is_hex: false, ..hex(name, signature, message) }
}

const fn standard(
    name: &'static str,
    signature: &'static str,
    timestamp: &'static str,
    id: &'static str,
) -> Scheme {
    Scheme {
        is_encoded: true,
        timestamp: Some((timestamp, 1)),
        id: Some(id),
        ..base64(name, (signature, "v1,{sig}"), "{id}.{ts}.{body}")
    }
}

impl Scheme {
    const fn sha1(self) -> Self {
        Self { mac: Mac::Sha1, ..self }
    }

    const fn hash(self) -> Self {
        Self { mac: Mac::Hash, ..self }
    }

    const fn stamped(self, field: &'static str, per_second: i64) -> Self {
        Self { timestamp: Some((field, per_second)), ..self }
    }
}

/// One of every kind, and the well-known ones.
pub(crate) const SCHEMES: &[Scheme] = &[
    hex("github", ("x-hub-signature-256", "sha256={sig}"), "{body}"),
    hex("meta", ("x-hub-signature-256", "sha256={sig}"), "{body}"),
    hex("intercom", ("x-hub-signature", "sha1={sig}"), "{body}").sha1(),
    hex("stripe", ("stripe-signature", "t={ts},v1={sig}"), "{ts}.{body}"),
    hex("slack", ("x-slack-signature", "v0={sig}"), "v0:{ts}:{body}").stamped("x-slack-request-timestamp", 1),
    hex("twenty", ("x-twenty-webhook-signature", "{sig}"), "{ts}:{body}")
        .stamped("x-twenty-webhook-timestamp", 1000),
    hex("chatwoot", ("x-chatwoot-signature", "sha256={sig}"), "{ts}.{body}")
        .stamped("x-chatwoot-timestamp", 1),
    hex("kommo-chats", ("x-signature", "{sig}"), "{body}").sha1(),
    hex("line", ("x-line-signature", "{sig}"), "{body}").in_base64(),
    base64("shopify", ("x-shopify-hmac-sha256", "{sig}"), "{body}"),
    base64("typeform", ("typeform-signature", "sha256={sig}"), "{body}"),
    base64("hubspot-v3", ("x-hubspot-signature-v3", "{sig}"), "{method}{url}{body}{ts}")
        .stamped("x-hubspot-request-timestamp", 1000),
    hex("hubspot-v2", ("x-hubspot-signature", "{sig}"), "{secret}{method}{url}{body}").hash(),
    hex("hubspot-v1", ("x-hubspot-signature", "{sig}"), "{secret}{body}").hash(),
    standard("standard-webhooks", "webhook-signature", "webhook-timestamp", "webhook-id"),
    standard("svix", "svix-signature", "svix-timestamp", "svix-id"),
];

impl Scheme {
    const fn in_base64(self) -> Self {
        Self { is_hex: false, ..self }
    }

    /// The field that says which of the sender's schemes it is.
    fn version(&self) -> Option<&'static str> {
        self.name.strip_prefix("hubspot-").filter(|version| *version != "v3")
    }

    pub(crate) fn signs(&self, token: &str) -> bool {
        self.message.contains(token)
    }
}

/// A delivery that its sender signed.
pub(crate) struct Signed {
    /// The secret as it is configured.
    pub(crate) secret: Vec<u8>,
    pub(crate) method: Method,
    pub(crate) url: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// Signs as the sender does; `None` if a text in it is none that HTTP could carry.
pub(crate) fn sign(
    scheme: &Scheme,
    key: &[u8],
    url: &str,
    id: &str,
    body: &[u8],
    at: &str,
) -> Option<Signed> {
    let method = Method::POST;
    let value = |signature: &[u8], name: &str| -> Vec<u8> {
        match name {
            "sig" => signature.to_vec(),
            "body" => body.to_vec(),
            "ts" => at.into(),
            "id" => id.into(),
            "method" => method.as_str().into(),
            "url" => url.into(),
            "secret" => key.to_vec(),
            _ => panic!("no such name: {name}"),
        }
    };
    let message = render(scheme.message, &|name| value(b"", name));
    let raw = match scheme.mac {
        Mac::Sha1 => mac(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key, &message),
        Mac::Sha256 => mac(hmac::HMAC_SHA256, key, &message),
        Mac::Hash => digest::digest(&digest::SHA256, &message).as_ref().to_vec(),
    };
    let signature: String = if scheme.is_hex {
        raw.iter().map(|byte| format!("{byte:02x}")).collect()
    } else {
        STANDARD.encode(raw)
    };
    let mut headers = HeaderMap::new();
    let (field, form) = scheme.signature;
    headers.insert(
        field,
        HeaderValue::from_bytes(&render(form, &|name| value(signature.as_bytes(), name))).ok()?,
    );
    if let Some((field, _)) = scheme.timestamp {
        headers.insert(field, HeaderValue::from_str(at).ok()?);
    }
    if let Some(field) = scheme.id {
        headers.insert(field, HeaderValue::from_str(id).ok()?);
    }
    if let Some(version) = scheme.version() {
        headers.insert("x-hubspot-signature-version", HeaderValue::from_static(version));
    }
    let secret =
        if scheme.is_encoded { format!("whsec_{}", STANDARD.encode(key)).into() } else { key.to_vec() };
    Some(Signed { secret, method, url: url.to_owned(), headers, body: body.to_vec() })
}

/// The time stamp of something that is signed now.
pub(crate) fn stamp(scheme: &Scheme) -> String {
    (NOW * scheme.timestamp.map_or(1, |(_, per_second)| per_second)).to_string()
}

pub(crate) fn mac(algorithm: hmac::Algorithm, key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(algorithm, key), message).as_ref().to_vec()
}

fn render(template: &str, value: &dyn Fn(&str) -> Vec<u8>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.extend_from_slice(before.as_bytes());
        let (name, after) = after.split_once('}').expect("a name ends");
        out.extend(value(name));
        rest = after;
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

impl Signed {
    /// What the engine says of it.
    pub(crate) fn proved(&self, name: &str, settings: Settings) -> Result<Proved, DeliveryFault> {
        thread_local! {
            static KNOWN: Senders = Senders::known();
        }
        let description = KNOWN.with(|known| known.named(name).expect("a known sender").clone());
        let secret = LiveSecret { secret: Secret::new(self.secret.clone()), until: None };
        let after = self.url.split_once("://").map_or(&*self.url, |(_, after)| after);
        let target = after.find(['/', '?']).map_or("/", |at| &after[at..]);
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let delivery = Delivery {
            method: &self.method,
            url: &self.url,
            path,
            query,
            headers: &self.headers,
            body: &self.body,
            peer: None,
        };
        let sender = Sender::new(description, settings, vec![secret]);
        let proved = sender.prove(&delivery, WallTime::from_unix_secs(NOW));
        assert!(
            proved.is_err() || sender.screen(&delivery, WallTime::from_unix_secs(NOW)).is_ok(),
            "refused by its head alone"
        );
        proved
    }
}
