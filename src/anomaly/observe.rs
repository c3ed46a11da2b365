//! Gathers the facts of a detector: Prometheus, the model's word on the newest rows, the training's Job. Not seeing
//! something is a fact, not an error.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::{Api, ResourceExt};
use tokio::time::timeout;

use super::answer::Rows;
use super::crd::{AnomalyDetector, ModelStatus};
use super::facts::{Data, Facts, Receiver, Refusal, SETTLE_MS, Scoring, Trouble, time};
use super::features::{Watched, learnt_from, metrics, scrapes, watched};
use super::fetch;
use super::fetch::beside::Beside;
use super::model::Model;
use super::model_path;
use super::reason::Reason;
use super::replay::Replay;
use super::score::Scorer;
use super::surroundings::Surroundings;
use super::watching::{Watching, signatures};
use crate::control::training::TrainingState;
use crate::duration;
use crate::world::http::Access;
use crate::world::kubernetes::{KubeError, job};
use crate::world::prometheus::Prometheus;

/// Rows further apart than this are read anew from the beginning of the model's memory.
const LONGEST_PAUSE_MS: i64 = 3 * 3_600_000;
/// A look that reads few rows, as nearly all do, has its answer within the first time; one that catches up, within the second.
const FEW_ROWS: i64 = 100;
const ROWS_WITHIN: Duration = Duration::from_secs(15);
const MORE_ROWS_WITHIN: Duration = Duration::from_secs(60);
/// Rows that are read in one look: a detector that has more to catch up with does so with several.
const MOST_ROWS: i64 = 4000;

impl Surroundings {
    /// The facts of a detector, read afresh: a cache that lags behind our own writes would train twice.
    pub async fn facts(&self, cached: &AnomalyDetector) -> Facts {
        let nothing = Trouble::new(Reason::NotTrained, Reason::NotTrained.sentence());
        let mut facts = Facts {
            now: Time(Timestamp::now()),
            detector: cached.clone(),
            unseen: None,
            data: Err(nothing),
            scoring: None,
            trials: Vec::new(),
            job: None,
            trainer: Ok(()),
            alerted: None,
            refused: Vec::new(),
        };
        if let Err(error) = self.read_cluster(&mut facts).await {
            facts.unseen = Some(Trouble::new(Reason::StepFailed, error.to_string()));
            return facts;
        }
        let uid = facts.detector.uid().unwrap_or_default();
        self.recall(&mut facts, &uid);
        if facts.detector.metadata.deletion_timestamp.is_some() {
            self.memory.lock().remove(&uid);
            return facts;
        }
        if facts.detector.spec.suspend {
            if let Some(kept) = self.memory.lock().get_mut(&uid) {
                (kept.watching, kept.beside, kept.prometheus) = (None, Beside::default(), None);
            }
            return facts;
        }
        facts.trainer = self.own_pod().await.map(drop);
        match self.look(&facts.detector, facts.now_ms()).await {
            Ok((data, scoring)) => {
                (facts.data, facts.scoring) = (Ok(data), scoring);
                facts.trials = self.memory.lock().get(&uid).map(|kept| kept.beside.spans()).unwrap_or_default();
            }
            Err(trouble) => {
                // Without rows the model has nothing to say.
                let trained = facts.detector.status.as_ref().is_some_and(|status| status.model.is_some());
                facts.scoring = trained.then(|| Err(trouble.clone()));
                facts.data = Err(trouble);
            }
        }
        facts
    }

    /// What receivers were told, or would not hear.
    fn recall(&self, facts: &mut Facts, uid: &str) {
        let detectors = self.memory.lock();
        let Some(kept) = detectors.get(uid) else { return };
        facts.alerted.clone_from(&kept.alerted);
        let notify = &facts.detector.spec.notify;
        let declared = [(Receiver::Alertmanager, &notify.alertmanager), (Receiver::Webhook, &notify.webhook)];
        for (receiver, url) in declared.into_iter().filter_map(|(kind, found)| Some((kind, &found.as_ref()?.url))) {
            if let Some(refused) = kept.refused.get(&(receiver, url.clone())) {
                let (message, again) = (refused.message.clone(), time(refused.again));
                facts.refused.push(Refusal { receiver, message, again });
            }
        }
    }

    /// The detector itself and the Job of its training.
    async fn read_cluster(&self, facts: &mut Facts) -> Result<(), KubeError> {
        let namespace = facts.detector.namespace().unwrap_or_default();
        let detectors: Api<AnomalyDetector> = Api::namespaced(self.client.clone(), &namespace);
        let found = detectors.get_opt(&facts.detector.name_any()).await;
        if let Some(fresh) = found.map_err(|error| KubeError::of("the detector", error))? {
            facts.detector = fresh;
        }
        let training = facts.detector.status.as_ref().and_then(|status| status.training.as_ref());
        let training = training.filter(|training| training.state == TrainingState::Running);
        if let (Some(training), Some(namespace)) = (training, self.own_pod.namespace()) {
            facts.job = job::job_facts(&self.client, namespace, &training.job).await?;
        }
        Ok(())
    }

