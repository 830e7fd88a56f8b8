//! When a running command is asked to end.

use std::future::Future;
use std::io;

/// Catches ctrl-c and SIGTERM from now on; the future ends when either has come.
///
/// # Errors
///
/// The system takes no handler for them.
#[cfg(unix)]
pub(crate) fn asked_to_end() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Catches ctrl-c from now on; the future ends when it has come.
///
/// # Errors
///
/// The system takes no handler for it.
#[cfg(windows)]
pub(crate) fn asked_to_end() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
    })
}
