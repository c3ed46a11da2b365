//! PostgreSQL's own logs. Each line by itself says little: a statement's temporary files are told before it, its processor
//! time after it, and its parameters beside it.

use std::collections::HashMap;
use std::io::Read;

use csv::{ByteRecord, ReaderBuilder};
use serde::Deserialize;

use super::bounded::Bounded;
use super::json::Lines;
use super::sampling::Sampling;
use super::{Collector, is_cut, time_ms};
use crate::cost::log::{Cost, LogError, Rejection, Statement};
use crate::postgres::APPLICATION;

/// What PostgreSQL's logs tell of a statement: the targets that a model may have.
pub const TARGETS: [&str; 3] = ["duration", "cpu", "spill"];
/// Another name of `spill`, by which routers ask: what a statement's memory did not hold is all that a log tells of it.
pub const MEMORY: &str = "memory";
/// Sessions that are followed at once; of more, those that said nothing for the longest are forgotten.
const SESSIONS: usize = 10_000;

/// Which of [`TARGETS`] these are.
///
/// # Errors
/// A sentence when one is none of them.
pub fn places<'a>(targets: impl IntoIterator<Item = &'a str>) -> Result<Vec<usize>, String> {
    let place = |target: &'a str| {
        let name = if target == MEMORY { "spill" } else { target };
        TARGETS.iter().position(|known| *known == name).ok_or_else(|| {
            format!("a PostgreSQL log has no {target:?}: it tells {} (also as {MEMORY})", TARGETS.join(", "))
        })
    };
    targets.into_iter().map(place).collect()
}

/// One line of a log.
#[derive(Debug, Default, Deserialize)]
struct Line {
    #[serde(default, rename = "timestamp")]
    time: String,
    #[serde(default, rename = "session_id")]
    session: String,
    #[serde(default, rename = "state_code")]
    state: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    statement: String,
    #[serde(default, rename = "application_name")]
    application: String,
}

impl Line {
    /// A session of ours: what looks at the server, reads this very log, or runs a trial. It is nobody's query.
    fn is_own(&self) -> bool {
        self.application.strip_prefix(APPLICATION).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }
}

/// Reads a csvlog of PostgreSQL 9.0 or newer (23 to 26 columns).
///
/// # Errors
/// It is none, or its bytes end early.
pub fn read_csv(
    input: impl Read,
    targets: &[String],
    sampling: Sampling,
    into: &mut Collector<'_>,
) -> Result<(), LogError> {
    let (input, progress) = Bounded::new(input);
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(input);
    let mut record = ByteRecord::new();
    let mut sessions = Sessions::new(targets, sampling)?;
    let mut row = 0;
    loop {
        row += 1;
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                let file = &into.file;
                return Err(LogError(format!(
                    "{file} can't be read beyond line {row} ({error}); a compressed file may be cut off: bring it whole"
                )));
            }
        }
        let cut = progress.ended(reader.position().byte());
        if cut || !(23..=26).contains(&record.len()) {
            let rejection = if cut { Rejection::TooLong } else { Rejection::Malformed };
            let begin = &record.as_slice()[..record.as_slice().len().min(200)];
            into.reject(row, rejection, &String::from_utf8_lossy(begin));
            continue;
        }
        let text = |at: usize| std::str::from_utf8(record.get(at).unwrap_or_default()).map(str::to_owned);
        let fields = [0, 5, 12, 13, 14, 19, 22].map(text);
        match fields {
            [Ok(time), Ok(session), Ok(state), Ok(message), Ok(detail), Ok(statement), Ok(application)] => {
                let line = Line { time, session, state, message, detail, statement, application };
                sessions.take(row, line, into);
            }
            _ => into.reject(row, Rejection::NotUtf8, &String::from_utf8_lossy(record.get(13).unwrap_or_default())),
        }
    }
    sessions.end(into);
    Ok(())
}

/// Reads a jsonlog (PostgreSQL 15 or newer).
///
/// # Errors
/// Its bytes end early.
pub fn read_json(
    input: impl Read,
    targets: &[String],
    sampling: Sampling,
    into: &mut Collector<'_>,
) -> Result<(), LogError> {
    let mut lines = Lines::new(input);
    let mut sessions = Sessions::new(targets, sampling)?;
    while let Some((row, line)) = lines.next(&into.file)? {
        match serde_json::from_slice::<Line>(line) {
            Ok(line) => sessions.take(row, line, into),
            Err(_) if line.iter().all(u8::is_ascii_whitespace) => {}
            Err(_) => {
                let rejection =
                    if std::str::from_utf8(line).is_ok() { Rejection::Malformed } else { Rejection::NotUtf8 };
                into.reject(row, rejection, &String::from_utf8_lossy(&line[..line.len().min(200)]));
            }
        }
    }
    sessions.end(into);
    Ok(())
}

