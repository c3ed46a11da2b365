//! Any bytes are read as a statement: nothing panics, and what surrounds a statement does not change its fingerprint.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, unused_imports)]
#[path = "../../src/cost/sqltext/mod.rs"]
mod sqltext;

use sqltext::features::Text;
use sqltext::{Mode, features, statements};

fuzz_target!(|bytes: &[u8]| {
    let sql = String::from_utf8_lossy(bytes);
    let text = Text::read(&sql);
    let around = format!(" \n{sql}\n ");
    assert_eq!(Text::read(&around).fingerprint, text.fingerprint, "{sql:?}");
    for mode in [Mode::Lexed, Mode::Paper] {
        features(&text, mode, 3, &mut |name, value| {
            assert!(value.is_none_or(f64::is_finite), "{name} of {sql:?}");
        });
    }
    let lines = sql.matches('\n').count() + 1;
    assert!(statements(&sql).iter().all(|(line, part)| *line <= lines && sql.contains(part)), "{sql:?}");
});