    /// What Prometheus has, and what the model says of the newest rows.
    async fn look(
        &self,
        detector: &AnomalyDetector,
        now: i64,
    ) -> Result<(Data, Option<Result<Scoring, Trouble>>), Trouble> {
        let spec = &detector.spec;
        let namespace = detector.namespace().unwrap_or_default();
        let step = duration::seconds(&spec.step).max(1);
        let invalid = |message: String| Trouble::new(Reason::InvalidSpecification, message);
        let watched = watched(&spec.features, &spec.prometheus.selector, step).map_err(invalid)?;
        let access = fetch::source(&self.client, &namespace, &spec.prometheus).await?;
        let prometheus = self.prometheus(&detector.uid().unwrap_or_default(), access)?;
        let server_ms = fetch::clock(&prometheus, &spec.prometheus.url).await?;
        let model = detector.status.as_ref().and_then(|status| status.model.as_ref());
        let Some(model) = model else { return Ok((history(&prometheus, &watched, detector, server_ms).await?, None)) };
        if !learnt_from(model, detector, &watched, step) {
            let message = "the model learnt from other rows than prometheus.selector, features and step give now: \
                           nothing is scored until a new one is trained";
            let unusable = Trouble::new(Reason::ModelUnusable, message);
            return Ok((history(&prometheus, &watched, detector, server_ms).await?, Some(Err(unusable))));
        }
        match self.score(detector, model, &prometheus, &watched, (now, server_ms)).await {
            Ok((data, scoring)) => Ok((data, Some(scoring))),
            // The model is at fault, not the data.
            Err(trouble) if matches!(trouble.reason, Reason::ModelUnusable | Reason::ModelStoreUnavailable) => {
                Ok((history(&prometheus, &watched, detector, server_ms).await?, Some(Err(trouble))))
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// Reads the rows since the last look and has the model judge them. What it says counts once it has caught up.
    async fn score(
        &self,
        detector: &AnomalyDetector,
        model: &ModelStatus,
        prometheus: &Prometheus,
        watched: &[Watched],
        (now, server_ms): (i64, i64),
    ) -> Result<(Data, Result<Scoring, Trouble>), Trouble> {
        let uid = detector.uid().unwrap_or_default();
        let step_ms = duration::seconds(&detector.spec.step).max(1) * 1000;
        let newest = (server_ms - SETTLE_MS).div_euclid(step_ms) * step_ms;
        let signatures = signatures(detector.status.as_ref());
        let (kept, mut beside) = {
            let mut detectors = self.memory.lock();
            let kept = detectors.entry(uid.clone()).or_default();
            (kept.watching.take(), std::mem::take(&mut kept.beside))
        };
        let near = |watching: &Watching| {
            watching.is(&model.name, &signatures, &metrics(watched))
                && watching
                    .last()
                    .is_some_and(|last| newest >= last && (watching.catches_up() || newest - last <= LONGEST_PAUSE_MS))
        };
        let (mut watching, from) = match kept.filter(near) {
            Some(watching) => {
                let from = watching.last().map_or(newest, |last| last + step_ms);
                (watching, from)
            }
            None => {
                beside.tell_trials_again();
                let loaded = match self.load(detector, &model.name, watched).await {
                    Ok(loaded) => loaded,
                    Err(trouble) => {
                        self.memory.lock().entry(uid).or_default().beside = beside;
                        return Err(trouble);
                    }
                };
                let memory = Scorer::new(loaded.clone()).memory_ms();
                let replay = Replay::of(detector.status.as_ref(), newest, memory);
                let from = replay.from.div_euclid(step_ms) * step_ms;
                (Watching::new(&model.name, loaded, signatures, &replay), from)
            }
        };
        let scrapes = scrapes(&detector.spec.features, &detector.spec.prometheus.selector);
        let to = newest.min(from + (MOST_ROWS - 1) * step_ms);
        // Who tells his time and answers nothing else must not hold up the detectors of other servers.
        let within = if (to - from) / step_ms < FEW_ROWS { ROWS_WITHIN } else { MORE_ROWS_WITHIN };
        let read = fetch::rows(prometheus, watched, &scrapes, (from, to), step_ms / 1000);
        let rows = timeout(within, read).await.unwrap_or_else(|_| {
            let message = format!(
                "Prometheus at {} tells its time, and gives no rows within {} s",
                detector.spec.prometheus.url,
                within.as_secs()
            );
            Err(Trouble::new(Reason::PrometheusUnreachable, message))
        });
        let single = |rows: Rows| match to < newest {
            true => Ok(rows),
            false => rows.single_now().map(Rows::settled).map_err(fetch::ambiguous),
        };
        let rows = match rows.and_then(single) {
            Ok(rows) => rows,
            Err(trouble) => {
                self.keep(&uid, watching, beside);
                return Err(trouble);
            }
        };
        let (not_finite, scraped_ms) = (rows.not_finite, rows.scraped_ms);
        for change in beside.look(&self.client, detector, now).await {
            watching.note(change);
        }
        let judged = self.worker.run(move || {
            let judged = watching.push(&rows);
            (watching, judged)
        });
        let gone = |error: crate::learn::worker::WorkerGone| Trouble::new(Reason::StepFailed, error.to_string());
        let (mut watching, (scoring, counted)) = judged.await.map_err(gone)?;
        let (namespace, name) = (detector.namespace().unwrap_or_default(), detector.name_any());
        self.metrics.anomaly.count(&namespace, &name, counted.scored, &counted.skipped);
        let found = watching.found();
        let named = |wanted: bool| {
            let those = watched.iter().zip(&found).filter(move |(_, found)| **found == wanted);
            those.map(|(feature, _)| feature.name.clone()).collect()
        };
        let (found, missing) = (named(true), named(false));
        let data = Data { server_ms, found, missing, history_ms: None, not_finite, scraped_ms };
        let scoring = if to < newest { Err(watching.hold(scoring, newest)) } else { Ok(scoring) };
        self.keep(&uid, watching, beside);
        Ok((data, scoring))
    }

    /// The Prometheus that is reached so, with the connections of the last look where it was the same.
    fn prometheus(&self, uid: &str, access: Access) -> Result<Prometheus, Trouble> {
        let mut detectors = self.memory.lock();
        let kept = detectors.entry(uid.to_owned()).or_default();
        if let Some((reached, prometheus)) = &kept.prometheus
            && *reached == access
        {
            return Ok(prometheus.clone());
        }
        let prometheus = fetch::open(&access)?;
        kept.prometheus = Some((access, prometheus.clone()));
        Ok(prometheus)
    }

    fn keep(&self, uid: &str, watching: Watching, beside: Beside) {
        let mut detectors = self.memory.lock();
        let kept = detectors.entry(uid.to_owned()).or_default();
        (kept.watching, kept.beside) = (Some(watching), beside);
    }

    /// The model from the store.
    async fn load(&self, detector: &AnomalyDetector, name: &str, watched: &[Watched]) -> Result<Arc<Model>, Trouble> {
        let uid = detector.uid().unwrap_or_default();
        let path = model_path(&detector.namespace().unwrap_or_default(), &uid, Some(name));
        let stored = self.store.get(&path).await;
        let bytes = stored.map_err(|error| Trouble::new(Reason::ModelStoreUnavailable, error.to_string()))?;
        let unusable = |message: String| Trouble::new(Reason::ModelUnusable, message);
        let bytes =
            bytes.ok_or_else(|| unusable(format!("the model store has nothing at {path}: it is trained anew")))?;
        let model = Model::load(&bytes).map_err(|error| unusable(error.to_string()))?;
        model.check(&metrics(watched)).map_err(|error| unusable(error.to_string()))?;
        Ok(Arc::new(model))
    }
}

/// Where nothing is trained yet: which features there are, and for how long. No further back than a little before the
/// history that is needed: whether there is more does not matter.
async fn history(
    prometheus: &Prometheus,
    watched: &[Watched],
    detector: &AnomalyDetector,
    server_ms: i64,
) -> Result<Data, Trouble> {
    let training = &detector.spec.training;
    let (window, needed) = (training.window_seconds(), training.min_history_seconds());
    let newest = server_ms.div_euclid(1000) * 1000;
    let rows = fetch::coarse(prometheus, watched, newest, window.min(needed + needed / 20 + 60)).await?;
    let rows = rows.single_now().map_err(fetch::ambiguous)?;
    let empty: Vec<usize> = rows.empty().collect();
    let named = |wanted: bool| {
        let those = watched.iter().enumerate().filter(|(index, _)| empty.contains(index) != wanted);
        those.map(|(_, feature)| feature.name.clone()).collect::<Vec<_>>()
    };
    let history_ms = rows.begin().map(|begin| newest - begin);
    let (found, missing, not_finite) = (named(true), named(false), rows.not_finite);
    let scrapes = scrapes(&detector.spec.features, &detector.spec.prometheus.selector);
    let step = duration::seconds(&detector.spec.step).max(1);
    let scraped_ms = fetch::scraped(prometheus, &scrapes, newest, step).await?;
    Ok(Data { server_ms, found, missing, history_ms, not_finite, scraped_ms })
}
