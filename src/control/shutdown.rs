//! SIGTERM and SIGINT: stop taking work.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Tells every part of the process that it is to stop.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Listens for SIGTERM and SIGINT.
    ///
    /// # Errors
    /// When the operating system does not let us listen.
    pub fn on_signals() -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
                _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
            }
            sender.send_replace(true);
            // The channel stays open, so that a receiver made later still sees the request.
            sender.closed().await;
        });
        Ok(Self(receiver))
    }

    /// Completes once the process is to stop.
    pub async fn requested(mut self) {
        // An error means that the listener is gone, which only happens when the runtime is going down.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}
