//! Who is at the keyboard, as far as the machine says.

use std::os::unix::fs::MetadataExt;

/// The user who runs the command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// Their number; `None` where the machine does not tell.
    pub uid: Option<u32>,
    /// Their login: `/etc/passwd`'s, or what the environment claims.
    pub login: Option<String>,
    /// Who called `sudo`, as the environment claims.
    pub sudo_user: Option<String>,
}

impl Who {
    /// The user of this process. `environment` gives a variable.
    pub fn here(environment: impl Fn(&str) -> Option<String>) -> Self {
        // A process's own folder belongs to its user; a system call for it would need another crate.
        let uid = std::fs::metadata("/proc/self").map(|metadata| metadata.uid()).ok();
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let login = uid.and_then(|uid| login_of(&passwd, uid));
        Self {
            uid,
            login: login.or_else(|| environment("LOGNAME")).or_else(|| environment("USER")),
            sudo_user: environment("SUDO_USER"),
        }
    }
}

fn login_of(passwd: &str, uid: u32) -> Option<String> {
    let uid = uid.to_string();
    passwd.lines().find_map(|line| {
        let mut parts = line.split(':');
        let (login, number) = (parts.next()?, parts.nth(1)?);
        (number == uid).then(|| login.to_owned())
    })
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.login, self.uid) {
            (Some(login), _) => f.write_str(login)?,
            (None, Some(uid)) => write!(f, "uid {uid}")?,
            (None, None) => f.write_str("someone")?,
        }
        self.sudo_user.as_ref().map_or(Ok(()), |user| write!(f, " (sudo by {user})"))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn logins_by_number() {
        let passwd = "root:x:0:0::/root:/bin/sh\nanna:x:1000:1000::/home/anna:/bin/sh\n";
        assert_eq!(super::login_of(passwd, 1000).as_deref(), Some("anna"));
        assert_eq!(super::login_of(passwd, 100), None);
    }
}
