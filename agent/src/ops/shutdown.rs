// SPDX-License-Identifier: Apache-2.0
//! The end of the process: asked for by SIGTERM or SIGINT, or by a lost Lease.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Tells whether the process is to end; clones tell the same.
#[derive(Debug, Clone)]
pub struct Shutdown {
    sender: Arc<watch::Sender<bool>>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            sender: Arc::new(watch::Sender::new(false)),
        }
    }
}

impl Shutdown {
    /// Listens to the signals.
    ///
    /// # Errors
    /// When signals cannot be caught.
    pub fn on_signals() -> std::io::Result<Self> {
        let this = Self::default();
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let told = this.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            tracing::info!("asked to end");
            told.begin();
        });
        Ok(this)
    }

    /// Begins the end.
    pub fn begin(&self) {
        self.sender.send_replace(true);
    }

    /// The end has begun.
    pub fn begun(&self) -> bool {
        *self.sender.borrow()
    }

    /// Waits for the beginning of the end.
    pub async fn wait(&self) {
        let mut receiver = self.sender.subscribe();
        // The sender lives as long as we do.
        let _ = receiver.wait_for(|begun| *begun).await;
    }
}
