//! `howdah tune` on a real server: what a session reports, and what it leaves behind however it ends.

mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use clap::Parser;
use howdah::cli::tune::target::Target;
use howdah::cli::tune::{self, Tune};
use howdah::tuning::measurement::Parameters;
use howdah::world::postgres::{configuration, connect, server as asked};
use serde_json::Value;
use server::Server;
use tokio::process::Command;

/// It sleeps twenty times as long with the default of `work_mem`: the gain is certain, however busy the machine is.
const SCRIPT: &str = "SELECT pg_sleep(CASE WHEN current_setting('work_mem') = '4MB' THEN 0.1 ELSE 0.005 END);\n";
const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Parser)]
struct Subcommand {
    #[command(flatten)]
    tune: Tune,
}

/// A server with a setting by `ALTER SYSTEM`, and the files of a session.
struct Subject {
    server: Server,
    files: tempfile::TempDir,
    before: Left,
}

/// What a session may leave otherwise than it found it.
#[derive(Debug, PartialEq)]
struct Left {
    settings: BTreeMap<String, String>,
    stored: BTreeSet<String>,
}

impl Left {
    async fn of(server: &Server) -> Self {
        let stored = fs::read_to_string(server.data().join("postgresql.auto.conf")).unwrap();
        let settings = asked::settings(&server.superuser().await).await.unwrap();
        Self {
            settings: settings.into_iter().map(|(name, setting)| (name, setting.value)).collect(),
            stored: stored.lines().map(str::to_owned).collect(),
        }
    }
}

impl Subject {
    async fn new() -> Self {
        let server = Server::start("");
        let client = server.superuser().await;
        let theirs = parameters(&[("checkpoint_timeout", "7min")]);
        configuration::alter_system(&client, &theirs).await.unwrap();
        configuration::reload(&client).await.unwrap();
        let files = tempfile::tempdir().unwrap();
        fs::write(files.path().join("script.sql"), SCRIPT).unwrap();
        fs::write(files.path().join("init.sql"), "SELECT 1;\n").unwrap();
        let before = Left::of(&server).await;
        Self { server, files, before }
    }

    /// The command line of the shortest session that verifies something.
    fn arguments(&self, more: &[&str]) -> Vec<String> {
        let file = |name: &str| self.files.path().join(name).to_str().unwrap().to_owned();
        let options = "--scale 1 --clients 2 --threads 1 --trials 3 --warmup-seconds 0 --measure-seconds 2 \
                       --verification-pairs 2 --algorithm heuristic --memory 2GB --cpu 2";
        let places = [
            ("--dsn", self.server.text("postgres", "postgres")),
            ("--script", file("script.sql")),
            ("--init", file("init.sql")),
            ("--report", file("report.json")),
        ];
        let places = places.into_iter().flat_map(|(option, value)| [option.to_owned(), value]);
        places.chain(options.split_whitespace().chain(more.iter().copied()).map(str::to_owned)).collect()
    }

    fn parsed(&self, more: &[&str]) -> Tune {
        Subcommand::parse_from(std::iter::once("tune".to_owned()).chain(self.arguments(more))).tune
    }

    async fn target(&self, more: &[&str]) -> Target {
        let tune = self.parsed(more);
        Target::open(self.server.uri("postgres", "postgres"), None, &tune, &tune.spec()).await.unwrap()
    }

    fn report(&self) -> Value {
        serde_json::from_str(&fs::read_to_string(self.files.path().join("report.json")).unwrap()).unwrap()
    }

    async fn assert_untouched(&self) {
        assert_eq!(Left::of(&self.server).await, self.before);
    }
}

