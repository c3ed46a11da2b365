//! The log of a specification's source, as files of this process.

use std::path::{Path, PathBuf};

use k8s_openapi::jiff::Timestamp;
use kube::{Api, Client, ResourceExt};

use super::{FileLog, is_log_name};
use crate::cost::crd::{Files, LogColumns, QueryCostModel};
use crate::cost::facts::Trouble;
use crate::cost::grants::Grants;
use crate::cost::log::{Log, LogError, Reading, Rejection, Statement};
use crate::cost::reading::sampling::Sampling;
use crate::cost::reading::{Columns, Format};
use crate::cost::reason::Reason;
use crate::cost::training::format;
use crate::duration;
use crate::instance;
use crate::instance::crd::PostgresInstance;
use crate::postgres::error::QueryError;
use crate::postgres::statistics::StatementStatistics;
use crate::world::kubernetes::secret;
use crate::world::postgres;
use crate::world::postgres::log_files::{self, LogFile, LogFileError};
use crate::world::postgres::server::settings;
use crate::world::postgres::statements::statements;
use crate::world::store::{Brought, Store};

/// Bytes of a server's log that are read at the most, the newest.
const SERVER_LOG: u64 = 4 << 30;
/// Bytes of what is not on a volume that are brought at the most, the newest files: a training's own storage has room for
/// 16 GiB.
const BUCKET: u64 = 12 << 30;
/// Clocks differ, and a file is written to for a while after its last statement.
const CLOCKS_SECONDS: f64 = 3600.0;

/// Of two formats that a server writes side by side, the files change within so long of each other.
const BESIDE_SECONDS: f64 = 60.0;

/// A log's statements from a time on.
#[derive(Debug)]
pub struct Since {
    log: FileLog,
    from_ms: i64,
}

impl Log for Since {
    fn targets(&self) -> &[String] {
        self.log.targets()
    }

    fn read(&self, each: &mut dyn FnMut(Statement)) -> Result<Reading, LogError> {
        let mut old = 0;
        let mut reading = self.log.read(&mut |statement| {
            if statement.time_ms.is_some_and(|time| time < self.from_ms) { old += 1 } else { each(statement) }
        })?;
        reading.statements -= old;
        if old > 0 {
            reading.rejected.insert(Rejection::TooOld, old);
        }
        Ok(reading)
    }
}

/// Opens the source's log. What is not on a volume is brought into `directory`.
///
/// # Errors
/// The source is not there, can't be read, or is empty.
pub async fn open(
    client: &Client,
    model: &QueryCostModel,
    grants: &Grants,
    directory: &Path,
) -> Result<Since, Trouble> {
    let source = &model.spec.source;
    let names: Vec<&str> = model.spec.targets.iter().map(|target| target.name.as_str()).collect();
    let unreadable = |message: String| Trouble::new(Reason::SourceUnreadable, message);
    let (paths, format, columns, sampling) = match (&source.files, &source.instance_ref) {
        (Some(files), _) => (
            bring(client, model, files, grants, directory).await?,
            files.format.map(format),
            files.columns.as_ref(),
            Sampling::default(),
        ),
        (None, Some(instance)) => {
            let (paths, format, sampling) = bring_server_log(client, model, &instance.name, directory).await?;
            (paths, Some(format), None, sampling)
        }
        (None, None) => {
            return Err(Trouble::new(Reason::InvalidSpecification, "source names neither files nor an instance"));
        }
    };
    let columns_of = |columns: &LogColumns| Columns {
        query: columns.query.clone(),
        time: columns.time.clone(),
        targets: names
            .iter()
            .map(|name| columns.targets.get(*name).cloned().unwrap_or_else(|| (*name).into()))
            .collect(),
        weight: columns.weight.clone(),
        failed: columns.failed.clone(),
        plan: columns.plan.as_ref().map(|plan| (plan.cost.clone(), plan.rows.clone())),
    };
    let columns = columns.map(columns_of).unwrap_or_default();
    let targets = names.iter().map(|name| (*name).to_owned()).collect();
    let opened = FileLog::open(&paths, format, columns.clone(), targets);
    let log = opened.map_err(|error| unreadable(error.to_string()))?.sampled(sampling);
    let found = log.format().map_err(|error| unreadable(error.to_string()))?;
    if !found.is_postgres() && columns.query.is_empty() {
        let message = "spec.source.files.columns is missing, and the files are no log of PostgreSQL: name at least the column \
                       with the query";
        return Err(Trouble::new(Reason::InvalidSpecification, message));
    }
    let window = duration::seconds(&source.window).saturating_mul(1000);
    Ok(Since { log, from_ms: Timestamp::now().as_millisecond().saturating_sub(window) })
}

