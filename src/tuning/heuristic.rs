//! The pgtune formulas (mixed/OLTP on SSD): the configuration that people use today, and the bar to beat.

use super::crd::Profile;
use super::knobs::{self, Domain, Heuristic, Resources};
use super::measurement::Parameters;
use super::space::{Space, native_factor};
use crate::postgres::setting::{Setting, Settings};

/// The formulas' configuration for the knobs of a space, each at the nearest value of the space. A knob of which the
/// formulas say nothing, or nothing that this server knows, keeps its baseline and is left out.
pub fn pgtune(space: &Space, settings: &Settings, resources: &Resources, profile: Profile) -> Parameters {
    let mut parameters = Parameters::new();
    for dimension in space.dimensions() {
        let Some(setting) = settings.get(dimension.name()) else { continue };
        let Some(text) = formula(setting, resources, profile) else { continue };
        if let Ok(Some(index)) = dimension.index_of(&text) {
            parameters.insert(dimension.name().to_owned(), dimension.value(index));
        }
    }
    parameters
}

fn formula(setting: &Setting, resources: &Resources, profile: Profile) -> Option<String> {
    let knob = knobs::knob(&setting.name)?;
    match (knob.heuristic, knob.domain) {
        (Heuristic::Number(number), Domain::Range { quantity, .. }) => {
            let native = number(resources) * native_factor(setting, quantity).ok()?;
            // The native number without a unit is in the setting's own unit.
            Some(native.to_string())
        }
        (Heuristic::Word(word), _) => Some(word(profile).to_owned()),
        _ => None,
    }
}
