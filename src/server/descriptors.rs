//! File descriptors: enough for the connections that the configuration allows, or fewer connections. Whoever accepts without
//! any left cannot even tell that it is alive.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::Limits;

/// For the admin listener, files, watches and the runtime; and for what was accepted and not counted yet.
const RESERVE: u64 = 256;
/// To the CRM for each client's connection: its socket, and a second descriptor of it that looks for its end.
const PER_REQUEST: u64 = 2;

/// Raises this process's own limit as far as `limits` need it and the system lets it; lowers `limits.connections` to what fits, and
/// tells how many connections to the CRM then fit.
pub(super) fn fit(limits: Limits) -> (Limits, usize) {
    let wanted = u64::try_from(limits.connections).unwrap_or(u64::MAX);
    let Some(most) = raise(needed(wanted)) else { return (limits, usize::MAX) };
    let connections = fitting(most, wanted);
    let to_crm = left(most, connections);
    if to_crm < wanted {
        tracing::warn!(
            descriptors = most,
            "the limit on open files (ulimit -n) is too low for connections = {wanted}: {connections} of clients at once, {to_crm} to the CRM"
        );
    }
    let connections = usize::try_from(connections).unwrap_or(limits.connections);
    (Limits { connections, ..limits }, usize::try_from(to_crm).unwrap_or(usize::MAX))
}

fn needed(connections: u64) -> u64 {
    connections.saturating_mul(1 + PER_REQUEST).saturating_add(RESERVE)
}

/// Of `most` descriptors, how many may be clients': a third at least is left for connections to the CRM.
fn fitting(most: u64, wanted: u64) -> u64 {
    let shared = most.saturating_sub(RESERVE.min(most / 2));
    wanted.min((shared - shared / 3).max(1))
}

/// Of `most` descriptors, for how many connections to the CRM there are enough beside so many of clients.
fn left(most: u64, clients: u64) -> u64 {
    let shared = most.saturating_sub(RESERVE.min(most / 2));
    (shared.saturating_sub(clients) / PER_REQUEST).max(1)
}

/// The limit as it is then; `None` if it cannot be read.
fn raise(wanted: u64) -> Option<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let raised = wanted.min(hard);
    if raised > soft && setrlimit(Resource::RLIMIT_NOFILE, raised, hard).is_ok() {
        return Some(raised);
    }
    Some(soft)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits() {
        assert_eq!(fitting(needed(10_000), 10_000), 10_000);
        assert_eq!(fitting(1_024, 10_000), 512);
        assert_eq!((fitting(1_024, 100), fitting(20_000, 10_000)), (100, 10_000));
        assert_eq!((fitting(256, 10_000), fitting(0, 10_000)), (86, 1), "some at least");
        assert_eq!(fitting(u64::MAX, u64::MAX / 2), u64::MAX / 2);
        assert_eq!((left(needed(10_000), 10_000), left(20_000, 10_000), left(0, 1)), (10_000, 4_872, 1));
        for most in [0, 64, 1_024, 4_096, 20_000] {
            let clients = fitting(most, 10_000);
            assert!(most < 64 || clients + PER_REQUEST * left(most, clients) <= most, "{most}");
        }
    }
}
