//! Whether a configuration is in effect: every value is read back from the server.

use std::fmt;

use crate::postgres::setting::{Setting, Settings, file_name};
use crate::tuning::measurement::Parameters;

/// A value that isn't in effect, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// Something that the server ranks higher sets another value.
    Shadowed {
        /// The knob.
        name: String,
        /// `pg_settings.source` of the value in effect.
        source: String,
        /// The file that sets it, where known.
        source_file: Option<String>,
        /// The value that we set.
        wanted: String,
        /// The value in effect.
        shown: String,
    },
    /// The value waits for a restart.
    PendingRestart {
        /// The knob.
        name: String,
        /// The value that we set.
        wanted: String,
        /// The value in effect.
        shown: String,
    },
    /// Another value is in effect, from where ours should be: the server hasn't read the file (yet).
    Differs {
        /// The knob.
        name: String,
        /// The value that we set.
        wanted: String,
        /// The value in effect; `None` where the server has no such setting.
        shown: Option<String>,
    },
}

impl Mismatch {
    /// The knob.
    pub fn name(&self) -> &str {
        match self {
            Self::Shadowed { name, .. } | Self::PendingRestart { name, .. } | Self::Differs { name, .. } => name,
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shadowed { name, source, source_file, wanted, shown } => {
                write!(f, "{name} is {shown} instead of {wanted}: ")?;
                match (source.as_str(), source_file) {
                    (_, Some(file)) if is_auto_conf(file) => {
                        write!(f, "ALTER SYSTEM sets it; run ALTER SYSTEM RESET {name} and reload")
                    }
                    ("command line", _) => {
                        write!(f, "the server's command line sets it; remove -c {name} from the container's arguments")
                    }
                    ("database" | "user" | "database user", _) => {
                        write!(f, "ALTER ROLE or ALTER DATABASE sets it (source: {source}); reset it there")
                    }
                    (_, Some(file)) => write!(f, "{file} sets it too, and is read later; remove it there"),
                    (source, None) => write!(f, "it comes from another source ({source}); remove it there"),
                }
            }
            Self::PendingRestart { name, wanted, shown } => {
                write!(f, "{name} is still {shown}: {wanted} waits for a restart of the server")
            }
            Self::Differs { name, wanted, shown: Some(shown) } => {
                write!(f, "{name} is {shown} instead of {wanted}: the server has not read our configuration")
            }
            Self::Differs { name, wanted, shown: None } => {
                write!(f, "{name} can't be {wanted}: the server has no such setting")
            }
        }
    }
}

fn is_auto_conf(file: &str) -> bool {
    file.ends_with("postgresql.auto.conf")
}

/// Compares a configuration with the live settings, by value: `64MB` is `65536kB`. `expected_file` is the
/// name of the file from which the server reads our configuration, where that is known. Empty when everything is in effect.
pub fn readback(parameters: &Parameters, settings: &Settings, expected_file: Option<&str>) -> Vec<Mismatch> {
    parameters.iter().filter_map(|(name, wanted)| compare(name, wanted, settings.get(name), expected_file)).collect()
}

fn compare(name: &str, wanted: &str, setting: Option<&Setting>, expected_file: Option<&str>) -> Option<Mismatch> {
    let (name, wanted) = (name.to_owned(), wanted.to_owned());
    let Some(setting) = setting else { return Some(Mismatch::Differs { name, wanted, shown: None }) };
    // SHOW's form on both sides: two reals that print alike are equal to the server's own six digits.
    let canonical = setting.parse(&wanted).map_or_else(|_| wanted.clone(), |value| setting.show(&value));
    let shown = setting.configured();
    if canonical == shown {
        return None;
    }
    if setting.pending_restart {
        return Some(Mismatch::PendingRestart { name, wanted, shown });
    }
    let elsewhere = match setting.source.as_str() {
        "default" => false,
        "configuration file" => setting
            .source_file
            .as_deref()
            .is_some_and(|file| expected_file.map_or(is_auto_conf(file), |expected| file_name(file) != expected)),
        _ => true,
    };
    Some(if elsewhere {
        let (source, source_file) = (setting.source.clone(), setting.source_file.clone());
        Mismatch::Shadowed { name, source, source_file, wanted, shown }
    } else {
        Mismatch::Differs { name, wanted, shown: Some(shown) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuning::space::tests::settings;

    const FILE: &str = "howdah.conf";
    const OURS: &str = "/etc/postgresql/howdah.conf";

    /// What is said of a work_mem of 8MB that the server shows as 4MB.
    fn said(source: &str, source_file: Option<&str>, pending_restart: bool) -> String {
        let mut settings = settings();
        let setting = settings.get_mut("work_mem").unwrap();
        (setting.source, setting.source_file) = (source.into(), source_file.map(str::to_owned));
        setting.pending_restart = pending_restart;
        let parameters = Parameters::from([("work_mem".to_owned(), "8MB".to_owned())]);
        let found = readback(&parameters, &settings, Some(FILE));
        assert_eq!(found.len(), 1);
        found[0].to_string()
    }

    #[test]
    fn values_are_compared_not_texts() {
        for text in ["4MB", "4096kB", "4096", " 4 MB"] {
            let parameters = Parameters::from([("work_mem".to_owned(), text.to_owned())]);
            assert_eq!(readback(&parameters, &settings(), None), [], "{text}");
        }
    }

    #[test]
    fn a_value_that_the_server_computes_for_itself_is_in_effect() {
        let mut settings = settings();
        let wanted = |value: &str| Parameters::from([("wal_buffers".to_owned(), value.to_owned())]);
        // As PostgreSQL 15 tells it: of nothing that is set, and of a -1 that is.
        for source in ["default", "override"] {
            let setting = settings.get_mut("wal_buffers").unwrap();
            (setting.value, setting.source, setting.boot_value) = ("2048".into(), source.into(), Some("-1".into()));
            assert_eq!(readback(&wanted("-1"), &settings, Some(FILE)), []);
            assert_eq!(readback(&wanted("64MB"), &settings, Some(FILE)).len(), 1);
        }
    }

    #[test]
    fn who_shadows_a_value_is_named_with_the_remedy() {
        let auto = said("configuration file", Some("/data/postgresql.auto.conf"), false);
        assert!(
            auto.starts_with("work_mem is 4MB instead of 8MB:") && auto.contains("ALTER SYSTEM RESET work_mem"),
            "{auto}"
        );
        assert!(said("command line", None, false).contains("command line"));
        assert!(said("user", None, false).contains("ALTER ROLE"));
        assert!(
            said("configuration file", Some("/data/postgresql.conf"), false)
                .contains("/data/postgresql.conf sets it too")
        );
        assert!(said("configuration file", Some("/etc/postgresql/x-howdah.conf"), false).contains("sets it too"));
        assert!(said("configuration file", Some(OURS), false).contains("has not read"));
        assert!(said("default", None, false).contains("has not read"));
        assert!(said("configuration file", Some(OURS), true).contains("waits for a restart"));
    }
}