async fn bring(
    client: &Client,
    model: &QueryCostModel,
    files: &Files,
    grants: &Grants,
    directory: &Path,
) -> Result<Vec<PathBuf>, Trouble> {
    let namespace = model.namespace().unwrap_or_default();
    let unreadable = |message: String| Trouble::new(Reason::SourceUnreadable, message);
    let store = if let Some(reference) = &files.secret_ref {
        let missing = |message: String| Trouble::new(Reason::SecretMissing, message);
        let keys = secret::read_all(client, &namespace, &reference.name).await;
        let keys = keys.map_err(|error| missing(error.to_string()))?;
        Store::open_bucket(&files.url, &keys)
            .map_err(|error| missing(format!("Secret {namespace}/{}: {error}", reference.name)))?
    } else {
        let forbidden = |message: String| Trouble::new(Reason::SourceForbidden, message);
        let root = grants.root(&namespace, &files.url).map_err(forbidden)?;
        if let (Some(root), Some(path)) = (root.strip_prefix("file://"), files.url.strip_prefix("file://")) {
            return within(Path::new(root), Path::new(path)).map(|path| vec![path]);
        }
        Store::open(&files.url).map_err(|error| unreadable(error.to_string()))?
    };
    let since = Timestamp::now().as_millisecond().saturating_sub((written_within(model) * 1000.0) as i64);
    let brought = store.download(directory, is_log_name, since, BUCKET).await;
    let Brought { files: paths, older, beyond } = brought.map_err(|error| unreadable(error.to_string()))?;
    if beyond > 0 {
        tracing::warn!(beyond, "older files are left out: at most {} GiB are brought", BUCKET >> 30);
    }
    if paths.is_empty() {
        return Err(unreadable(match (older, beyond) {
            (_, 1..) => format!("the newest file under {} has more than {} GiB", files.url, BUCKET >> 30),
            (1.., _) => {
                format!("all files under {} were written before spec.source.window begins: lengthen it", files.url)
            }
            _ => format!("there is no file under {}", files.url),
        }));
    }
    Ok(paths)
}

/// Seconds within which a file was last written to that may have statements of the window.
fn written_within(model: &QueryCostModel) -> f64 {
    duration::seconds(&model.spec.source.window) as f64 + CLOCKS_SECONDS
}

/// The path, where it and the files in it lie below the root: whoever writes there could have linked to something else.
fn within(root: &Path, path: &Path) -> Result<PathBuf, Trouble> {
    let unreadable = |path: &Path, error: std::io::Error| {
        Trouble::new(Reason::SourceUnreadable, format!("{} can't be read: {error}", path.display()))
    };
    let real = |path: &Path| std::fs::canonicalize(path).map_err(|error| unreadable(path, error));
    let root = real(root)?;
    let mut all = vec![path.to_owned()];
    if path.is_dir() {
        all.extend(super::inside(path).map_err(|error| unreadable(path, error))?);
    }
    for found in &all {
        if !real(found)?.starts_with(&root) {
            let message = format!("{} leads out of {}, which is what was granted", found.display(), root.display());
            return Err(Trouble::new(Reason::SourceForbidden, message));
        }
    }
    Ok(path.to_owned())
}

