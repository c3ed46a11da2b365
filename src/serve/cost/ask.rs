//! What every transport asks, and why it may be refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::OwnedSemaphorePermit;

use super::Serving;
use super::metrics::PlanResult;
use crate::cost::answer::{Answer, Detail, Estimate, Predictor};

/// A text up to here is answered on the spot: it takes less time (some ten microseconds for each kilobyte) than handing it
/// to another thread and back.
const ON_THE_SPOT: usize = 8 << 10;
/// And no more statements than these: each takes time of its own, however short it is.
const FEW: usize = 16;
/// Statements of a request that are planned at the most; the others are answered by their text, as their source says.
const PLANNED: usize = 100;
/// Tokens, and statements nearby, at the most.
const DETAIL: usize = 100;

/// Statements, and what is asked of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// The statements.
    pub queries: Vec<String>,
    /// Names of targets; none means all.
    pub targets: Vec<String>,
    /// Tokens that pushed, for each estimate at the most.
    pub tokens: usize,
    /// Known statements nearby, at the most.
    pub nearest: usize,
}

/// Why a request is not answered. Each says what was wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The body is not what was expected.
    #[error("{0}")]
    Malformed(String),
    /// The content can't be answered.
    #[error("{0}")]
    Unprocessable(String),
    /// The model does not vouch for its answer, and only a sure one was asked for.
    #[error("{0}")]
    Abstains(String),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The path has another method.
    #[error("{0}")]
    Method(String),
    /// It is too large.
    #[error("{0}")]
    TooLarge(String),
    /// There are too many at once.
    #[error("{0} requests are answered already: come again in a second, or start more replicas")]
    Busy(usize),
    /// Those that are read hold too much.
    #[error(
        "as many large requests as there is room for are read already: come again in a second, or start more replicas"
    )]
    Full,
    /// It took too long.
    #[error("the answer took longer than {0} s: ask for fewer statements at once")]
    Timeout(u64),
    /// Our mistake.
    #[error("the model failed at this request: {0}")]
    Failed(String),
}

/// An answer that somebody waits for. Dropped (the time is over, the caller is gone), it says so.
#[derive(Default)]
struct Awaited(Arc<AtomicBool>);

impl Drop for Awaited {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Serving {
    /// Answers for statements, one answer for each.
    ///
    /// # Errors
    /// The request asks for nothing, for too much, or for what the model has not.
    pub async fn answer(self: &Arc<Self>, ask: Ask) -> Result<Vec<Answer>, Refusal> {
        let targets = self.check(&ask)?;
        let permit = self.permits.clone().try_acquire_owned();
        let permit = permit.map_err(|_| Refusal::Busy(self.limits.concurrency))?;
        let detail = Detail { tokens: ask.tokens, nearest: ask.nearest };
        let answers = self.predict(Arc::new(ask.queries), targets, detail, permit);
        let answers = tokio::time::timeout(self.limits.timeout, answers)
            .await
            .map_err(|_| Refusal::Timeout(self.limits.timeout.as_secs()))??;
        self.metrics.answered(&answers);
        Ok(answers)
    }

    async fn predict(
        &self,
        queries: Arc<Vec<String>>,
        targets: Vec<usize>,
        detail: Detail,
        permit: OwnedSemaphorePermit,
    ) -> Result<Vec<Answer>, Refusal> {
        let bytes: usize = queries.iter().map(String::len).sum();
        let planning = self.planner.is_some();
        let awaited = Awaited::default();
        let predict = {
            let (queries, targets, given_up) = (queries.clone(), targets.clone(), awaited.0.clone());
            move |model: &dyn Predictor| {
                let (mut answers, mut doubtful) = (Vec::with_capacity(queries.len()), Vec::new());
                for (place, query) in queries.iter().enumerate() {
                    if given_up.load(Ordering::Relaxed) {
                        break;
                    }
                    answers.extend(model.predict(&[query.as_str()], &targets, detail));
                    if planning && doubtful.len() < PLANNED && model.wants_plan(query, &targets) {
                        doubtful.push(place);
                    }
                }
                (answers, doubtful)
            }
        };
        let ((mut answers, doubtful), permit) =
            if bytes <= ON_THE_SPOT && queries.len() <= FEW && detail == Detail::default() {
                (predict(&*self.model), permit)
            } else {
                let model = self.model.clone();
                // Whoever computes has the permit, also when nobody waits for it any more.
                let work = tokio::task::spawn_blocking(move || (predict(&*model), permit));
                work.await.map_err(|error| Refusal::Failed(error.to_string()))?
            };
        let Some(planner) = &self.planner else { return Ok(answers) };
        // A slow server costs plans, not answers.
        let until = tokio::time::Instant::now() + self.limits.timeout / 2;
        let mut plans = Vec::new();
        for place in doubtful {
            match tokio::time::timeout_at(until, planner.plan(&queries[place])).await {
                Ok(Ok(plan)) => {
                    self.metrics.planned(PlanResult::Planned);
                    plans.push((place, plan));
                }
                Ok(Err(why)) => {
                    self.metrics.planned(PlanResult::Failed);
                    tracing::debug!(why, "a statement was not planned");
                }
                Err(_) => {
                    self.metrics.planned(PlanResult::Late);
                    tracing::warn!("statements of a request were not planned in time: their text answers");
                    break;
                }
            }
        }
        if plans.is_empty() {
            return Ok(answers);
        }
        let (model, given_up) = (self.model.clone(), awaited.0.clone());
        let work = tokio::task::spawn_blocking(move || {
            for (place, plan) in plans {
                if given_up.load(Ordering::Relaxed) {
                    break;
                }
                answers[place] = model.predict_planned(&queries[place], plan, &targets, detail);
            }
            (answers, permit)
        });
        let (answers, _permit) = work.await.map_err(|error| Refusal::Failed(error.to_string()))?;
        Ok(answers)
    }

