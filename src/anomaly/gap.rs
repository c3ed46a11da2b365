//! Times in which nobody scraped. Where a whole Prometheus was away, nothing marks its series as stale: for five minutes
//! each row repeats the last sample, counters seem to stand still, and the next sample makes up for it in one leap.

use std::collections::BTreeSet;

/// How far before the first row the samples' times are read: scrapes that are minutes apart are known by their distance.
pub const BEFORE_MS: i64 = 15 * 60_000;
/// Samples no further apart than this are no gap, where no distance is usual yet.
const SHORTEST_MS: i64 = 60_000;
/// Nor are those where a scrape failed between them.
const MISSED: i64 = 2;
/// A scrape is no more punctual than this.
const LATE_MS: i64 = 15_000;
/// Samples this many times further apart than usual are a gap.
const USUAL: f64 = 1.5;
/// Distances without which none is usual.
const FEWEST: usize = 3;
/// From so many distances on, a tenth of them may be gaps; of fewer, one.
const MANY: usize = 20;

/// The times of rows that are none, out of each row's time and that of the newest sample in it, ascending; `step` lies
/// between two rows. All in milliseconds. Of the rows that show a sample after which a gap comes, the first stands; so do
/// all rows after a gap but the first, which is told apart from those before it by what happened in the gap, too. A gap that
/// is not over yet is one, too: those rows that wait for a late sample are not among what is judged ([`awaited`]).
pub fn unscraped(rows: &[(i64, i64)], step: i64) -> BTreeSet<i64> {
    let samples = samples(rows);
    let longest = longest(&samples, step);
    let mut none = BTreeSet::new();
    for (index, (sample, rows)) in samples.iter().enumerate() {
        match samples.get(index + 1) {
            Some((next, after)) if next - sample > longest => {
                none.extend(&rows[1..]);
                none.extend(after.first());
            }
            None if rows.last().is_some_and(|row| row - sample > longest) => none.extend(&rows[1..]),
            _ => {}
        }
    }
    none
}

/// The samples, each with the rows that show it.
fn samples(rows: &[(i64, i64)]) -> Vec<(i64, Vec<i64>)> {
    let mut samples: Vec<(i64, Vec<i64>)> = Vec::new();
    for (row, sample) in rows {
        match samples.last_mut() {
            Some((last, rows)) if last == sample => rows.push(*row),
            _ => samples.push((*sample, vec![*row])),
        }
    }
    samples
}

/// The usual time between two samples: the mean of the middle half of their distances, which neither a gap nor a sample
/// that rows passed over changes. None of too few. All in milliseconds.
pub fn usual(rows: &[(i64, i64)]) -> Option<i64> {
    let mut distances = distances(&samples(rows));
    distances.sort_unstable();
    let middle = &distances[distances.len() / 4..distances.len() - distances.len() / 4];
    (distances.len() >= FEWEST).then(|| middle.iter().sum::<i64>() / middle.len() as i64)
}

/// How many of the last rows repeat the sample of the row before them though a newer one must be on its way: from an agent
/// that sends what it scraped with a delay, say, or a Prometheus that has just started. What is learnt from is read when it
/// is all there, so they wait for it, for as long as Prometheus repeats the last one, which is five minutes.
pub fn awaited(rows: &[(i64, i64)], step: i64) -> usize {
    let often = usual(rows).is_some_and(|usual| 2 * usual < 3 * step);
    let repeated = rows.windows(2).rev().take_while(|pair| pair[0].1 == pair[1].1).count();
    if often { repeated } else { 0 }
}

fn distances(samples: &[(i64, Vec<i64>)]) -> Vec<i64> {
    samples.windows(2).map(|pair| pair[1].0 - pair[0].0).collect()
}

