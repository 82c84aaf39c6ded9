//! Upgrades that go wrong: whatever happens, somebody serves.

use std::process::{Child, Command, Stdio};

use crate::handover::{said, upgraded};
use crate::support::client::get;
use crate::support::crm::Crm;
use crate::support::eventually;
use crate::support::gateway::{Gateway, Plan, TestKey, is_gone};

/// Begins as a new process would, says its id, and goes on when it is let.
const HELD: &str = "cd \"$(dirname \"$0\")\"\necho $$ > begun.new && mv begun.new begun\nwhile [ ! -e go ]; do sleep 0.02; done\nexec \"$PROGRAM\" \"$@\"";

/// The same as the child of a program that is ended in its place.
const SHIELDED: &str = "cd \"$(dirname \"$0\")\"\nexec 3<&0\n(while [ -e \"$0\" ] && [ ! -e go ]; do sleep 0.02; done\nexec \"$PROGRAM\" \"$@\" <&3) &\nwait";

fn with_limit(crm: &Crm, limit: &str) -> (Gateway, TestKey) {
    let key = TestKey::new(&["read"], "");
    let timeouts = format!("[timeouts]\ndrain_accept = \"0s\"\nupgrade = \"{limit}\"\n");
    (Plan::before(crm).key(&key).with(&timeouts).start(), key)
}

fn goes_on(gateway: &Gateway, key: &TestKey, pid: u32) {
    assert_eq!((gateway.pid(), gateway.status_of(key)), (Some(pid), Some(200)));
    assert_eq!(get(gateway.admin, "/readyz", &[]).status, 200);
    assert!(gateway.command(&["bans", "list"]).status.success(), "the pass still opens");
}

/// The id of the process that [`HELD`] holds.
fn held(gateway: &Gateway) -> u32 {
    let begun = gateway.folder.path().join("begun");
    eventually("the new process begins", || std::fs::read_to_string(&begun).ok()?.trim().parse().ok())
}

/// An upgrade that is asked for, and waited for elsewhere.
fn asking(gateway: &Gateway) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidelock"));
    command.args(["upgrade", "--config"]).arg(gateway.config_file()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn let_go(gateway: &Gateway) {
    std::fs::write(gateway.folder.path().join("go"), "").unwrap();
}

#[test]
fn a_new_program_that_crashes_hangs_or_is_another_changes_nothing() {
    let crm = Crm::usual();
    let (gateway, key) = with_limit(&crm, "1s");
    let pid = gateway.pid().unwrap();
    for (script, why) in [
        ("exit 3", "the new process ended"),
        ("exec sleep 60", "was not ready within 1s"),
        ("echo rubbish >&0; exec sleep 60", "could not be talked to"),
        ("echo '\"running\"' >&0; exec sleep 60", "does not hand over as this one does"),
    ] {
        gateway.replace_program(script);
        let output = gateway.command(&["upgrade"]);
        assert_eq!(output.status.code(), Some(1), "{script}");
        assert!(said(&output).contains(why), "{script}: {}", said(&output));
        goes_on(&gateway, &key, pid);
    }
    gateway.replace_program("exec \"$PROGRAM\" \"$@\"");
    upgraded(&gateway);
    assert_eq!(gateway.status_of(&key), Some(200));
}

#[test]
fn a_new_process_that_outlives_its_refusal_does_not_serve_beside_the_old_one() {
    let crm = Crm::usual();
    let (gateway, key) = with_limit(&crm, "1s");
    let pid = gateway.pid().unwrap();
    gateway.replace_program(SHIELDED);
    let output = gateway.command(&["upgrade"]);
    assert!(said(&output).contains("was not ready within 1s"), "{}", said(&output));
    let_go(&gateway);
    let why = "the process that was to be replaced does not want this one, and goes on";
    eventually("the new one ends", || gateway.said.text().contains(why).then_some(()));
    goes_on(&gateway, &key, pid);
}

#[test]
fn there_is_one_upgrade_at_a_time() {
    let crm = Crm::usual();
    let (gateway, key) = with_limit(&crm, "60s");
    let old = gateway.pid().unwrap();
    gateway.replace_program(HELD);
    gateway.signal("USR2");
    let new = held(&gateway);
    let second = gateway.command(&["upgrade"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(said(&second).contains("an upgrade is under way"), "{}", said(&second));
    gateway.signal("USR2");
    assert_eq!(gateway.status_of(&key), Some(200));
    let_go(&gateway);
    eventually("the first one comes about", || gateway.pid().filter(|pid| *pid == new));
    eventually("the old process ends", || is_gone(old).then_some(()));
    assert_eq!(gateway.status_of(&key), Some(200));
}

#[test]
fn told_to_end_during_an_upgrade_it_ends_and_so_does_the_new_one() {
    let crm = Crm::usual();
    let (mut gateway, _) = with_limit(&crm, "60s");
    gateway.replace_program(HELD);
    let asked = asking(&gateway);
    let new = held(&gateway);
    gateway.stop();
    assert!(is_gone(new));
    let output = asked.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("the process is ending"), "{}", said(&output));
    assert_eq!(gateway.pid(), None, "no sign of life is left");
}

#[test]
fn if_the_old_process_dies_meanwhile_the_new_one_serves() {
    let crm = Crm::usual();
    let (gateway, key) = with_limit(&crm, "60s");
    gateway.replace_program(HELD);
    let asked = asking(&gateway);
    let new = held(&gateway);
    gateway.signal("KILL");
    let output = asked.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("it is not known what came of the upgrade"), "{}", said(&output));
    let_go(&gateway);
    eventually("the new process takes over", || gateway.pid().filter(|pid| *pid == new));
    eventually("it is ready", || (get(gateway.admin, "/readyz", &[]).status == 200).then_some(()));
    assert_eq!(gateway.status_of(&key), Some(200));
    gateway.was_killed();
}
