//! The text of our configuration key: what the server reads, and the marker by which it shows that it did.

use sha2::{Digest, Sha256};

use super::measurement::Parameters;
use crate::hex::hex;

/// The setting that carries the marker.
pub const MARKER_SETTING: &str = "howdah.configuration";

const HEADER: &str = "# Written by Howdah (howdah.dev). Don't edit: the next trial or recommendation overwrites it.\n\
     # To change these settings yourself, set spec.suspend or delete the PostgresTuning first.\n";

/// Names a configuration: the first 16 hexadecimal digits of the SHA-256 of its knobs. The baseline is the marker of
/// no parameters.
pub fn marker(parameters: &Parameters) -> String {
    let mut hash = Sha256::new();
    for (name, value) in parameters {
        // Lengths keep a value with a line break from looking like two knobs.
        hash.update(format!("{}:{name}={}:{value}\n", name.len(), value.len()));
    }
    hex(&hash.finalize()[..8])
}

/// The text of our configuration key with `parameters` on top of what it held before the first change.
///
/// A former recommendation comes first, without what is set again below: PostgreSQL takes the last of several values,
/// and a reader should not have to know that.
pub fn render(baseline_text: Option<&str>, parameters: &Parameters, marker: &str) -> String {
    let mut text = HEADER.to_owned();
    for line in baseline_text.unwrap_or_default().lines() {
        let ours = HEADER.lines().any(|header| header == line)
            || name_in(line).is_some_and(|name| name == MARKER_SETTING || parameters.contains_key(&name));
        if !ours {
            text.push_str(line);
            text.push('\n');
        }
    }
    text.push_str(&line(MARKER_SETTING, marker));
    for (name, value) in parameters {
        text.push_str(&line(name, value));
    }
    text
}

/// The marker in a text that [`render`] made.
pub fn marker_in(text: &str) -> Option<&str> {
    text.lines().rev().find_map(|line| line.strip_prefix(MARKER_SETTING)?.split('\'').nth(1))
}

/// The setting that a line of a configuration file sets. PostgreSQL's names are case-insensitive, its `=` optional.
fn name_in(line: &str) -> Option<String> {
    let line = line.trim_start();
    let end = line.find(|c: char| c == '=' || c == '#' || c.is_whitespace()).unwrap_or(line.len());
    (end > 0).then(|| line[..end].to_ascii_lowercase())
}

fn line(name: &str, value: &str) -> String {
    // In a quoted value a quote is doubled and a backslash escapes; a line break would end the setting.
    let quoted = value.replace('\\', "\\\\").replace('\'', "''").replace('\n', "\\n").replace('\r', "\\r");
    format!("{name} = '{quoted}'\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_text_names_its_writer_and_quotes_its_values() {
        let text = render(None, &parameters(&[("work_mem", "8MB"), ("jit", "off"), ("a.b", r"it's \")]), "00ff");
        let body = text.strip_prefix(HEADER).unwrap();
        assert_eq!(body, "howdah.configuration = '00ff'\na.b = 'it''s \\\\'\njit = 'off'\nwork_mem = '8MB'\n");
    }

    #[test]
    fn a_former_recommendation_is_kept_but_for_what_is_set_again() {
        let former = render(None, &parameters(&[("work_mem", "8MB"), ("jit", "off")]), "former");
        let former = format!("{former}# a person's note\nShared_Preload_Libraries 'x'\n");
        let text = render(Some(&former), &parameters(&[("work_mem", "16MB")]), "tuned");
        let body = text.strip_prefix(HEADER).unwrap();
        assert_eq!(
            body,
            "jit = 'off'\n# a person's note\nShared_Preload_Libraries 'x'\nhowdah.configuration = 'tuned'\nwork_mem = '16MB'\n"
        );
    }

    #[test]
    fn markers_are_short_and_tell_configurations_apart() {
        let baseline = marker(&Parameters::new());
        let tuned = marker(&parameters(&[("work_mem", "8MB")]));
        assert_eq!(baseline.len(), 16);
        assert_ne!(baseline, tuned);
        assert_ne!(tuned, marker(&parameters(&[("work_mem", "16MB")])));
    }

    proptest! {
        #[test]
        fn rendering_again_changes_nothing(
            values in prop::collection::btree_map("[a-z_]{1,12}", ".{0,12}", 0..5),
            former in "[a-z_]{1,12} = '[a-z0-9]{0,5}'\n",
        ) {
            let once = render(Some(&former), &values, "m");
            prop_assert_eq!(render(Some(&once), &values, "m"), once.clone());
            // One line per setting, whatever the values contain.
            prop_assert_eq!(once.lines().filter(|line| name_in(line).is_some_and(|n| n == MARKER_SETTING)).count(), 1);
        }
    }
}
