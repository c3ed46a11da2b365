//! How fast a model answers: in the process, and over HTTP at a steady rate.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Cost, replayed, verdict};
use crate::cli::bench::process::Resident;
use crate::cli::bench::{build, mib};
use crate::cli::block_on;
use crate::cost::answer::{Detail, Predictor};
use crate::cost::log::Log;
use crate::cost::model::CostModel;
use crate::cost::replay::Replay;
use crate::cost::train::{Options, train};

/// Rows that the model learns from, and statements that it is asked for.
const ROWS: u64 = 50_000;
const ASKED: u64 = 20_000;
const IN_PROCESS: Duration = Duration::from_micros(200);
const OVER_HTTP: Duration = Duration::from_millis(1);
const SERVER_BYTES: u64 = 150 << 20;

/// Prints the times; whether the promises are kept.
pub(super) fn run(options: &Cost) -> Result<bool> {
    let trained_with = Options { beside: Vec::new(), seed: options.seed, ..Options::default() };
    let log = Replay::new(ROWS, 0.9, options.seed);
    let model = train(&log, &replayed::targets()?, &trained_with, &mut |_| {})?.model;
    let mut statements = Vec::new();
    // Half of them are new to the model.
    Replay::new(ASKED, 0.5, options.seed + 1).read(&mut |statement| statements.push(statement.query))?;
    let (known, columns) = (model.known.len(), model.vocabulary.names.len());
    println!(
        "\nanswers, {}: 2 targets, {columns} columns, {known} fingerprints, {ASKED} statements, half of them new",
        build()
    );
    let mut kept = in_process(&model, &statements);
    kept &= over_http(options, &model, statements)?;
    Ok(kept)
}

/// The time that this share took at the most.
fn percentile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    times.get(((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn in_process(model: &CostModel, statements: &[String]) -> bool {
    let ask = |statement: &String| {
        let began = Instant::now();
        std::hint::black_box(model.predict(&[statement.as_str()], &[], Detail::default()));
        began.elapsed()
    };
    // The first answers find memory and caches cold.
    for statement in statements.iter().take(1000) {
        ask(statement);
    }
    let mut times: Vec<Duration> = statements.iter().map(ask).collect();
    let (half, most) = (percentile(&mut times, 0.5), percentile(&mut times, 0.99));
    let kept = most <= IN_PROCESS;
    println!(
        "  in the process: p50 {:.0} us, p99 {:.0} us, promised {:.0} us: {}",
        micros(half),
        micros(most),
        micros(IN_PROCESS),
        verdict(kept)
    );
    kept
}

/// Ends the server, whatever happens.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn over_http(options: &Cost, model: &CostModel, statements: Vec<String>) -> Result<bool> {
    let directory = tempfile::tempdir()?;
    for (name, bytes) in model.save() {
        std::fs::write(directory.path().join(name), bytes)?;
    }
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["cost", "serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--model"]).arg(directory.path());
    // One core for the server, as promised; the callers have the others.
    let mut server = Server(command.env("TOKIO_WORKER_THREADS", "1").stderr(Stdio::piped()).spawn()?);
    let mut lines = BufReader::new(server.0.stderr.take().context("its log is piped")?).lines();
    let address = lines
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| Some(serde_json::from_str::<serde_json::Value>(&line).ok()?["address"].as_str()?.to_owned()))
        .context("the server ended before it served")?;
    let mut times = block_on(load(&address, options.rate, options.seconds, statements))??;
    let resident = Resident::of_process(server.0.id())?;
    let (count, half, most) = (times.len(), percentile(&mut times, 0.5), percentile(&mut times, 0.99));
    let quick = most <= OVER_HTTP;
    println!(
        "  over HTTP: {count} requests at {} a second, p50 {:.0} us, p99 {:.0} us, promised {:.0} us: {}",
        options.rate,
        micros(half),
        micros(most),
        micros(OVER_HTTP),
        verdict(quick)
    );
    let all = resident.own + resident.libtorch;
    println!(
        "  the server's memory: {:.0} MiB, of which {:.0} MiB are pages of libtorch's files, promised {:.0} MiB: {}",
        mib(all),
        mib(resident.libtorch),
        mib(SERVER_BYTES),
        verdict(all <= SERVER_BYTES)
    );
    Ok(quick && all <= SERVER_BYTES)
}

/// Asks at a steady rate, whatever the answers take.
async fn load(address: &str, rate: u32, seconds: u32, statements: Vec<String>) -> Result<Vec<Duration>> {
    crate::cli::choose_tls_provider();
    let client = reqwest::Client::builder().pool_max_idle_per_host(64).build()?;
    let url: Arc<str> = format!("http://{address}/v1/predict").into();
    let bodies: Vec<String> =
        statements.into_iter().map(|query| serde_json::json!({"queries": [query]}).to_string()).collect();
    let mut times = Vec::new();
    // A second to open connections.
    for (counted, length) in [(false, 1), (true, seconds)] {
        let begin = Instant::now();
        let mut requests = Vec::new();
        for number in 0..rate * length {
            let due = begin + Duration::from_secs_f64(f64::from(number) / f64::from(rate));
            tokio::time::sleep_until(due.into()).await;
            // From here, and not from when it was due: the runtime's timer is a millisecond coarse.
            let sent = Instant::now();
            let request = client.post(&*url).body(bodies[number as usize % bodies.len()].clone()).send();
            requests.push(tokio::spawn(async move {
                let answer = request.await?.error_for_status()?;
                answer.bytes().await?;
                Ok::<Duration, reqwest::Error>(sent.elapsed())
            }));
        }
        for request in requests {
            let time = request.await??;
            if counted {
                times.push(time);
            }
        }
    }
    ensure!(!times.is_empty(), "no request was made");
    Ok(times)
}
