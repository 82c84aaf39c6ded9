//! The commands around the gateway: how it begins, whether it is well, completions and manual pages.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

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
    assert_eq!(names(folder.path()), [""; 0]);
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
    std::fs::write(&here, format!("{text}\n[nonsense]\n")).unwrap();
    well(&[]);
    // A listener of clients is no admin listener.
    let (told, code) = failed(&folder, &["healthcheck", "--admin", &gateway.address.to_string()]);
    assert!(code == 1 && told.contains("/healthz: "), "{told}");
    gateway.stop();
    let (told, code) = failed(&folder, &["healthcheck"]);
    assert!(code == 1 && told.contains("nobody runs"), "{told}");
    let (told, code) = failed(&folder, &["healthcheck", "--admin", &gateway.admin.to_string()]);
    assert!(code == 1 && told.contains("does not answer"), "{told}");
    std::fs::write(&here, "not toml").unwrap();
    let (told, code) = failed(&folder, &["healthcheck"]);
    assert!(code == 1 && told.contains("--admin"), "{told}");
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
    let (page, _) = done(folder.path(), &["man"]);
    assert!(page.contains(".TH sidelock 1"), "{page}");
    done(folder.path(), &["man", "--to", "man"]);
    let pages = names(&folder.path().join("man"));
    for verb in verbs.iter().filter(|verb| **verb != "help") {
        assert!(pages.contains(&format!("sidelock-{verb}.1")), "{verb}: {pages:?}");
    }
}
