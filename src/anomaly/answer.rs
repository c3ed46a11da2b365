//! From Prometheus's series to rows: one column for each feature, a row for each step, NaN where there is no value.

use std::collections::{BTreeMap, BTreeSet};

use super::features::{LABEL, Watched};

/// A feature that has several values at one time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{feature} has two series at once, {first} and {second}: aggregate in its query, or narrow prometheus.selector"
)]
pub struct Duplicate {
    /// The feature.
    pub feature: String,
    /// Labels of the one.
    pub first: String,
    /// Labels of the other.
    pub second: String,
}

/// The rows of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Times in milliseconds since 1970, ascending by one step.
    pub times: Vec<i64>,
    /// Values by feature, in the features' order, each as long as `times`.
    pub columns: Vec<Vec<f64>>,
    /// Values that were NaN or infinite, which count as missing.
    pub not_finite: u64,
    /// Times of rows in which a feature has several values, which count as missing.
    pub doubled: BTreeSet<i64>,
    /// The last of those features, and its series.
    pub duplicate: Option<Duplicate>,
    /// Usual time between two scrapes in milliseconds, where it can be told.
    pub scraped_ms: Option<i64>,
    /// How many of the last rows wait for a sample that must be on its way.
    pub awaited: usize,
}

/// A series: its labels, and times in milliseconds with values.
pub type Labelled<'a> = (&'a BTreeMap<String, String>, &'a [(i64, f64)]);

/// Arranges series into the rows from `from` to `to`, both included, every `step`; all in milliseconds. Series of one
/// feature that follow one another (a pod that was replaced) make one column; where they overlap there is no value.
pub fn rows<'a>(
    watched: &[Watched],
    series: impl IntoIterator<Item = Labelled<'a>>,
    (from, to): (i64, i64),
    step: i64,
) -> Rows {
    let count = usize::try_from((to - from) / step + 1).unwrap_or(0);
    let mut columns = vec![vec![f64::NAN; count]; watched.len()];
    // Which series gave a value, to tell a series that was replaced from two at once.
    let mut givers: Vec<Vec<Option<usize>>> = vec![vec![None; count]; watched.len()];
    let mut names: Vec<&BTreeMap<String, String>> = Vec::new();
    let index: BTreeMap<&str, usize> = watched.iter().enumerate().map(|(i, w)| (w.name.as_str(), i)).collect();
    let mut not_finite = 0;
    let mut doubled = BTreeSet::new();
    let mut duplicate = None;
    for (labels, samples) in series {
        let Some(&column) = labels.get(LABEL).and_then(|name| index.get(name.as_str())) else { continue };
        let giver = names.len();
        names.push(labels);
        for (time, value) in samples {
            let offset = time - from;
            let Some(row) = usize::try_from(offset / step).ok().filter(|row| offset % step == 0 && *row < count) else {
                continue;
            };
            if let Some(other) = givers[column][row].replace(giver) {
                columns[column][row] = f64::NAN;
                doubled.insert(*time);
                if doubled.last() == Some(time) {
                    duplicate = Some((column, other, giver));
                }
                continue;
            }
            if value.is_finite() {
                columns[column][row] = *value;
            } else {
                not_finite += 1;
            }
        }
    }
    let duplicate = duplicate.map(|(column, first, second): (usize, usize, usize)| Duplicate {
        feature: watched[column].name.clone(),
        first: shown(names[first]),
        second: shown(names[second]),
    });
    let times = (0..count as i64).map(|row| from + row * step).collect();
    Rows { times, columns, not_finite, doubled, duplicate, scraped_ms: None, awaited: 0 }
}

impl Rows {
    /// Columns without a single value.
    pub fn empty(&self) -> impl Iterator<Item = usize> {
        let empty = |(index, column): (usize, &Vec<f64>)| column.iter().all(|value| value.is_nan()).then_some(index);
        self.columns.iter().enumerate().filter_map(empty)
    }

    /// The same, unless a feature of the newest row has several values: what was so for a moment is over.
    ///
    /// # Errors
    /// The feature and its series.
    pub fn single_now(self) -> Result<Self, Duplicate> {
        let now = self.times.last().is_some_and(|newest| self.doubled.contains(newest));
        self.unless(now)
    }

    /// The same, unless in most rows that have a value a feature has several.
    ///
    /// # Errors
    /// The feature and its series.
    pub fn mostly_single(self) -> Result<Self, Duplicate> {
        let has = |(row, time): &(usize, &i64)| self.has_value(*row) || self.doubled.contains(*time);
        let rows = self.times.iter().enumerate().filter(has).count();
        let most = 2 * self.doubled.len() > rows;
        self.unless(most)
    }

    fn unless(self, ambiguous: bool) -> Result<Self, Duplicate> {
        match &self.duplicate {
            Some(duplicate) if ambiguous => Err(duplicate.clone()),
            _ => Ok(self),
        }
    }

    /// Without the last rows that wait for a sample.
    #[must_use]
    pub fn settled(mut self) -> Self {
        let kept = self.times.len().saturating_sub(self.awaited);
        self.times.truncate(kept);
        self.columns.iter_mut().for_each(|column| column.truncate(kept));
        self
    }

