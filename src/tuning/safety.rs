//! The safety kernel: no configuration reaches a server without passing through here. It is pure, knows nothing of the
//! learner, and takes nothing from it on trust.

pub mod memory;
pub mod readback;
mod rules;

use super::crd::{RestartPolicy, Safety};
use super::knobs::{self, Resources};
use super::measurement::Parameters;
use super::space::Space;
use crate::postgres::setting::{Context, Setting, Settings};
use crate::postgres::units::unit_size;

pub use readback::{Mismatch, readback};

/// How much WAL there may be.
pub const MAX_WAL_SIZE: &str = "max_wal_size";
/// The setting that follows `max_wal_size`.
pub const MIN_WAL_SIZE: &str = "min_wal_size";

/// What a configuration is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Kernel<'a> {
    /// The live settings, at the baseline.
    pub settings: &'a Settings,
    /// What the server may use.
    pub resources: &'a Resources,
    /// The user's bounds.
    pub safety: &'a Safety,
    /// Whether the server may be restarted.
    pub restart: RestartPolicy,
}

/// A configuration that is safe to apply.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Projection {
    /// The knobs to set, as `SHOW` prints them.
    pub parameters: Parameters,
    /// What was changed in the proposal, one sentence each.
    pub repairs: Vec<String>,
}

/// The nearest configuration that is safe to apply. Projecting it again changes nothing.
///
/// In this order: settings that are no knobs, are denied, unknown here or need a forbidden restart are dropped; values
/// are brought within the server's bounds; then workers, disk and recovery, memory, and what depends on it.
/// A rule that the baseline itself breaks is never made worse.
pub fn project(parameters: &Parameters, kernel: &Kernel) -> Projection {
    let mut draft = Draft { kernel, parameters: Parameters::new(), repairs: Vec::new() };
    for (name, value) in parameters {
        match admitted(name, value, kernel) {
            Ok(Admitted { shown, repair }) => {
                draft.parameters.insert(name.clone(), shown);
                draft.repairs.extend(repair);
            }
            Err(why) if name != MIN_WAL_SIZE => draft.repairs.push(format!("{name} was left out: {why}.")),
            // It is derived again below.
            Err(_) => {}
        }
    }
    rules::repair_workers(&mut draft);
    rules::repair_wal(&mut draft);
    memory::repair(&mut draft);
    rules::repair_costs(&mut draft);
    Projection { parameters: draft.parameters, repairs: draft.repairs }
}

/// Every setting that a configuration of the space may change: its knobs, and what follows from them.
pub fn touched(space: &Space, settings: &Settings) -> Vec<String> {
    let mut names: Vec<String> = space.dimensions().iter().map(|dimension| dimension.name().to_owned()).collect();
    if names.iter().any(|name| name == MAX_WAL_SIZE) && settings.contains_key(MIN_WAL_SIZE) {
        names.push(MIN_WAL_SIZE.to_owned());
    }
    names
}

/// Takes out what follows from a knob that is not there.
pub fn drop_followers(parameters: &mut Parameters) {
    if !parameters.contains_key(MAX_WAL_SIZE) {
        parameters.remove(MIN_WAL_SIZE);
    }
}

/// The rules that a configuration, on top of the live settings, breaks: one sentence each.
pub fn violations(parameters: &Parameters, kernel: &Kernel) -> Vec<String> {
    let draft = Draft { kernel, parameters: parameters.clone(), repairs: Vec::new() };
    let mut broken = Vec::new();
    for (name, value) in parameters.iter().filter(|(name, _)| *name != MIN_WAL_SIZE) {
        match admitted(name, value, kernel) {
            Ok(Admitted { repair, .. }) => broken.extend(repair),
            Err(why) => broken.push(format!("{name} must not be set: {why}.")),
        }
    }
    broken.extend(memory::violation(&draft));
    broken.extend(rules::violations(&draft));
    broken
}

/// A configuration on its way through the kernel.
struct Draft<'a> {
    kernel: &'a Kernel<'a>,
    parameters: Parameters,
    repairs: Vec<String>,
}

impl Draft<'_> {
    /// Whether the configuration sets this knob, so that the kernel may change it.
    fn sets(&self, name: &str) -> bool {
        self.parameters.contains_key(name)
    }

    /// The value in effect with this configuration, in the server's unit.
    fn number(&self, name: &str) -> Option<f64> {
        let setting = self.kernel.settings.get(name)?;
        match self.parameters.get(name) {
            Some(text) => setting.parse(text).ok()?.number(),
            None => self.live(name),
        }
    }

    /// The live value in the server's unit.
    fn live(&self, name: &str) -> Option<f64> {
        self.kernel.settings.get(name)?.native().ok()?.number()
    }

    /// The same in bytes, or microseconds for a time.
    fn absolute(&self, name: &str) -> Option<f64> {
        Some(self.number(name)? * self.unit(name))
    }

    /// Size of the server's unit in bytes or microseconds; 1 where it has none.
    fn unit(&self, name: &str) -> f64 {
        let unit = self.kernel.settings.get(name).and_then(|setting| setting.unit.as_deref());
        unit.and_then(unit_size).map_or(1.0, |(_, size)| size)
    }

    /// Sets a knob that the configuration has to a number in the server's unit, and says why.
    fn set(&mut self, name: &str, number: f64, why: &str) {
        let Some(setting) = self.kernel.settings.get(name) else { return };
        let shown = shown(setting, number);
        let Some(value) = self.parameters.get_mut(name).filter(|value| **value != shown) else { return };
        self.repairs.push(format!("{name} was changed from {value} to {shown}: {why}."));
        *value = shown;
    }
}

/// A number in the setting's unit, brought within the server's bounds, as `SHOW` prints it.
fn shown(setting: &Setting, number: f64) -> String {
    let bounded = number.max(setting.min.unwrap_or(f64::MIN)).min(setting.max.unwrap_or(f64::MAX));
    setting.parse(&bounded.to_string()).map_or_else(|_| bounded.to_string(), |value| setting.show(&value))
}

struct Admitted {
    shown: String,
    repair: Option<String>,
}

/// A single knob's value as the server would show it, within its bounds; or why it can't be set.
fn admitted(name: &str, value: &str, kernel: &Kernel) -> Result<Admitted, String> {
    if let Some(reason) = knobs::denied(name, kernel.safety.durability) {
        return Err(reason.to_owned());
    }
    if knobs::knob(name).is_none() {
        return Err("it is not a knob that Howdah can tune".to_owned());
    }
    let setting = kernel.settings.get(name).ok_or("this server has no such setting")?;
    match (setting.context, kernel.restart) {
        (Context::Internal | Context::Backend | Context::SuperuserBackend, _) => {
            return Err("a configuration file can't change it for running sessions".to_owned());
        }
        (Context::Postmaster, RestartPolicy::Never) => {
            return Err("it needs a restart, and restartPolicy is Never".to_owned());
        }
        _ => {}
    }
    let native = setting.parse(value).map_err(|error| error.to_string())?;
    match native.number().filter(|_| !setting.accepts(&native)) {
        None => Ok(Admitted { shown: setting.show(&native), repair: None }),
        Some(number) => {
            let shown = shown(setting, number);
            let repair =
                format!("{name} was changed from {value} to {shown}: it is the nearest value that the server accepts.");
            Ok(Admitted { shown, repair: Some(repair) })
        }
    }
}

#[cfg(test)]
mod tests;
