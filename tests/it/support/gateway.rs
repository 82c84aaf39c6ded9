//! A gateway in this process, on ports of its own, in a folder of its own.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread::JoinHandle;

use sidelock::clock::Clock;
use sidelock::config::environment::Environment;
use sidelock::config::load::load;
use sidelock::credential::api_key::PlainKey;
use sidelock::server::{Handle, Sidelock};
use tempfile::TempDir;

use super::client::{self, Answer};
use super::crm::Crm;
use super::eventually;

/// A running gateway; dropping it ends it.
pub struct Gateway {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub folder: TempDir,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

/// A key and its block for the key file.
pub struct TestKey {
    pub id: String,
    pub text: String,
    pub block: String,
}

impl TestKey {
    /// A key with a title and further lines.
    pub fn new(scopes: &[&str], lines: &str) -> Self {
        let key = PlainKey::generate().unwrap();
        let block = format!(
            "[[key]]\nid = \"{}\"\ntitle = \"Test {}\"\ndigest = \"{}\"\nscopes = {scopes:?}\n{lines}\n",
            key.id(),
            key.id(),
            key.digest()
        );
        Self { id: key.id().to_owned(), text: key.expose().to_owned(), block }
    }

    /// The header line that presents it.
    pub fn header(&self) -> String {
        format!("X-API-Key: {}", self.text)
    }
}

/// Scopes that most tests use.
pub const SCOPES: &str = r#"
[scopes.read]
allow = ["GET /api/**"]
[scopes.write]
allow = ["POST,PUT,PATCH,DELETE /api/**"]
"#;

/// The parts of a gateway to be.
pub struct Plan {
    pub upstream: String,
    pub keys: String,
    pub sections: String,
    pub keys_section: String,
    pub environment: Vec<(&'static str, String)>,
}

impl Plan {
    pub fn before(crm: &Crm) -> Self {
        Self {
            upstream: format!("url = \"http://{}\"", crm.address),
            keys: String::new(),
            sections: SCOPES.to_owned(),
            keys_section: String::new(),
            environment: Vec::new(),
        }
    }

    pub fn key(mut self, key: &TestKey) -> Self {
        self.keys.push_str(&key.block);
        self
    }

    pub fn with(mut self, sections: &str) -> Self {
        self.sections.push_str(sections);
        self
    }

    pub fn start(self) -> Gateway {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
            path
        };
        let config = format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\nthreads = 2\n\n[upstream]\n{}\n\n[keys]\nfile = \"keys.toml\"\n{}\n{}",
            self.upstream, self.keys_section, self.sections
        );
        write("keys.toml", &self.keys);
        let path = write("sidelock.toml", &config);
        let environment = Environment::Map(
            self.environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        );
        let mut loading = load(&path, &environment);
        let Some(loaded) = loading.loaded.take() else {
            panic!("{}", loading.report.render(&loading.sources, false));
        };
        let handle = Handle::new();
        let prepared =
            Sidelock::prepare(&path, environment, &loading, loaded, &Clock::system(), &handle).unwrap();
        let (address, admin) = (prepared.listening[0], prepared.admin);
        let thread = std::thread::spawn(move || prepared.run());
        let gateway = Gateway { address, admin, folder, handle, thread: Some(thread) };
        eventually("the gateway is ready", || {
            (client::get(gateway.admin, "/readyz", &[]).status == 200).then_some(())
        });
        gateway
    }
}

impl Gateway {
    /// In front of `crm` with one read-only key.
    pub fn reading(crm: &Crm) -> (Self, TestKey) {
        let key = TestKey::new(&["read"], "");
        (Plan::before(crm).key(&key).start(), key)
    }

    pub fn get(&self, path: &str, headers: &[&str]) -> Answer {
        client::get(self.address, path, headers)
    }

    pub fn post(&self, path: &str, headers: &[&str], body: &str) -> Answer {
        client::post(self.address, path, headers, body)
    }

    pub fn metrics(&self) -> String {
        client::get(self.admin, "/metrics", &[]).text()
    }

    /// The value of one series; zero if it is absent.
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.metrics();
        let line =
            text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
        line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    pub fn keys_file(&self) -> PathBuf {
        self.folder.path().join("keys.toml")
    }

    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("sidelock.toml")
    }

    /// Lines of the access log, once there are at least `count`.
    pub fn log(&self, count: usize) -> Vec<serde_json::Value> {
        let path = self.folder.path().join("state/access.ndjson");
        eventually("the access log has its lines", || {
            let text = std::fs::read_to_string(&path).ok()?;
            let lines: Vec<_> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            (lines.len() >= count).then_some(lines)
        })
    }

    /// Asks the gateway to end, and waits for it.
    pub fn stop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop();
    }
}
