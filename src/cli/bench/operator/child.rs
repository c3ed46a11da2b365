//! An operator as a child process, watched from outside.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client};
use tempfile::TempDir;
use tokio::time::sleep;

use super::super::process::{Resident, cpu_seconds};
use crate::cli::probe;

/// An operator that has not reconciled every object by then is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const COUNTER: &str = "controller_runtime_reconcile_total{controller=\"postgresinstance\"";

/// A running operator; it is killed when this is dropped.
pub struct Operating {
    child: Child,
    metrics: String,
    started: Instant,
    /// Its model store, removed with it.
    _models: TempDir,
}

/// What reconciling every object took, from the process's start.
pub struct Round {
    /// Reconciles of instances.
    pub reconciles: f64,
    /// Processor time of all threads.
    pub cpu_seconds: f64,
    /// Time of the clock.
    pub wall_seconds: f64,
}

impl Operating {
    /// Starts an operator for one namespace, which also holds its lease.
    ///
    /// # Errors
    /// When the process can't be started.
    pub async fn start(client: &Client, namespace: &str) -> Result<Self> {
        // One that was killed has not released it.
        let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
        let gone = leases.delete_collection(&DeleteParams::default(), &ListParams::default()).await;
        gone.with_context(|| format!("the lease in {namespace} can't be removed"))?;
        let models = TempDir::with_prefix("howdah-bench-").context("no directory for the models")?;
        let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).context("no free port")?;
        let own = std::env::current_exe().context("this program's own file is unknown")?;
        let child = Command::new(own)
            .args(["operator", "--namespace", namespace, "--lease-namespace", namespace])
            .args(["--listen", &address.to_string()])
            .args(["--model-store", &format!("file://{}", models.path().display())])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("the operator can't be started")?;
        Ok(Self { child, metrics: format!("http://{address}/metrics"), started: Instant::now(), _models: models })
    }

    /// Waits until as many reconciles have ended as there are objects: at its start the operator sees each once.
    ///
    /// # Errors
    /// When the operator ends or is stuck.
    pub async fn every_object_once(&mut self, objects: u32) -> Result<Round> {
        loop {
            let ended = self.child.try_wait().context("the operator can't be looked at")?;
            ensure!(ended.is_none(), "the operator ended; run `howdah operator` to see why");
            ensure!(self.started.elapsed() < STUCK_AFTER, "the operator did not reconcile {objects} objects");
            // It does not listen yet.
            let text = probe::get(&self.metrics).await.unwrap_or_default();
            let reconciles = count(&text);
            if reconciles >= f64::from(objects) {
                return Ok(Round {
                    reconciles,
                    cpu_seconds: cpu_seconds(self.child.id())?,
                    wall_seconds: self.started.elapsed().as_secs_f64(),
                });
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Its memory now.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resident(&self) -> Result<Resident> {
        Resident::of_process(self.child.id())
    }
}

impl Drop for Operating {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reconciles of instances, whatever their result.
fn count(metrics: &str) -> f64 {
    let lines = metrics.lines().filter(|line| line.starts_with(COUNTER));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconciles_are_summed_over_their_results() {
        let text = "\
controller_runtime_reconcile_total{controller=\"postgresinstance\",result=\"success\"} 40
controller_runtime_reconcile_total{controller=\"postgresinstance\",result=\"error\"} 2
controller_runtime_reconcile_total{controller=\"postgrestuning\",result=\"success\"} 7
";
        assert_eq!(count(text), 42.0);
    }
}
