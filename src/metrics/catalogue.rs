//! The catalogue: every family of series, once. The collectors take names, labels and help from here, and
//! `sidelock metrics` prints it; rules and dashboards stand on these names, so none ever changes.

use std::collections::HashMap;

use prometheus::core::Desc;

use Unit::{Bytes, Count, Flag, Moment, Seconds};

/// What every name begins with, but for those of the process.
pub(super) const PREFIX: &str = "sidelock";

/// One family.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The whole name.
    pub name: &'static str,
    /// What kind of series.
    pub kind: Kind,
    /// Names of labels, without `le`.
    pub labels: &'static [&'static str],
    /// What a value counts.
    pub unit: Unit,
    /// The help text of the exposition.
    pub help: &'static str,
    /// From when on there are series. A counter that is not there from the start has no zero to rise from: `increase()`
    /// misses its first event.
    pub since: &'static str,
}

/// Kinds of series, as Prometheus has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, but for a restart.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counters by upper bound, a sum and a count.
    Histogram,
}

impl Kind {
    /// The word of the exposition format.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What a value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Seconds.
    Seconds,
    /// Seconds since 1970, UTC.
    Moment,
    /// Bytes.
    Bytes,
    /// 1 for yes, 0 for no.
    Flag,
}

impl Unit {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Seconds => "seconds",
            Self::Moment => "unix seconds",
            Self::Bytes => "bytes",
            Self::Flag => "0 or 1",
        }
    }
}

impl Family {
    const fn new(name: &'static str, kind: Kind, unit: Unit, help: &'static str) -> Self {
        Self { name, kind, labels: &[], unit, help, since: "the start" }
    }

    const fn by(self, labels: &'static [&'static str]) -> Self {
        Self { labels, ..self }
    }

    const fn since(self, since: &'static str) -> Self {
        Self { since, ..self }
    }

    /// For collectors that make their own series.
    pub(super) fn desc(&self) -> Result<Desc, prometheus::Error> {
        let labels = self.labels.iter().map(|label| (*label).to_owned()).collect();
        Desc::new(self.short().to_owned(), self.help.to_owned(), labels, HashMap::new())
    }

    /// The name without [`PREFIX`], which the registry adds.
    pub(super) fn short(&self) -> &'static str {
        self.name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('_')).unwrap_or(self.name)
    }
}

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family::new(name, Kind::Counter, Count, help)
}

const fn gauge(name: &'static str, unit: Unit, help: &'static str) -> Family {
    Family::new(name, Kind::Gauge, unit, help)
}

const fn histogram(name: &'static str, help: &'static str) -> Family {
    Family::new(name, Kind::Histogram, Seconds, help)
}

const WATCHED: &str = "the webhook is loaded, if its bot is watched";
const TOLD: &str = "Telegram was asked about the bot, if it is watched";
const WEBHOOK: &str = "the webhook is loaded";
const TWO_SECRETS: &str = "a rotation, while the key has two secrets";

