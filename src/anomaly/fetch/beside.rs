//! What is looked at beside a detector's metrics: its instance's settings and pods, and the trials of its tunings. What
//! changed there may be why the metrics moved.

use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

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

/// What was last seen beside the metrics.
#[derive(Clone, Default)]
pub struct Beside {
    instance: Option<InstanceFacts>,
    looked: i64,
    /// The last trial that was told of, in milliseconds.
    trial: i64,
}

impl Beside {
    /// What changed since the last look. What can't be read is logged: a detector works without.
    pub async fn look(&mut self, client: &Client, detector: &AnomalyDetector, now: i64) -> Vec<ChangeEvent> {
        let Some(reference) = &detector.spec.instance_ref else { return Vec::new() };
        if now - self.looked < EVERY_MS {
            return Vec::new();
        }
        self.looked = now;
        let mut changes = Vec::new();
        let namespace = detector.namespace().unwrap_or_default();
        let instances: Api<PostgresInstance> = Api::namespaced(client.clone(), &namespace);
        match instances.get_opt(&reference.name).await {
            Ok(Some(instance)) => {
                let seen = instance::observe::facts(client, &instance).await;
                if let Some(before) = &self.instance {
                    changes = coincidence::between(before, &seen, now);
                }
                self.instance = Some(seen);
            }
            Ok(None) => tracing::debug!(instance = reference.name, "the instance does not exist: nothing coincides"),
            Err(error) => tracing::warn!(%error, "the instance could not be read: what coincides is not seen"),
        }
        match trials(client, &namespace, &reference.name).await {
            Ok(trials) => {
                let since = self.trial.max(now - BACK_MS);
                let begun = trials.iter().filter_map(coincidence::begin).filter(|change| change.time > since);
                changes.extend(begun);
                self.trial = changes.iter().map(|change| change.time).max().unwrap_or(since).max(since);
            }
            Err(error) => tracing::warn!(%error, "the trials could not be read: what coincides is not seen"),
        }
        changes.sort_by_key(|change| change.time);
        changes
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
