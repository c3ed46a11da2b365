//! What the measurements say together about the response surface: a single measurement is half noise.

use super::Observation;
use crate::learn::gaussian::{GaussianProcess, Row};
use crate::tuning::crd::TrialKind;

/// The response surface as the feasible trials show it; `None` before the first. Trials from one baseline to the next
/// share the noise of that baseline.
pub fn surface(history: &[Observation]) -> Option<GaussianProcess> {
    let mut baselines = 0;
    let mut rows = Vec::new();
    for trial in history {
        let block = if trial.kind == TrialKind::Baseline {
            baselines += 1;
            None
        } else {
            Some(baselines)
        };
        if trial.feasible {
            rows.push(Row { point: trial.point.clone(), target: trial.reward, block });
        }
    }
    GaussianProcess::fit(&rows)
}

/// Position in the history of the incumbent: the feasible trial with the highest reward after smoothing over its
/// neighbours and its own repetitions, so that one lucky measurement does not win. `None` before the first.
pub fn incumbent(history: &[Observation]) -> Option<usize> {
    let surface = surface(history)?;
    best(history, &surface)
}

/// The same with a surface at hand.
pub fn best(history: &[Observation], surface: &GaussianProcess) -> Option<usize> {
    let feasible = history.iter().enumerate().filter(|(_, trial)| trial.feasible);
    let expected = feasible.map(|(index, trial)| (index, surface.predict(&trial.point).mean));
    expected.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(index, _)| index)
}

/// The measured trial closest to a point failed: what lies there is likely to fail too.
pub fn likely_fails(history: &[Observation], point: &[f64]) -> bool {
    let distance = |trial: &Observation| -> f64 { trial.point.iter().zip(point).map(|(x, y)| (x - y).powi(2)).sum() };
    history.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).is_some_and(|trial| !trial.feasible)
}
