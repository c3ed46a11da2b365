//! Rules beside the memory model: worker processes, disk, recovery, planner costs.

use super::{Draft, MAX_WAL_SIZE, MIN_WAL_SIZE};
use crate::postgres::setting::Context;
use crate::tuning::knobs::{MIB, WAL_SHARE_OF_VOLUME};

/// Bytes of WAL that recovery replays in a second. Redo is one process; with full-page images and a cold cache it
/// replays less than a disk could read. 40 MB/s is slow for it on purpose.
const REPLAY_RATE: f64 = 40.0 * MIB;

/// Share of max_wal_size that min_wal_size keeps for reuse.
const MIN_WAL_SHARE: f64 = 0.25;

/// Settings of which the first can't exceed the second.
const ORDERED: [(&str, &str); 5] = [
    ("max_parallel_workers", "max_worker_processes"),
    ("max_parallel_workers_per_gather", "max_parallel_workers"),
    ("max_parallel_maintenance_workers", "max_parallel_workers"),
    ("seq_page_cost", "random_page_cost"),
    ("shared_buffers", "effective_cache_size"),
];

/// Size of a WAL segment in bytes; 16 MB is PostgreSQL's own default.
pub(super) fn wal_segment(draft: &Draft) -> f64 {
    draft.absolute("wal_segment_size").unwrap_or(16.0 * MIB)
}

/// Worker processes: a knob follows the pool that it draws on; where it isn't set here, the pool holds it.
pub(super) fn repair_workers(draft: &mut Draft) {
    let lower = ["max_parallel_workers_per_gather", "max_parallel_maintenance_workers"];
    for (pool, users) in [
        ("max_worker_processes", &["max_parallel_workers", lower[0], lower[1]][..]),
        ("max_parallel_workers", &lower[..]),
    ] {
        let held = users.iter().filter(|user| !draft.sets(user)).filter_map(|user| draft.live(user));
        if let (Some(least), Some(size)) = (held.reduce(f64::max), draft.number(pool)) {
            draft.set(pool, size.max(least), "live settings use that many of its processes");
        }
    }
    for (user, pool) in &ORDERED[..3] {
        if let (Some(value), Some(most)) = (draft.number(user), draft.number(pool)) {
            draft.set(user, value.min(most), &format!("{pool} provides no more"));
        }
    }
}

/// Bytes that `max_wal_size` may have, and why: the volume's share, and what recovery replays in its time.
fn wal_limits(draft: &Draft) -> [(f64, String); 2] {
    let resources = draft.kernel.resources;
    let disk = match resources.data_volume_bytes {
        Some(_) => {
            let share = WAL_SHARE_OF_VOLUME * 100.0;
            format!("the WAL may fill {share:.0} % of the data volume, and most of what the databases leave of it")
        }
        None => "the size of the data volume is unknown; declare resources.dataVolume to allow more".to_owned(),
    };
    let seconds = f64::from(draft.kernel.safety.max_recovery_seconds);
    let recovery = format!("recovery may take {seconds:.0} s");
    // A checkpoint begins at least every checkpoint_timeout and ends within checkpoint_completion_target of the next
    // interval, so recovery never replays more than what those seconds wrote; it is taken to be as fast as the load was.
    let interval = draft.absolute("checkpoint_timeout").map(|microseconds| microseconds / 1e6);
    let spread = 1.0 + draft.number("checkpoint_completion_target").unwrap_or(1.0);
    let timed = interval.is_some_and(|interval| interval * spread <= seconds);
    [(resources.wal_limit(), disk), (if timed { f64::INFINITY } else { seconds * REPLAY_RATE }, recovery)]
}

/// Disk and recovery: bounds `max_wal_size`, from which `min_wal_size` is derived.
pub(super) fn repair_wal(draft: &mut Draft) {
    let name = MAX_WAL_SIZE;
    if !draft.sets(name) {
        return repair_interval(draft);
    }
    let Some(size) = draft.absolute(name) else { return };
    let unit = draft.unit(name);
    // A server refuses to start with less than two segments.
    let least = 2.0 * wal_segment(draft);
    let (mut bounded, mut reason) = (size.max(least), "it holds at least two WAL segments".to_owned());
    for (limit, why) in wal_limits(draft) {
        if limit < bounded {
            (bounded, reason) = (limit.max(least), why);
        }
    }
    let whole = if bounded < size { (bounded / unit).floor() } else { (bounded / unit).ceil() };
    draft.set(name, whole, &reason);

    let Some(min) = draft.kernel.settings.get(MIN_WAL_SIZE).filter(|min| min.context == Context::Sighup) else {
        return;
    };
    let derived = (MIN_WAL_SHARE * whole * unit).max(least).min(whole * unit) / draft.unit(MIN_WAL_SIZE);
    draft.parameters.insert(MIN_WAL_SIZE.to_owned(), super::shown(min, derived.floor()));
}

/// Recovery where `max_wal_size` is not among the knobs and bounds nothing: then the time between checkpoints does, which
/// stays as long as it was where it is too long already.
fn repair_interval(draft: &mut Draft) {
    let seconds = f64::from(draft.kernel.safety.max_recovery_seconds);
    let bounded = draft.absolute(MAX_WAL_SIZE).is_some_and(|size| size <= seconds * REPLAY_RATE);
    let name = "checkpoint_timeout";
    let (Some(interval), Some(live)) = (draft.number(name), draft.live(name)) else { return };
    if bounded || !draft.sets(name) {
        return;
    }
    let spread = 1.0 + draft.number("checkpoint_completion_target").unwrap_or(1.0);
    let most = (seconds * 1e6 / spread / draft.unit(name)).floor().max(live);
    let why = format!("recovery may take {seconds:.0} s, and max_wal_size, which isn't among the knobs, allows more");
    draft.set(name, interval.min(most), &why);
}

/// What the planner compares: the knob that the configuration sets yields.
pub(super) fn repair_costs(draft: &mut Draft) {
    if let (Some(random), Some(sequential)) = (draft.number("random_page_cost"), draft.live("seq_page_cost")) {
        draft.set("random_page_cost", random.max(sequential), "a random read costs at least a sequential one");
    }
    let (Some(cache), Some(buffers)) = (draft.number("effective_cache_size"), draft.number("shared_buffers")) else {
        return;
    };
    if draft.sets("effective_cache_size") {
        draft.set("effective_cache_size", cache.max(buffers), "the cache is at least the shared buffers");
    } else {
        draft.set(
            "shared_buffers",
            buffers.min(cache),
            "effective_cache_size, which isn't among the knobs, is no larger",
        );
    }
}

/// One sentence for each rule that is broken.
pub(super) fn violations(draft: &Draft) -> Vec<String> {
    let mut broken = Vec::new();
    for (lower, upper) in ORDERED {
        if let (Some(low), Some(high)) = (draft.number(lower), draft.number(upper))
            && low > high
        {
            broken.push(format!("{lower} exceeds {upper}."));
        }
    }
    if let Some(size) = draft.absolute(MAX_WAL_SIZE) {
        let over = wal_limits(draft).into_iter().filter(|(limit, _)| size > *limit);
        broken.extend(over.map(|(_, why)| format!("max_wal_size is too large: {why}.")));
        if draft.absolute(MIN_WAL_SIZE).is_some_and(|min| min > 0.8 * size && min > 2.0 * wal_segment(draft)) {
            broken.push("min_wal_size exceeds 0.8 of max_wal_size.".to_owned());
        }
    }
    broken
}
