//! A delivery to any known sender. Lines: the sender's number, the second secret (or id), what to change (`17 1` is one bit
//! of byte 17; nothing for a delivery that nobody signed), the secret, the method, the URL, fields, an empty line, the body.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderValue, Method};
use sidelock::clock::WallTime;
use sidelock::config::sender::Senders;
use sidelock::credential::webhook::description::{Description, Verify};
use sidelock::credential::webhook::place::{Place, PlaceKind};
use sidelock::credential::webhook::{Delivery, LiveSecret, Sender, Settings};
use sidelock::secret::Secret;

use super::input::Input;
use super::webhook_schemes::{NOW, SCHEMES, Scheme, Signed, sign, stamp};

static KNOWN: LazyLock<Vec<Description>> = LazyLock::new(|| {
    let known = Senders::known();
    known.names().map(|name| known.named(name).expect("its own name").clone()).collect()
});

/// One delivery.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let (number, second, change, secret) = (input.number(), input.text(), input.text(), input.line());
    let method = Method::from_bytes(input.line()).unwrap_or(Method::POST);
    let (url, headers) = (input.text(), input.headers());
    if change.is_empty() {
        anybody(&KNOWN[number % KNOWN.len()], [secret, second.as_bytes()], &method, url, &headers, input.0);
    } else {
        let (at, mask) = change.split_once(' ').unwrap_or((change, "1"));
        let at: u16 = at.parse().unwrap_or_default();
        let mask = mask.parse::<u8>().unwrap_or(1).max(1);
        let id: String = second.chars().filter(char::is_ascii_graphic).take(100).collect();
        let id = if id.is_empty() { "msg_1" } else { &id };
        let secret = if secret.is_empty() { b"secret" } else { secret };
        changed(&SCHEMES[number % SCHEMES.len()], secret, url, id, input.0, (at.into(), mask));
    }
}

fn anybody(
    description: &Description,
    secrets: [&[u8]; 2],
    method: &Method,
    url: &str,
    headers: &HeaderMap,
    body: &[u8],
) {
    let place = match &description.verify {
        Verify::Token { place: Place::Unnamed(kind), .. } => Some(match kind {
            PlaceKind::Header => Place::Header(http::HeaderName::from_static("x-token")),
            PlaceKind::Query => Place::Query("token".into()),
            PlaceKind::Path => Place::Path("/hook/".into()),
        }),
        Verify::Token { .. } | Verify::Signature(_) | Verify::Basic => None,
    };
    let settings = Settings {
        place,
        variables: [("webhook_id".into(), "5f".into())].into(),
        verify_token: Some(Secret::new(secrets[1])),
        organization_id: Some("00D".into()),
        ..Settings::default()
    };
    let live = |until: Option<WallTime>| {
        secrets.iter().map(|secret| LiveSecret { secret: Secret::new(*secret), until }).collect::<Vec<_>>()
    };
    let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    let url = format!("https://crm.example{url}");
    let delivery = Delivery { method, url: &url, path, query, headers, body, peer: None };
    let now = WallTime::from_unix_secs(NOW);
    let prove = |secrets| {
        let sender = Sender::new(description.clone(), settings.clone(), secrets);
        let proved = sender.prove(&delivery, now);
        assert!(proved.is_err() || sender.screen(&delivery, now).is_ok(), "refused by its head alone");
        proved
    };
    if let Ok(proved) = prove(live(None)) {
        assert!(proved.secret_index.is_none_or(|index| index < secrets.len()));
        assert!(proved.secret_index.is_some() || proved.handshake.is_some(), "somebody's secret said so");
    }
    for over in [Vec::new(), live(Some(now))] {
        let proved = prove(over);
        assert!(
            proved.is_err() || proved.is_ok_and(|it| it.secret_index.is_none()),
            "no secret proves nothing"
        );
    }
}

/// What the sender signed is believed, and with one byte changed it is not.
fn changed(scheme: &Scheme, secret: &[u8], url: &str, id: &str, body: &[u8], (at, mask): (usize, u8)) {
    let Some(mut signed) = sign(scheme, secret, url, id, body, &stamp(scheme)) else { return };
    let proved = signed.proved(scheme.name, Settings::default());
    assert!(proved.is_ok(), "{}: {proved:?}", scheme.name);
    if change(scheme, &mut signed, at, mask).is_some() {
        assert!(
            signed.proved(scheme.name, Settings::default()).is_err(),
            "{}: believed although changed",
            scheme.name
        );
    }
}

/// Changes a byte that counts; `None` if what comes of it is nothing that HTTP could carry.
fn change(scheme: &Scheme, signed: &mut Signed, at: usize, mask: u8) -> Option<()> {
    let fields = [Some(scheme.signature.0), scheme.timestamp.map(|(field, _)| field), scheme.id];
    let fields: Vec<&str> = fields.into_iter().flatten().collect();
    let url = if scheme.signs("{url}") { signed.url.len() } else { 0 };
    let of_fields: usize = fields.iter().map(|field| signed.headers[*field].len()).sum();
    let mut at = at % (of_fields + signed.secret.len() + url + signed.body.len());
    for field in fields {
        let mut value = signed.headers[field].as_bytes().to_vec();
        if at < value.len() {
            value[at] ^= mask;
            signed
                .headers
                .insert(field.parse::<http::HeaderName>().ok()?, HeaderValue::from_bytes(&value).ok()?);
            return Some(());
        }
        at -= value.len();
    }
    if at < signed.secret.len() {
        signed.secret[at] ^= mask;
        return Some(());
    }
    at -= signed.secret.len();
    if at < url {
        let mut bytes = std::mem::take(&mut signed.url).into_bytes();
        bytes[at] ^= mask;
        signed.url = String::from_utf8(bytes).ok()?;
        return Some(());
    }
    signed.body[at - url] ^= mask;
    Some(())
}