/// Times of a log are whole milliseconds, and a plan's is a little later than its statement's begin.
const CLOCK_MS: f64 = 2.0;

/// What is known of a session so far.
#[derive(Debug, Default)]
struct Session {
    /// Bytes of temporary files since the last statement, and the statement that they were told of.
    spill: (f64, String),
    /// The plan's cost and rows that auto_explain told of the statement to come, and when.
    plan: Option<(Option<i64>, (f32, f32))>,
    /// A statement whose processor time may follow.
    waiting: Option<(u64, Finished)>,
    /// When it last said something.
    last_ms: Option<i64>,
    /// A statement whose execution begins, and when.
    begun: Option<(i64, String)>,
}

impl Session {
    /// The plan of a statement that ended at a time after so many milliseconds, if it was told while that ran: one before it
    /// is of a statement that was not logged.
    fn take_plan(&mut self, now: Option<i64>, ms: f64) -> Option<(f32, f32)> {
        let (told, plan) = self.plan.take()?;
        let before = told.zip(now).is_some_and(|(told, now)| (now - told) as f64 > ms + CLOCK_MS);
        (!before).then_some(plan)
    }

    /// Bytes of temporary files of a statement that ended.
    fn take_spill(&mut self, query: &str) -> f64 {
        let (spill, statement) = std::mem::take(&mut self.spill);
        if statement.is_empty() || statement == query { spill } else { 0.0 }
    }
}

/// A statement that ended.
#[derive(Debug)]
struct Finished {
    query: String,
    time_ms: Option<i64>,
    duration: Cost,
    cpu: Cost,
    spill: Cost,
    plan: Option<(f32, f32)>,
}

struct Sessions {
    by_name: HashMap<String, Session>,
    /// For each target, which of [`TARGETS`] it is.
    targets: Vec<usize>,
    sampling: Sampling,
    /// The log has every statement: a line told of less than a millisecond, of which `log_min_duration_statement` counts whole
    /// ones, and it is no sample.
    complete: bool,
}

impl Sessions {
    fn new(targets: &[String], sampling: Sampling) -> Result<Self, LogError> {
        let targets = places(targets.iter().map(String::as_str)).map_err(LogError)?;
        Ok(Self { by_name: HashMap::new(), targets, sampling, complete: false })
    }

    /// Servers do not tell of sessions that end, unless they are asked to.
    fn forget_the_older_half(&mut self, into: &mut Collector<'_>) {
        let mut by_age: Vec<(Option<i64>, String)> =
            self.by_name.iter().map(|(name, session)| (session.last_ms, name.clone())).collect();
        by_age.sort_unstable();
        by_age.truncate(by_age.len().div_ceil(2));
        for (_, name) in by_age {
            let waiting = self.by_name.remove(&name).and_then(|session| session.waiting);
            self.tell(waiting, into);
        }
    }