macro_rules! families {
    ($($(#[$doc:meta])* $id:ident = $family:expr;)*) => {
        $($(#[$doc])* pub(super) const $id: Family = $family;)*

        /// Every family, in the order in which they are shown.
        pub const ALL: &[Family] = &[$($id),*];
    };
}

families! {
    // Requests
    REQUESTS = counter("sidelock_requests_total", "Answered requests by key id, route and class of status.")
        .by(&["key", "route", "code_class"])
        .since("the key is loaded (2xx, while it is in use); its first answer (4xx and 5xx); the first of its kind (others)");
    DENIED = counter("sidelock_denied_total",
        "Requests that were refused or could not be answered, by key id and reason.")
        .by(&["key", "reason"]).since("the start (key=\"unknown\"); the key is loaded (decoys); the first refusal (others)");
    OBSERVED = counter("sidelock_observed_total",
        "Requests that passed only because their key is observed, by key id and the reason that would have refused them.")
        .by(&["key", "reason"]).since("the key is loaded, if it is observed");
    DURATION = histogram("sidelock_request_duration_seconds",
        "From complete request head to last byte of the answer.").by(&["route"]).since("the route is loaded");
    UPSTREAM = histogram("sidelock_upstream_duration_seconds",
        "From sending a request to the CRM to its response head.").by(&["route"]).since("the route is loaded");
    OVERHEAD = histogram("sidelock_overhead_seconds", "Time to the response head that the CRM did not take.");
    IN_FLIGHT = gauge("sidelock_in_flight", Count, "Requests between head and last byte.");

    // Refused credentials
    AUTH_FAILURES = counter("sidelock_auth_failures_total", "Refused credentials by reason.").by(&["reason"]);
    WORST_SOURCE = gauge("sidelock_auth_failure_worst_source", Count,
        "Highest number of refused credentials from one address (IPv6: one /64) in the current five minutes.");
    RECENT_SOURCES = gauge("sidelock_auth_failure_recent_sources", Count,
        "Addresses (IPv6: /64s) with a refused credential in the current five minutes.");
    SOURCES = gauge("sidelock_auth_failure_sources", Count,
        "Addresses with refused credentials that are remembered now.");
    BANNED = gauge("sidelock_banned_addresses", Count, "Addresses that may not use keys now.");
    BANS = counter("sidelock_bans_total", "Bans of addresses.");
    BY_ADDRESS = gauge("sidelock_auth_failures_by_address", Count,
        "Refused credentials of the ten addresses that have the most, since each is remembered.")
        .by(&["address"]).since("the first refusal, if [server] address_labels is on");

    // Webhooks
    DELIVERIES = counter("sidelock_webhook_deliveries_total", "Webhook deliveries by result.")
        .by(&["webhook", "result"]).since(WEBHOOK);
    LAST_SUCCESS = gauge("sidelock_webhook_last_success_timestamp_seconds", Moment,
        "When the CRM last took a delivery; 0 for never since the start.").by(&["webhook"]).since(WEBHOOK);
    SECRET_USES = counter("sidelock_webhook_secret_uses_total",
        "Proved deliveries by which of the webhook's secrets proved them, counted from 1 in the order of the configuration.")
        .by(&["webhook", "secret"]).since(WEBHOOK);
    SECRET_LAST_USE = gauge("sidelock_webhook_secret_last_used_timestamp_seconds", Moment,
        "When a secret last proved a delivery; 0 for never since the start.")
        .by(&["webhook", "secret"]).since(WEBHOOK);
    SENDERS = counter("sidelock_webhook_senders_total",
        "Updates by whether their sender and the time of day were expected.")
        .by(&["webhook", "sender", "hours"]).since("the webhook is loaded, if it has [webhook.senders]");
    NEW_SENDERS = counter("sidelock_webhook_new_senders_total",
        "Updates of accounts that were first seen less than first_seen_for before.")
        .by(&["webhook"]).since("the webhook is loaded, if it has [webhook.senders]");
    PENDING = gauge("sidelock_webhook_telegram_pending_updates", Count, "Updates that wait at Telegram for delivery.")
        .by(&["webhook"]).since(TOLD);
    LAST_ERROR = gauge("sidelock_webhook_telegram_last_error_timestamp_seconds", Moment,
        "When a delivery from Telegram last failed; 0 for never.").by(&["webhook"]).since(TOLD);
    REGISTERED = gauge("sidelock_webhook_telegram_registered", Flag,
        "1 if Telegram delivers to the configured URL, 0 if elsewhere or nowhere.").by(&["webhook"]).since(TOLD);
    WATCH_FAILURES = counter("sidelock_webhook_telegram_watch_failures_total",
        "Looks at the webhook at Telegram, or attempts to set it anew, that failed.").by(&["webhook"]).since(WATCHED);
    REASSERTED = counter("sidelock_webhook_telegram_reasserted_total",
        "Times that the webhook at Telegram was set anew, whatever the reason.")
        .by(&["webhook"]).since(WATCHED);

    // Keys
    INFO = gauge("sidelock_key_info", Flag, "1, with the title of a key.").by(&["key", "title"])
        .since("the key is loaded");
    LIVE = gauge("sidelock_key_live", Flag, "1 if a key opens something, 0 once it is expired or revoked.")
        .by(&["key"]).since("the key is loaded");
    CREATED = gauge("sidelock_key_created_timestamp_seconds", Moment, "When a key was made.").by(&["key"])
        .since("the key is loaded, if the file says when");
    SECRET_CREATED = gauge("sidelock_key_secret_created_timestamp_seconds", Moment,
        "When a key's present secret was made: with the key, or at its last rotation.").by(&["key"])
        .since("the key is loaded, if the file says when");
    EXPIRES = gauge("sidelock_key_expires_timestamp_seconds", Moment, "When a key stops working; 0 for never.")
        .by(&["key"]).since("the key is loaded");
    LAST_USED = gauge("sidelock_key_last_used_timestamp_seconds", Moment, "When a key was last proved.")
        .by(&["key"]).since("the key's first use, remembered across restarts");
    NETWORKS = gauge("sidelock_key_networks", Count,
        "Networks (IPv4 /24, IPv6 /48) that a key was used from, at most 64.").by(&["key"])
        .since("the key's first use, remembered across restarts");
    NEW_NETWORKS = counter("sidelock_key_new_networks_total",
        "Uses of a key from a network that was not known of it, while others were.").by(&["key"]).since("the key's first use, remembered across restarts");
    PREVIOUS_USES = counter("sidelock_key_previous_uses_total",
        "Uses of the secret that a rotation replaced, while it is in the file.").by(&["key"]).since(TWO_SECRETS);
    PREVIOUS_LAST_USED = gauge("sidelock_key_previous_last_used_timestamp_seconds", Moment,
        "When the secret that a rotation replaced was last used, while it is in the file.")
        .by(&["key"]).since("its first use as the replaced one");
    PREVIOUS_ENDS = gauge("sidelock_key_previous_ends_timestamp_seconds", Moment,
        "When the secret that a rotation replaced stops working, once that is known.").by(&["key"]).since(TWO_SECRETS);
    KEYS = gauge("sidelock_keys", Count, "Keys in the file by state.").by(&["state"]);
    REVOCATION = histogram("sidelock_revocation_seconds",
        "Time from an edit that ended a key to the end of each connection that carried it.");

    // The gateway itself
    RELOADS = counter("sidelock_reloads_total", "Reloads of files by result.").by(&["result"]);
    LAST_RELOAD_SUCCESSFUL = gauge("sidelock_last_reload_successful", Flag,
        "1 if what is on disk is in force, 0 if it was refused.");
    LAST_RELOAD_SUCCESS = gauge("sidelock_last_reload_success_timestamp_seconds", Moment,
        "When content was last taken into force.");
    UPSTREAM_CONNECTIONS = gauge("sidelock_upstream_connections", Count,
        "Connections to the CRM by state (active, idle).").by(&["state"]);
    CONNECTIONS = gauge("sidelock_connections", Count, "Client connections open now.");
    CONNECTIONS_SHED = counter("sidelock_connections_shed_total",
        "Client connections refused because a limit was reached.");
    TLS_HANDSHAKES = counter("sidelock_tls_handshakes_total", "TLS handshakes with clients by result.").by(&["result"]);
    TLS_CERTIFICATE_EXPIRES = gauge("sidelock_tls_certificate_expires_timestamp_seconds", Moment,
        "When the certificates of listeners end, by listener and the certificate's first name.")
        .by(&["listener", "name"]).since("the listener is loaded, if it has TLS");
    LOG_LINES_DROPPED = counter("sidelock_log_lines_dropped_total",
        "Access log lines dropped because the queue was full.");
    PANICS = counter("sidelock_panics_total", "Panics: each ended one task, and the process went on.");
    BUILD_INFO = gauge("sidelock_build_info", Flag, "1, with the version as a label.").by(&["version"]);

    // The process, under the names that Prometheus has for every program
    PROCESS_CPU = Family::new("process_cpu_seconds_total", Kind::Counter, Seconds,
        "Total user and system CPU time spent in seconds.");
    PROCESS_FDS = gauge("process_open_fds", Count, "Number of open file descriptors.");
    PROCESS_MAX_FDS = gauge("process_max_fds", Count, "Maximum number of open file descriptors.");
    PROCESS_VIRTUAL = gauge("process_virtual_memory_bytes", Bytes, "Virtual memory size in bytes.");
    PROCESS_RESIDENT = gauge("process_resident_memory_bytes", Bytes, "Resident memory size in bytes.");
    PROCESS_START = gauge("process_start_time_seconds", Moment,
        "Start time of the process since unix epoch in seconds.");
    PROCESS_THREADS = gauge("process_threads", Count, "Number of OS threads in the process.");
}
