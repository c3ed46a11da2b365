//! What every transport asks, and why it may be refused.

use std::sync::Arc;

use super::Serving;
use super::metrics::PlanResult;
use crate::cost::answer::{Answer, Detail, Estimate, Predictor};

/// A text up to here is answered on the spot: it takes less time (some ten microseconds for each kilobyte) than handing it
/// to another thread and back.
const ON_THE_SPOT: usize = 8 << 10;
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
    /// It took too long.
    #[error("the answer took longer than {0} s: ask for fewer statements at once")]
    Timeout(u64),
    /// Our mistake.
    #[error("the model failed at this request: {0}")]
    Failed(String),
}

impl Serving {
    /// Answers for statements, one answer for each.
    ///
    /// # Errors
    /// The request asks for nothing, for too much, or for what the model has not.
    pub async fn answer(self: &Arc<Self>, ask: Ask) -> Result<Vec<Answer>, Refusal> {
        let targets = self.check(&ask)?;
        let Ok(_permit) = self.permits.try_acquire() else { return Err(Refusal::Busy(self.limits.concurrency)) };
        let detail = Detail { tokens: ask.tokens, nearest: ask.nearest };
        let answers = tokio::time::timeout(self.limits.timeout, self.predict(Arc::new(ask.queries), targets, detail));
        let answers = answers.await.map_err(|_| Refusal::Timeout(self.limits.timeout.as_secs()))??;
        self.metrics.answered(&answers);
        Ok(answers)
    }

    async fn predict(
        &self,
        queries: Arc<Vec<String>>,
        targets: Vec<usize>,
        detail: Detail,
    ) -> Result<Vec<Answer>, Refusal> {
        let bytes: usize = queries.iter().map(String::len).sum();
        let planning = self.planner.is_some();
        let predict = {
            let (queries, targets) = (queries.clone(), targets.clone());
            move |model: &dyn Predictor| {
                let texts: Vec<&str> = queries.iter().map(String::as_str).collect();
                let doubtful = |place: &usize| planning && model.wants_plan(texts[*place], &targets);
                let doubtful: Vec<usize> = (0..texts.len()).filter(doubtful).take(PLANNED).collect();
                (model.predict(&texts, &targets, detail), doubtful)
            }
        };
        let (mut answers, doubtful) = if bytes <= ON_THE_SPOT && detail == Detail::default() {
            predict(&*self.model)
        } else {
            let model = self.model.clone();
            let work = tokio::task::spawn_blocking(move || predict(&*model));
            work.await.map_err(|error| Refusal::Failed(error.to_string()))?
        };
        let Some(planner) = &self.planner else { return Ok(answers) };
        // A slow server costs plans, not answers.
        let until = tokio::time::Instant::now() + self.limits.timeout / 2;
        for place in doubtful {
            match tokio::time::timeout_at(until, planner.plan(&queries[place])).await {
                Ok(Ok(plan)) => {
                    self.metrics.planned(PlanResult::Planned);
                    answers[place] = self.model.predict_planned(&queries[place], plan, &targets, detail);
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
