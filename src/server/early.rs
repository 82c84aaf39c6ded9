//! Signals that come before anybody listens for them.

use tokio::signal::unix::{SignalKind, signal};

/// From here on SIGHUP and SIGUSR2 end nobody: a process that is told to reload or to upgrade while it starts goes on starting, and
/// no more comes of it. Its files are looked at anyway once it has started.
///
/// # Errors
/// The operating system takes no handler.
pub fn outlive_early_signals() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    // The handlers stay when the runtime goes.
    let _guard = runtime.enter();
    for kind in [SignalKind::hangup(), SignalKind::user_defined2()] {
        drop(signal(kind)?);
    }
    Ok(())
}
