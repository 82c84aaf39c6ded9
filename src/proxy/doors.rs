//! Who may connect at all: asked of the bare address, before TLS and before a byte is read. Whoever may not is met with
//! silence, and counted.
//!
//! A trusted proxy speaks for others, so it always may; on listeners with the PROXY protocol those are asked about next.

use std::net::IpAddr;

use super::Proxy;
use crate::client_addr::AddrGroup;
use crate::config::{Config, Manner};
use crate::gate::Gate;
use crate::limits::bans::Bans;
use crate::metrics::Dropped;
use crate::networks::Networks;

/// What the configuration says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doors {
    banned: Manner,
    /// Who may call at all, senders of webhooks included; `None` if that is for the gate alone to say.
    callers: Option<Networks>,
}

impl Doors {
    /// Of one configuration.
    pub fn new(config: &Config) -> Self {
        let may_call = &config.client_address.allow_from;
        let callers =
            (config.client_address.strangers == Manner::Dropped && !may_call.is_empty()).then(|| {
                let senders = config.webhooks.iter().map(|webhook| &webhook.allow_from);
                Networks::union(std::iter::once(may_call).chain(senders))
            });
        Self { banned: config.ban.manner, callers }
    }

    /// Why connections from `ip`, which is canonical, are to be dropped.
    pub fn drops(&self, ip: IpAddr, gate: &Gate, bans: &Bans) -> Option<Dropped> {
        if (self.banned == Manner::Answered && self.callers.is_none()) || gate.trusted_proxies.contains(ip) {
            return None;
        }
        if self.callers.as_ref().is_some_and(|callers| !callers.contains(ip)) {
            return Some(Dropped::NotAllowed);
        }
        let is_banned = || !bans.is_empty() && bans.left(AddrGroup::of(ip)).is_some();
        (self.banned == Manner::Dropped && is_banned() && !gate.banning.exempt.contains(ip))
            .then_some(Dropped::Banned)
    }
}

/// True if `ip`, which is canonical, may connect; it is counted if not.
pub(super) fn may_connect(proxy: &Proxy, ip: IpAddr) -> bool {
    let live = proxy.live.load();
    let dropped = live.doors.drops(ip, &live.gate, &proxy.failures.bans);
    if let Some(why) = dropped {
        proxy.metrics.wire.dropped(why);
    }
    dropped.is_none()
}
