//! Panics end one task and are told. What was being worked on is not: a panic's words often hold the text that it choked on.

use std::panic::{self, PanicHookInfo};

use prometheus::IntCounter;

/// From now on panics are counted, and logged by their place.
pub fn watch(count: IntCounter) {
    panic::set_hook(Box::new(move |panic| {
        count.inc();
        tell(panic);
    }));
}

/// SECURITY: the payload may hold a piece of a key, a body or a path. The place says where to look.
fn tell(panic: &PanicHookInfo<'_>) {
    let at = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    tracing::error!(%at, thread = thread.name().unwrap_or("unnamed"), "something panicked: its task ends, the process goes on");
}
