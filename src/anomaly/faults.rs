//! What five common faults look like over the shipped features, as signs: enough to name one before anybody has
//! labelled an incident. Only features whose direction follows from the mechanism are named, not from one machine.

use super::signature::Signature;

/// A fault, what rises and what falls with it.
type Fault = (&'static str, &'static [&'static str], &'static [&'static str]);

/// What PostgreSQL itself writes: where the device writes more and PostgreSQL does too, the load is not from outside.
const OWN_WRITES: [&str; 3] = ["tup_inserted", "buffers_checkpoint", "buffers_backend"];
const OUTSIDE: &str = "disk load from outside";

/// What is read while the cache has too little: after a restart, for a while, whatever its size.
pub(super) const CACHE_READS: &[&str] =
    &["blks_read", "heap_blks_read", "idx_blks_read", "buffers_alloc", "node_page_in"];

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
        OUTSIDE,
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
    ("small shared buffers", CACHE_READS, &["blks_hit", "shared_buffers"]),
];

/// The faults as signatures. Each is compared over all features that any of them names: what another fault would have
/// moved and this one did not speaks as loudly as what it did.
pub fn shipped() -> Vec<Signature> {
    let mut vocabulary: Vec<String> =
        FAULTS.iter().flat_map(|(_, up, down)| up.iter().chain(*down)).map(|name| (*name).to_owned()).collect();
    vocabulary.sort_unstable();
    vocabulary.dedup();
    let signature = |(cause, up, down): &Fault| {
        // Writes of its own speak against this one alone: with any other fault they follow the statements.
        let own: &[&str] = if *cause == OUTSIDE { &OWN_WRITES } else { &[] };
        let signed = |names: &[&str], sign: f64| -> Vec<(String, f64)> {
            names.iter().map(|name| ((*name).to_owned(), sign)).collect()
        };
        Signature {
            cause: (*cause).to_owned(),
            change: [signed(up, 1.0), signed(down, -1.0), signed(own, -1.0)].concat().into_iter().collect(),
            vocabulary: vocabulary.iter().cloned().chain(own.iter().map(|name| (*name).to_owned())).collect(),
        }
    };
    FAULTS.iter().map(signature).collect()
}

#[cfg(test)]
mod tests {
    use super::super::signature::{Change, causes};
    use super::*;

    #[test]
    fn a_bulk_load_is_not_told_for_the_neighbours_writes() {
        let moved = |names: &[&str]| -> Change { names.iter().map(|name| ((*name).to_owned(), 5.0)).collect() };
        let device = [
            "node_disk_written_bytes",
            "node_disk_io_time",
            "node_cpu_iowait",
            "node_procs_blocked",
            "node_pressure_io",
        ];
        let named = |change: &Change| causes(change, &shipped(), 1).first().map(|cause| cause.cause.clone());
        assert_eq!(named(&moved(&device)).as_deref(), Some(OUTSIDE));
        let mut starved = moved(&device);
        starved.extend([("tup_inserted".to_owned(), -2.0), ("xact_commit".to_owned(), -2.0)]);
        assert_eq!(named(&starved).as_deref(), Some(OUTSIDE));
        assert_eq!(named(&moved(&[device.as_slice(), &OWN_WRITES].concat())), None);
    }
}
