//! The memory model: what the server may come to use, on the memory limit of its container.

use super::Draft;
use crate::tuning::knobs::{self, Domain, MIB, WORK_MEM_AREAS};
use crate::tuning::space::dimension::granule;

/// Memory of a connection that does nothing, in bytes: its process, its caches of the catalogue.
const CONNECTION: f64 = 10.0 * MIB;

/// Knobs that are scaled, in this order, until the model fits.
const SCALED: [&str; 3] = ["work_mem", "maintenance_work_mem", "shared_buffers"];

/// Relative tolerance of the comparison: values are whole units, sums are floating.
const TOLERANCE: f64 = 1e-9;

/// What the server may come to use, in bytes:
///
/// `shared_buffers + wal_buffers + autovacuum_max_workers·(autovacuum_work_mem or maintenance_work_mem) +
/// maintenance_work_mem·(1 + max_parallel_maintenance_workers) + sessions·κ·work_mem·hash_mem_multiplier +
/// max_connections·10 MB`, with the sessions of [`knobs::Resources::sessions`]. Settings that the server doesn't have (`hash_mem_multiplier` before 13) count as absent.
fn estimate(draft: &Draft) -> f64 {
    let number = |name: &str, absent: f64| draft.number(name).unwrap_or(absent);
    let resources = draft.kernel.resources;
    let maintenance = draft.absolute("maintenance_work_mem").unwrap_or(0.0);
    let autovacuum = draft.absolute("autovacuum_work_mem").filter(|bytes| *bytes >= 0.0).unwrap_or(maintenance);
    shared(draft)
        + number("autovacuum_max_workers", 3.0) * autovacuum
        + maintenance * (1.0 + number("max_parallel_maintenance_workers", 0.0))
        + resources.sessions()
            * WORK_MEM_AREAS
            * draft.absolute("work_mem").unwrap_or(0.0)
            * number("hash_mem_multiplier", 1.0)
        + f64::from(resources.max_connections) * CONNECTION
}

/// Shared buffers and WAL buffers in bytes. `wal_buffers = -1` is 1/32 of the shared buffers, at most a WAL segment.
fn shared(draft: &Draft) -> f64 {
    let buffers = draft.absolute("shared_buffers").unwrap_or(0.0);
    let wal = match draft.absolute("wal_buffers") {
        Some(bytes) if bytes >= 0.0 => bytes,
        _ => (buffers / 32.0).min(super::rules::wal_segment(draft)),
    };
    buffers + wal
}

fn budget(draft: &Draft) -> f64 {
    draft.kernel.resources.memory() * f64::from(draft.kernel.safety.memory_limit_percent) / 100.0
}

fn fits(draft: &Draft) -> bool {
    estimate(draft) <= budget(draft) * (1.0 + TOLERANCE)
}

/// The model's sentence when a configuration doesn't fit.
pub(super) fn violation(draft: &Draft) -> Option<String> {
    (!fits(draft)).then(|| {
        format!(
            "The memory model plans {:.0} MB, above the {} % of the memory limit that it may: {:.0} MB.",
            estimate(draft) / MIB,
            draft.kernel.safety.memory_limit_percent,
            budget(draft) / MIB
        )
    })
}

/// Scales the memory knobs that the configuration sets until the model fits. Where even their smallest values don't
/// fit, the baseline itself is above the model; then none may exceed the baseline's, so that nothing is made worse.
pub(super) fn repair(draft: &mut Draft) {
    if fits(draft) || scale(draft) {
        return;
    }
    // What scaling doesn't lower goes back to the baseline first.
    if let Some(live) = draft.live("wal_buffers") {
        draft.set("wal_buffers", live, "the memory limit leaves no room for other buffers than the baseline's");
    }
    cap_at_baseline(draft, "max_parallel_maintenance_workers");
    if fits(draft) || scale(draft) {
        return;
    }
    SCALED.into_iter().for_each(|name| cap_at_baseline(draft, name));
}

fn cap_at_baseline(draft: &mut Draft, name: &str) {
    if let (Some(now), Some(live)) = (draft.number(name), draft.live(name)) {
        let why = "the memory limit leaves no room for more than the baseline's; raise it, or lower max_connections";
        draft.set(name, now.min(live), why);
    }
}

/// Lowers work_mem, then maintenance_work_mem, then shared_buffers, each no further than needed. Leaves the draft as it
/// was and returns `false` where all at their smallest don't fit.
fn scale(draft: &mut Draft) -> bool {
    let before = draft.parameters.clone();
    let repairs = draft.repairs.len();
    for name in SCALED.into_iter().filter(|name| before.contains_key(*name)) {
        let (Some(now), Some(least)) = (draft.number(name), least(draft, name)) else { continue };
        if now <= least {
            continue;
        }
        let proposed = draft.parameters.get(name).cloned();
        draft.parameters.insert(name.to_owned(), super::shown(&draft.kernel.settings[name], least));
        let room = budget(draft) - estimate(draft);
        if let Some(proposed) = proposed {
            draft.parameters.insert(name.to_owned(), proposed);
        }
        // The model is linear in each knob but for wal_buffers = -1, whose 1/32 is asked for in advance.
        let slope = (slope(draft, name) * draft.unit(name)).max(f64::MIN_POSITIVE);
        let fitting = least + (room / slope).max(0.0);
        let step = granule(fitting * draft.unit(name), draft.unit(name));
        let rounded = ((fitting / step).floor() * step).max(least).min(now);
        draft.set(name, rounded, "the memory model must fit the memory limit");
        if fits(draft) {
            return true;
        }
    }
    draft.parameters = before;
    draft.repairs.truncate(repairs);
    false
}

/// Bytes that the model gains with a byte of a knob.
fn slope(draft: &Draft, name: &str) -> f64 {
    let number = |name: &str, absent: f64| draft.number(name).unwrap_or(absent);
    match name {
        "work_mem" => draft.kernel.resources.sessions() * WORK_MEM_AREAS * number("hash_mem_multiplier", 1.0),
        "maintenance_work_mem" => {
            let own = draft.number("autovacuum_work_mem").is_some_and(|value| value >= 0.0);
            let autovacuum = if own { 0.0 } else { number("autovacuum_max_workers", 3.0) };
            autovacuum + 1.0 + number("max_parallel_maintenance_workers", 0.0)
        }
        _ => 1.0 + 1.0 / 32.0,
    }
}

/// The smallest value that scaling may set, in the server's unit: the catalogue's, or the live one if that is smaller.
fn least(draft: &Draft, name: &str) -> Option<f64> {
    let Domain::Range { bounds, .. } = knobs::knob(name)?.domain else { return None };
    let catalogue = (bounds(draft.kernel.resources).0 / draft.unit(name)).ceil();
    Some(catalogue.min(draft.live(name)?))
}
