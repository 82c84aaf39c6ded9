//! `sidelock demo`: everything embedded, in a temporary folder that goes with it.

mod crm;
mod socket;

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Failure;
use super::run::start_log;
use crate::clock::Clock;
use crate::config::environment::Environment;
use crate::config::load::load_still;
use crate::credential::api_key::PlainKey;
use crate::editing::{Lifetime, NewKey};
use crate::server::{Origin, Sidelock};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Opts {
    /// Port of the gateway on 127.0.0.1; another one is taken if it is in use, 0 takes any
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Port of the metrics; likewise
    #[arg(long, default_value_t = 9180)]
    admin_port: u16,
}

/// What the demo made.
struct Made {
    folder: Folder,
    reader: PlainKey,
    writer: PlainKey,
    webhook_secret: String,
}

/// A folder that is removed when the demo ends.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // Whatever is left is in the system's temporary folder.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

pub(super) fn run(opts: &Opts) -> Result<(), Failure> {
    start_log("warn");
    let crm = crm::start()?;
    let gateway = free(opts.port)?;
    let admin = free(opts.admin_port)?;
    let made = make(crm, gateway, admin)?;
    let path = made.folder.0.join("sidelock.toml");
    let (mut loading, fingerprint) = load_still(&path, &Environment::Process, &[]);
    let Some(loaded) = loading.loaded.take() else {
        return Err(Failure::Failed(loading.report.render(&loading.sources, false)));
    };
    let prepared = Sidelock::prepare(
        &path,
        Environment::Process,
        loaded,
        (fingerprint, loading.files(&[])),
        &mut Origin::alone(),
        &Clock::system(),
    )
    .map_err(|error| Failure::Failed(error.to_string()))?;
    write!(std::io::stdout(), "{}", tour(&made, crm, gateway, admin))?;
    std::io::stdout().flush()?;
    prepared.run().map_err(|error| Failure::Failed(error.to_string()))?;
    super::say("The demo is over; its folder is gone.");
    Ok(())
}

/// `port` on loopback if nobody has it, otherwise any free one.
fn free(port: u16) -> std::io::Result<SocketAddr> {
    let bind =
        |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|listener| listener.local_addr());
    bind(port).or_else(|_| bind(0))
}

fn make(crm: SocketAddr, gateway: SocketAddr, admin: SocketAddr) -> Result<Made, Failure> {
    let key = || PlainKey::generate().map_err(|error| Failure::Failed(error.to_string()));
    let (reader, writer, random) = (key()?, key()?, key()?);
    let webhook_secret: String = random.expose().chars().skip(13).take(43).collect();
    let path = std::env::temp_dir().join(format!("sidelock-demo-{}", random.id()));
    std::fs::DirBuilder::new().mode(0o700).create(&path)?;
    let folder = Folder(path);
    let write = |name: &str, text: &str| -> std::io::Result<()> {
        let path = folder.0.join(name);
        std::fs::OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(path)?
            .write_all(text.as_bytes())
    };
    let now = Clock::system().wall();
    let quarter = Duration::from_secs(90 * 86_400);
    let mut keys =
        String::from("# Two keys of the demo. Save an edit and see it take effect within a second.\n");
    let block = |key: &PlainKey, title: &str, scopes: &[&str]| {
        let new = NewKey {
            id: key.id().to_owned(),
            title: title.to_owned(),
            digest: key.digest(),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            created: now,
            lifetime: Lifetime::from(now, quarter),
            allow_from: Vec::new(),
            rate: None,
            credential: None,
            owner: None,
            note: None,
        };
        new.block()
    };
    keys.push_str(&block(&reader, "Demo: reads messages and tickets", &["read_messages"]));
    let all = ["read_messages", "send_messages", "manage_tickets"];
    keys.push_str(&block(&writer, "Demo: reads, sends and manages", &all));
    write("keys.toml", &keys)?;
    write("telegram-secret", &webhook_secret)?;
    write("sidelock.toml", &configuration(crm, gateway, admin))?;
    Ok(Made { folder, reader, writer, webhook_secret })
}

fn configuration(crm: SocketAddr, gateway: SocketAddr, admin: SocketAddr) -> String {
    format!(
        r#"# The demo's configuration. config/sidelock.toml in the repository explains every key.
[server]
listen = ["{gateway}"]
admin = "{admin}"

[upstream]
url = "http://{crm}"

[keys]
file = "keys.toml"

[scopes.read_messages]
allow = ["GET /api/messages/**", "GET /api/tickets/**", "GET /api/events", "GET /api/socket", "GET /api/whoami"]
[scopes.send_messages]
allow = ["POST /api/messages"]
[scopes.manage_tickets]
allow = ["POST /api/tickets", "PATCH,DELETE /api/tickets/*"]

[[webhook]]
name = "telegram"
path = "/telegram/webhook"
sender = "telegram"
secrets = ["file:telegram-secret"]

[[route]]
path = "/login/**"
access = "public"

[limits]
per_key = "60/min burst 20"
"#
    )
}

