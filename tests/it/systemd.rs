//! What a supervisor hears, and sockets that it lends: a restart loses nothing.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use crate::handover::upgraded;
use crate::support::client::{Connection, get, request, try_get};
use crate::support::crm::Crm;
use crate::support::gateway::{Gateway, Plan, TestKey};
use crate::support::{PATIENCE, eventually};

/// A gateway that tells `NOTIFY_SOCKET`, and what it tells.
fn notifying(folder: &Path, more: &[(&'static str, &str)]) -> (Gateway, Receiver<String>) {
    let path = folder.join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let (says, heard) = channel();
    // The kernel keeps few messages: somebody must always listen, as systemd does.
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok(length) = socket.recv(&mut buffer)
            && says.send(String::from_utf8_lossy(&buffer[..length]).into_owned()).is_ok()
        {}
    });
    let mut plan = Plan::before(&Crm::usual());
    plan.environment = vec![("NOTIFY_SOCKET", path.to_str().unwrap().to_owned())];
    plan.environment.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    (plan.start(), heard)
}

/// The next message that has `line`; those before it are thrown away.
fn hear(told: &Receiver<String>, line: &str) {
    let mut heard = String::new();
    let deadline = Instant::now() + PATIENCE;
    while !heard.lines().any(|it| it == line) {
        let left = deadline.saturating_duration_since(Instant::now());
        heard = told.recv_timeout(left).unwrap_or_else(|_| panic!("{line} never came; last: {heard}"));
    }
}

#[test]
fn every_step_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (mut gateway, told) = notifying(folder.path(), &[]);
    hear(&told, "READY=1");
    gateway.signal("HUP");
    hear(&told, "RELOADING=1");
    hear(&told, "READY=1");
    let new = upgraded(&gateway);
    hear(&told, "READY=1");
    hear(&told, &format!("MAINPID={new}"));
    gateway.stop();
    hear(&told, "STOPPING=1");
}

