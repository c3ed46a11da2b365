//! How well scores separate faults from normal rows.

/// A run's rows that were judged: score (1 is the threshold) and whether the row is in the fault, in the order of time.
pub type Judged = Vec<(f64, bool)>;

/// Thresholds that the volume is computed with.
const THRESHOLDS: usize = 200;
/// Widest margin around a fault, in rows.
const MARGIN: usize = 4;

/// Probability that a row in a fault scores higher than one that is not.
pub fn auroc(runs: &[Judged]) -> f64 {
    let mut rows: Vec<(f64, bool)> = runs.iter().flatten().copied().collect();
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let positives = rows.iter().filter(|row| row.1).count() as f64;
    let negatives = rows.len() as f64 - positives;
    let (mut ranks, mut index) = (0.0, 0);
    while index < rows.len() {
        let tied = rows[index..].iter().take_while(|row| row.0 == rows[index].0).count();
        let rank = index as f64 + (tied as f64 + 1.0) / 2.0;
        ranks += rank * rows[index..index + tied].iter().filter(|row| row.1).count() as f64;
        index += tied;
    }
    (ranks - positives * (positives + 1.0) / 2.0) / (positives * negatives)
}

/// Volume under the surface of precision, recall and margin (Paparrizos and others 2022): the area under the curve of
/// range-based precision and recall, averaged over margins around a fault of 0 to 4 rows.
pub fn vus_pr(runs: &[Judged]) -> f64 {
    (0..=MARGIN).map(|margin| area(runs, margin)).sum::<f64>() / (MARGIN + 1) as f64
}

fn area(runs: &[Judged], margin: usize) -> f64 {
    let softened: Vec<Vec<(f64, f64)>> = runs.iter().map(|run| soften(run, margin)).collect();
    let hard: f64 = runs.iter().flatten().filter(|row| row.1).count() as f64;
    let total: f64 = softened.iter().flatten().map(|row| row.1).sum();
    // Of the fault and its soft margin, as the method's authors weigh them.
    let positives = f64::midpoint(hard, total);
    let events = runs.iter().filter(|run| run.iter().any(|row| row.1)).count() as f64;
    let mut scores: Vec<f64> = runs.iter().flatten().map(|row| row.0).collect();
    scores.sort_by(|a, b| b.total_cmp(a));
    let (mut area, mut before) = (0.0, (0.0, 1.0));
    for number in 1..=THRESHOLDS {
        let threshold = scores[(scores.len() - 1) * number / THRESHOLDS];
        let (mut weight, mut alarms, mut seen) = (0.0, 0.0, 0.0);
        for run in &softened {
            let above = run.iter().filter(|row| row.0 >= threshold);
            let inside: f64 = above.clone().map(|row| row.1).sum();
            weight += inside;
            alarms += above.count() as f64;
            seen += f64::from(u8::from(inside > 0.0));
        }
        let recall = (weight / positives).min(1.0) * seen / events;
        let precision = weight / alarms;
        area += (recall - before.0) * f64::midpoint(precision, before.1);
        before = (recall, precision);
    }
    area
}

/// Each row's score and how much it belongs to a fault: 1 in it, falling with the distance within the margin.
fn soften(run: &Judged, margin: usize) -> Vec<(f64, f64)> {
    let faults: Vec<usize> = (0..run.len()).filter(|index| run[*index].1).collect();
    let of = |index: usize| {
        let distance = faults.iter().map(|fault| fault.abs_diff(index)).min()?;
        (distance <= margin).then(|| (1.0 - distance as f64 / (margin as f64 + 1.0)).sqrt())
    };
    run.iter().enumerate().map(|(index, row)| (row.0, of(index).unwrap_or(0.0))).collect()
}

/// The quantile of numbers in any order; none of none.
pub fn quantile(mut numbers: Vec<f64>, share: f64) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    crate::anomaly::scale::quantile(&numbers, share)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(scores: &[f64]) -> Judged {
        scores.iter().enumerate().map(|(index, score)| (*score, (4..8).contains(&index))).collect()
    }

    #[test]
    fn a_perfect_score_is_one_and_a_reversed_one_none() {
        let perfect = [run(&[0.0, 0.1, 0.2, 0.3, 1.0, 1.1, 1.2, 1.3])];
        let other = |score: fn(f64) -> f64| [perfect[0].iter().map(|row| (score(row.0), row.1)).collect()];
        let (reversed, level) = (other(|score| -score), other(|_| 0.5));
        assert_eq!((auroc(&perfect), auroc(&reversed), auroc(&level)), (1.0, 0.0, 0.5));
        assert!(vus_pr(&perfect) > 0.9 && vus_pr(&reversed) < 0.6, "{} {}", vus_pr(&perfect), vus_pr(&reversed));
    }
}
