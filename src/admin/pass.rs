//! Who may see addresses and change bans over the admin listener: whoever may read the state folder.
//!
//! The process writes where it listens and a pass, new at each start, into a file that only its user may read. A command
//! reads it and shows the pass. Nobody else on the network has it, and no page in a browser can make one send it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use http::{HeaderMap, header};
use serde_json::{Value, json};

use crate::secret::Secret;

/// The file in the state folder.
pub const FILE: &str = "admin.json";

/// What opens the guarded paths.
#[derive(Clone, Debug)]
pub struct Pass(Secret);

/// Where the process listens, and what opens it.
#[derive(Clone, Debug)]
pub struct Door {
    /// The admin listener, as it is reached from this machine.
    pub address: SocketAddr,
    /// The pass.
    pub pass: Pass,
}

impl Pass {
    /// A new one of 256 random bits.
    ///
    /// # Errors
    /// The operating system gave no random bytes.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self(Secret::new(hex)))
    }

    /// True if a request shows it: one `Authorization: Bearer`.
    pub fn opens(&self, headers: &HeaderMap) -> bool {
        let mut shown = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(shown), None) = (shown.next(), shown.next()) else { return false };
        shown.as_bytes().strip_prefix(b"Bearer ").is_some_and(|shown| self.0.matches(shown))
    }

    /// The line that shows it.
    pub fn line(&self) -> Secret {
        Secret::new([b"Authorization: Bearer ", self.0.expose(), b"\r\n"].concat())
    }
}

impl Door {
    /// A listener on every address is reached over loopback.
    pub fn new(listening: SocketAddr, pass: Pass) -> Self {
        let ip = match listening.ip() {
            ip if !ip.is_unspecified() => ip,
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        Self { address: SocketAddr::new(ip, listening.port()), pass }
    }

    /// The text of the file.
    pub fn text(&self) -> Secret {
        let pass = String::from_utf8_lossy(self.pass.0.expose());
        Secret::new(json!({ "address": self.address.to_string(), "pass": pass }).to_string())
    }

    /// What the file in the state folder says; `None` if it says something else.
    ///
    /// # Errors
    /// The file cannot be read: no process runs, or another user's does.
    pub fn read(state_dir: &Path) -> std::io::Result<Option<Self>> {
        let text = Secret::new(std::fs::read(state_dir.join(FILE))?);
        let found = |value: &Value| {
            let address = value.get("address")?.as_str()?.parse().ok()?;
            let pass =
                value.get("pass")?.as_str().filter(|pass| pass.bytes().all(|it| it.is_ascii_hexdigit()))?;
            Some(Self { address, pass: Pass(Secret::new(pass)) })
        };
        Ok(serde_json::from_slice(text.expose()).ok().and_then(|value| found(&value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pass_opens() {
        let pass = Pass::generate().unwrap();
        let text = String::from_utf8(pass.0.expose().to_vec()).unwrap();
        let opens = |lines: &[String]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::AUTHORIZATION, line.parse().unwrap());
            }
            pass.opens(&headers)
        };
        let good = format!("Bearer {text}");
        assert!(opens(std::slice::from_ref(&good)));
        for bad in [
            &[][..],
            &[good.clone(), good],
            std::slice::from_ref(&text),
            &["Bearer ".to_owned()],
            &[format!("Bearer {text}0")],
        ] {
            assert!(!opens(bad), "{bad:?}");
        }
        assert!(!format!("{pass:?}").contains(&text));
    }

    #[test]
    fn what_is_written_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Door::read(folder.path()).is_err());
        let door = Door::new("0.0.0.0:9180".parse().unwrap(), Pass::generate().unwrap());
        std::fs::write(folder.path().join(FILE), door.text().expose()).unwrap();
        let read = Door::read(folder.path()).unwrap().unwrap();
        assert_eq!(read.address, "127.0.0.1:9180".parse().unwrap());
        assert!(read.pass.0.matches(door.pass.0.expose()));
        for bad in ["", "{}", "{\"address\":\"127.0.0.1:1\",\"pass\":\"a\\r\\nHost: x\"}"] {
            std::fs::write(folder.path().join(FILE), bad).unwrap();
            assert!(Door::read(folder.path()).unwrap().is_none(), "{bad}");
        }
    }
}
