//! The commands around the gateway: how it begins, whether it is well, completions and manual pages.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use crate::support::crm::Crm;
use crate::support::gateway::Gateway;

fn typed(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidelock"));
    command.env_remove("SIDELOCK_CONFIG").current_dir(folder).args(arguments).output().unwrap()
}

/// What went to stdout and to stderr.
fn done(folder: &Path, arguments: &[&str]) -> (String, String) {
    let output = typed(folder, arguments);
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{arguments:?}: {err}");
    (out, err)
}

/// What went to stderr, and the exit code.
fn failed(folder: &Path, arguments: &[&str]) -> (String, i32) {
    let output = typed(folder, arguments);
    (String::from_utf8(output.stderr).unwrap(), output.status.code().unwrap())
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_init_makes_can_be_used_at_once() {
    let packs = names(Path::new("config/crm"));
    assert!(packs.len() > 5, "{packs:?}");
    for pack in packs.iter().map(|name| name.strip_suffix(".toml").unwrap()) {
        let folder = tempfile::tempdir().unwrap();
        let url = "https://crm.example:8443";
        let (out, told) = done(folder.path(), &["init", "--crm", pack, "--url", url]);
        assert!(
            out.is_empty() && told.contains("--role read_only") && !told.contains("[upstream] url"),
            "{told}"
        );
        let text = std::fs::read_to_string(folder.path().join("sidelock.toml")).unwrap();
        let has = |line: &str| text.lines().any(|it| it.starts_with(line));
        assert!(has(&format!("url = \"{url}\" ")) && has(&format!("crm = \"{pack}\" ")), "{pack}");
        assert!(!has("[scopes."), "the pack has its own");
        done(folder.path(), &["keys", "create", "--title", "Newsletter", "--role", "read_only"]);
        done(folder.path(), &["check", "--strict"]);
        let mode = |name| folder.path().join(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode("keys.toml") & 0o777, 0o600);
    }
    let folder = tempfile::tempdir().unwrap();
    let (_, told) = done(folder.path(), &["init"]);
    assert!(told.contains("[upstream] url") && told.contains("[scopes]"), "{told}");
    let made = std::fs::read(folder.path().join("sidelock.toml")).unwrap();
    assert_eq!(made, std::fs::read("config/sidelock.toml").unwrap());
    done(folder.path(), &["keys", "create", "--title", "Newsletter", "--scope", "read_messages"]);
}

#[test]
fn init_takes_nothing_away_and_leaves_nothing_half_made() {
    for present in ["sidelock.toml", "keys.toml"] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(present), "mine").unwrap();
        let (told, code) = failed(folder.path(), &["init"]);
        assert!(code == 1 && told.contains(present) && told.contains("nothing was made"), "{told}");
        assert_eq!(names(folder.path()), [present]);
        assert_eq!(std::fs::read(folder.path().join(present)).unwrap(), b"mine");
    }
    let folder = tempfile::tempdir().unwrap();
    for url in ["ftp://crm.example", "http://crm.example/path", "\"\nx = 1"] {
        let (told, code) = failed(folder.path(), &["init", "--url", url]);
        assert!(code == 2 && told.contains("not the address of a CRM"), "{told}");
    }
    let (told, code) = failed(folder.path(), &["init", "--crm", "odo"]);
    assert!(code == 2 && told.contains("odoo"), "{told}");
    let (told, code) = failed(folder.path(), &["init", "--config", "keys.toml"]);
    assert!(code == 1 && told.contains("another"), "{told}");
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn what_comes_next_names_the_configuration_that_was_made() {
    let folder = tempfile::tempdir().unwrap();
    let (told, code) = failed(folder.path(), &["init", "--config", "etc/crm.toml"]);
    assert!(code == 1 && told.contains("etc/crm.toml: No such file"), "{told}");
    std::fs::create_dir(folder.path().join("etc")).unwrap();
    let (told, code) = failed(folder.path(), &["check", "--config", "etc/crm.toml"]);
    assert!(code == 2 && told.contains("does not exist") && told.contains("`sidelock init`"), "{told}");
    let (_, told) = done(folder.path(), &["init", "--config", "etc/crm.toml"]);
    assert!(told.contains("sidelock --config etc/crm.toml check\n"), "{told}");
    done(folder.path(), &["--config", "etc/crm.toml", "check"]);
    assert!(folder.path().join("etc/keys.toml").exists());
    // A name that a shell and a terminal would take for more.
    std::fs::create_dir(folder.path().join("it's")).unwrap();
    let (_, told) = done(folder.path(), &["init", "--config", "it's/a \u{1b}[31m.toml"]);
    assert!(told.contains(r"--config 'it'\''s/a \u{1b}[31m.toml' check"), "{told}");
    assert!(!told.contains('\u{1b}'), "{told}");
    std::os::unix::fs::symlink("loop.toml", folder.path().join("loop.toml")).unwrap();
    let (told, code) = failed(folder.path(), &["check", "--config", "loop.toml"]);
    assert!(code == 2 && !told.contains("does not exist"), "{told}");
}