/// What the source's server has counted of statements, beside what its log has of them; empty where there is no server, or
/// it does not count (`pg_stat_statements`).
///
/// # Errors
/// It does not say.
pub async fn statistics(client: &Client, model: &QueryCostModel) -> Result<Vec<StatementStatistics>, Trouble> {
    let Some(instance) = &model.spec.source.instance_ref else { return Ok(Vec::new()) };
    let server = connected(client, model, &instance.name).await?;
    let counted = statements(&server).await;
    counted.map_err(|error| Trouble::new(Reason::SourceUnreadable, error.to_string()))
}

/// A connection to the server of an instance.
async fn connected(client: &Client, model: &QueryCostModel, instance: &str) -> Result<postgres::Client, Trouble> {
    let namespace = model.namespace().unwrap_or_default();
    let unreadable = |message: String| Trouble::new(Reason::SourceUnreadable, message);
    let instances: Api<PostgresInstance> = Api::namespaced(client.clone(), &namespace);
    let found = instances.get_opt(instance).await.map_err(|error| unreadable(error.to_string()))?;
    let missing =
        || Trouble::new(Reason::InstanceMissing, format!("there is no PostgresInstance {namespace}/{instance}"));
    let found = found.ok_or_else(missing)?;
    let (server, _) = instance::observe::open(client, &found).await.map_err(|error| unreadable(error.message))?;
    Ok(server)
}

/// Reads the server's newest logs of the format that has the most of them, the oldest first, and which statements it writes
/// there.
async fn bring_server_log(
    client: &Client,
    model: &QueryCostModel,
    instance: &str,
    directory: &Path,
) -> Result<(Vec<PathBuf>, Format, Sampling), Trouble> {
    let unreadable = |message: String| Trouble::new(Reason::SourceUnreadable, message);
    let server = connected(client, model, instance).await?;
    let listed = log_files::list(&server).await.map_err(|error| told(&error))?;
    let (files, format) = chosen(&listed, written_within(model)).map_err(unreadable)?;
    let mut paths = Vec::new();
    for (number, file) in files.into_iter().enumerate() {
        // Not under the name that the server says: it could be one of ours.
        let path = directory.join(format!("{number:06}.log"));
        log_files::read(&server, file, &path).await.map_err(|error| told(&error))?;
        paths.push(path);
    }
    let settings = settings(&server).await.map_err(|error| unreadable(error.to_string()))?;
    Ok((paths, format, Sampling::of(&settings)))
}

/// The newest logs of a server, the oldest first, that are not older than so many seconds; their jsonlog where it is still
/// written to.
fn chosen(listed: &[LogFile], seconds: f64) -> Result<(Vec<&LogFile>, Format), String> {
    let of = |extension: &str| listed.iter().filter(|file| file.name.ends_with(extension)).collect::<Vec<_>>();
    let (json, csv) = (of(".json"), of(".csv"));
    let newest = |files: &[&LogFile]| files.last().map_or(f64::INFINITY, |file| file.age_seconds);
    // A jsonlog may be left from the time before a server was set to csvlog.
    let stale = newest(&json) > newest(&csv) + BESIDE_SECONDS;
    let (format, all) =
        if json.is_empty() || stale { (Format::PostgresCsvLog, csv) } else { (Format::PostgresJsonLog, json) };
    if all.is_empty() {
        return Err(
            "the server writes neither a jsonlog nor a csvlog: set logging_collector = on, log_destination = 'jsonlog' and \
             log_min_duration_statement = 0 (log_statement_stats = on for cpu, log_temp_files = 0 for spill)"
                .into(),
        );
    }
    let mut room = SERVER_LOG;
    let mut files: Vec<&LogFile> = all
        .iter()
        .rev()
        .take_while(|file| file.age_seconds <= seconds)
        .map_while(|file| {
            room = room.checked_sub(file.bytes)?;
            Some(*file)
        })
        .collect();
    files.reverse();
    match (files.is_empty(), all.last()) {
        (true, Some(newest)) if newest.age_seconds > seconds => {
            Err(format!("the server's newest log, {}, is older than spec.source.window: lengthen it", newest.name))
        }
        (true, Some(newest)) => Err(format!(
            "the server's newest log, {}, has {} MB, and at most {} are read: let the server begin a new one sooner \
             (log_rotation_size, log_rotation_age)",
            newest.name,
            newest.bytes >> 20,
            SERVER_LOG >> 20
        )),
        _ => Ok((files, format)),
    }
}

