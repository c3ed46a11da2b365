//! What the measurements say together about the response surface: a single measurement is half noise.

use super::Observation;
use crate::learn::gaussian::{GaussianProcess, Row};

/// The response surface as the feasible trials show it; `None` before the first.
pub fn surface(history: &[Observation]) -> Option<GaussianProcess> {
    let feasible = history.iter().enumerate().filter(|(_, trial)| trial.feasible);
    let row = |(index, trial): (usize, &Observation)| Row {
        point: trial.point.clone(),
        target: trial.level,
        at: index as f64,
    };
    GaussianProcess::fit(&feasible.map(row).collect::<Vec<_>>())
}

/// Position in the history of the incumbent: the feasible trial with the highest level after smoothing over its
/// neighbours and its own repetitions, so that one lucky measurement does not win. `None` before the first.
#[cfg(test)]
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
