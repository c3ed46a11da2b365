//! A bound on the length of a table's records: a quote that nobody closes would make one of the rest of the file.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Read, Result};
use std::rc::Rc;

/// Bytes of a record that are read, at the most.
const LONGEST_RECORD: u64 = 2 * crate::cost::log::LONGEST_STATEMENT as u64;

/// What is known of the record that is being read.
#[derive(Clone, Debug, Default)]
pub struct Progress(Rc<State>);

#[derive(Debug, Default)]
struct State {
    /// Bytes that were given before it began.
    begin: Cell<u64>,
    cut: Cell<bool>,
}

impl Progress {
    /// A record ended so many bytes behind the beginning. Whether it was cut off.
    pub fn ended(&self, at: u64) -> bool {
        self.0.begin.set(at);
        self.0.cut.take()
    }
}

/// Ends records that are too long, and passes over the rest of their last line.
pub struct Bounded<R> {
    input: BufReader<R>,
    given: u64,
    progress: Progress,
    /// What is given next: closes a quote, and ends the record.
    closing: &'static [u8],
}

impl<R: Read> Bounded<R> {
    /// Bounds the records of a table.
    pub fn new(input: R) -> (Self, Progress) {
        let progress = Progress::default();
        let input = BufReader::with_capacity(1 << 20, input);
        (Self { input, given: 0, progress: progress.clone(), closing: b"" }, progress)
    }

    /// The bytes to come, without taking them.
    pub fn begin(&mut self) -> Result<&[u8]> {
        self.input.fill_buf()
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let State { begin, cut } = &*self.progress.0;
        if self.closing.is_empty() && self.given - begin.get() > LONGEST_RECORD {
            self.input.skip_until(b'\n')?;
            cut.set(true);
            begin.set(self.given);
            self.closing = b"\"\n";
        }
        let count = if self.closing.is_empty() { self.input.read(buffer)? } else { self.closing.read(buffer)? };
        self.given += count as u64;
        Ok(count)
    }
}
