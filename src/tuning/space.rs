//! The space of the search: the unit cube over the knobs of one server, within ranges that hold for that server.
//!
//! A coordinate falls into one of at most 32 values of its knob (see [`dimension`]), so that a point and the
//! configuration it stands for have the same identity, and a special value has a share of the range of its own
//! (as in LlamaTune, VLDB 2022).

pub mod dimension;

use std::collections::BTreeSet;

use thiserror::Error;

use self::dimension::Dimension;
use super::crd::{Durability, KnobRange, KnobScale, KnobSelection, RestartPolicy, SessionKnob};
use super::knobs::{self, CATALOGUE, Domain, Knob, Quantity, Resources};
use super::measurement::Parameters;
use crate::decimal::Decimal;
use crate::postgres::setting::{Context, Setting, Settings, VarType};
use crate::postgres::units::{Measure, unit_size};

/// Why the knobs of a tuning don't make a space.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SpaceError {
    /// A listed name is no knob.
    #[error("knobs: {name} is not a knob that Howdah can tune; did you mean {nearest}?")]
    Unknown {
        /// The name.
        name: String,
        /// The knob with the most similar name.
        nearest: String,
    },
    /// A listed setting is never tuned.
    #[error("knobs: {name} is never tuned: {reason}. Remove it from the knobs")]
    Denied {
        /// The setting.
        name: String,
        /// Why.
        reason: String,
    },
    /// A listed knob doesn't exist on this server.
    #[error(
        "knobs: this server has no setting {name}, or not one that a configuration file can change. Remove it from the knobs"
    )]
    NotOnThisServer {
        /// The knob.
        name: String,
    },
    /// A listed knob needs a restart, and none is allowed.
    #[error("knobs: {name} needs a restart; set restartPolicy to Always or remove it from the knobs")]
    NeedsRestart {
        /// The knob.
        name: String,
    },
    /// A range was given for a knob that isn't turned.
    #[error("knobs.ranges: {name} has a range but is not among the knobs; add it to knobs.include or remove its range")]
    RangeWithoutKnob {
        /// The knob.
        name: String,
    },
    /// A range was given for a knob without numbers.
    #[error("knobs.ranges: {name} takes words, not numbers; remove its range")]
    RangeOfWords {
        /// The knob.
        name: String,
    },
    /// A bound lies outside what the server accepts.
    #[error("knobs.ranges: {bound} of {name} lies outside {min} to {max}, which this server accepts; move it inside")]
    RangeOutsideServer {
        /// The knob.
        name: String,
        /// The bound as given.
        bound: String,
        /// The server's smallest value.
        min: String,
        /// The server's largest value.
        max: String,
    },
    /// The bounds are in the wrong order.
    #[error("knobs.ranges: for {name} the smallest value {min} is above the largest, {max}; set both bounds in order")]
    MinAboveMax {
        /// The knob.
        name: String,
        /// The lower bound.
        min: String,
        /// The upper bound.
        max: String,
    },
    /// A bound, or the server's own value, can't be read.
    #[error("knobs: a value of {name} can't be read: {why}. Write it as PostgreSQL does, e.g. 64MB or 30s")]
    UnreadableValue {
        /// The knob.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A listed knob has only one sensible value here.
    #[error(
        "knobs: {name} has no room between its bounds with the server's memory and disk; give it a range or remove it"
    )]
    NoRoom {
        /// The knob.
        name: String,
    },
    /// No knob is left.
    #[error(
        "knobs: none of the selected knobs can be turned on this server; add some to knobs.include or choose another profile"
    )]
    Empty,
    /// A frozen knob has neither bounds nor values.
    #[error("the session's record of the knob {name} is damaged; delete status.session to begin another session")]
    Damaged {
        /// The knob.
        name: String,
    },
}

/// The unit cube over the knobs of one server.
#[derive(Clone, Debug, PartialEq)]
pub struct Space {
    dimensions: Vec<Dimension>,
}

