//! Classes of a cost: bounds as users write them, and which class a cost is in.

use thiserror::Error;

use super::answer::TargetInfo;
use super::log::Cost;

/// A target as a user declares it.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetSpec {
    /// Its name (`cpu`).
    pub name: String,
    /// Its unit (`seconds`, `bytes`), for people.
    pub unit: String,
    /// Where its classes part.
    pub bounds: Bounds,
}

/// Inner bounds of classes, ascending. A class holds its lower bound.
#[derive(Clone, Debug, PartialEq)]
pub enum Bounds {
    /// Costs.
    Values(Vec<f64>),
    /// Shares of the log's measured statements (0.9: a tenth of them is above), resolved by the training.
    Quantiles(Vec<f64>),
    /// Shares of those that cost more than the least: see [`TargetSpec::of_log`].
    QuantilesAboveLeast(Vec<f64>),
}

impl Bounds {
    /// How many there are: one fewer than classes.
    pub fn count(&self) -> usize {
        match self {
            Self::Values(bounds) | Self::Quantiles(bounds) | Self::QuantilesAboveLeast(bounds) => bounds.len(),
        }
    }
}

/// Why costs have no classes.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ClassError {
    /// A bound as text can't be read.
    #[error(
        "{text:?} is no bound: write a number with or without a unit (30, 5ms, 2h, 1Mi, 4GB), or a quantile (q0.9)"
    )]
    Unreadable {
        /// The text.
        text: String,
    },
    /// Bounds and quantiles side by side, or none at all.
    #[error("target {target}: give either bounds or quantiles, at least one and at most 15")]
    Mixed {
        /// The target.
        target: String,
    },
    /// Bounds don't ascend.
    #[error(
        "target {target}: bounds must ascend and be positive and finite, quantiles lie between 0 and 1; got {bounds:?}"
    )]
    NotAscending {
        /// The target.
        target: String,
        /// The bounds.
        bounds: Vec<f64>,
    },
    /// No row has a cost.
    #[error("target {target}: no statement of the log has a cost; name the column that holds it")]
    NoCosts {
        /// The target.
        target: String,
    },
    /// All costs are in one class.
    #[error(
        "target {target}: every statement is in the class {class}, so there is nothing to tell apart; costs range from \
         {least:.6} to {most:.6}: bounds at {median:.6} (the median of those above the least) and {ninth:.6} (their 90th percentile) \
         would part them"
    )]
    OneClass {
        /// The target.
        target: String,
        /// The class.
        class: String,
        /// Smallest cost.
        least: f64,
        /// Median of those above the least.
        median: f64,
        /// Their 90th percentile.
        ninth: f64,
        /// Largest cost.
        most: f64,
    },
    /// Quantiles coincide.
    #[error("target {target}: the quantiles {quantiles:?} are the same cost, {cost}; choose others, or bounds")]
    Coincide {
        /// The target.
        target: String,
        /// The quantiles.
        quantiles: Vec<f64>,
        /// Their cost.
        cost: f64,
    },
}

/// Reads bounds as users write them.
///
/// # Errors
/// One can't be read, or values and quantiles are mixed.
pub fn parse_bounds<'a>(target: &str, texts: impl IntoIterator<Item = &'a str>) -> Result<Bounds, ClassError> {
    let (mut values, mut quantiles) = (Vec::new(), Vec::new());
    for text in texts.into_iter().map(str::trim) {
        let unreadable = || ClassError::Unreadable { text: text.to_owned() };
        match text.strip_prefix('q') {
            Some(share) => quantiles.push(share.parse::<f64>().map_err(|_| unreadable())?),
            None => values.push(quantity(text).ok_or_else(unreadable)?),
        }
    }
    let bounds = match (values.is_empty(), quantiles.is_empty()) {
        (false, true) if values.len() < 16 => Bounds::Values(values),
        (true, false) if quantiles.len() < 16 => Bounds::Quantiles(quantiles),
        _ => return Err(ClassError::Mixed { target: target.to_owned() }),
    };
    let (list, most) = match &bounds {
        Bounds::Values(list) => (list, f64::INFINITY),
        Bounds::Quantiles(list) | Bounds::QuantilesAboveLeast(list) => (list, 1.0),
    };
    let ascend = list.windows(2).all(|pair| pair[0] < pair[1]);
    if !ascend || list.iter().any(|bound| !(*bound > 0.0 && *bound < most)) {
        return Err(ClassError::NotAscending { target: target.to_owned(), bounds: list.clone() });
    }
    Ok(bounds)
}