#[test]
fn healthcheck_asks_the_process() {
    let (mut gateway, _) = Gateway::reading(&Crm::usual());
    let here = gateway.config_file();
    let folder = here.parent().unwrap().to_owned();
    let well = |arguments: &[&str]| done(&folder, &[&["healthcheck"], arguments].concat());
    assert_eq!(well(&[]), (String::new(), "well, and ready\n".to_owned()));
    well(&["--admin", &gateway.admin.to_string()]);
    // What is not in force makes nobody ill.
    let text = std::fs::read_to_string(&here).unwrap();
    for more in ["\n[nonsense]\n", "\nx = = 1\n", "\n[server]\nadmin = 7\n"] {
        std::fs::write(&here, format!("{text}{more}")).unwrap();
        well(&[]);
    }
    std::fs::write(&here, b"\xff\xfe").unwrap();
    well(&[]);
    // A listener of clients is no admin listener.
    let (told, code) = failed(&folder, &["healthcheck", "--admin", &gateway.address.to_string()]);
    assert!(code == 1 && told.contains("no Sidelock's admin"), "{told}");
    gateway.stop();
    let (told, code) = failed(&folder, &["healthcheck"]);
    assert!(code == 1 && told.contains("no process is found") && told.contains("--admin"), "{told}");
    let (told, code) = failed(&folder, &["healthcheck", "--admin", "127.0.0.1:1"]);
    assert!(code == 1 && told.contains("does not answer"), "{told}");
}

#[test]
fn healthcheck_finds_a_state_folder_elsewhere_also_by_a_broken_file() {
    let (gateway, _) = Gateway::reading(&Crm::usual());
    let (state, folder) = (gateway.config_file().with_file_name("state"), tempfile::tempdir().unwrap());
    let (here, state) = (folder.path().join("sidelock.toml"), state.display());
    for text in [
        format!("[server]\nstate_dir = \"{state}\"\n"),
        format!("server.\"state_dir\" = '{state}'\n"),
        format!("server = {{ state_dir = \"{state}\" }}\n[other]\nstate_dir = \"x\""),
        format!("x = = 1\n[server]\n  state_dir = \"{state}\"  # here\n"),
    ] {
        std::fs::write(&here, &text).unwrap();
        done(folder.path(), &["healthcheck"]);
    }
    // Another gateway's health is not told, though it runs beside the file.
    std::os::unix::fs::symlink(state.to_string(), folder.path().join("state")).unwrap();
    std::fs::write(&here, "[server]\nstate_dir = \"other\"\n").unwrap();
    let (told, code) = failed(folder.path(), &["healthcheck"]);
    assert!(code == 1 && told.contains("no process is found"), "{told}");
}

/// Answers each request with `bytes`, and closes or keeps the connection.
fn answering(bytes: &'static [u8], closes: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut open, mut byte) = (Vec::new(), [0]);
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                asked.extend(byte);
            }
            // Whoever asks may have gone.
            drop(stream.write_all(bytes));
            open.extend((!closes).then_some(stream));
        }
    });
    address
}

#[test]
fn healthcheck_believes_nobody_else_and_waits_for_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (late, other) = ("no whole answer within 3s", "no Sidelock's admin");
    for (bytes, closes, why) in [
        (&b""[..], false, late),
        (b"HTTP/1.1 200 OK\r\n\r\nok\n", false, late),
        (b"", true, other),
        (b"SSH-2.0 200 hello\r\n\r\nok\n", true, other),
        (b"HTTP/1.1 200 OK\r\n\r\n<!doctype html>", true, other),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\nunwell: \x1bit\n", true, "/healthz: unwell: \\u{1b}it"),
        (vec![b'x'; 20 << 20].leak(), true, "does not answer"),
    ] {
        let address = answering(bytes, closes).to_string();
        let (told, code) = failed(folder.path(), &["healthcheck", "--admin", &address]);
        assert!(code == 1 && told.contains(why), "{told}");
    }
    // Each byte resets no clock.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let dripping = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        while stream.write_all(b"x").is_ok() {
            std::thread::park_timeout(Duration::from_millis(300));
        }
    });
    let (told, code) = failed(folder.path(), &["healthcheck", "--admin", &address]);
    assert!(code == 1 && told.contains(late), "{told}");
    dripping.join().unwrap();
}

#[test]
fn shells_and_man_know_every_verb() {
    let folder = tempfile::tempdir().unwrap();
    let (help, _) = done(folder.path(), &["--help"]);
    let listed = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let verbs: Vec<&str> = listed.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert!(verbs.len() > 15, "{help}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (script, _) = done(folder.path(), &["completions", shell]);
        verbs.iter().for_each(|verb| assert!(script.contains(verb), "{shell}: {verb}"));
    }
    std::fs::write(folder.path().join("script"), done(folder.path(), &["completions", "bash"]).0).unwrap();
    let read = Command::new("bash").args(["-n", "script"]).current_dir(folder.path()).status().unwrap();
    assert!(read.success());
    let (page, _) = done(folder.path(), &["man"]);
    assert!(page.contains(".TH sidelock 1"), "{page}");
    done(folder.path(), &["man", "--to", "man"]);
    let pages = names(&folder.path().join("man"));
    for verb in verbs.iter().filter(|verb| **verb != "help") {
        assert!(pages.contains(&format!("sidelock-{verb}.1")), "{verb}: {pages:?}");
    }
}