    /// Answers for one statement and one target.
    ///
    /// # Errors
    /// As [`Serving::answer`].
    pub async fn estimate(self: &Arc<Self>, query: String, target: &str) -> Result<Estimate, Refusal> {
        let ask = Ask { queries: vec![query], targets: vec![target.to_owned()], ..Ask::default() };
        let answers = self.answer(ask).await?;
        let estimate = answers.into_iter().flat_map(|answer| answer.targets).next();
        estimate.ok_or_else(|| Refusal::Failed("it gave no estimate".into()))
    }

    /// Places of the targets.
    fn check(&self, ask: &Ask) -> Result<Vec<usize>, Refusal> {
        if ask.queries.is_empty() {
            return Err(Refusal::Unprocessable("there is no statement in queries: give at least one".into()));
        }
        if ask.queries.len() > self.limits.queries {
            return Err(Refusal::TooLarge(format!(
                "{} statements are more than {}: ask in several requests",
                ask.queries.len(),
                self.limits.queries
            )));
        }
        if ask.tokens > DETAIL || ask.nearest > DETAIL {
            return Err(Refusal::Unprocessable(format!("tokens and nearest are {DETAIL} at the most")));
        }
        let known = self.model.targets().len();
        if ask.targets.len() > known {
            let message = format!("targets has {} names, and the model has {known} targets", ask.targets.len());
            return Err(Refusal::Unprocessable(message));
        }
        ask.targets.iter().map(|name| self.target(name)).collect()
    }

    /// Place of a target.
    ///
    /// # Errors
    /// The model has none of that name.
    pub(super) fn target(&self, name: &str) -> Result<usize, Refusal> {
        let targets = self.model.targets();
        targets.iter().position(|target| target.name == name).ok_or_else(|| {
            let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
            Refusal::Unprocessable(format!("the model has no target {name:?}: it has {}", names.join(", ")))
        })
    }

    /// Place of a target that a path names.
    ///
    /// # Errors
    /// There is nothing at this path.
    pub(super) fn target_of_path(&self, name: &str) -> Result<usize, Refusal> {
        self.target(name).map_err(|refusal| Refusal::NotFound(refusal.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::cost::answer::{Novelty, TargetInfo};
    use crate::serve::cost::Limits;

    /// A model that takes as long for its first statement as it is told.
    struct Slow {
        begun: Mutex<Sender<()>>,
        go_on: Mutex<Receiver<()>>,
        answered: AtomicUsize,
    }

    impl Predictor for Slow {
        fn version(&self) -> &str {
            "slow"
        }

        fn targets(&self) -> &[TargetInfo] {
            &[]
        }

        fn predict(&self, queries: &[&str], _: &[usize], _: Detail) -> Vec<Answer> {
            let answer = |_| {
                if self.answered.fetch_add(1, Ordering::Relaxed) == 0 {
                    self.begun.lock().unwrap().send(()).unwrap();
                    self.go_on.lock().unwrap().recv().unwrap();
                }
                Answer {
                    fingerprint: String::new(),
                    novelty: Novelty::default(),
                    targets: Vec::new(),
                    nearest: Vec::new(),
                    model_version: "slow".into(),
                }
            };
            queries.iter().map(answer).collect()
        }

        fn wants_plan(&self, _: &str, _: &[usize]) -> bool {
            false
        }

        fn predict_planned(&self, query: &str, _: (f32, f32), targets: &[usize], detail: Detail) -> Answer {
            self.predict(&[query], targets, detail).remove(0)
        }
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_not_computed_to_its_end_and_counts_until_it_ends() {
        let ((begun, has_begun), (go_on, gone_on)) = (channel(), channel());
        let slow = Slow { begun: Mutex::new(begun), go_on: Mutex::new(gone_on), answered: AtomicUsize::new(0) };
        let slow = Arc::new(slow);
        let limits = Limits { concurrency: 1, ..Limits::default() };
        let serving = Arc::new(Serving::new(slow.clone(), None, None, limits));
        let ask = || Ask { queries: vec!["select 1".into(); 100], tokens: 3, ..Ask::default() };
        let (asked, first) = (serving.clone(), ask());
        let caller = tokio::spawn(async move { asked.answer(first).await });
        tokio::task::spawn_blocking(move || has_begun.recv().unwrap()).await.unwrap();
        // The caller leaves, as one does whose time is over.
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        assert_eq!(serving.answer(ask()).await, Err(Refusal::Busy(1)));
        go_on.send(()).unwrap();
        drop(serving.permits.acquire().await.unwrap());
        assert_eq!(slow.answered.load(Ordering::Relaxed), 1);
        assert_eq!(serving.answer(ask()).await.unwrap().len(), 100);
    }
}
