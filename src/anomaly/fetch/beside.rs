//! What is looked at beside a detector's metrics: its instance's settings and pods, and the trials of its tunings. What
//! changed there may be why the metrics moved.

use std::time::Duration;

use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::anomaly::coincidence;
use crate::anomaly::crd::AnomalyDetector;
use crate::anomaly::incident::ChangeEvent;
use crate::instance;
use crate::instance::crd::PostgresInstance;
use crate::instance::facts::InstanceFacts;
use crate::tuning::crd::{PostgresTuning, TuningTrial};

/// The instance's settings and pods are looked at this often.
const EVERY_MS: i64 = 60_000;
/// Coincidences are looked for this far back after a restart.
const BACK_MS: i64 = 2 * 3_600_000;

/// Rows wait for a look no longer than this: a database that is unwell takes its time.
const WITHIN: Duration = Duration::from_secs(2);

/// What is looked at beside the metrics.
#[derive(Default)]
pub struct Beside {
    seen: Seen,
    looked: i64,
    /// A look that has not ended yet.
    under_way: Option<JoinHandle<(Seen, Vec<ChangeEvent>)>>,
}

/// What was last seen beside the metrics.
#[derive(Clone, Default)]
struct Seen {
    instance: Option<InstanceFacts>,
    /// The last trial that was told of, in milliseconds.
    trial: i64,
    /// When trials ran that have ended and still exist, in milliseconds.
    spans: Vec<(i64, i64)>,
}

impl Beside {
    /// Whoever asks next knows nothing of the trials yet.
    pub fn tell_trials_again(&mut self) {
        (self.looked, self.seen.trial) = (0, 0);
    }

    /// When the instance's trials ran that had ended at the last look, in milliseconds since 1970.
    pub fn spans(&self) -> Vec<(i64, i64)> {
        self.seen.spans.clone()
    }

    /// What changed since the last look. What takes longer is told with a later one.
    pub async fn look(&mut self, client: &Client, detector: &AnomalyDetector, now: i64) -> Vec<ChangeEvent> {
        let Some(reference) = &detector.spec.instance_ref else { return Vec::new() };
        if self.under_way.is_none() {
            if now - self.looked < EVERY_MS {
                return Vec::new();
            }
            self.looked = now;
            let namespace = detector.namespace().unwrap_or_default();
            let (client, instance) = (client.clone(), reference.name.clone());
            self.under_way = Some(tokio::spawn(self.seen.clone().look(client, namespace, instance, now)));
        }
        self.wait(WITHIN).await
    }

    async fn wait(&mut self, within: Duration) -> Vec<ChangeEvent> {
        let Some(look) = &mut self.under_way else { return Vec::new() };
        let Ok(ended) = timeout(within, look).await else { return Vec::new() };
        self.under_way = None;
        match ended {
            Ok((seen, changes)) => {
                self.seen = seen;
                changes
            }
            Err(error) => {
                tracing::warn!(%error, "a look beside the metrics came to nothing");
                Vec::new()
            }
        }
    }
}

impl Seen {
    /// What changed since. What can't be read is logged: a detector works without.
    async fn look(mut self, client: Client, namespace: String, name: String, now: i64) -> (Self, Vec<ChangeEvent>) {
        let client = &client;
        let mut changes = Vec::new();
        let instances: Api<PostgresInstance> = Api::namespaced(client.clone(), &namespace);
        match instances.get_opt(&name).await {
            Ok(Some(instance)) => {
                let seen = instance::observe::facts(client, &instance).await;
                self.instance = Some(match self.instance.take() {
                    Some(before) => {
                        changes = coincidence::between(&before, &seen, now);
                        coincidence::last_seen(before, seen)
                    }
                    None => seen,
                });
            }
            Ok(None) => tracing::debug!(instance = name, "the instance does not exist: nothing coincides"),
            Err(error) => tracing::warn!(%error, "the instance could not be read: what coincides is not seen"),
        }
        match trials(client, &namespace, &name).await {
            Ok(trials) => {
                self.spans = trials.iter().filter_map(coincidence::ended).collect();
                let since = self.trial.max(now - BACK_MS);
                let begun = trials.iter().filter_map(coincidence::begin).filter(|change| change.time > since);
                changes.extend(begun);
                self.trial = changes.iter().map(|change| change.time).max().unwrap_or(since).max(since);
            }
            Err(error) => tracing::warn!(%error, "the trials could not be read: what coincides is not seen"),
        }
        changes.sort_by_key(|change| change.time);
        (self, changes)
    }
}

/// The trials of every tuning of an instance.
///
/// # Errors
/// The API server does not answer, or refuses.
pub async fn trials(client: &Client, namespace: &str, instance: &str) -> Result<Vec<TuningTrial>, kube::Error> {
    let tunings: Api<PostgresTuning> = Api::namespaced(client.clone(), namespace);
    let all = tunings.list(&ListParams::default()).await?;
    let ours: Vec<String> = all
        .into_iter()
        .filter(|tuning| tuning.spec.instance_ref.name == instance)
        .map(|tuning| tuning.name_any())
        .collect();
    if ours.is_empty() {
        return Ok(Vec::new());
    }
    let trials: Api<TuningTrial> = Api::namespaced(client.clone(), namespace);
    let listed = trials.list(&ListParams::default()).await?;
    Ok(listed.into_iter().filter(|trial| ours.contains(&trial.spec.tuning)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn rows_do_not_wait_for_a_look_that_takes_its_time() {
        let (sender, ended) = tokio::sync::oneshot::channel::<Seen>();
        let told = ChangeEvent { time: 5, what: "work_mem 4MB → 8MB".into() };
        let change = told.clone();
        let look = async move { (ended.await.unwrap_or_default(), vec![change]) };
        let mut beside = Beside { under_way: Some(tokio::spawn(look)), ..Beside::default() };
        assert_eq!(beside.wait(Duration::ZERO).await, []);
        // It goes on, and is told of once.
        assert!(sender.send(Seen { trial: 7, ..Seen::default() }).is_ok());
        assert_eq!((beside.wait(Duration::from_secs(60)).await, beside.seen.trial), (vec![told], 7));
        assert_eq!(beside.wait(Duration::ZERO).await, []);
    }
}
