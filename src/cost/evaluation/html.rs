//! The report as a page for people.

use super::report::Report;

/// The page.
pub fn page(report: &Report) -> String {
    format!("<!doctype html><pre>{}</pre>", report.table())
}