#[test]
fn who_is_told_to_reload_while_it_starts_goes_on_starting() {
    let (mut gateway, _) = Gateway::reading(&Crm::usual());
    gateway.stop();
    let mut child = Command::new(env!("CARGO_BIN_EXE_sidelock"))
        .args(["run", "--config"])
        .arg(gateway.config_file())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id().to_string();
    let signal = |name: &str| Command::new("kill").args([name, &pid]).status().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    said.find(|line| line.contains(" loaded ")).unwrap();
    signal("-HUP");
    let admin =
        said.find_map(|line| line.split("readiness address=").nth(1)?.parse::<SocketAddr>().ok()).unwrap();
    eventually("it is ready", || (try_get(admin, "/readyz", &[])?.status == 200).then_some(()));
    signal("-TERM");
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_watchdog_hears_the_process_and_its_successor() {
    let folder = tempfile::tempdir().unwrap();
    let own = std::process::id().to_string();
    let (gateway, told) = notifying(folder.path(), &[("WATCHDOG_USEC", "300000")]);
    hear(&told, "WATCHDOG=1");
    let new = upgraded(&gateway);
    hear(&told, &format!("MAINPID={new}"));
    for _ in 0..3 {
        hear(&told, "WATCHDOG=1");
    }
    // Another process's watchdog is not fed.
    let other = tempfile::tempdir().unwrap();
    let more = [("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", &*own)];
    let (mut gateway, told) = notifying(other.path(), &more);
    gateway.stop();
    let mut words = String::new();
    while !words.starts_with("STOPPING=1") {
        words = told.recv_timeout(PATIENCE).unwrap();
        assert!(!words.contains("WATCHDOG"), "{words}");
    }
}

/// As systemd would: two sockets as descriptors 3 and 4.
fn lend(config: &Path, clients: OwnedFd, admin: OwnedFd) -> Child {
    let script =
        "exec 3<&0 4<&1 0</dev/null 1>/dev/null; LISTEN_PID=$$ LISTEN_FDS=2 exec \"$0\" run --config \"$1\"";
    Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_sidelock")])
        .arg(config)
        .stdin(Stdio::from(clients))
        .stdout(Stdio::from(admin))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn files(folder: &Path, crm: &Crm, key: &TestKey, listener: &str, admin: SocketAddr) -> std::path::PathBuf {
    let config = format!(
        "[server]\n{listener}\nadmin = \"{admin}\"\nthreads = 2\n[upstream]\nurl = \"http://{}\"\n[keys]\nfile = \"keys.toml\"\n[timeouts]\ndrain_accept = \"0s\"\n{}",
        crm.address,
        crate::support::gateway::SCOPES
    );
    for (name, text) in [("keys.toml", key.block.as_str()), ("sidelock.toml", &config)] {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    folder.join("sidelock.toml")
}

fn lent() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

fn end(mut child: Child) -> String {
    drop(Command::new("kill").arg(child.id().to_string()).status());
    let said: Vec<String> =
        BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok).collect();
    assert!(child.wait().unwrap().success(), "{}", said.join("\n"));
    said.join("\n")
}

#[test]
fn five_restarts_with_lent_sockets_lose_nothing() {
    let key = TestKey::new(&["read"], "rate = \"100000/s burst 100000\"");
    let (crm, folder) = (Crm::usual(), tempfile::tempdir().unwrap());
    let (clients, admin) = (lent(), lent());
    let (address, admin_address) = (clients.local_addr().unwrap(), admin.local_addr().unwrap());
    let config = files(folder.path(), &crm, &key, &format!("listen = [\"{address}\"]"), admin_address);
    let start = || {
        let child = lend(&config, clients.try_clone().unwrap().into(), admin.try_clone().unwrap().into());
        eventually("it is ready", || (get(admin_address, "/readyz", &[]).status == 200).then_some(()));
        child
    };
    let (over, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut child = start();
    let load: Vec<_> = (0..2)
        .map(|_| {
            let (over, served, header) = (Arc::clone(&over), Arc::clone(&served), key.header());
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let status = try_get(address, "/api/x", &[&header]).map(|answer| answer.status);
                    assert_eq!(status, Some(200));
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for _ in 0..5 {
        let before = served.load(Ordering::Relaxed);
        eventually("requests go on", || (served.load(Ordering::Relaxed) > before + 20).then_some(()));
        end(child);
        child = start();
    }
    over.store(true, Ordering::Relaxed);
    for thread in load {
        thread.join().unwrap();
    }
    end(child);
}

#[test]
fn a_lent_socket_file_stays_and_a_socket_that_blocks_is_refused() {
    let (crm, key, folder) = (Crm::usual(), TestKey::new(&["read"], ""), tempfile::tempdir().unwrap());
    let file = folder.path().join("door.sock");
    let (clients, admin) = (UnixListener::bind(&file).unwrap(), lent());
    let admin_address = admin.local_addr().unwrap();
    let listener = "[[listener]]\nunix = \"door.sock\"\n";
    let config = files(folder.path(), &crm, &key, "", admin_address);
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}{listener}")).unwrap();
    let child = lend(&config, clients.try_clone().unwrap().into(), admin.try_clone().unwrap().into());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("set NonBlocking=yes"), "{said}");
    clients.set_nonblocking(true).unwrap();
    let child = lend(&config, clients.try_clone().unwrap().into(), admin.try_clone().unwrap().into());
    eventually("it is ready", || (get(admin_address, "/readyz", &[]).status == 200).then_some(()));
    let mut connection = Connection::over(UnixStream::connect(&file).unwrap());
    connection.send(request("GET", "/api/x", &[&key.header()], ""));
    assert_eq!(connection.answer().map(|answer| answer.status), Some(200));
    end(child);
    assert!(file.exists(), "it is not ours to remove");
}

#[test]
fn a_lent_socket_that_no_listener_names_is_told_of_and_one_of_datagrams_is_refused() {
    let (crm, key, folder) = (Crm::usual(), TestKey::new(&["read"], ""), tempfile::tempdir().unwrap());
    let (other, admin) = (lent(), lent());
    let lent_in_vain = other.local_addr().unwrap();
    let admin_address = admin.local_addr().unwrap();
    let config = files(folder.path(), &crm, &key, "listen = [\"127.0.0.1:0\"]", admin_address);
    let child = lend(&config, other.try_clone().unwrap().into(), admin.try_clone().unwrap().into());
    eventually("it is ready", || (get(admin_address, "/readyz", &[]).status == 200).then_some(()));
    let said = end(child);
    let warned = |line: &str| line.contains("WARN") && line.contains(&lent_in_vain.to_string());
    assert!(said.lines().any(warned), "{said}");
    let refused = |clients: OwnedFd, admin: TcpListener, why: &str| {
        let output = lend(&config, clients, admin.into()).wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(why), "{said}");
    };
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    datagrams.set_nonblocking(true).unwrap();
    refused(datagrams.into(), admin.try_clone().unwrap(), "does not listen for streams");
    // The admin's address is taken by the very socket that was not lent.
    let why = format!("the supervisor lent {lent_in_vain}, ");
    refused(other.try_clone().unwrap().into(), other, &why);
    drop(admin);
}
