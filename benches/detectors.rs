//! A hundred detectors of one operator, each looked at every step as the reconcile loop does it: the detector read from the
//! API server, its rows from a real Prometheus, scored, decided and told. The API server is a part of this process, so
//! that its time counts as the operator's; Prometheus's is its own. Prints the share of a core that both take.
//!
//! `cargo bench --profile dev --bench detectors`

#[path = "../tests/api_server/mod.rs"]
mod api_server;
#[expect(dead_code, reason = "shared with tests, which use more of it")]
#[path = "../tests/detector/cluster.rs"]
mod cluster;
#[expect(dead_code, reason = "shared with tests, which use more of it")]
#[path = "../tests/detector/history.rs"]
mod history;
#[expect(dead_code, reason = "shared with tests, which use more of it")]
#[path = "../tests/detector/operator.rs"]
mod operator;

use std::fs;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use howdah::anomaly::crd::AnomalyDetector;
use howdah::cli::bench::process::cpu_seconds;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use history::Prometheus;
use operator::Operator;

const DETECTORS: u32 = 100;
/// Gauges beside the twelve metrics of the database: a hundred features and their settings.
const GAUGES: usize = 88;
const STEP: Duration = Duration::from_secs(15);
/// Looks at each detector that are measured.
const ROUNDS: u32 = 4;
/// Share of a core that all of them may take.
const MOST: f64 = 0.25;

fn spec(prometheus: &Prometheus) -> Value {
    let gauge = |number| json!({"name": format!("made_{number}"), "kind": "Gauge", "query": format!("made_{number}")});
    json!({
        "instanceRef": {"name": "shop"},
        "prometheus": {"url": prometheus.url, "selector": {"instance": "shop"}},
        "features": {"packs": ["PostgresExporter"], "extra": (0..GAUGES).map(gauge).collect::<Vec<_>>()},
        "step": "15s",
        "training": {"window": "14d", "minHistory": "2h"},
        "model": {"type": "Autoencoder"},
    })
}

#[tokio::main]
async fn main() {
    let operator = Operator::start().await;
    let prometheus = Prometheus::start_with(None, GAUGES).await;
    operator.cluster.create(spec(&prometheus));
    for _ in 0..3 {
        operator.look().await;
    }
    let result = operator.run_job();
    println!("Trained once, for all: {} features.", result["trained"]["features"]);
    operator.look().await;
    let twins: Vec<AnomalyDetector> =
        (0..DETECTORS).map(|number| twin(&operator, &format!("orders-{number}"))).collect();

    // The first look reads a model's whole memory back: it is Prometheus that takes seconds for it.
    let first = stream::iter(&twins).map(|twin| operator.look_at(twin.clone()));
    first.buffer_unordered(2).for_each(|_| async {}).await;
    assert!(operator.condition("Scoring").starts_with("True"), "{}", operator.condition("Scoring"));
    let scored = scored(&operator);
    let mut ticks = interval(STEP / DETECTORS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let cpu = |pid: u32| cpu_seconds(pid).unwrap();
    // One round for rows that came since, the others as in operation.
    let (mut began, mut before) = (Instant::now(), (0.0, 0.0));
    for round in 0..=ROUNDS {
        if round == 1 {
            (began, before) = (Instant::now(), (cpu(std::process::id()), cpu(prometheus.child.id())));
        }
        for twin in &twins {
            ticks.tick().await;
            operator.look_at(twin.clone()).await;
        }
    }
    let (elapsed, looks) = (began.elapsed().as_secs_f64(), f64::from(ROUNDS * DETECTORS));
    let (own, theirs) = (cpu(std::process::id()) - before.0, cpu(prometheus.child.id()) - before.1);
    let rows = self::scored(&operator) - scored;
    assert!(rows >= u64::from(ROUNDS * DETECTORS), "{rows} rows were scored in {looks} looks");
    println!("{DETECTORS} detectors every {} s for {elapsed:.0} s: {rows} rows scored.", STEP.as_secs());
    let show = |who: &str, seconds: f64| {
        println!("{who:12} {:5.1} ms a look, {:4.1} % of a core", 1000.0 * seconds / looks, 100.0 * seconds / elapsed);
    };
    show("The operator", own);
    show("Prometheus", theirs);
    let kept = own / elapsed <= MOST && elapsed < 1.1 * f64::from(ROUNDS) * STEP.as_secs_f64();
    println!("At most {:.0} % of a core, in time: {}", 100.0 * MOST, if kept { "kept" } else { "NOT KEPT" });
    std::process::exit(i32::from(!kept));
}

/// The detector under another name, with the model in the store under its uid.
fn twin(operator: &Operator, name: &str) -> AnomalyDetector {
    let mut twin = operator.detector();
    (twin.metadata.name, twin.metadata.uid) = (Some(name.to_owned()), Some(cluster::uid(name)));
    let models = operator.models.path().join("anomaly/shop");
    let (from, to) = (models.join(cluster::UID), models.join(cluster::uid(name)));
    fs::create_dir_all(&to).unwrap();
    let model = twin.status.as_ref().and_then(|status| status.model.as_ref()).expect("a model was promoted");
    fs::copy(from.join(&model.name), to.join(&model.name)).unwrap();
    twin
}

/// Rows that were scored, of all detectors.
fn scored(operator: &Operator) -> u64 {
    let text = operator.room.0.metrics.text().unwrap();
    let rows = text.lines().filter(|line| line.starts_with("howdah_anomaly_rows_scored_total{"));
    rows.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}
