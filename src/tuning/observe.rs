//! Gathers the facts of a tuning. Not seeing something is a fact, not an error.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::crd::{ConfigMapKeySelector, PostgresTuning, TrialState, TuningTrial};
use super::decide;
use super::facts::{Anomaly, Facts, Rival, Trouble, is_same_place};
use super::optimizer::{self, Proposal};
use super::reason::Reason;
use super::session::Next;
use super::surroundings::Surroundings;
use super::{TUNING_LABEL, checkpoint_path};
use crate::anomaly::crd::AnomalyDetector;
use crate::control::metrics::tuning::TuningSample;
use crate::instance;
use crate::instance::crd::{PostgresInstance, PostgresInstanceSpec};
use crate::world::kubernetes::config_map::{self, ConfigMapKey};
use crate::world::kubernetes::{KubeError, job};

impl Surroundings {
    /// The facts of a tuning, read afresh: a cache that lags behind our own writes would begin a trial twice.
    pub async fn facts(&self, cached: &PostgresTuning) -> Facts {
        let mut facts = Facts {
            now: Time(Timestamp::now()),
            tuning: cached.clone(),
            instance: Err(Trouble {
                reason: Reason::InstanceMissing,
                message: Reason::InstanceMissing.sentence().into(),
            }),
            trials: Vec::new(),
            job: None,
            rivals: Vec::new(),
            anomalies: Vec::new(),
            unseen: None,
            elsewhere: None,
            scripts: None,
            proposal: None,
            benchmark_image: self.benchmark_image.clone(),
        };
        if let Err(error) = self.read_cluster(&mut facts).await {
            facts.unseen = Some(Trouble { reason: Reason::StepFailed, message: error.to_string() });
            return facts;
        }
        facts.instance = match self.place(&facts.tuning).await {
            Ok((instance, elsewhere)) => {
                facts.elsewhere = elsewhere;
                Ok(instance::observe::facts(&self.client, &instance).await)
            }
            Err(trouble) => Err(trouble),
        };
        facts.scripts = self.scripts(&facts).await;
        facts.proposal = self.proposal(&facts).await;
        self.measure(&facts);
        facts
    }

    /// The tuning, its trials, the running trial's Job and the rivals.
    async fn read_cluster(&self, facts: &mut Facts) -> Result<(), KubeError> {
        let namespace = facts.tuning.namespace().unwrap_or_default();
        let tunings: Api<PostgresTuning> = Api::namespaced(self.client.clone(), &namespace);
        let of = |what: &'static str| move |error| KubeError::of(what, error);
        if let Some(fresh) = tunings.get_opt(&facts.tuning.name_any()).await.map_err(of("the tuning"))? {
            facts.tuning = fresh;
        }
        facts.trials = self.trials(&facts.tuning).await.map_err(of("the tuning's trials"))?;
        let listed = tunings.list(&ListParams::default()).await.map_err(of("the namespace's tunings"))?;
        // Only tunings of other instances may turn out to be of the same place.
        let of_others = |other: &PostgresTuning| other.spec.instance_ref != facts.tuning.spec.instance_ref;
        let known = if listed.items.iter().any(of_others) {
            let instances: Api<PostgresInstance> = Api::namespaced(self.client.clone(), &namespace);
            instances.list(&ListParams::default()).await.map_err(of("the namespace's instances"))?.items
        } else {
            Vec::new()
        };
        facts.rivals = rivals(listed.items, &known, &facts.tuning);
        if let Some(trial) = facts.running_trial() {
            facts.job = job::job_facts(&self.client, &namespace, &Facts::name_of(trial)).await?;
            let detectors: Api<AnomalyDetector> = Api::namespaced(self.client.clone(), &namespace);
            let listed = detectors.list(&ListParams::default()).await.map_err(of("the namespace's detectors"));
            facts.anomalies = match listed {
                Ok(listed) => anomalies(listed.items, &facts.tuning),
                // The kind is not installed, so nothing is detected.
                Err(KubeError::NotFound { .. }) => Vec::new(),
                // Nothing is concluded from an anomaly that is not seen: the other guardrails go on.
                Err(error) => {
                    tracing::warn!(%error, "a trial runs without the guardrail of its instance's detectors");
                    Vec::new()
                }
            };
        }
        Ok(())
    }