impl Space {
    /// Builds the space of a selection on a server. `settings` are live, at the baseline.
    ///
    /// Knobs of the profile that this server can't turn are left out; a knob that the user lists and that can't be
    /// turned is an error. All errors are returned, not only the first.
    pub fn build(
        selection: &KnobSelection,
        restart: RestartPolicy,
        durability: Durability,
        settings: &Settings,
        resources: &Resources,
    ) -> Result<Self, Vec<SpaceError>> {
        let mut errors = check_names(selection, durability);
        let listed: BTreeSet<&str> = selection.include.iter().map(String::as_str).collect();
        let chosen = CATALOGUE
            .iter()
            .filter(|knob| is_selected(selection, knob) && knobs::denied(knob.name, durability).is_none());
        let mut dimensions = Vec::new();
        for knob in chosen {
            let range = selection.ranges.iter().find(|range| range.name == knob.name);
            match dimension(knob, range, restart, settings, resources) {
                Ok(dimension) => dimensions.push(dimension),
                // What the profile brings but the server can't turn is not the user's mistake.
                Err(_) if range.is_none() && !listed.contains(knob.name) => {}
                Err(error) => errors.push(error),
            }
        }
        if dimensions.is_empty() && errors.is_empty() {
            errors.push(SpaceError::Empty);
        }
        if errors.is_empty() { Ok(Self { dimensions }) } else { Err(errors) }
    }

    /// The knobs, in the order of the coordinates.
    pub fn dimensions(&self) -> &[Dimension] {
        &self.dimensions
    }

    /// Indices of the knobs that a restart applies.
    pub fn restart_dimensions(&self) -> Vec<usize> {
        (0..self.dimensions.len()).filter(|index| self.dimensions[*index].knob().restart).collect()
    }

    /// Names of the knobs that a restart applies.
    pub fn restart_knobs(&self) -> Vec<String> {
        self.dimensions.iter().filter(|d| d.knob().restart).map(|d| d.name().to_owned()).collect()
    }

    /// The values of the knobs before the first change.
    pub fn baseline(&self) -> Parameters {
        self.dimensions.iter().map(|d| (d.name().to_owned(), d.knob().baseline.clone())).collect()
    }

    /// The configuration at a point: one coordinate in \[0, 1\] for each dimension, a missing one counts as 0.
    pub fn decode(&self, point: &[f64]) -> Parameters {
        self.indices(point).map(|(d, index)| (d.name().to_owned(), d.value(index))).collect()
    }

    /// The point of a configuration: the nearest value of each knob. A knob that it doesn't name is at its baseline,
    /// and so is one with a value that the knob can't take; a word outside the space lies at 0.
    pub fn encode(&self, parameters: &Parameters) -> Vec<f64> {
        let index = |d: &Dimension, text: &str| d.index_of(text).ok().flatten();
        self.dimensions
            .iter()
            .map(|d| {
                let given = parameters.get(d.name()).and_then(|text| index(d, text));
                d.coordinate_of(given.or_else(|| index(d, &d.knob().baseline)).unwrap_or_default())
            })
            .collect()
    }

    /// The point in the middle of the values that a point falls into.
    pub fn snap(&self, point: &[f64]) -> Vec<f64> {
        self.indices(point).map(|(dimension, index)| dimension.coordinate_of(index)).collect()
    }

    fn indices<'a>(&'a self, point: &'a [f64]) -> impl Iterator<Item = (&'a Dimension, usize)> {
        let coordinates = point.iter().copied().chain(std::iter::repeat(0.0));
        self.dimensions.iter().zip(coordinates).map(|(d, coordinate)| (d, d.index_at(coordinate)))
    }

    /// The knobs, to be frozen in the session's record.
    pub fn to_session(&self) -> Vec<SessionKnob> {
        self.dimensions.iter().map(|dimension| dimension.knob().clone()).collect()
    }

    /// The space that a session froze.
    pub fn from_session(knobs: &[SessionKnob]) -> Result<Self, Vec<SpaceError>> {
        let (mut dimensions, mut errors) = (Vec::new(), Vec::new());
        for knob in knobs {
            match Dimension::new(knob.clone()) {
                Some(dimension) => dimensions.push(dimension),
                None => errors.push(SpaceError::Damaged { name: knob.name.clone() }),
            }
        }
        if errors.is_empty() { Ok(Self { dimensions }) } else { Err(errors) }
    }
}

