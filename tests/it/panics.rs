//! A panic is counted and told by its place, and nothing of what it choked on.

use std::process::Command;

use sidelock::clock::Clock;
use sidelock::limits::failures::Failures;
use sidelock::metrics::{AddressLabels, Metrics};
use sidelock::server::panics;

const SECRET: &str = "slk_very_secret";

/// A hook is the whole process's: this one is [`it_is_counted_and_its_words_are_not_told`]'s child.
#[test]
#[ignore = "needs a process of its own; the test below starts it"]
fn a_task_panics() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let clock = Clock::system();
    let failures = std::sync::Arc::new(Failures::new(1, &clock));
    let metrics = Metrics::new(failures, (0, AddressLabels::None), &clock).unwrap();
    panics::watch(metrics.panics().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let done = runtime.block_on(async { tokio::spawn(async { panic!("{SECRET}") }).await });
    assert!(done.unwrap_err().is_panic());
    let told = String::from_utf8(metrics.exposition().unwrap().to_vec()).unwrap();
    eprintln!("{}", told.lines().find(|line| line.starts_with("sidelock_panics_total")).unwrap());
}

#[test]
fn it_is_counted_and_its_words_are_not_told() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["panics::a_task_panics", "--exact", "--ignored", "--nocapture"])
        .env("RUST_BACKTRACE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("something panicked") && said.contains("tests/it/panics.rs:"), "{said}");
    assert!(said.contains("sidelock_panics_total 1"), "{said}");
    assert!(!said.contains(SECRET), "{said}");
}