/// A number with a unit of time (in seconds), of bytes, or without one.
pub fn quantity(text: &str) -> Option<f64> {
    let text = text.trim();
    let digits = text.find(|c: char| c.is_alphabetic() && !matches!(c, 'e' | 'E')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "" | "s" | "sec" | "B" => 1.0,
        "ns" => 1e-9,
        "us" | "\u{b5}s" => 1e-6,
        "ms" => 1e-3,
        "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        "k" | "kB" | "KB" => 1e3,
        "M" | "MB" => 1e6,
        "G" | "GB" => 1e9,
        "T" | "TB" => 1e12,
        "Ki" | "KiB" => 1024.0,
        "Mi" | "MiB" => 1024.0 * 1024.0,
        "Gi" | "GiB" => 1024.0 * 1024.0 * 1024.0,
        "Ti" | "TiB" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    number.trim().parse::<f64>().ok().map(|number| number * factor)
}

/// The class of a cost: how many bounds it has reached.
pub fn class_of(bounds: &[f64], cost: f64) -> usize {
    bounds.partition_point(|bound| *bound <= cost)
}

/// The class of what the log says, where that is known: a statement that was ended before its end is in the top class if it
/// had reached that, and else could have come to be in any class from there on.
pub fn class(bounds: &[f64], cost: Cost) -> Option<usize> {
    match cost {
        Cost::Unknown => None,
        Cost::Measured(cost) => Some(class_of(bounds, cost)),
        Cost::AtLeast(cost) => Some(class_of(bounds, cost)).filter(|class| *class == bounds.len()),
    }
}

impl TargetSpec {
    /// The target for this log and every part of it. Where so many cost the least that there is (nothing, of temporary files)
    /// that the first bound would be that, no class lies below it: quantiles are those of the costs above it. Decided once:
    /// in parts of the log the same shares would mean other classes.
    pub fn of_log(&self, costs: impl Iterator<Item = Cost>) -> Self {
        let Bounds::Quantiles(shares) = &self.bounds else { return self.clone() };
        let measured = |cost| if let Cost::Measured(cost) = cost { Some(cost) } else { None };
        let mut costs: Vec<f64> = costs.filter_map(measured).collect();
        costs.sort_by(f64::total_cmp);
        let first = shares.first().filter(|_| !costs.is_empty()).map(|share| quantile(&costs, *share));
        match first.filter(|first| *first <= costs[0]) {
            Some(_) => Self { bounds: Bounds::QuantilesAboveLeast(shares.clone()), ..self.clone() },
            None => self.clone(),
        }
    }
}

/// The target with its bounds as costs, checked against what the log has.
///
/// # Errors
/// There are no costs, or only one class of them.
pub fn resolve(spec: &TargetSpec, costs: impl Iterator<Item = Cost>) -> Result<TargetInfo, ClassError> {
    let target = spec.name.clone();
    let (mut measured, mut at_least): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
    for cost in costs {
        match cost {
            Cost::Unknown => {}
            Cost::Measured(cost) => measured.push(cost),
            Cost::AtLeast(cost) => at_least.push(cost),
        }
    }
    if measured.is_empty() {
        return Err(ClassError::NoCosts { target });
    }
    measured.sort_by(f64::total_cmp);
    let bounds = match &spec.bounds {
        Bounds::Values(values) => values.clone(),
        Bounds::Quantiles(shares) | Bounds::QuantilesAboveLeast(shares) => {
            let more = measured.partition_point(|cost| *cost <= measured[0]);
            let above = matches!(spec.bounds, Bounds::QuantilesAboveLeast(_)) && more < measured.len();
            let costs = if above { &measured[more..] } else { &measured[..] };
            let bounds: Vec<f64> = shares.iter().map(|share| quantile(costs, *share)).collect();
            if let Some(pair) = bounds.windows(2).find(|pair| pair[0] >= pair[1]) {
                return Err(ClassError::Coincide { target, quantiles: shares.clone(), cost: pair[0] });
            }
            bounds
        }
    };
    let labels = labels(&bounds);
    // Of what was ended before its end only that counts whose class is known.
    let top = at_least.into_iter().filter(|cost| class(&bounds, Cost::AtLeast(*cost)).is_some());
    let mut known: Vec<f64> = measured.into_iter().chain(top).collect();
    known.sort_by(f64::total_cmp);
    let (least, most) = (known[0], known[known.len() - 1]);
    let only = class_of(&bounds, least);
    if only == class_of(&bounds, most) {
        // Most statements may cost nothing at all (temporary files, say): the bounds must lie among those that do.
        let above: Vec<f64> = known.iter().copied().filter(|cost| *cost > least).collect();
        let some = if above.is_empty() { &known } else { &above };
        let (median, ninth) = (quantile(some, 0.5), quantile(some, 0.9));
        return Err(ClassError::OneClass { target, class: labels[only].clone(), least, median, ninth, most });
    }
    Ok(TargetInfo { name: target, unit: spec.unit.clone(), bounds, labels })
}

/// The classes' ranges as people write them.
pub fn labels(bounds: &[f64]) -> Vec<String> {
    let edges: Vec<String> = std::iter::once("0".to_owned())
        .chain(bounds.iter().map(ToString::to_string))
        .chain(["\u{221e}".to_owned()])
        .collect();
    edges.windows(2).map(|pair| format!("[{}, {})", pair[0], pair[1])).collect()
}

/// A quantile of ascending numbers, between the two nearest of them.
pub fn quantile(ascending: &[f64], share: f64) -> f64 {
    let place = share * (ascending.len().saturating_sub(1)) as f64;
    let (below, part) = (place.floor() as usize, place.fract());
    let low = ascending[below.min(ascending.len() - 1)];
    let high = ascending[(below + 1).min(ascending.len() - 1)];
    low + (high - low) * part
}

/// The least of costs, ascending with their weights, up to which a share of all weight lies; 0 of none.
pub fn weighted_quantile(ascending: &[(f64, f64)], share: f64) -> f64 {
    let wanted = share * ascending.iter().map(|(_, weight)| weight).sum::<f64>();
    let mut below = 0.0;
    let reaches = |(_, weight): &&(f64, f64)| {
        below += weight;
        below >= wanted
    };
    ascending.iter().find(reaches).or(ascending.last()).map_or(0.0, |(cost, _)| *cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_holds_its_lower_bound() {
        let bounds = [30.0, 18_000.0];
        for (cost, expected) in [(0.0, 0), (29.999_999, 0), (30.0, 1), (17_999.999, 1), (18_000.0, 2), (1e12, 2)] {
            assert_eq!(class_of(&bounds, cost), expected, "{cost}");
        }
        assert_eq!(labels(&bounds), ["[0, 30)", "[30, 18000)", "[18000, \u{221e})"]);
        assert_eq!(class(&bounds, Cost::Measured(40.0)), Some(1));
        assert_eq!(class(&bounds, Cost::AtLeast(40.0)), None, "it could be in the next");
        assert_eq!(class(&bounds, Cost::AtLeast(18_000.0)), Some(2));
        assert_eq!(class(&bounds, Cost::Unknown), None);
    }

    #[test]
    fn bounds_are_read_with_their_units() {
        assert_eq!(parse_bounds("m", ["1Mi", "1Ti"]), Ok(Bounds::Values(vec![1_048_576.0, 1_099_511_627_776.0])));
        assert_eq!(parse_bounds("c", ["5ms", "0.1", "2h"]), Ok(Bounds::Values(vec![0.005, 0.1, 7200.0])));
        assert_eq!(parse_bounds("c", ["q0.5", "q0.9"]), Ok(Bounds::Quantiles(vec![0.5, 0.9])));
        assert!(matches!(parse_bounds("c", ["q0.5", "3"]), Err(ClassError::Mixed { .. })));
        assert!(matches!(parse_bounds("c", []), Err(ClassError::Mixed { .. })));
        assert!(matches!(parse_bounds("c", ["3", "2"]), Err(ClassError::NotAscending { .. })));
        assert!(matches!(parse_bounds("c", ["q1.5"]), Err(ClassError::NotAscending { .. })));
        assert!(matches!(
            parse_bounds("c", ["NaN"]),
            Err(ClassError::Unreadable { .. } | ClassError::NotAscending { .. })
        ));
        assert!(matches!(parse_bounds("c", ["many"]), Err(ClassError::Unreadable { .. })));
    }

    #[test]
    fn one_class_says_which_bounds_would_part_the_costs() {
        let spec = TargetSpec { name: "cpu".into(), unit: "seconds".into(), bounds: Bounds::Values(vec![100.0]) };
        let costs = || (1..=11).map(|cost| Cost::Measured(f64::from(cost)));
        let error = resolve(&spec, costs()).unwrap_err().to_string();
        assert!(error.contains("[0, 100)") && error.contains("6.5") && error.contains("10.1"), "{error}");
        let quantiles = TargetSpec { bounds: Bounds::Quantiles(vec![0.5, 0.9]), ..spec.clone() };
        assert_eq!(resolve(&quantiles, costs()).unwrap().bounds, [6.0, 10.0]);
        assert!(matches!(resolve(&spec, std::iter::empty()), Err(ClassError::NoCosts { .. })));
        let same = std::iter::repeat_n(Cost::Measured(1.0), 9);
        assert!(matches!(resolve(&quantiles, same), Err(ClassError::Coincide { .. })));
        // What was ended early is of no class here: it does not part the others.
        let early = costs().chain([Cost::AtLeast(99.0)]);
        assert!(matches!(resolve(&spec, early), Err(ClassError::OneClass { .. })));
        assert_eq!(resolve(&spec, costs().chain([Cost::AtLeast(100.0)])).unwrap().bounds, [100.0]);
    }

    #[test]
    fn a_sampled_row_weighs_as_much_as_those_it_stands_for() {
        let fast = std::iter::repeat_n((0.001, 100.0), 100);
        let costs: Vec<(f64, f64)> = fast.chain(std::iter::repeat_n((5.0, 1.0), 200)).collect();
        assert_eq!([0.5, 0.9, 0.99].map(|share| weighted_quantile(&costs, share)), [0.001, 0.001, 5.0]);
        assert_eq!(weighted_quantile(&[], 0.5), 0.0);
    }

    #[test]
    fn quantiles_lie_above_what_most_statements_cost() {
        let shares = Bounds::Quantiles(vec![0.5, 0.9]);
        let spec = TargetSpec { name: "spill".into(), unit: "bytes".into(), bounds: shares };
        let costs = || std::iter::repeat_n(0.0, 95).chain((1..=11).map(f64::from)).map(Cost::Measured);
        let of_log = spec.of_log(costs());
        let info = resolve(&of_log, costs()).unwrap();
        assert_eq!((info.bounds, info.labels[0].as_str()), (vec![6.0, 10.0], "[0, 6)"));
        // In a part in which more cost something they are what they are in the whole.
        let part = costs().filter(|cost| *cost != Cost::Measured(0.0)).chain([Cost::Measured(0.0)]);
        assert_eq!(resolve(&of_log, part).unwrap().bounds, [6.0, 10.0]);
        let share = TargetSpec { bounds: Bounds::Quantiles(vec![0.95]), ..spec };
        assert!(resolve(&share.of_log(costs()), costs()).unwrap().bounds[0] > 5.0, "it lies above the least as it is");
    }
}
