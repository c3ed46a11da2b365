//! How far a Job's process is.

use std::time::{Duration, Instant};

use kube::Client;
use tokio::sync::watch;

use crate::world::kubernetes::job;

/// Progress is told at most this often: each time is a write to the API server.
const TELL_EVERY: Duration = Duration::from_secs(3);

/// Tells progress in an annotation of the Job, and on the standard output.
pub async fn tell(client: Client, namespace: Option<String>, name: String, mut progress: watch::Receiver<String>) {
    loop {
        let began = Instant::now();
        let text = progress.borrow_and_update().clone();
        println!("{text}");
        if let Some(namespace) = &namespace
            && let Err(error) = job::tell_progress(&client, namespace, &name, &text).await
        {
            eprintln!("howdah: progress can't be told: {error}");
        }
        tokio::time::sleep(TELL_EVERY.saturating_sub(began.elapsed())).await;
        if progress.changed().await.is_err() {
            return;
        }
    }
}
