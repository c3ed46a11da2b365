//! Time and memory of a process, from `/proc`.

use anyhow::{Context, Result};

use crate::learn::torch::pages::mappings;

/// `/proc` counts time in hundredths of a second on every Linux (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Resident memory of a process in bytes, by whether a page belongs to libtorch's files.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Resident {
    /// Pages of everything else.
    pub own: u64,
    /// Pages of libtorch's own files.
    pub libtorch: u64,
    /// Of `own`, what was allocated: neither a file's nor a stack's.
    pub allocated: u64,
}

impl Resident {
    /// Of a process, from `/proc/PID/smaps`.
    ///
    /// # Errors
    /// When the process is gone or is another user's.
    pub fn of_process(pid: u32) -> Result<Self> {
        Ok(Self::of(&read(pid, "smaps")?))
    }

    /// What the initialisers of native libraries, libtorch's above all, allocate before `main`: what this process has
    /// allocated, if it has done nothing yet.
    ///
    /// # Errors
    /// When `/proc` can't be read.
    pub fn allocated_by_loading() -> Result<u64> {
        Ok(Self::of_process(std::process::id())?.allocated)
    }

    fn of(smaps: &str) -> Self {
        let mut found = Self::default();
        for mapping in mappings(smaps) {
            let bytes = mapping.resident as u64;
            *(if mapping.is_of_libtorch() { &mut found.libtorch } else { &mut found.own }) += bytes;
            found.allocated += if matches!(mapping.name.as_str(), "" | "[heap]") { bytes } else { 0 };
        }
        found
    }
}

/// Seconds of processor time that a process has used in all of its threads.
///
/// # Errors
/// When the process is gone.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = read(pid, "stat")?;
    // The name, in parentheses, may itself contain spaces; user and system time are the 12th and 13th field after it.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: Option<f64> = fields.skip(11).take(2).map(|ticks| ticks.parse::<f64>().ok()).sum();
    Ok(ticks.with_context(|| format!("/proc/{pid}/stat can't be read"))? / TICKS_PER_SECOND)
}

/// The most memory that a process has had, in bytes.
///
/// # Errors
/// When the process is gone.
pub fn peak_bytes(pid: u32) -> Result<u64> {
    let status = read(pid, "status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    Ok(kib.with_context(|| format!("/proc/{pid}/status can't be read"))? * 1024)
}

fn read(pid: u32, what: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{what}");
    std::fs::read_to_string(&path).with_context(|| format!("{path} can't be read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_libtorch_are_counted_apart() {
        let smaps = "\
7f00-7f01 r-xp 00000000 08:01 42   /opt/libtorch/lib/libtorch_cpu.so
Size:   400 kB
Rss:    300 kB
7f02-7f03 rw-p 00000000 00:00 0
Rss:     20 kB
7f04-7f05 rw-p 00000000 00:00 0    [heap]
Rss:      1 kB
";
        assert_eq!(Resident::of(smaps), Resident { own: 21 * 1024, libtorch: 300 * 1024, allocated: 21 * 1024 });
    }
}
