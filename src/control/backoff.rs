//! How long to wait after failures: for each object on its own, from 1 s doubling to 5 min.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// Failures in a row, by object (`namespace/name`).
#[derive(Debug, Default)]
pub struct Backoff(Mutex<HashMap<String, u32>>);

impl Backoff {
    /// Counts a failure of the object and says how long to wait.
    pub fn failed(&self, object: &str) -> Duration {
        let mut failures = self.lock();
        let count = failures.entry(object.to_owned()).or_default();
        let wait = FIRST.saturating_mul(1u32.checked_shl(*count).unwrap_or(u32::MAX)).min(LONGEST);
        *count += 1;
        wait
    }

    /// Forgets the object's failures: it succeeded, or is gone.
    pub fn forget(&self, object: &str) {
        self.lock().remove(object);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_minutes_for_each_object_alone() {
        let backoff = Backoff::default();
        let waits: Vec<u64> = (0..40).map(|_| backoff.failed("shop/a").as_secs()).collect();
        assert_eq!(waits[..9], [1, 2, 4, 8, 16, 32, 64, 128, 256]);
        assert!(waits[9..].iter().all(|wait| *wait == 300));
        assert_eq!(backoff.failed("shop/b").as_secs(), 1);
        backoff.forget("shop/a");
        assert_eq!(backoff.failed("shop/a").as_secs(), 1);
    }
}