/// The longest distance of two samples that is no gap. Rows show each sample of scrapes that are no shorter apart than
/// they are, and others at least once in two rows.
fn longest(samples: &[(i64, Vec<i64>)], step: i64) -> i64 {
    let mut distances = distances(samples);
    distances.sort_unstable();
    // Of several targets the newest sample comes at distances that are short and long in turns: the long ones are usual.
    let usual = match distances.len() {
        few if few < FEWEST => return SHORTEST_MS.max(MISSED * step) + LATE_MS,
        count if count < MANY => distances[count - 2],
        count => distances[count * 9 / 10],
    };
    let missed = (MISSED * usual).min(SHORTEST_MS).max(MISSED * step) + LATE_MS;
    missed.max((usual as f64 * USUAL) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the rows of so many seconds are none, in seconds, where scrapes were at these seconds.
    fn none(scrapes: &[i64], seconds: std::ops::RangeInclusive<i64>, step: usize) -> Vec<i64> {
        let newest = |row: i64| scrapes.iter().filter(|at| **at <= row && row - **at <= 300).max();
        let seen: Vec<(i64, i64)> =
            seconds.step_by(step).filter_map(|row| Some((row * 1000, newest(row)? * 1000))).collect();
        unscraped(&seen, step as i64 * 1000).into_iter().map(|time| time / 1000).collect()
    }

    fn every(interval: usize, seconds: std::ops::Range<i64>) -> Vec<i64> {
        seconds.step_by(interval).collect()
    }

    #[test]
    fn nothing_is_a_gap_in_normal_operation() {
        for interval in [1, 5, 15, 30, 60, 120, 240] {
            for step in [5, 15, 30, 60, 300] {
                for late in [0, 3] {
                    let scrapes = every(interval, late..7200);
                    // As read back, and as each look sees it.
                    assert_eq!(none(&scrapes, 900..=7200, step), [0i64; 0], "every {interval} s, a row every {step} s");
                    let row = 7200 - 7200 % step as i64;
                    assert_eq!(
                        none(&scrapes, row - 900..=row, step),
                        [0i64; 0],
                        "every {interval} s, a row every {step} s"
                    );
                }
            }
        }
        // One that comes late, or not at all, is no gap either.
        assert_eq!(none(&[0, 15, 30, 60, 90, 105, 120], 0..=120, 15), [0i64; 0]);
    }

    #[test]
    fn the_newest_rows_wait_for_a_sample_that_is_on_its_way_for_so_long() {
        let awaited = |last: i64, interval: usize| {
            let scrapes = every(interval, 3..last);
            let newest = |row: i64| scrapes.iter().filter(|at| **at <= row).max();
            let seen: Vec<(i64, i64)> =
                (15..=900).step_by(15).filter_map(|row| Some((row * 1000, newest(row)? * 1000))).collect();
            super::awaited(&seen, 15_000)
        };
        // The row at 900 shows the sample of 888, unless that one, and those before it, are late.
        assert_eq!([900, 888, 873, 858].map(|last| awaited(last, 15)), [0, 1, 2, 3]);
        assert_eq!(awaited(890, 5), 0, "a newer one came than that of the row before");
        assert_eq!(awaited(900, 60), 0, "rows repeat the samples of rarer scrapes");
    }

    #[test]
    fn rows_that_repeat_the_last_sample_before_a_gap_are_none_and_neither_is_the_first_after_it() {
        let mut scrapes = every(15, 0..901);
        scrapes.extend(every(15, 990..1200));
        assert_eq!(none(&scrapes, 0..=1200, 15), [915, 930, 945, 960, 975, 990]);
        // The same where the gap's own rows were read before: what leaps is none.
        let read: Vec<i64> = none(&scrapes, 90..=990, 15).into_iter().filter(|row| *row >= 990).collect();
        assert_eq!(read, [990]);
        // As short as a restart of Prometheus, whose first answers repeat what there was before it.
        let short = [every(15, 0..901), every(15, 960..1200)].concat();
        assert_eq!(none(&short, 0..=1200, 15), [915, 930, 945, 960]);
        // Longer than Prometheus looks back.
        let mut long = every(15, 0..901);
        long.extend(every(15, 2700..3000));
        assert_eq!(none(&long, 0..=3000, 15), [every(15, 915..1201), vec![2700]].concat());
        // Not over yet, and only late.
        assert_eq!(none(&every(15, 0..901), 0..=990, 15), [915, 930, 945, 960, 975, 990]);
        assert_eq!(none(&every(15, 0..901), 0..=945, 15), [0i64; 0]);
    }

    #[test]
    fn the_usual_time_between_scrapes_is_told() {
        let usual = |scrapes: &[i64], step: usize| {
            let newest = |row: i64| scrapes.iter().filter(|at| **at <= row && row - **at <= 300).max();
            let seen: Vec<(i64, i64)> =
                (0..900).step_by(step).filter_map(|row| Some((row * 1000, newest(row)? * 1000))).collect();
            usual(&seen)
        };
        for interval in [1, 10, 15, 30, 60] {
            let told = usual(&every(interval, 3..900), 15).unwrap();
            assert_eq!((told + 500) / 1000, interval.max(15) as i64, "every {interval} s");
        }
        let with_a_gap = [every(15, 0..400), every(15, 600..900)].concat();
        assert_eq!(usual(&with_a_gap, 15), Some(15_000));
        assert_eq!(usual(&[0, 300], 15), None);
    }

    #[test]
    fn targets_that_are_scraped_in_turns_have_no_gaps() {
        for (interval, offsets) in [(120, vec![0, 30]), (240, vec![0, 30]), (120, vec![0, 20, 60])] {
            let scrapes: Vec<i64> = offsets.iter().flat_map(|offset| every(interval, *offset..7200)).collect();
            assert_eq!(none(&scrapes, 900..=7200, 15), [0i64; 0], "every {interval} s at {offsets:?}");
        }
    }
}
