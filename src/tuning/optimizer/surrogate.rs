//! What the measurements say together about the response surface: a single measurement is half noise.

use super::Observation;
use crate::learn::gaussian::GaussianProcess;

/// The response surface as the feasible trials show it; `None` before the first.
pub fn surface(history: &[Observation]) -> Option<GaussianProcess> {
    let (points, rewards): (Vec<_>, Vec<_>) =
        history.iter().filter(|trial| trial.feasible).map(|trial| (trial.point.clone(), trial.reward)).unzip();
    GaussianProcess::fit(&points, &rewards)
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
