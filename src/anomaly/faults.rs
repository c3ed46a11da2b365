//! What five common faults look like over the shipped features, as signs: enough to name one before anybody has
//! labelled an incident. Only features whose direction follows from the mechanism are named, not from one machine.

use super::signature::Signature;

/// A fault, what rises and what falls with it.
type Fault = (&'static str, &'static [&'static str], &'static [&'static str]);

const FAULTS: [Fault; 5] = [
    // Who waits neither works nor computes.
    (
        "exclusive lock",
        &["sessions_waiting_for_lock", "sessions_active", "locks_access_exclusive", "longest_transaction"],
        &["xact_commit", "tup_returned", "tup_fetched", "idx_scan", "node_cpu_user"],
    ),
    // The same rows are found by reading all of them.
    (
        "missing index",
        &["seq_tup_read", "seq_scan", "tup_returned", "blks_hit", "node_cpu_user", "sessions_active"],
        &["idx_scan", "idx_tup_fetch", "xact_commit", "index_count"],
    ),
    // The device writes what PostgreSQL does not.
    (
        "disk load from outside",
        &["node_disk_written_bytes", "node_disk_io_time", "node_cpu_iowait", "node_procs_blocked", "node_pressure_io"],
        &["xact_commit"],
    ),
    // It computes for long, on rows from the cache; the indexes are used as before.
    (
        "heavy query",
        &["node_cpu_user", "sessions_active", "longest_transaction", "tup_returned", "blks_hit", "node_load1"],
        &[],
    ),
    // What the cache no longer holds is read.
    (
        "small shared buffers",
        &["blks_read", "heap_blks_read", "idx_blks_read", "buffers_alloc", "node_page_in"],
        &["blks_hit", "shared_buffers"],
    ),
];

/// The faults as signatures. Each is compared over all features that any of them names: what another fault would have
/// moved and this one did not speaks as loudly as what it did.
pub fn shipped() -> Vec<Signature> {
    let mut vocabulary: Vec<String> =
        FAULTS.iter().flat_map(|(_, up, down)| up.iter().chain(*down)).map(|name| (*name).to_owned()).collect();
    vocabulary.sort_unstable();
    vocabulary.dedup();
    let signature = |(cause, up, down): &Fault| Signature {
        cause: (*cause).to_owned(),
        change: up
            .iter()
            .map(|name| ((*name).to_owned(), 1.0))
            .chain(down.iter().map(|name| ((*name).to_owned(), -1.0)))
            .collect(),
        vocabulary: vocabulary.clone(),
    };
    FAULTS.iter().map(signature).collect()
}