/// Whether the selection has a knob, on a server that can turn it.
fn is_selected(selection: &KnobSelection, knob: &Knob) -> bool {
    let lists = |names: &[String]| names.iter().any(|name| name == knob.name);
    (knob.is_in(selection.profile) || lists(&selection.include)) && !lists(&selection.exclude)
}

/// Errors in the names that the user listed.
fn check_names(selection: &KnobSelection, durability: Durability) -> Vec<SpaceError> {
    let ranged: BTreeSet<&String> = selection.ranges.iter().map(|range| &range.name).collect();
    let wanted: BTreeSet<&String> = selection.include.iter().chain(ranged.iter().copied()).collect();
    let mut errors = Vec::new();
    for name in &wanted {
        let knob = knobs::knob(name);
        if let Some(reason) = knobs::denied(name, durability) {
            errors.push(SpaceError::Denied { name: (*name).clone(), reason: reason.to_owned() });
        } else if knob.is_some_and(|knob| ranged.contains(name) && !is_selected(selection, knob)) {
            errors.push(SpaceError::RangeWithoutKnob { name: (*name).clone() });
        }
    }
    // Taking out what is never tuned is merely careful; taking out what is no knob at all is a slip of the pen.
    let unknown = |name: &&String| knobs::knob(name).is_none() && knobs::denied(name, durability).is_none();
    let named = wanted.into_iter().chain(&selection.exclude).filter(unknown);
    errors.extend(named.map(|name| SpaceError::Unknown { name: name.clone(), nearest: nearest(name) }));
    errors
}

/// The knob whose name needs the fewest edits (Levenshtein's distance).
fn nearest(name: &str) -> String {
    let distance = |other: &str| {
        let mut row: Vec<usize> = (0..=other.len()).collect();
        for (i, a) in name.bytes().enumerate() {
            let mut diagonal = row[0];
            row[0] = i + 1;
            for (j, b) in other.bytes().enumerate() {
                let substituted = diagonal + usize::from(a != b);
                diagonal = row[j + 1];
                row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
            }
        }
        row[other.len()]
    };
    CATALOGUE.iter().map(|knob| knob.name).min_by_key(|other| distance(other)).unwrap_or_default().to_owned()
}

fn dimension(
    knob: &Knob,
    range: Option<&KnobRange>,
    restart: RestartPolicy,
    settings: &Settings,
    resources: &Resources,
) -> Result<Dimension, SpaceError> {
    let name = knob.name.to_owned();
    let setting = settings.get(knob.name).ok_or_else(|| SpaceError::NotOnThisServer { name: name.clone() })?;
    let needs_restart = match setting.context {
        Context::Sighup | Context::Superuser | Context::User => false,
        Context::Postmaster => true,
        Context::Internal | Context::Backend | Context::SuperuserBackend => {
            return Err(SpaceError::NotOnThisServer { name });
        }
    };
    if needs_restart && restart == RestartPolicy::Never {
        return Err(SpaceError::NeedsRestart { name });
    }
    let frozen = SessionKnob {
        name: name.clone(),
        baseline: setting.configured(),
        min: None,
        max: None,
        scale: KnobScale::Linear,
        integer: setting.vartype == VarType::Integer,
        special: Vec::new(),
        values: Vec::new(),
        unit: setting.unit.clone().unwrap_or_default(),
        restart: needs_restart,
    };
    let frozen = match knob.domain {
        Domain::Words(allowed) => {
            if range.is_some() {
                return Err(SpaceError::RangeOfWords { name });
            }
            SessionKnob { values: words(setting, allowed), ..frozen }
        }
        Domain::Range { quantity, scale, bounds, special } => {
            let (min, max) = bounds_on(setting, quantity, bounds(resources), range)?;
            // A bound of the user's own binds these, too.
            let (above, below) = (range.is_some_and(|r| r.min.is_some()), range.is_some_and(|r| r.max.is_some()));
            let special = special.iter().filter(|value| {
                setting.min.is_none_or(|least| **value >= least)
                    && !(above && **value < min)
                    && !(below && **value > max)
            });
            SessionKnob {
                min: Some(Decimal(min)),
                max: Some(Decimal(max)),
                scale,
                special: special.map(|value| Decimal(*value)).collect(),
                ..frozen
            }
        }
    };
    Dimension::new(frozen).filter(|dimension| dimension.count() > 1).ok_or(SpaceError::NoRoom { name })
}