    /// Takes the values of each column out of the rows of its times.
    #[must_use]
    pub fn without<'a>(mut self, times: impl Fn(usize) -> &'a BTreeSet<i64>) -> Self {
        for (index, column) in self.columns.iter_mut().enumerate() {
            let none = times(index);
            let values = self.times.iter().zip(column).filter(|(time, _)| none.contains(time));
            values.for_each(|(_, value)| *value = f64::NAN);
        }
        self
    }

    fn has_value(&self, row: usize) -> bool {
        self.columns.iter().any(|column| !column[row].is_nan())
    }

    /// Without the rows that have no value at all: before the history began, or while nobody scraped. They say nothing of
    /// how often a feature is missing.
    pub fn dense(mut self) -> Self {
        let kept: Vec<usize> = (0..self.times.len()).filter(|row| self.has_value(*row)).collect();
        self.times = kept.iter().map(|row| self.times[*row]).collect();
        for column in &mut self.columns {
            *column = kept.iter().map(|row| column[*row]).collect();
        }
        self
    }

    /// The first row with any value: where the history begins.
    pub fn begin(&self) -> Option<i64> {
        (0..self.times.len()).find(|row| self.has_value(*row)).map(|row| self.times[row])
    }
}

fn shown(labels: &BTreeMap<String, String>) -> String {
    let own = labels.iter().filter(|(name, _)| *name != LABEL);
    format!("{{{}}}", own.map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::anomaly::crd::FeatureKind;

    fn watched(names: &[&str]) -> Vec<Watched> {
        let one = |name: &&str| Watched {
            name: (*name).into(),
            kind: FeatureKind::Gauge,
            expression: (*name).into(),
            pack: None,
        };
        names.iter().map(one).collect()
    }

    fn labels(feature: &str, pod: &str) -> BTreeMap<String, String> {
        [(LABEL.to_owned(), feature.to_owned()), ("pod".to_owned(), pod.to_owned())].into()
    }

    #[test]
    fn a_gap_and_what_is_not_finite_are_missing() {
        let (a, samples) = (labels("a", "x"), [(0, 1.0), (10, f64::NAN), (20, f64::INFINITY), (40, 5.0)]);
        let rows = rows(&watched(&["a", "b"]), [(&a, samples.as_slice())], (0, 40), 10);
        assert_eq!(rows.times, [0, 10, 20, 30, 40]);
        assert_eq!(rows.columns[0].iter().map(|v| v.is_nan()).collect::<Vec<_>>(), [false, true, true, true, false]);
        assert_eq!((rows.not_finite, rows.empty().collect::<Vec<_>>(), rows.begin()), (2, vec![1], Some(0)));
        let (none, all) = ([0, 40].into(), BTreeSet::new());
        let without = |columns: usize| rows.clone().without(|column| if column < columns { &none } else { &all });
        assert!(without(1).columns[0].iter().all(|value| value.is_nan()));
        assert_eq!(without(0).columns[0][4], 5.0, "another column's times are not its own");
        let dense = rows.dense();
        assert_eq!((dense.times, dense.columns[0].clone()), (vec![0, 40], vec![1.0, 5.0]));
    }

    #[test]
    fn a_replaced_pod_continues_the_column_and_two_at_once_give_no_value() {
        let (old, new) = (labels("a", "old"), labels("a", "new"));
        let joined = |before: &[(i64, f64)], after: &[(i64, f64)]| {
            rows(&watched(&["a"]), [(&old, before), (&new, after)], (0, 20), 10)
        };
        let followed = joined(&[(0, 1.0), (10, 2.0)], &[(20, 3.0)]);
        assert_eq!((followed.columns[0].as_slice(), &followed.duplicate), ([1.0, 2.0, 3.0].as_slice(), &None));
        // For a moment: the rest stands.
        let moment = joined(&[(0, 1.0), (10, 2.0)], &[(10, 9.0), (20, 3.0)]);
        assert!(moment.columns[0][1].is_nan() && moment.columns[0][2] == 3.0);
        let error = moment.duplicate.clone().unwrap().to_string();
        assert!(error.contains(r#"{pod="old"} and {pod="new"}"#), "{error}");
        assert!(moment.clone().single_now().is_ok() && moment.mostly_single().is_ok());
        let now = joined(&[(0, 1.0), (20, 2.0)], &[(20, 3.0)]);
        assert!(now.clone().single_now().is_err() && now.mostly_single().is_ok());
        let mostly = joined(&[(0, 1.0), (10, 2.0)], &[(0, 9.0), (10, 9.0), (20, 3.0)]);
        assert!(mostly.clone().single_now().is_ok() && mostly.mostly_single().is_err());
    }

    proptest! {
        /// Whatever comes, in whatever order and at whatever times: no panic, and every value stands at its own time.
        #[test]
        fn values_stand_at_their_times(samples in proptest::collection::btree_map(-50i64..150, any::<f64>(), 0..40)) {
            let (a, samples) = (labels("a", "x"), samples.into_iter().collect::<Vec<_>>());
            let rows = rows(&watched(&["a"]), [(&a, samples.as_slice())], (0, 100), 10);
            for (row, time) in rows.times.iter().enumerate() {
                let given = samples.iter().find(|(at, _)| at == time).map(|(_, value)| *value).filter(|v| v.is_finite());
                prop_assert_eq!(Some(rows.columns[0][row]).filter(|v| !v.is_nan()), given);
            }
        }
    }
}
