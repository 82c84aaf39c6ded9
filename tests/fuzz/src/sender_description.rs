//! The text of `[sender.<name>]`, and what its senders say of a delivery.

use std::path::PathBuf;

use http::{HeaderMap, Method};
use sidelock::clock::WallTime;
use sidelock::config::sender::parse;
use sidelock::config::source::Source;
use sidelock::credential::webhook::{Delivery, LiveSecret, Sender, Settings};
use sidelock::secret::Secret;

/// One file of senders.
pub fn run(data: &[u8]) {
    const MOST_SENDERS: usize = 8;
    let Ok(text) = std::str::from_utf8(data) else { return };
    let source = Source { path: PathBuf::from("/nonexistent/senders.toml"), text: text.to_owned() };
    let senders = match parse(&source) {
        Ok(senders) => senders,
        Err(why) => return assert!(!why.is_empty(), "refused with a reason"),
    };
    for name in senders.names().take(MOST_SENDERS) {
        let description = senders.named(name).unwrap().clone();
        let secret = LiveSecret { secret: Secret::new("c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"), until: None };
        let settings = Settings { organization_id: Some("00D".into()), ..Settings::default() };
        let sender = Sender::new(description, settings, vec![secret]);
        let mut headers = HeaderMap::new();
        headers.insert("x-signature", "t=1,v1=00".parse().unwrap());
        let delivery = Delivery {
            method: &Method::POST,
            url: "https://crm.example:8443/hook?a=%41",
            path: "/hook",
            query: Some("a=%41"),
            headers: &headers,
            body: br#"{"signature":{"signature":"00","timestamp":"1"},"id":1}"#,
            peer: None,
        };
        assert!(sender.prove(&delivery, WallTime::from_unix_secs(1)).is_err(), "nothing in it is a secret");
    }
}
