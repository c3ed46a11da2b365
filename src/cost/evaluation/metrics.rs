//! Figures of predictions. Point estimates over rows; every row counts the same.

use serde::{Deserialize, Serialize};

use crate::cost::log::Cost;
use crate::cost::model::Judgement;

/// Bins of a reliability diagram.
const BINS: usize = 10;

/// Figures of one method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// Rows.
    pub rows: usize,
    /// Share of rows whose class is right.
    pub accuracy: f64,
    /// By class, from the cheapest.
    pub classes: Vec<ClassMetrics>,
    /// Rows by true class (outer) and predicted class (inner).
    pub confusion: Vec<Vec<usize>>,
    /// Accuracy over the 80 % of the rows with the largest confidence.
    pub accuracy_at80_coverage: f64,
    /// Share of rows that are answered for without abstaining.
    pub coverage: f64,
    /// Accuracy over these.
    pub accuracy_when_answered: f64,
    /// Expected calibration error of the class's probability.
    pub calibration_error: f64,
    /// Mean probability, share that is right and rows, by tenth of the probability.
    pub reliability: Vec<Bin>,
    /// Share of measured costs at or below the stated median.
    pub below_p50: f64,
    /// Share of measured costs at or below the stated 90th percentile.
    pub below_p90: f64,
    /// Median of the factor between the stated median and the cost.
    pub q_error: f64,
    /// Rows by the tier that spoke: history, text, plan, default.
    pub sources: [usize; 4],
}

/// Figures of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassMetrics {
    /// The class's range.
    pub label: String,
    /// Share of the rows predicted so that are so.
    pub precision: f64,
    /// Share of the rows that are so that were predicted so.
    pub recall: f64,
    /// Rows that are so.
    pub support: usize,
}

/// One bin of a reliability diagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Mean probability stated.
    pub stated: f64,
    /// Share that was right.
    pub right: f64,
    /// Rows.
    pub rows: usize,
}

/// Figures of what was said of rows, against their true classes and costs.
pub fn metrics(labels: &[String], truth: &[usize], costs: &[Cost], said: &[Judgement]) -> Metrics {
    let count = labels.len();
    let mut confusion = vec![vec![0; count]; count];
    truth.iter().zip(said).for_each(|(truth, said)| confusion[*truth][said.class] += 1);
    let right = |at: usize| said[at].class == truth[at];
    let share = |part: usize, of: usize| if of == 0 { 0.0 } else { part as f64 / of as f64 };
    let classes = labels.iter().enumerate().map(|(class, label)| {
        let support: usize = confusion[class].iter().sum();
        let predicted: usize = confusion.iter().map(|row| row[class]).sum();
        let hit = confusion[class][class];
        ClassMetrics { label: label.clone(), precision: share(hit, predicted), recall: share(hit, support), support }
    });
    let mut sure: Vec<usize> = (0..said.len()).collect();
    sure.sort_by(|a, b| said[*b].confidence.total_cmp(&said[*a].confidence));
    sure.truncate((said.len() * 4).div_ceil(5));
    let answered: Vec<usize> = (0..said.len()).filter(|at| !said[*at].abstains).collect();
    let mut bins = [(0.0, 0, 0); BINS];
    for (at, judgement) in said.iter().enumerate() {
        let probability = judgement.probabilities[judgement.class];
        let bin = &mut bins[((probability * BINS as f64) as usize).min(BINS - 1)];
        *bin = (bin.0 + probability, bin.1 + usize::from(right(at)), bin.2 + 1);
    }
    let reliability: Vec<Bin> = bins
        .iter()
        .map(|(stated, right, rows)| Bin {
            stated: stated / (*rows).max(1) as f64,
            right: share(*right, *rows),
            rows: *rows,
        })
        .collect();
    let calibration_error =
        reliability.iter().map(|bin| (bin.stated - bin.right).abs() * share(bin.rows, said.len())).sum();
    let measured: Vec<(f64, &Judgement)> = costs
        .iter()
        .zip(said)
        .filter_map(|(cost, said)| match cost {
            Cost::Measured(cost) => Some((*cost, said)),
            Cost::AtLeast(_) | Cost::Unknown => None,
        })
        .collect();
    let below = |limit: fn(&Judgement) -> f64| {
        share(measured.iter().filter(|(cost, said)| *cost <= limit(said)).count(), measured.len())
    };
    let mut factors: Vec<f64> = measured
        .iter()
        .filter(|(cost, said)| *cost > 0.0 && said.p50 > 0.0)
        .map(|(cost, said)| (cost / said.p50).max(said.p50 / cost))
        .collect();
    factors.sort_by(f64::total_cmp);
    let mut sources = [0; 4];
    said.iter().for_each(|said| sources[said.source as usize] += 1);
    Metrics {
        rows: said.len(),
        accuracy: share((0..said.len()).filter(|at| right(*at)).count(), said.len()),
        classes: classes.collect(),
        accuracy_at80_coverage: share(sure.iter().filter(|at| right(**at)).count(), sure.len()),
        coverage: share(answered.len(), said.len()),
        accuracy_when_answered: share(answered.iter().filter(|at| right(**at)).count(), answered.len()),
        calibration_error,
        reliability,
        below_p50: below(|said| said.p50),
        below_p90: below(|said| said.p90),
        q_error: if factors.is_empty() { 0.0 } else { crate::cost::classes::quantile(&factors, 0.5) },
        sources,
        confusion,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::answer::Source;

    fn said(class: usize, probability: f64, source: Source) -> Judgement {
        let mut probabilities = vec![1.0 - probability; 2];
        probabilities[class] = probability;
        Judgement {
            class,
            probabilities,
            p50: 1.0,
            p90: 3.0,
            source,
            confidence: probability,
            abstains: probability < 0.6,
        }
    }

    #[test]
    fn figures_are_those_of_the_confusion() {
        let labels = ["light".to_owned(), "heavy".to_owned()];
        let truth = [0, 0, 0, 1, 1];
        let costs = [1.0, 1.0, 2.0, 2.0, 9.0].map(Cost::Measured);
        let told = [(0, 0.95), (0, 0.95), (1, 0.55), (1, 0.9), (0, 0.7)].map(|(class, p)| said(class, p, Source::Text));
        let figures = metrics(&labels, &truth, &costs, &told);
        assert_eq!(figures.confusion, [[2, 1], [1, 1]]);
        assert!((figures.accuracy - 0.6).abs() < 1e-9);
        assert!((figures.classes[1].precision - 0.5).abs() < 1e-9 && (figures.classes[1].recall - 0.5).abs() < 1e-9);
        assert!((figures.accuracy_at80_coverage - 0.75).abs() < 1e-9);
        assert!((figures.coverage - 0.8).abs() < 1e-9 && (figures.accuracy_when_answered - 0.75).abs() < 1e-9);
        assert!((figures.below_p50 - 0.4).abs() < 1e-9 && (figures.below_p90 - 0.8).abs() < 1e-9);
        assert_eq!((figures.sources, figures.reliability[9].rows), ([0, 5, 0, 0], 3));
    }
}
