//! What loading libtorch leaves behind in memory.
//!
//! Its initialisers run through some 50 MiB of code and constants to register every operator, most of which no process
//! of ours ever calls. The pages are clean copies of the libraries' files: given back, they cost a page fault each if
//! they are needed after all, and a process that only serves a model or reconciles is that much smaller.

use std::io;

use rustix::mm::{Advice, madvise};

/// What the names of libtorch's files begin with, and of those that it loads.
const LIBRARIES: [&str; 5] = ["libtorch", "libc10", "libgomp", "libopenblas", "libgfortran"];

/// A part of a process's address space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    begin: usize,
    length: usize,
    writable: bool,
    /// Name of the file that it shows, `[heap]` or the like, or nothing.
    pub name: String,
    /// Bytes of it that are in memory.
    pub resident: usize,
    /// Of these, bytes that are not the file's: they were written to.
    anonymous: usize,
    /// Bytes that the process wants to keep in memory.
    locked: usize,
}

impl Mapping {
    /// Whether it shows a file of libtorch, or of a library that libtorch loads.
    pub fn is_of_libtorch(&self) -> bool {
        LIBRARIES.iter().any(|library| self.name.starts_with(library))
    }

    /// Whether it is in memory and holds nothing but what is in the libraries' files. Relocated constants are read-only
    /// too, but the process's own.
    fn is_given_back(&self) -> bool {
        self.is_of_libtorch() && !self.writable && self.anonymous == 0 && self.locked == 0 && self.resident > 0
    }
}

/// What `/proc/PID/smaps` says.
pub fn mappings(smaps: &str) -> Vec<Mapping> {
    let mut found: Vec<Mapping> = Vec::new();
    for line in smaps.lines() {
        if let Some(mapping) = header(line) {
            found.push(mapping);
        } else if let (Some((key, bytes)), Some(last)) = (amount(line), found.last_mut()) {
            match key {
                "Rss" => last.resident = bytes,
                "Anonymous" => last.anonymous = bytes,
                "Locked" => last.locked = bytes,
                _ => {}
            }
        }
    }
    found
}

/// `begin-end permissions offset device inode path`.
fn header(line: &str) -> Option<Mapping> {
    let (range, rest) = line.split_once(' ')?;
    let (begin, end) = range.split_once('-')?;
    let (begin, end) = (usize::from_str_radix(begin, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    let mut fields = rest.split_whitespace();
    let writable = fields.next()?.contains('w');
    let name = rest.rsplit_once('/').map_or_else(|| fields.nth(3).unwrap_or_default(), |(_, name)| name).to_owned();
    Some(Mapping { begin, length: end.checked_sub(begin)?, writable, name, resident: 0, anonymous: 0, locked: 0 })
}

/// `Key:   12 kB`, in bytes.
fn amount(line: &str) -> Option<(&str, usize)> {
    let (key, value) = line.split_once(':')?;
    Some((key, value.trim().strip_suffix(" kB")?.parse::<usize>().ok()? * 1024))
}

/// Gives those pages back; returns how many bytes of them were resident.
///
/// # Errors
/// When `/proc/self/smaps` can't be read.
pub fn give_back() -> io::Result<usize> {
    let smaps = std::fs::read_to_string("/proc/self/smaps")?;
    let mut given_back = 0;
    for Mapping { begin, length, resident, .. } in mappings(&smaps).into_iter().filter(Mapping::is_given_back) {
        // SAFETY: the mapping is private, read-only and without a page of its own, so that every page of it comes
        // from the file again, as it was, when it is next touched.
        let advised = unsafe { madvise(begin as *mut _, length, Advice::LinuxDontNeed) };
        // Where the kernel does not take it (a locked page), the pages stay.
        given_back += if advised.is_ok() { resident } else { 0 };
    }
    Ok(given_back)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_the_files_is_given_back() {
        let smaps = "\
7f0000000000-7f0000001000 r--p 00000000 08:01 42   /opt/libtorch/lib/libtorch_cpu.so
Size:                  4 kB
Rss:                   4 kB
Anonymous:             0 kB
Locked:                0 kB
7f0000001000-7f0000003000 r-xp 00001000 08:01 42   /opt/libtorch/lib/libtorch_cpu.so
Rss:                   8 kB
Anonymous:             0 kB
7f0000003000-7f0000004000 r--p 00003000 08:01 42   /opt/libtorch/lib/libtorch_cpu.so
Rss:                   4 kB
Anonymous:             4 kB
7f0000004000-7f0000005000 rw-p 00004000 08:01 42   /opt/libtorch/lib/libtorch_cpu.so
Rss:                   4 kB
Anonymous:             4 kB
7f0000005000-7f0000006000 r-xp 00000000 08:01 43   /usr/lib/libc.so.6
Rss:                   4 kB
Anonymous:             0 kB
7f0000006000-7f0000007000 rw-p 00000000 00:00 0    [heap]
Rss:                   4 kB
";
        let given_back = mappings(smaps).into_iter().filter(Mapping::is_given_back);
        let given_back: Vec<_> = given_back.map(|mapping| (mapping.begin, mapping.length, mapping.resident)).collect();
        assert_eq!(given_back, [(0x7f00_0000_0000, 0x1000, 0x1000), (0x7f00_0000_1000, 0x2000, 0x2000)]);
    }

    #[test]
    fn what_was_given_back_is_there_when_it_is_needed() {
        let sum = || f64::try_from(tch::Tensor::arange(100, (tch::Kind::Double, tch::Device::Cpu)).sum(None)).unwrap();
        assert_eq!(sum(), 4950.0);
        assert!(give_back().unwrap() > 0);
        assert_eq!(sum(), 4950.0);
    }
}