    fn take(&mut self, row: u64, line: Line, into: &mut Collector<'_>) {
        if line.is_own() {
            return;
        }
        let time_ms = time_ms(&line.time);
        if self.by_name.len() >= SESSIONS && !self.by_name.contains_key(&line.session) {
            self.forget_the_older_half(into);
        }
        let mut session = self.by_name.remove(&line.session).unwrap_or_default();
        if let (Some(processor), Some((_, finished))) = (processor_seconds(&line), &mut session.waiting) {
            finished.cpu = Cost::Measured(processor);
        }
        self.tell(session.waiting.take(), into);
        if let Some(size) = temporary_file(&line.message) {
            // Of a statement that is not logged the files are told all the same.
            if session.spill.1 != line.statement {
                session.spill = (0.0, line.statement.clone());
            }
            session.spill.0 += size;
        } else if let Some((ms, rest)) = duration(&line.message) {
            self.complete |= ms < 1.0 && self.sampling.is_whole();
            session.begun =
                bound(rest).filter(|_| self.complete).map(str::to_owned).and_then(|query| Some((time_ms?, query)));
            if let Some(plan) = rest.strip_prefix("plan:") {
                session.plan = plan_of(plan).map(|plan| (time_ms, plan)).or(session.plan);
            } else if let Some(query) = query(rest) {
                let (spill, plan) = (Cost::Measured(session.take_spill(query)), session.take_plan(time_ms, ms));
                let query = with_parameters(query, &line.detail);
                let finished =
                    Finished { query, time_ms, duration: Cost::Measured(ms / 1000.0), cpu: Cost::Unknown, spill, plan };
                session.waiting = Some((row, finished));
            }
        } else if line.state == "57014" && !line.statement.is_empty() {
            // Cancelled. How long it ran is known where the log says when it began: the session may have been idle before.
            let begun = session.begun.take().filter(|(_, query)| *query == line.statement);
            let seconds = begun.zip(time_ms).map(|((begun, _), now)| (now - begun).max(0) as f64 / 1000.0);
            let cost = seconds.map_or(Cost::Unknown, Cost::AtLeast);
            let spill = Cost::AtLeast(session.take_spill(&line.statement));
            let query = with_parameters(&line.statement, &line.detail);
            // Of one that is cancelled no plan is told: what is there is another's.
            session.plan = None;
            let finished = Finished { query, time_ms, duration: cost, cpu: Cost::Unknown, spill, plan: None };
            self.tell(Some((row, finished)), into);
        } else if let Some(query) = query(&line.message) {
            // log_statement: the line comes before the execution.
            session.begun = time_ms.map(|time| (time, query.to_owned()));
        } else if !matches!(line.state.get(..2), None | Some("00" | "01" | "02")) {
            // An error, which ended what had begun.
            (session.begun, session.plan) = (None, None);
        }
        session.last_ms = time_ms.or(session.last_ms);
        // A session that ended is forgotten.
        if !line.message.starts_with("disconnection:") {
            self.by_name.insert(line.session, session);
        }
    }

    fn tell(&self, waiting: Option<(u64, Finished)>, into: &mut Collector<'_>) {
        let Some((row, finished)) = waiting else { return };
        let Finished { query, time_ms, duration, cpu, spill, plan } = finished;
        // Without its time a statement can't be put before or behind others.
        if time_ms.is_none() {
            return into.reject(row, Rejection::NoTime, &query);
        }
        let costs = self.targets.iter().map(|target| [duration, cpu, spill][*target]).collect();
        let weight = self.sampling.weight_of(duration);
        into.accept(row, Statement { truncated: is_cut(&query), query, time_ms, costs, weight, plan });
    }

    fn end(mut self, into: &mut Collector<'_>) {
        let mut rest: Vec<(u64, Finished)> =
            self.by_name.values_mut().filter_map(|session| session.waiting.take()).collect();
        rest.sort_by_key(|(row, _)| *row);
        for waiting in rest {
            self.tell(Some(waiting), into);
        }
    }
}

/// `duration: 12.5 ms  statement: …`: milliseconds, and what follows.
fn duration(message: &str) -> Option<(f64, &str)> {
    let (number, rest) = message.strip_prefix("duration: ")?.split_once(" ms")?;
    Some((number.parse().ok()?, rest.trim_start()))
}

/// The text behind `statement: ` or `execute NAME: `. Parsing and binding tell durations of their own, which are no
/// statement's.
fn query(rest: &str) -> Option<&str> {
    if let Some(query) = rest.strip_prefix("statement: ") {
        return Some(query);
    }
    // `execute fetch from` is a cursor's next rows.
    let named = rest.strip_prefix("execute fetch from ").or_else(|| rest.strip_prefix("execute "))?;
    named.split_once(": ").map(|(_, query)| query)
}

/// The text behind `bind NAME: `: what a client sends along with it is the execution.
fn bound(rest: &str) -> Option<&str> {
    rest.strip_prefix("bind ")?.split_once(": ").map(|(_, query)| query)
}

/// `temporary file: path "…", size 1234`.
fn temporary_file(message: &str) -> Option<f64> {
    message.strip_prefix("temporary file: ")?.rsplit_once("size ")?.1.trim().parse().ok()
}

