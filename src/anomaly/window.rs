//! The recent past of each metric, as a median that is kept up row after row.

use std::collections::VecDeque;

/// The last rows, and each column's values in order.
#[derive(Clone, Debug)]
pub struct Window {
    capacity: usize,
    rows: VecDeque<Vec<f64>>,
    sorted: Vec<Vec<f64>>,
}

impl Window {
    /// For rows of `width` values, of which the last `capacity` count.
    pub fn new(width: usize, capacity: usize) -> Self {
        Self { capacity, rows: VecDeque::with_capacity(capacity), sorted: vec![Vec::new(); width] }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Median of a column and the number of values that it comes from; missing ones do not count.
    pub fn median(&self, column: usize) -> Option<(f64, usize)> {
        let values = &self.sorted[column];
        let middle = values.len() / 2;
        let upper = *values.get(middle)?;
        let median = if values.len() % 2 == 1 { upper } else { f64::midpoint(values[middle - 1], upper) };
        Some((median, values.len()))
    }

    /// Takes a row in; the oldest leaves when there are too many.
    pub fn push(&mut self, row: Vec<f64>) {
        for (values, value) in self.sorted.iter_mut().zip(&row).filter(|(_, value)| !value.is_nan()) {
            let at = values.partition_point(|other| other < value);
            values.insert(at, *value);
        }
        self.rows.push_back(row);
        while self.rows.len() > self.capacity {
            self.drop_oldest();
        }
    }

    /// Moves each column by so much.
    pub fn shift(&mut self, by: &[f64]) {
        for row in &mut self.rows {
            row.iter_mut().zip(by).for_each(|(value, by)| *value += by);
        }
        for (values, by) in self.sorted.iter_mut().zip(by) {
            values.iter_mut().for_each(|value| *value += by);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.sorted.iter_mut().for_each(Vec::clear);
    }

    fn drop_oldest(&mut self) {
        let Some(row) = self.rows.pop_front() else { return };
        for (values, value) in self.sorted.iter_mut().zip(&row).filter(|(_, value)| !value.is_nan()) {
            let at = values.partition_point(|other| other < value);
            values.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_median_of_the_last_values(values in prop::collection::vec(prop::option::of(-9_i32..9), 1..60)) {
            let mut window = Window::new(1, 7);
            for value in &values {
                window.push(vec![value.map_or(f64::NAN, f64::from)]);
            }
            let last = &values[values.len().saturating_sub(7)..];
            let mut present: Vec<f64> = last.iter().flatten().copied().map(f64::from).collect();
            present.sort_by(f64::total_cmp);
            let middle = present.len() / 2;
            let expected = match present.len() {
                0 => None,
                count if count % 2 == 1 => Some((present[middle], count)),
                count => Some(((present[middle - 1] + present[middle]) / 2.0, count)),
            };
            prop_assert_eq!(window.median(0), expected);
        }
    }
}
