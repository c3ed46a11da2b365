//! A Prometheus server whose storage holds eight hours of a database's metrics up to ten minutes ahead, with a fault in
//! the last minutes: a dropped index.

use std::fmt::Write;
use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use howdah::world::http::Access;
use howdah::world::prometheus::Prometheus as Client;
use k8s_openapi::jiff::Timestamp;
use tempfile::TempDir;
use tokio::time::sleep;

pub const FAULT_BEGAN_SECONDS_AGO: i64 = 300;
const HISTORY_SECONDS: i64 = 8 * 3600;
const AHEAD_SECONDS: i64 = 600;
const STEP: i64 = 15;
const PATIENCE: Duration = Duration::from_secs(40);

pub struct Prometheus {
    pub url: String,
    /// When the fault began, in seconds since 1970.
    pub fault_began: i64,
    /// Its process.
    pub child: Child,
    _directory: TempDir,
}

impl Prometheus {
    /// With a fault in the last minutes.
    pub async fn start() -> Self {
        Self::start_with(Some(FAULT_BEGAN_SECONDS_AGO), 0).await
    }

    /// With a fault that began so many seconds ago, if any, and so many gauges `made_N` beside the database's metrics.
    pub async fn start_with(fault: Option<i64>, gauges: usize) -> Self {
        let directory = tempfile::Builder::new().prefix("howdah-history-").tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let now = Timestamp::now().as_second();
        let fault_began = fault.map_or(i64::MAX, |ago| now - ago);
        fs::write(path("metrics"), metrics(now, fault_began, gauges)).unwrap();
        fs::write(path("prometheus.yml"), "scrape_configs: []\n").unwrap();
        let blocks = Command::new("promtool")
            .args(["tsdb", "create-blocks-from", "openmetrics"])
            .args([path("metrics"), path("data")])
            .output()
            .expect("promtool comes with Debian's prometheus: run setup/packages.sh test");
        assert!(blocks.status.success(), "{}", String::from_utf8_lossy(&blocks.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", path("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", path("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { url: format!("http://127.0.0.1:{port}"), fault_began, child, _directory: directory };
        let client = Client::new(&Access::to(&server.url), Duration::from_secs(5)).unwrap();
        let begin = Instant::now();
        while client.now().await.is_err() {
            assert!(begin.elapsed() < PATIENCE, "Prometheus does not start");
            sleep(Duration::from_millis(200)).await;
        }
        server
    }

    /// It goes away.
    pub fn stop(&mut self) {
        // It may have ended by itself: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A metric: its name, whether it is a counter, its level in normal operation and in the fault (a counter's per second).
const METRICS: &[(&str, bool, f64, f64)] = &[
    ("pg_stat_database_xact_commit", true, 300.0, 90.0),
    ("pg_stat_database_xact_rollback", true, 2.0, 2.0),
    ("pg_stat_database_tup_returned", true, 9000.0, 400_000.0),
    ("pg_stat_database_tup_fetched", true, 4000.0, 1500.0),
    ("pg_stat_database_tup_inserted", true, 120.0, 40.0),
    ("pg_stat_database_tup_updated", true, 260.0, 80.0),
    ("pg_stat_database_blks_hit", true, 20_000.0, 60_000.0),
    ("pg_stat_database_blks_read", true, 200.0, 260.0),
    ("pg_stat_database_numbackends", false, 24.0, 60.0),
    ("pg_stat_user_tables_seq_tup_read", true, 1200.0, 480_000.0),
    ("pg_stat_user_tables_idx_scan", true, 3000.0, 300.0),
    ("pg_settings_shared_buffers_bytes", false, 134_217_728.0, 134_217_728.0),
];

/// OpenMetrics of the whole time. The noise comes from a generator of its own, so that every run sees the same.
fn metrics(now: i64, fault_began: i64, gauges: usize) -> String {
    let mut text = String::new();
    let mut state = 88_172_645_463_325_252u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % 10_000) as f64 / 10_000.0 - 0.5
    };
    let begin = (now - HISTORY_SECONDS) / STEP * STEP;
    let made: Vec<String> = (0..gauges).map(|number| format!("made_{number}")).collect();
    let made = made.iter().map(|name| (name.as_str(), false, 100.0, 300.0));
    for (name, counter, normal, fault) in METRICS.iter().copied().chain(made) {
        let constant = normal == fault && !counter;
        let mut total = 0.0;
        let mut time = begin;
        while time <= now + AHEAD_SECONDS {
            let level = if time >= fault_began { fault } else { normal };
            let wave = 1.0 + 0.1 * (time as f64 / 1800.0).sin();
            let value = if constant { level } else { level * wave * (1.0 + 0.1 * noise()) };
            total += value * STEP as f64;
            let shown = if counter { total } else { value };
            let _ = writeln!(text, "{name}{{instance=\"shop\"}} {shown} {time}");
            time += STEP;
        }
    }
    text + "# EOF\n"
}