    async fn trials(&self, tuning: &PostgresTuning) -> Result<Vec<TuningTrial>, kube::Error> {
        let trials: Api<TuningTrial> = Api::namespaced(self.client.clone(), &tuning.namespace().unwrap_or_default());
        let ours = ListParams::default().labels(&format!("{TUNING_LABEL}={}", tuning.name_any()));
        let listed = trials.list(&ours).await?;
        // A tuning of the same name that was deleted may have left trials that the garbage collector has yet to find.
        let uid = tuning.uid();
        let owned = |t: &TuningTrial| t.owner_references().iter().any(|o| Some(&o.uid) == uid.as_ref());
        Ok(listed.items.into_iter().filter(owned).collect())
    }

    /// Why a script of the benchmark is not there, before a session begins: a pod that mounts what is missing waits for it
    /// without a word.
    async fn scripts(&self, facts: &Facts) -> Option<Trouble> {
        let begins = facts.session().is_none_or(|session| !decide::is_of(session, &facts.tuning));
        let pgbench = &facts.tuning.spec.workload.pgbench;
        let named = pgbench.scripts.iter().flatten().map(|script| &script.config_map_key_ref);
        for reference in named.chain(&pgbench.init_script).filter(|_| begins) {
            let ConfigMapKeySelector { name, key } = reference;
            let namespace = facts.tuning.namespace().unwrap_or_default();
            let message = match config_map::read(&self.client, &namespace, name, key).await {
                Ok(ConfigMapKey { text: Some(_), .. }) => continue,
                Ok(_) => format!("the ConfigMap {name} has no key {key}"),
                Err(error @ KubeError::NotFound { .. }) => error.to_string(),
                // The pod will tell.
                Err(_) => continue,
            };
            let message = format!("a script of workload.pgbench is missing: {message}");
            return Some(Trouble { reason: Reason::InvalidSpecification, message });
        }
        None
    }

    /// Asks the optimizer where a proposal is due.
    async fn proposal(&self, facts: &Facts) -> Option<Result<Proposal, Trouble>> {
        let session = facts.session().filter(|s| s.outcome.is_none())?;
        if facts.is_trial_running() || facts.tuning.spec.suspend || facts.server().is_none() {
            return None;
        }
        let plan = facts.plan(session).ok()?;
        let Next::Propose(kind) = plan.next() else { return None };
        let last = plan.records.last().map_or(0, |record| record.number);
        let checkpoint = match self.last_checkpoint(&facts.tuning, last).await {
            Ok(checkpoint) => checkpoint,
            Err(trouble) => return Some(Err(trouble)),
        };
        let request = plan.request(kind, checkpoint);
        let proposed = self.worker.run(move || optimizer::propose(&request)).await;
        let failed = |message: String| Trouble { reason: Reason::OptimizerFailed, message };
        Some(match proposed {
            Ok(Ok(proposal)) => Ok(proposal),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(gone) => Err(failed(gone.to_string())),
        })
    }

    /// The newest checkpoint: baselines and samples in between have none.
    async fn last_checkpoint(&self, tuning: &PostgresTuning, last: i32) -> Result<Option<Vec<u8>>, Trouble> {
        for number in (1..=last).rev() {
            match self.store.get(&checkpoint_path(tuning, number)).await {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(error) => {
                    return Err(Trouble { reason: Reason::ModelStoreUnavailable, message: error.to_string() });
                }
            }
        }
        Ok(None)
    }

    fn measure(&self, facts: &Facts) {
        let status = facts.tuning.status.as_ref();
        let mut sample = TuningSample {
            namespace: facts.tuning.namespace().unwrap_or_default(),
            name: facts.tuning.name_any(),
            gain_ratio: status
                .and_then(|s| {
                    s.recommendation.as_ref().map(|r| r.gain_percent).or(s.incumbent.as_ref().map(|i| i.gain_percent))
                })
                .map(|percent| percent.0 / 100.0),
            ..TuningSample::default()
        };
        // What has not happened is none, so that the first of it is an increase.
        sample.trials = TrialState::FINAL.map(|state| (format!("{state:?}"), 0)).into();
        // A trial passes through the other states, so that their counts would fall again.
        for trial in facts.session_trials().into_iter().filter(|trial| facts.state_of(trial).is_final()) {
            let state = facts.state_of(trial);
            *sample.trials.entry(format!("{state:?}")).or_default() += 1;
            let interrupted =
                trial.status.as_ref().is_some_and(|s| s.reason.as_deref() == Some(Reason::Interrupted.word()));
            sample.guardrail_trips += u64::from(state == TrialState::Aborted && !interrupted);
            let measurement = trial.status.as_ref().and_then(|s| s.measurement.as_ref());
            sample.trial_tps = measurement.map(|m| m.tps.0).or(sample.trial_tps);
        }
        self.metrics.tuning.set(&sample);
    }
}