fn parameters(pairs: &[(&str, &str)]) -> Parameters {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn a_session_reports_every_trial_and_restores_the_settings() {
    let subject = Subject::new().await;
    assert_eq!(tune::run(subject.parsed(&["--profile", "classic"])).await.unwrap(), ExitCode::SUCCESS);
    subject.assert_untouched().await;

    let report = subject.report();
    assert_eq!(report["outcome"], "Improved", "{report:#}");
    assert!(report["interval"][0].as_f64().unwrap() > 100.0, "{report:#}");
    assert_eq!(report["baselineParameters"]["checkpoint_timeout"], "7min");
    let trials = report["trials"].as_array().unwrap();
    let kinds: Vec<&str> = trials.iter().map(|trial| trial["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds[..2], ["Baseline", "Heuristic"]);
    assert!(kinds.len() >= 6 && kinds[2..].iter().all(|kind| *kind == "Verify"), "{kinds:?}");
    for (trial, number) in trials.iter().zip(1..) {
        assert_eq!((trial["number"].as_i64(), trial["state"].as_str()), (Some(number), Some("Observed")), "{trial:#}");
        assert!(trial["tps"].as_f64().unwrap() > 0.0, "{trial:#}");
    }
}

#[tokio::test]
async fn a_verified_recommendation_stays_where_it_is_to_be_applied() {
    let subject = Subject::new().await;
    let code = tune::run(subject.parsed(&["--profile", "classic", "--apply"])).await.unwrap();
    assert_eq!(code, ExitCode::SUCCESS);
    let report = subject.report();
    let changes = report["recommendation"]["parameters"].as_array().unwrap();
    assert!(changes.iter().any(|change| change["name"] == "work_mem"), "{report:#}");
    let settings = asked::settings(&subject.server.superuser().await).await.unwrap();
    for change in changes {
        assert_eq!(settings[change["name"].as_str().unwrap()].configured(), change["new"].as_str().unwrap());
    }
}

#[tokio::test]
async fn a_recommendation_that_can_not_be_applied_is_undone() {
    let subject = Subject::new().await;
    let target = subject.target(&[]).await;
    // In the order of their names, so that the first is stored when the second is refused.
    let refused = target.apply(&parameters(&[("maintenance_work_mem", "70MB"), ("work_mem", "nonsense")])).await;
    let refused = format!("{:#}", refused.unwrap_err());
    assert!(refused.contains("the original settings are restored") && refused.contains("nonsense"), "{refused}");
    subject.assert_untouched().await;
}

#[tokio::test]
async fn what_a_session_could_not_put_back_is_refused_before_it_begins() {
    let subject = Subject::new().await;
    let refused = async |more: &[&str]| {
        let tune = subject.parsed(more);
        let opened = Target::open(subject.server.uri("postgres", "postgres"), None, &tune, &tune.spec()).await;
        opened.err().map(|error| error.to_string())
    };
    assert_eq!(refused(&[]).await, None);
    let full = refused(&["--data-volume", "10MB"]).await.unwrap();
    assert!(full.contains("--data-volume") && full.contains("WAL"), "{full}");
    subject.assert_untouched().await;

    // Somebody's value that the first trial's reload would bring into effect, and no restoring would take back.
    let mut file = fs::OpenOptions::new().append(true).open(subject.server.data().join("postgresql.conf")).unwrap();
    std::io::Write::write_all(&mut file, b"work_mem = '5MB'\n").unwrap();
    let waiting = refused(&[]).await.unwrap();
    assert!(waiting.contains("work_mem") && waiting.contains("pg_reload_conf"), "{waiting}");
    let client = subject.server.superuser().await;
    configuration::reload(&client).await.unwrap();
    assert_eq!(refused(&[]).await, None);
    configuration::alter_system(&client, &parameters(&[("shared_buffers", "24MB")])).await.unwrap();
    configuration::reload(&client).await.unwrap();
    let data = subject.server.data().display().to_string();
    let pending = refused(&["--pgdata", &data, "--allow-restart"]).await.unwrap();
    assert!(pending.contains("shared_buffers") && pending.contains("restart"), "{pending}");
}

#[tokio::test]
async fn a_server_that_recovers_from_a_crash_gets_its_settings_back() {
    let subject = Subject::new().await;
    let target = subject.target(&[]).await;
    target.bring(&parameters(&[("work_mem", "5MB")])).await.unwrap();
    // The shell's parent is the session's process.
    let crash = "COPY (SELECT 1) TO PROGRAM 'kill -KILL $PPID'";
    subject.server.superuser().await.batch_execute(crash).await.unwrap_err();
    target.restore().await.unwrap();
    subject.assert_untouched().await;
}

#[tokio::test]
async fn a_restart_that_is_interrupted_ends_before_the_settings_are_restored() {
    let subject = Subject::new().await;
    let data = subject.server.data();
    let target = subject.target(&["--allow-restart", "--pgdata", data.to_str().unwrap()]).await;
    let uri = subject.server.uri("postgres", "postgres");
    // A stop waits for the end of this.
    let busy = subject.server.superuser().await;
    let work = r#"COPY (SELECT 1) TO PROGRAM 'trap "" TERM; sleep 2'"#;
    tokio::spawn(async move { busy.batch_execute(work).await });
    let stopping = async { while connect(&uri, None, DEADLINE).await.is_ok() {} };
    let larger = parameters(&[("shared_buffers", "24MB")]);
    tokio::select! {
        brought = target.bring(&larger) => panic!("it was not interrupted: {brought:?}"),
        () = stopping => {}
    }
    target.restore().await.unwrap();
    subject.assert_untouched().await;
}

/// Starts `howdah tune` and waits until a trial has changed a setting.
async fn begun(subject: &Subject) -> tokio::process::Child {
    // As from a terminal, also where the tests themselves were started by nohup.
    let child = Command::new("env")
        .args(["--default-signal=HUP", env!("CARGO_BIN_EXE_howdah"), "tune", "--profile", "classic"])
        .args(subject.arguments(&[]))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let client = subject.server.superuser().await;
    let changed = async {
        while client.query_one("SHOW work_mem", &[]).await.unwrap().get::<_, String>(0) == "4MB" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, changed).await.expect("a trial should begin");
    child
}

#[tokio::test]
async fn a_lost_terminal_leaves_nothing_behind() {
    let subject = Subject::new().await;
    let mut child = begun(&subject).await;
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().await.unwrap().success());
    let ended = tokio::time::timeout(DEADLINE, child.wait()).await.expect("it should end").unwrap();
    assert_eq!(ended.code(), Some(1));
    subject.assert_untouched().await;

    // Nobody reads what it says any more.
    let mut child = begun(&subject).await;
    drop(child.stdout.take());
    let ended = tokio::time::timeout(DEADLINE, child.wait()).await.expect("it should end").unwrap();
    assert_eq!(ended.code(), Some(1));
    subject.assert_untouched().await;
    assert!(!Path::new(&subject.files.path().join("report.json")).exists());
}