/// The words of the catalogue that the server knows.
fn words(setting: &Setting, allowed: &[&str]) -> Vec<String> {
    match setting.vartype {
        VarType::Bool => vec!["off".to_owned(), "on".to_owned()],
        _ => allowed.iter().map(|word| (*word).to_owned()).filter(|word| setting.enumvals.contains(word)).collect(),
    }
}

/// The bounds in the server's unit: the user's where given, else the catalogue's within the server's own.
fn bounds_on(
    setting: &Setting,
    quantity: Quantity,
    (low, high): (f64, f64),
    range: Option<&KnobRange>,
) -> Result<(f64, f64), SpaceError> {
    let name = &setting.name;
    let factor = native_factor(setting, quantity)?;
    let whole = |value: f64| if setting.vartype == VarType::Integer { value.round() } else { value };
    let shown = |bound: f64| setting.parse(&bound.to_string()).map_or(bound.to_string(), |v| setting.show(&v));
    let (least, most) = (setting.min.unwrap_or(f64::MIN), setting.max.unwrap_or(f64::MAX));
    let given = |text: &Option<String>| -> Result<Option<f64>, SpaceError> {
        let Some(text) = text else { return Ok(None) };
        let unreadable = |why: String| SpaceError::UnreadableValue { name: name.clone(), why };
        let value = setting.parse(text).map_err(|error| unreadable(error.to_string()))?;
        let number = value.number().ok_or_else(|| unreadable(format!("{text:?} is not a number")))?;
        if number < least || number > most {
            return Err(SpaceError::RangeOutsideServer {
                name: name.clone(),
                bound: text.clone(),
                min: shown(least),
                max: shown(most),
            });
        }
        Ok(Some(number))
    };
    let (min_given, max_given) = match range {
        Some(range) => (given(&range.min)?, given(&range.max)?),
        None => (None, None),
    };
    let min = min_given.unwrap_or_else(|| whole(low * factor).clamp(least, most));
    let max = max_given.unwrap_or_else(|| whole(high * factor).clamp(least, most));
    if min > max {
        if range.is_none() {
            return Err(SpaceError::NoRoom { name: name.clone() });
        }
        return Err(SpaceError::MinAboveMax { name: name.clone(), min: shown(min), max: shown(max) });
    }
    Ok((min, max))
}

/// What a number of a quantity is multiplied with to be in the setting's own unit.
pub(super) fn native_factor(setting: &Setting, quantity: Quantity) -> Result<f64, SpaceError> {
    let own = setting.unit.as_deref().and_then(unit_size);
    match (quantity, own) {
        (Quantity::Plain, _) => Ok(1.0),
        (Quantity::Bytes, Some((Measure::Memory, size))) => Ok(1.0 / size),
        (Quantity::Milliseconds, Some((Measure::Time, size))) => Ok(1000.0 / size),
        (Quantity::Bytes | Quantity::Milliseconds, _) => Err(SpaceError::UnreadableValue {
            name: setting.name.clone(),
            why: format!("the server gives it the unit {:?}", setting.unit.as_deref().unwrap_or_default()),
        }),
    }
}

#[cfg(test)]
pub(crate) mod tests;