/// Where a tuning is at work: where its session began, or where one would.
fn place<'a>(tuning: &'a PostgresTuning, instances: &'a [PostgresInstance]) -> Option<&'a PostgresInstanceSpec> {
    let session = tuning.status.as_ref().and_then(|status| status.session.as_ref());
    let begun = session.filter(|session| session.settled.is_none()).and_then(|session| session.instance.as_ref());
    let named = || instances.iter().find(|instance| instance.name_any() == tuning.spec.instance_ref.name);
    begun.or_else(|| named().map(|instance| &instance.spec))
}

/// Open incidents of the tuning's instance.
fn anomalies(all: Vec<AnomalyDetector>, tuning: &PostgresTuning) -> Vec<Anomaly> {
    let ours = |detector: &AnomalyDetector| detector.spec.instance_ref.as_ref() == Some(&tuning.spec.instance_ref);
    let open = |detector: AnomalyDetector| {
        let name = detector.name_any();
        let incident = detector.status?.incidents.into_iter().find(|incident| incident.until.is_none())?;
        let since = incident.reopened.unwrap_or(incident.since);
        Some(Anomaly { detector: name, since, message: incident.message })
    };
    all.into_iter().filter(ours).filter_map(open).collect()
}

/// Other tunings of the same instance, or of another that is configured in the same place.
fn rivals(all: Vec<PostgresTuning>, instances: &[PostgresInstance], tuning: &PostgresTuning) -> Vec<Rival> {
    let ours = place(tuning, instances);
    all.into_iter()
        .filter(|other| other.uid() != tuning.uid())
        .filter(|other| {
            let same = ours.zip(place(other, instances)).is_some_and(|(ours, theirs)| is_same_place(ours, theirs));
            same || other.spec.instance_ref == tuning.spec.instance_ref
        })
        .map(|other| {
            let session = other.status.as_ref().and_then(|s| s.session.as_ref());
            Rival {
                name: other.name_any(),
                created: other.metadata.creation_timestamp.clone(),
                running: session.is_some_and(|s| s.settled.is_none()),
                waiting: session.is_none_or(|s| s.settled.is_some() && !decide::is_of(s, &other))
                    && !is_hopeless(&other)
                    && !other.spec.suspend
                    && other.metadata.deletion_timestamp.is_none(),
            }
        })
        .collect()
}

/// It can't begin before somebody changes its specification.
fn is_hopeless(tuning: &PostgresTuning) -> bool {
    let conditions = tuning.status.iter().flat_map(|status| &status.conditions);
    let of_now = |condition: &&Condition| condition.observed_generation == tuning.metadata.generation;
    conditions.filter(of_now).any(|condition| {
        let wrong = [Reason::InvalidKnobs.word(), Reason::InvalidSpecification.word()];
        condition.type_ == "Stalled" && condition.status == "True" && wrong.contains(&condition.reason.as_str())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn two_names_of_one_configuration_are_rivals() {
        let instance = |name: &str, key: &str| {
            let spec = json!({
                "connection": {"secretRef": {"name": name}},
                "configuration": {"configMap": {"name": "shop-config", "key": key}},
            });
            PostgresInstance::new(name, serde_json::from_value(spec).unwrap())
        };
        let tuning = |name: &str, instance: &str| {
            let spec = json!({"instanceRef": {"name": instance}, "workload": {"pgbench": {}}});
            let mut tuning = PostgresTuning::new(name, serde_json::from_value(spec).unwrap());
            tuning.metadata.uid = Some(name.to_owned());
            tuning
        };
        let instances =
            [instance("shop", "howdah.conf"), instance("alias", "howdah.conf"), instance("other", "b.conf")];
        let all = || ["shop", "shop", "alias", "other", "missing"].iter().enumerate();
        let all = || all().map(|(number, instance)| tuning(&format!("{number}-{instance}"), instance)).collect();
        let names =
            |of: &PostgresTuning| rivals(all(), &instances, of).into_iter().map(|rival| rival.name).collect::<Vec<_>>();
        assert_eq!(names(&tuning("0-shop", "shop")), ["1-shop", "2-alias"]);
        assert_eq!(names(&tuning("4-missing", "missing")), [""; 0]);
    }
}
