//! One dimension of the space: the finite list of values that a knob takes on the unit interval.

use crate::decimal::Decimal;
use crate::postgres::units::{Measure, ValueError, parse_number, show_integer, show_real, unit_size};
use crate::tuning::crd::{KnobScale, SessionKnob};

/// Most values between a range's bounds: equal configurations are recognised and not measured twice.
pub const LEVELS: usize = 32;

/// Share of the unit interval of each special value (0, −1), at its lower end.
const SPECIAL_SHARE: f64 = 0.1;

/// A knob of the space, ready to be decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Dimension {
    knob: SessionKnob,
    /// Numbers in the server's unit, the special values first; empty for words.
    numbers: Vec<f64>,
}

impl Dimension {
    /// From a frozen knob; `None` if it has neither bounds in order nor words.
    pub fn new(knob: SessionKnob) -> Option<Self> {
        let numbers = match (knob.min, knob.max) {
            (Some(Decimal(min)), Some(Decimal(max))) if min <= max => {
                knob.special.iter().map(|special| special.0).chain(ladder(&knob, min, max)).collect()
            }
            (None, None) if !knob.values.is_empty() => Vec::new(),
            _ => return None,
        };
        Some(Self { knob, numbers })
    }

    /// The knob as the session freezes it.
    pub fn knob(&self) -> &SessionKnob {
        &self.knob
    }

    /// The name of the setting.
    pub fn name(&self) -> &str {
        &self.knob.name
    }

    /// The words of an enumeration or a boolean; empty for numbers.
    pub fn words(&self) -> &[String] {
        &self.knob.values
    }

    /// How many values are special.
    pub fn special_count(&self) -> usize {
        self.knob.special.len()
    }

    /// How many values it takes.
    pub fn count(&self) -> usize {
        self.numbers.len() + self.knob.values.len()
    }

    /// The value at an index below [`Dimension::count`], as `SHOW` prints it.
    pub fn value(&self, index: usize) -> String {
        match self.numbers.get(index) {
            Some(&number) if self.knob.integer => show_integer(number as i64, self.unit()),
            Some(&number) => show_real(number, self.unit()),
            None => self.knob.values[index - self.numbers.len()].clone(),
        }
    }

    /// The index of the value at a coordinate in \[0, 1\].
    pub fn index_at(&self, coordinate: f64) -> usize {
        // NaN passes through and is cast to 0, so that no coordinate leads outside.
        let coordinate = coordinate.clamp(0.0, 1.0);
        let special = self.special_count();
        let reserved = SPECIAL_SHARE * special as f64;
        if coordinate < reserved {
            return ((coordinate / SPECIAL_SHARE) as usize).min(special - 1);
        }
        let ordinary = self.count() - special;
        let position = (coordinate - reserved) / (1.0 - reserved);
        special + ((position * ordinary as f64) as usize).min(ordinary - 1)
    }

    /// The coordinate in the middle of a value's share.
    pub fn coordinate_of(&self, index: usize) -> f64 {
        let special = self.special_count();
        if index < special {
            return SPECIAL_SHARE * (index as f64 + 0.5);
        }
        let reserved = SPECIAL_SHARE * special as f64;
        reserved + (1.0 - reserved) * ((index - special) as f64 + 0.5) / (self.count() - special) as f64
    }

    /// The index of the value nearest to a text in PostgreSQL's notation; `None` for a word that it doesn't have.
    pub fn index_of(&self, text: &str) -> Result<Option<usize>, ValueError> {
        if self.numbers.is_empty() {
            return Ok(self.knob.values.iter().position(|value| value.eq_ignore_ascii_case(text)));
        }
        let Some(number) = parse_number(text, self.unit(), self.knob.integer)?.number() else { return Ok(None) };
        let special = &self.numbers[..self.special_count()];
        if let Some(index) = special.iter().position(|value| *value == number) {
            return Ok(Some(index));
        }
        let distance = |value: f64| match self.knob.scale {
            KnobScale::Log => (value.max(f64::MIN_POSITIVE).ln() - number.max(f64::MIN_POSITIVE).ln()).abs(),
            KnobScale::Linear => (value - number).abs(),
        };
        let ordinary = self.numbers.iter().enumerate().skip(special.len());
        Ok(ordinary.min_by(|a, b| distance(*a.1).total_cmp(&distance(*b.1))).map(|(index, _)| index))
    }

    fn unit(&self) -> Option<&str> {
        Some(self.knob.unit.as_str()).filter(|unit| !unit.is_empty())
    }
}

/// The values between two bounds, both included, in the knob's scale.
fn ladder(knob: &SessionKnob, min: f64, max: f64) -> Vec<f64> {
    let steps = LEVELS - 1;
    let at = |step: usize| {
        let part = step as f64 / steps as f64;
        match knob.scale {
            KnobScale::Log if min > 0.0 => min * (max / min).powf(part),
            _ => min + (max - min) * part,
        }
    };
    let inner = (1..steps).map(|step| rounded(at(step), knob).clamp(min, max));
    let mut levels: Vec<f64> = std::iter::once(min).chain(inner).chain(std::iter::once(max)).collect();
    levels.dedup();
    levels
}

/// A value that a person would write: memory to whole multiples of a power of two, others to a few digits.
fn rounded(value: f64, knob: &SessionKnob) -> f64 {
    match unit_size(&knob.unit) {
        Some((Measure::Memory, own)) => (value / granule(value * own, own)).round() * granule(value * own, own),
        _ => {
            let digits = if knob.scale == KnobScale::Log { 2 } else { 3 };
            let exact = significant(value, digits);
            if knob.integer { exact.round() } else { exact }
        }
    }
}

/// A step of at most 1/128 of an amount of memory in bytes, a power of two, as a multiple of the own unit.
pub fn granule(bytes: f64, own: f64) -> f64 {
    (2f64.powf(bytes.max(1.0).log2().floor() - 7.0) / own).max(1.0)
}

fn significant(value: f64, digits: usize) -> f64 {
    // Through the decimal notation, so that 0.71 is the number that reads back from "0.71".
    format!("{value:.*e}", digits - 1).parse().unwrap_or(value)
}
