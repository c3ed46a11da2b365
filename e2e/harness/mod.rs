//! What the tests stand on: databases in namespaces of their own, the operator as it is installed, and waiting.

mod database;
mod kubectl;
mod operator;
mod tunings;

pub use database::{Database, INSTANCE, KEY};
pub use kubectl::{kubectl, kubectl_with};
pub use operator::{ALIVE, Operator};
pub use tunings::{in_state, reason, sleeping};

use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use tokio::time::sleep;

/// Looks every 200 ms until `look` finds something. After `seconds` it panics with what was awaited and `story`, which
/// is told only then.
pub async fn eventually<T>(
    what: &str,
    seconds: u64,
    mut look: impl AsyncFnMut() -> Option<T>,
    story: impl AsyncFnOnce() -> String,
) -> T {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        if Instant::now() > deadline {
            panic!("not within {seconds} s: {what}\n{}", story().await);
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Conditions as a person reads them.
pub fn told(conditions: &[Condition]) -> String {
    let line = |c: &Condition| format!("  {} {} {}: {}\n", c.type_, c.status, c.reason, c.message);
    conditions.iter().map(line).collect()
}
