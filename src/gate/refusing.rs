//! What a refused credential means for its address.

use super::Gate;
use crate::client_addr::ClientAddr;
use crate::clock::Now;
use crate::denial::Denial;
use crate::limits::bans::BanRule;
use crate::limits::failures::Failures;
use crate::networks::Networks;

/// Who is banned, and who never is.
#[derive(Clone, Debug, Default)]
pub struct Banning {
    /// When an address is banned by itself; `None` for never.
    pub rule: Option<BanRule>,
    /// Trusted proxies, senders of webhooks, and whom the configuration names.
    pub exempt: Networks,
}

impl Gate {
    /// A banned address may not use keys, not even a good one: who holds one and who guesses cannot be told apart by it, and
    /// an answer would tell the guesser.
    #[inline]
    pub(super) fn permit_address(&self, client: ClientAddr, failures: &Failures) -> Result<(), Denial> {
        if failures.bans.is_empty() { Ok(()) } else { self.permit_unbanned(client, failures) }
    }

    fn permit_unbanned(&self, client: ClientAddr, failures: &Failures) -> Result<(), Denial> {
        match failures.bans.left(client.group()) {
            Some(left) if !self.banning.exempt.contains(client.ip()) => Err(Denial::AddressBanned(left)),
            Some(_) | None => Ok(()),
        }
    }

    /// Counts a refused key against its address.
    pub(super) fn refuse_key(
        &self,
        denial: Denial,
        client: ClientAddr,
        now: Now,
        failures: &Failures,
    ) -> Denial {
        let (group, rate) = (client.group(), self.failure_rate);
        match &self.banning.rule {
            _ if !denial.is_authentication_failure() => denial,
            Some(rule) if denial.is_guess() && !self.banning.exempt.contains(client.ip()) => {
                failures.refuse_guess(denial, group, (rate, rule), now)
            }
            Some(_) | None => failures.refuse(denial, group, rate, now),
        }
    }
}
