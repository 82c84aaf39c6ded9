//! `[server]`: what cannot change without a restart.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::Surroundings;
use super::listener::Listener;
use super::reader::Section;
use crate::metrics::AddressLabels;

/// The section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `listen`: addresses for clients without TLS; needed where there is no `[[listener]]`.
    pub listen: Vec<SocketAddr>,
    /// `admin`: address of `/metrics`, `/healthz` and `/readyz`; default `127.0.0.1:9180`.
    pub admin: SocketAddr,
    /// `state_dir`: a folder of our own; default `state` beside the configuration.
    pub state_dir: PathBuf,
    /// `public_url`: where the world reaches this gateway; needed where senders sign the URL that they call.
    pub public_url: Option<Box<str>>,
    /// `threads`: default one per processor.
    pub threads: usize,
    /// `address_labels`: whether the worst ten addresses are labels in metrics; default false.
    pub address_labels: AddressLabels,
    /// `key_labels`: keys with a label of their own in metrics, from the top of the file; default 10,000.
    pub key_labels: usize,
}

impl Server {
    /// `others` are the `[[listener]]`s.
    pub(super) fn read(
        section: Section<'_, '_>,
        around: &Surroundings<'_>,
        others: &[Listener],
    ) -> Option<Self> {
        let listen = if others.is_empty() { section.required("listen") } else { section.get("listen") };
        let listen: Vec<SocketAddr> = listen.map(|value| value.parse_all()).unwrap_or_default();
        let admin = section.get("admin").and_then(|value| value.parse());
        let state_dir = section.get("state_dir").and_then(|value| value.text()).unwrap_or("state");
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let count = |key, least, most, default| {
            let number = section.get(key).and_then(|value| value.number(least, most));
            number.and_then(|number| usize::try_from(number).ok()).unwrap_or(default)
        };
        let server = Self {
            admin: admin.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 9180))),
            state_dir: around.path(state_dir),
            public_url: section.get("public_url").and_then(super::public_url),
            threads: count("threads", 1, 1024, processors),
            address_labels: match section.get("address_labels").and_then(|value| value.truth()) {
                Some(true) => AddressLabels::Worst,
                Some(false) | None => AddressLabels::None,
            },
            key_labels: count("key_labels", 0, 1_000_000, 10_000),
            listen,
        };
        if !server.admin.ip().is_loopback() {
            let help =
                "anyone who reaches it can read the metrics; keep it on 127.0.0.1 or behind a firewall"
                    .to_owned();
            section.reading().warning(section.span(), "the admin listener is not on loopback", Some(help));
        }
        section.finish();
        (!server.listen.is_empty() || !others.is_empty()).then_some(server)
    }
}
