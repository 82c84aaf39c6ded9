//! `[client_address]`: whose word on addresses counts, and who may call at all.

use ipnet::IpNet;

use super::reader::{Section, Value};
use crate::networks::Networks;

/// The section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientAddress {
    /// `trusted_proxies`: peers whose `X-Forwarded-For` or `Forwarded` is read; default none.
    pub trusted_proxies: Networks,
    /// `allow_from`: who may call at all; default everyone.
    pub allow_from: Networks,
    /// `drop`: what others meet; default an answer.
    pub strangers: Manner,
}

/// How someone is met whose address is not wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// Each request is refused.
    #[default]
    Answered,
    /// Connections are closed before a byte is read.
    Dropped,
}

impl Manner {
    /// `drop = true` or `false`.
    pub(super) fn read(section: &Section<'_, '_>) -> Self {
        let drop = section.get("drop").and_then(|value| value.truth()).unwrap_or(false);
        if drop { Self::Dropped } else { Self::Answered }
    }
}

impl ClientAddress {
    pub(super) fn read(section: Section<'_, '_>) -> Self {
        let networks = |key| section.get(key).map(|value| networks(value, &|_| None)).unwrap_or_default();
        let (trusted_proxies, allow_from) = (networks("trusted_proxies"), networks("allow_from"));
        let strangers = Manner::read(&section);
        if strangers == Manner::Dropped
            && allow_from.is_empty()
            && let Some(value) = section.get("drop")
        {
            value.reading().error(value.span(), "without allow_from nobody would be dropped", None);
        }
        section.finish();
        Self { trusted_proxies, allow_from, strangers }
    }
}

/// A list of networks, addresses, or names that `named` knows.
pub(super) fn networks(value: Value<'_, '_>, named: &dyn Fn(&str) -> Option<Vec<IpNet>>) -> Networks {
    let mut nets: Vec<IpNet> = Vec::new();
    let items = value.one_or_more();
    if items.is_empty() {
        let help = "leave the key out to let every address through".to_owned();
        value.reading().error(value.span(), "an empty list would mean nobody or everybody", Some(help));
    }
    for item in items {
        let Some(text) = item.text() else { continue };
        if let Some(list) = named(text) {
            nets.extend(list);
        } else {
            match network(text) {
                Ok(net) => nets.push(net),
                Err(help) => item.reading().error(item.span(), "not a network", Some(help)),
            }
        }
    }
    Networks::new(nets)
}

fn network(text: &str) -> Result<IpNet, String> {
    let usual = || "write it as 203.0.113.0/24, 2001:db8::/32 or a single address".to_owned();
    let net = match text.parse::<IpNet>() {
        Ok(net) => net,
        Err(_) => IpNet::from(text.parse::<std::net::IpAddr>().map_err(|_| usual())?.to_canonical()),
    };
    if net.trunc() == net {
        Ok(net)
    } else {
        Err(format!("{text} has bits after its prefix; did you mean {}?", net.trunc()))
    }
}