/// User and system seconds of `QUERY STATISTICS`.
fn processor_seconds(line: &Line) -> Option<f64> {
    if !matches!(line.message.as_str(), "QUERY STATISTICS" | "EXECUTE MESSAGE STATISTICS") {
        return None;
    }
    let usage = line.detail.lines().find(|line| line.contains(" s user, "))?;
    let (user, rest) = usage.trim_start_matches(['!', '\t', ' ']).split_once(" s user, ")?;
    let system = rest.split_once(" s system")?.0;
    Some(user.trim().parse::<f64>().ok()? + system.trim().parse::<f64>().ok()?)
}

/// Total cost and rows of a plan in JSON or text.
fn plan_of(plan: &str) -> Option<(f32, f32)> {
    let number = |behind: &str, end: fn(char) -> bool| -> Option<f32> {
        let rest = plan[plan.find(behind)? + behind.len()..].trim_start();
        rest[..rest.find(end).unwrap_or(rest.len())].parse().ok()
    };
    let ends = |c: char| !(c.is_ascii_digit() || c == '.');
    let json = number("\"Total Cost\":", ends).zip(number("\"Plan Rows\":", ends));
    json.or_else(|| number("..", ends).zip(number(" rows=", ends)))
}

/// The text with its parameters in their places, as literals.
fn with_parameters(query: &str, detail: &str) -> String {
    let values = parameters(detail);
    if values.is_empty() {
        return query.to_owned();
    }
    let mut whole = String::with_capacity(query.len() + detail.len());
    let mut rest = query;
    while let Some(at) = rest.find(['$', '\'']) {
        let (before, from) = rest.split_at(at);
        whole.push_str(before);
        if let Some(string) = from.strip_prefix('\'') {
            // A string may hold a dollar sign that is none.
            let end = string.find('\'').map_or(from.len(), |end| end + 2);
            whole.push_str(&from[..end]);
            rest = &from[end..];
            continue;
        }
        let digits = from[1..].bytes().take_while(u8::is_ascii_digit).count();
        let number = from[1..=digits].parse::<usize>().ok();
        match number.and_then(|number| values.get(number.checked_sub(1)?)) {
            Some(value) => whole.push_str(value),
            None => whole.push_str(&from[..=digits]),
        }
        rest = &from[digits + 1..];
    }
    whole.push_str(rest);
    whole
}

/// The values of `parameters: $1 = 'a', $2 = NULL`, as literals.
fn parameters(detail: &str) -> Vec<&str> {
    let Some(rest) = detail.strip_prefix("parameters: ").or_else(|| detail.strip_prefix("Parameters: ")) else {
        return Vec::new();
    };
    let mut values = Vec::new();
    let mut rest = rest;
    while let Some(at) = rest.find(" = ") {
        rest = &rest[at + 3..];
        let end = if rest.starts_with('\'') {
            let mut end = 1;
            let bytes = rest.as_bytes();
            while end < bytes.len() {
                if bytes[end] == b'\'' {
                    if bytes.get(end + 1) != Some(&b'\'') {
                        break;
                    }
                    end += 1;
                }
                end += 1;
            }
            (end + 1).min(rest.len())
        } else {
            rest.find(", $").unwrap_or(rest.len())
        };
        values.push(&rest[..end]);
        rest = &rest[end..];
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_put_back() {
        let detail = "parameters: $1 = '12', $2 = 'it''s, $9', $3 = NULL";
        let query = "select '$1' from t where a = $1 and b = $2 and c is $3 and d = $12 and e = $4";
        assert_eq!(
            with_parameters(query, detail),
            "select '$1' from t where a = '12' and b = 'it''s, $9' and c is NULL and d = $12 and e = $4"
        );
        assert_eq!(with_parameters("select $1", ""), "select $1");
    }

    #[test]
    fn messages_are_taken_apart() {
        assert_eq!(duration("duration: 1.5 ms  statement: select 1"), Some((1.5, "statement: select 1")));
        assert_eq!(query("execute <unnamed>: select a"), Some("select a"));
        assert_eq!(query("execute s1/p1: select a"), Some("select a"));
        assert_eq!(query("bind <unnamed>: select a"), None);
        assert_eq!(temporary_file("temporary file: path \"base/pgsql_tmp/pgsql_tmp1.0\", size 8192"), Some(8192.0));
        assert_eq!(plan_of("\n{ \"Plan\": {\"Total Cost\": 12.5, \"Plan Rows\": 3 } }"), Some((12.5, 3.0)));
        assert_eq!(plan_of("\nQuery Text: x\nSort  (cost=1.00..28.25 rows=7 width=4)"), Some((28.25, 7.0)));
    }
}
