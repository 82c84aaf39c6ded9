//! What systemd wants to hear (`sd_notify(3)`): ready, reloading, stopping, alive. Without it, nothing is said.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The way to systemd, or to whatever else listens at `NOTIFY_SOCKET`; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Supervisor(Option<Arc<Line>>);

#[derive(Debug)]
struct Line {
    socket: UnixDatagram,
    to: SocketAddr,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// By `NOTIFY_SOCKET`, a path or `@` and an abstract name; and by `WATCHDOG_USEC`, if `WATCHDOG_PID` is this process or nobody.
    pub fn find(variable: impl Fn(&str) -> Option<String>) -> Self {
        let line = || {
            let name = variable("NOTIFY_SOCKET")?;
            let to = match name.strip_prefix('@') {
                Some(name) => SocketAddr::from_abstract_name(name),
                None => SocketAddr::from_pathname(&name),
            };
            let socket = UnixDatagram::unbound().ok()?;
            socket.set_nonblocking(true).ok()?;
            let is_ours = variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
            let micros = variable("WATCHDOG_USEC").filter(|_| is_ours).and_then(|it| it.parse().ok());
            let watchdog = micros.filter(|micros| *micros > 0).map(Duration::from_micros);
            Some(Arc::new(Line { socket, to: to.ok()?, watchdog }))
        };
        Self(line())
    }

    /// Requests are taken.
    pub fn ready(&self) {
        self.say("READY=1\nSTATUS=Takes requests");
    }

    /// The files are looked at; [`Self::ready`] follows.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()));
    }

    /// The process ends.
    pub fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=Finishes what is under way");
    }

    /// Another process is the service from now on. It has half a watchdog's time to say that it is alive.
    pub fn replaced_by(&self, pid: u32) {
        self.say(&format!("MAINPID={pid}\nWATCHDOG=1"));
    }

    /// The process is alive, see [`Self::watchdog`].
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    /// How often it wants to hear that, at the least; `None` if it does not.
    pub fn watchdog(&self) -> Option<Duration> {
        self.0.as_ref()?.watchdog
    }

    fn say(&self, words: &str) {
        if let Some(line) = &self.0
            && let Err(error) = line.socket.send_to_addr(words.as_bytes(), &line.to)
        {
            tracing::debug!(%error, "systemd does not listen");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    fn with(pairs: &[(&str, &str)]) -> Supervisor {
        let map: HashMap<_, _> = pairs.iter().copied().collect();
        Supervisor::find(|name| map.get(name).map(|value| (*value).to_owned()))
    }

    #[test]
    fn each_word_as_systemd_has_it_over_paths_and_abstract_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let supervisor = with(&[("NOTIFY_SOCKET", path.to_str().unwrap())]);
        supervisor.ready();
        assert!(heard(&socket).starts_with("READY=1\n"));
        supervisor.reloading();
        let text = heard(&socket);
        let micros = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(micros.parse::<u64>().unwrap() > 0);
        supervisor.replaced_by(7);
        assert_eq!(heard(&socket), "MAINPID=7\nWATCHDOG=1");
        let name = format!("sidelock-test-{}", std::process::id());
        let hidden = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        with(&[("NOTIFY_SOCKET", &format!("@{name}"))]).stopping();
        assert!(heard(&hidden).starts_with("STOPPING=1\n"));
    }

    #[test]
    fn a_watchdog_of_another_process_is_not_ours() {
        let own = std::process::id().to_string();
        let watchdog = |pairs: &[(&str, &str)]| {
            with(&[&[("NOTIFY_SOCKET", "@x"), ("WATCHDOG_USEC", "3000000")], pairs].concat()).watchdog()
        };
        assert_eq!(watchdog(&[]), Some(Duration::from_secs(3)));
        assert_eq!(watchdog(&[("WATCHDOG_PID", &own)]), Some(Duration::from_secs(3)));
        assert_eq!(watchdog(&[("WATCHDOG_PID", "1")]), None);
        assert_eq!(watchdog(&[("WATCHDOG_USEC", "0")]), None);
        assert_eq!(with(&[("WATCHDOG_USEC", "1")]).watchdog(), None, "nobody to tell");
        with(&[]).ready();
    }
}