fn told(error: &LogFileError) -> Trouble {
    match error {
        LogFileError::Query(QueryError::Denied { .. }) => {
            let needs = "the role needs GRANT pg_monitor, pg_read_server_files and EXECUTE ON FUNCTION \
                         pg_read_binary_file(text, bigint, bigint, boolean)";
            Trouble::new(Reason::SourceForbidden, format!("{error}; {needs}"))
        }
        LogFileError::Query(_) | LogFileError::Kept(_) => Trouble::new(Reason::SourceUnreadable, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, megabytes: u64, age_seconds: f64) -> LogFile {
        LogFile { name: name.into(), bytes: megabytes << 20, age_seconds }
    }

    fn names(listed: &[LogFile], seconds: f64) -> Result<Vec<&str>, String> {
        Ok(chosen(listed, seconds)?.0.iter().map(|file| file.name.as_str()).collect())
    }

    #[test]
    fn the_newest_logs_that_there_is_room_for_are_read_in_their_order() {
        let log =
            [file("old.json", 1, 900.0), file("a.json", 3000, 90.0), file("b.json", 1000, 9.0), file("c.csv", 1, 1.0)];
        assert_eq!(names(&log, 100.0), Ok(vec!["a.json", "b.json"]));
        assert_eq!(names(&log, 1000.0), Ok(vec!["old.json", "a.json", "b.json"]));
        assert_eq!(chosen(&log[3..], 100.0).unwrap().1, Format::PostgresCsvLog);
        let stale = [file("old.json", 1, 900.0), file("c.csv", 1, 1.0)];
        assert_eq!(names(&stale, 1000.0), Ok(vec!["c.csv"]));
        let log = [file("a.json", 4000, 2.0), file("b.json", 200, 1.0)];
        assert_eq!(names(&log, 100.0), Ok(vec!["b.json"]));
    }

    #[test]
    fn what_leads_out_of_the_granted_directory_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let (root, secret) = (directory.path().join("logs"), directory.path().join("token"));
        std::fs::create_dir_all(root.join("shop")).unwrap();
        std::fs::write(root.join("shop/a.csv"), "query").unwrap();
        std::fs::write(&secret, "secret").unwrap();
        assert_eq!(within(&root, &root.join("shop")), Ok(root.join("shop")));
        std::os::unix::fs::symlink(&secret, root.join("shop/b.csv")).unwrap();
        for path in [root.join("shop"), root.join("shop/b.csv")] {
            assert_eq!(within(&root, &path).unwrap_err().reason, Reason::SourceForbidden);
        }
        assert_eq!(within(&root, &root.join("none")).unwrap_err().reason, Reason::SourceUnreadable);
    }

    #[test]
    fn a_log_that_can_not_be_read_says_what_to_do() {
        for (log, told) in [
            (vec![file("postgresql.log", 1, 1.0)], "log_destination"),
            (vec![file("a.json", 1, 101.0)], "spec.source.window"),
            (vec![file("a.json", 1, 2.0), file("b.json", 5000, 1.0)], "log_rotation_size"),
        ] {
            let error = chosen(&log, 100.0).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