/// What to read and paste: a comment and a command each.
fn tour(made: &Made, crm: SocketAddr, gateway: SocketAddr, admin: SocketAddr) -> String {
    let api = format!("http://{gateway}/api");
    let mut steps = vec![(
        format!(
            "Sidelock on http://{gateway} stands in front of a small CRM on http://{crm}. Ctrl-C ends both."
        ),
        format!(
            "READ={}\nWRITE={}\nSECRET={}",
            made.reader.expose(),
            made.writer.expose(),
            made.webhook_secret
        ),
    )];
    let fixed = calls(&api).into_iter().chain(deliveries(&format!("http://{gateway}")));
    steps.extend(fixed.map(|(title, command)| (title.to_owned(), command)));
    steps.extend(by_hand(made, &api, admin));
    steps.into_iter().map(|(title, command)| format!("# {title}\n{command}\n\n")).collect()
}

fn calls(api: &str) -> Vec<(&'static str, String)> {
    let read = "-H \"X-API-Key: $READ\"";
    vec![
        (
            "200: the read-only key reads",
            format!("curl -si {api}/tickets -H \"Authorization: Bearer $READ\""),
        ),
        (
            "201: the read-write key writes",
            format!(
                "curl -si {api}/tickets -H \"X-API-Key: $WRITE\" --json '{{\"subject\":\"Printer on fire\"}}'"
            ),
        ),
        ("What the CRM sees of a caller: who, and no key", format!("curl -s {api}/whoami {read}; echo")),
        ("401: no key", format!("curl -si {api}/tickets")),
        ("401: an unknown key", format!("curl -si {api}/tickets -H 'X-API-Key: not-a-key-of-this-gateway'")),
        (
            "403: the read-only key may not write",
            format!("curl -si {api}/tickets {read} --json '{{\"subject\":\"x\"}}'"),
        ),
        ("400: two credentials", format!("curl -si {api}/tickets {read} -H \"Authorization: Bearer $READ\"")),
        ("400: a path with two readings", format!("curl -si --path-as-is {api}/tickets/../../admin {read}")),
        (
            "429: more than 20 at once",
            format!(
                "for i in $(seq 25); do curl -so /dev/null -w '%{{http_code}} ' {api}/messages \
                 -H \"X-API-Key: $WRITE\"; done; echo"
            ),
        ),
    ]
}

fn deliveries(gateway: &str) -> Vec<(&'static str, String)> {
    let update = r#"{"update_id":1,"message":{"message_id":1,"from":{"id":7,"first_name":"Ada"},"chat":{"id":7},"text":"It is broken"}}"#;
    let deliver = format!("curl -si {gateway}/telegram/webhook --json '{update}'");
    vec![
        (
            "200: a webhook delivery, which becomes a ticket",
            format!("{deliver} -H \"X-Telegram-Bot-Api-Secret-Token: $SECRET\""),
        ),
        ("401: a delivery without the secret", deliver),
        (
            "An event stream, and a page that needs no key",
            format!(
                "curl -sN --max-time 3 {gateway}/api/events -H \"X-API-Key: $READ\"; curl -s {gateway}/login/"
            ),
        ),
    ]
}

fn by_hand(made: &Made, api: &str, admin: SocketAddr) -> [(String, String); 2] {
    let folder = made.folder.0.display();
    let edit = revoke_command(&made.folder.0, made.reader.id());
    let again = format!("sleep 1; curl -si {api}/tickets -H \"X-API-Key: $READ\"");
    let figures = format!("curl -s http://{admin}/metrics | grep ^sidelock_requests_total");
    [
        ("401: revoke the read-only key by editing the key file".to_owned(), format!("{edit}\n{again}")),
        (
            "Figures per key, the record of requests, and the files".to_owned(),
            format!("{figures}\ntail -n 3 {folder}/state/access.ndjson\nls {folder}"),
        ),
    ]
}

/// An edit that anyone can read: a line after the key's id.
fn revoke_command(folder: &Path, id: &str) -> String {
    format!("sed -i '/^id = \"{id}\"/a revoked = true' {}/keys.toml", folder.display())
}
