//! A server's settings, as `pg_settings` and `pg_file_settings` show them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Settings by name.
pub type Settings = BTreeMap<String, Setting>;

/// One row of `pg_settings`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// The value in effect, in the setting's own unit (`16384` of `8kB`), exactly as `pg_settings.setting` has it.
    pub value: String,
    /// The unit: `8kB`, `kB`, `MB`, `B`, `ms`, `s`, `min`, or none.
    pub unit: Option<String>,
    /// Type of the value.
    pub vartype: VarType,
    /// When a change takes effect.
    pub context: Context,
    /// Smallest value that the server accepts, in the setting's own unit.
    pub min: Option<f64>,
    /// Largest value that the server accepts, in the setting's own unit.
    pub max: Option<f64>,
    /// Values of an enumeration.
    pub enumvals: Vec<String>,
    /// The value that the server was built with, in the setting's own unit.
    pub boot_value: Option<String>,
    /// Where the value comes from: `default`, `configuration file`, `command line`, …
    pub source: String,
    /// The file that sets it, where the role may see that.
    pub source_file: Option<String>,
    /// A changed value waits for a restart.
    pub pending_restart: bool,
}

/// `pg_settings.vartype`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VarType {
    /// `bool`
    Bool,
    /// `integer`
    Integer,
    /// `real`
    Real,
    /// `enum`
    Enum,
    /// `string`
    #[default]
    String,
}

/// `pg_settings.context`: when a change takes effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Context {
    /// Never changes.
    Internal,
    /// On a restart.
    Postmaster,
    /// On a reload.
    Sighup,
    /// For new connections, by a superuser.
    SuperuserBackend,
    /// For new connections.
    Backend,
    /// On a reload, or by a superuser in a session.
    Superuser,
    /// On a reload, or by anyone in a session.
    #[default]
    User,
}

/// One row of `pg_file_settings`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FileSetting {
    /// The file.
    pub source_file: String,
    /// The setting's name.
    pub name: String,
    /// The value as written.
    pub value: String,
    /// It could be applied (a later line or `ALTER SYSTEM` does not override it).
    pub applied: bool,
    /// Why it can't be applied.
    pub error: Option<String>,
}

/// The first of these settings whose file says something else than the server runs, until it reloads.
pub fn waits_for_reload<'a>(names: &'a [String], settings: &Settings, lines: &[FileSetting]) -> Option<&'a String> {
    names.iter().find(|name| {
        let line = lines.iter().rev().find(|line| line.name == **name && line.applied);
        let by_file = |s: &&Setting| s.source == "default" || s.source == "configuration file";
        let setting = settings.get(*name).filter(|s| s.context != Context::Postmaster).filter(by_file);
        line.zip(setting).is_some_and(|(line, setting)| setting.with(&line.value).display() != setting.display())
    })
}

/// Name of a configuration file. A mounted directory may be reached through a symbolic link, so that the same file has
/// another path where it is mounted than in [`FileSetting::source_file`].
pub fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
