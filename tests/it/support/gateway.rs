//! A gateway: the real program, on ports of its own, in a folder of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::Arc;

use parking_lot::Mutex;
use sidelock::credential::api_key::PlainKey;
use tempfile::TempDir;

use super::client::{self, Answer};
use super::crm::Crm;
use super::eventually;

/// A running gateway; dropping it ends it.
pub struct Gateway {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub folder: TempDir,
    pub said: Said,
    child: Child,
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
    /// Further lines of `[server]`.
    pub server: String,
    pub upstream: String,
    pub keys: String,
    pub sections: String,
    pub keys_section: String,
    pub environment: Vec<(&'static str, String)>,
    pub files: Vec<(&'static str, &'static str)>,
}

impl Plan {
    pub fn before(crm: &Crm) -> Self {
        Self {
            server: String::new(),
            upstream: format!("url = \"http://{}\"", crm.address),
            keys: String::new(),
            sections: SCOPES.to_owned(),
            keys_section: String::new(),
            environment: Vec::new(),
            files: Vec::new(),
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

    pub fn file(mut self, name: &'static str, text: &'static str) -> Self {
        self.files.push((name, text));
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
        let timeouts =
            if self.sections.contains("[timeouts]") { "" } else { "[timeouts]\ndrain_accept = \"0s\"\n" };
        let config = format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\nthreads = 2\n{}\n[upstream]\n{}\n\n[keys]\nfile = \"keys.toml\"\n{}\n{}\n{timeouts}",
            self.server, self.upstream, self.keys_section, self.sections
        );
        for (name, text) in &self.files {
            write(name, text);
        }
        write("keys.toml", &self.keys);
        let path = write("sidelock.toml", &config);
        let (child, said, address, admin) = launch(&path, self.environment);
        let gateway = Gateway { address, admin, folder, said, child };
        gateway.wait_until_ready();
        gateway
    }
}

/// The program in the gateway's folder, which an upgrade starts.
const PROGRAM: &str = "sidelock";

type Launched = (Child, Said, SocketAddr, SocketAddr);

fn launch(config: &Path, environment: Vec<(&'static str, String)>) -> Launched {
    let program = config.with_file_name(PROGRAM);
    if !program.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_sidelock"), &program).unwrap();
    }
    let mut child = Command::new(program)
        .args(["run", "--config"])
        .arg(config)
        .env("NO_COLOR", "1")
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = Said::listen(child.stderr.take().unwrap());
    let address = said.address(" listening address=");
    let admin = said.address("readiness address=");
    (child, said, address, admin)
}

/// What a gateway says on stderr.
#[derive(Clone, Default)]
pub struct Said(Arc<Mutex<String>>);

impl Said {
    fn listen(stderr: ChildStderr) -> Self {
        let said = Self::default();
        let writer = said.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut text = writer.0.lock();
                text.push_str(&line);
                text.push('\n');
            }
        });
        said
    }

    pub fn text(&self) -> String {
        self.0.lock().clone()
    }

    fn address(&self, after: &str) -> SocketAddr {
        eventually("the gateway tells its address", || {
            let text = self.text();
            assert!(!text.contains("not started"), "{text}");
            text.lines().find_map(|line| line.split(after).nth(1)?.split_whitespace().next()?.parse().ok())
        })
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

    /// The status that a key gets; `None` if its connection was cut while the key ended.
    pub fn status_of(&self, key: &TestKey) -> Option<u16> {
        Some(client::try_get(self.address, "/api/x", &[&key.header()])?.status)
    }

    pub fn post(&self, path: &str, headers: &[&str], body: &str) -> Answer {
        client::post(self.address, path, headers, body)
    }

    pub fn metrics(&self) -> String {
        client::get(self.admin, "/metrics", &[]).text()
    }

    /// Where its listeners are, as it tells: the plain one first, then each `[[listener]]`.
    pub fn listeners(&self) -> Vec<String> {
        let text = self.said.text();
        let told = text.lines().filter_map(|line| line.split(" listening address=").nth(1));
        told.map(str::to_owned).collect()
    }

    /// The address of the first `[[listener]]`.
    pub fn second(&self) -> SocketAddr {
        self.listeners()[1].parse().unwrap()
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

    pub fn signal(&self, name: &str) {
        self.signal_process(self.child.id(), name);
    }

    pub fn signal_process(&self, pid: u32, name: &str) {
        let done = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().unwrap();
        assert!(done.success());
    }

    fn wait_until_ready(&self) {
        eventually("the gateway is ready", || {
            (client::get(self.admin, "/readyz", &[]).status == 200).then_some(())
        });
    }

    /// Starts the gateway once more, in the same folder; it was stopped before.
    pub fn again(&mut self) {
        (self.child, self.said, self.address, self.admin) = launch(&self.config_file(), Vec::new());
        self.wait_until_ready();
    }

    /// The process that runs now, as it tells in the state folder: after an upgrade another than was started here.
    pub fn pid(&self) -> Option<u32> {
        let text = std::fs::read_to_string(self.folder.path().join("state/sidelock.pid")).ok()?;
        text.parse().ok()
    }

    /// Puts a script in the program's place; what it says of `$PROGRAM` is about the true one.
    pub fn replace_program(&self, script: &str) {
        let path = self.folder.path().join(PROGRAM);
        std::fs::remove_file(&path).unwrap();
        let text = format!("#!/bin/sh\nPROGRAM={}\n{script}\n", env!("CARGO_BIN_EXE_sidelock"));
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
    }

    /// A command of Sidelock's about this gateway.
    pub fn command(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sidelock"));
        command.args(args).arg("--config").arg(self.config_file()).stdin(Stdio::null()).output().unwrap()
    }

    /// The process that was started here was killed on purpose: only what took over is ended in order.
    pub fn was_killed(mut self) {
        self.stop_successor("TERM");
        drop(self.child.wait());
        // Whose end is in order, when this is dropped.
        self.child = Command::new("true").spawn().unwrap();
        drop(self.child.wait());
    }

    /// Ends whatever came of upgrades.
    fn stop_successor(&self, signal: &str) {
        if let Some(pid) = self.pid().filter(|pid| *pid != self.child.id()) {
            drop(Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status());
            eventually("the gateway's successor ends", || is_gone(pid).then_some(()));
        }
    }

    /// Asks the gateway to end, and waits for it.
    pub fn stop(&mut self) {
        self.stop_successor("TERM");
        if self.child.try_wait().unwrap().is_none() {
            self.signal("TERM");
        }
        let status = eventually("the gateway ends", || self.child.try_wait().unwrap());
        assert!(status.success(), "{status}\n{}", self.said.text());
        assert!(!self.said.text().contains("panicked"), "{}", self.said.text());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.stop_successor("KILL");
            drop(self.child.kill());
            drop(self.child.wait());
            eprintln!("--- the gateway said ---\n{}", self.said.text());
        } else {
            self.stop();
        }
    }
}

/// True once a process has ended, also if nobody has taken note of it.
pub fn is_gone(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    !status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}
