//! Leader election: of several replicas, the holder of a Lease reconciles.
//!
//! As client-go does it: whoever wants the lease updates it under its `resourceVersion`, so that of two that try at
//! once one is refused. A standby takes over when the record has not changed for the lease's duration by the
//! standby's own clock (clocks of two nodes are never compared), or at once when the holder has released it.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How long a silent holder keeps the lease.
const DURATION: Duration = Duration::from_secs(15);
/// How long the holder goes on without a renewal; well before a standby takes over.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
const RENEW_EVERY: Duration = Duration::from_secs(4);
/// How often a standby looks whether the lease is free.
pub const RETRY_EVERY: Duration = Duration::from_secs(1);
const REQUEST_DEADLINE: Duration = Duration::from_secs(3);

/// The lease, as one replica sees it.
pub struct LeaderLease {
    api: Api<Lease>,
    name: String,
    identity: String,
    /// The record that was seen last, and when it was first seen.
    seen: Option<(LeaseSpec, Instant)>,
}

/// What to do about a lease.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Take,
    Renew,
    Wait,
}

impl LeaderLease {
    /// A lease by name in a namespace. `identity` must be unique to this process: a restarted one is another.
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.into(), identity: identity.into(), seen: None }
    }

    /// Completes once this replica holds the lease. Errors of the API server are logged and outwaited.
    pub async fn acquire(&mut self) {
        loop {
            match self.attempt().await {
                Ok(true) => return tracing::info!(lease = self.name, identity = self.identity, "leading"),
                Ok(false) => tracing::debug!(lease = self.name, "another replica leads"),
                Err(error) => tracing::warn!(lease = self.name, %error, "can't take the lease yet"),
            }
            sleep(RETRY_EVERY).await;
        }
    }

    /// Renews the lease for as long as that succeeds. Completes when it is lost: the process must end then, because
    /// another replica may be reconciling.
    pub async fn hold(&mut self) {
        let mut renewed = Instant::now();
        loop {
            sleep(if renewed.elapsed() < RENEW_EVERY { RENEW_EVERY } else { Duration::from_secs(1) }).await;
            let began = Instant::now();
            // An attempt is two requests: together they may not outlast the deadline either.
            match timeout_at(renewed + RENEW_DEADLINE, self.attempt()).await {
                // The record counts from before it was written.
                Ok(Ok(true)) => renewed = began,
                Ok(Ok(false)) => return tracing::error!(lease = self.name, "another replica has taken the lease"),
                Ok(Err(error)) => tracing::warn!(lease = self.name, %error, "can't renew the lease"),
                Err(_) => tracing::warn!(lease = self.name, "the API server did not answer in time"),
            }
            if renewed.elapsed() > RENEW_DEADLINE {
                return tracing::error!(lease = self.name, "the lease could not be renewed in time");
            }
        }
    }

    /// Gives the lease back, so that a standby need not wait for it to run out.
    ///
    /// # Errors
    /// When the API server can't be reached or refuses.
    pub async fn release(&mut self) -> Result<(), String> {
        let mut lease = self.request(self.api.get(&self.name)).await?;
        if lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()) != Some(self.identity.as_str()) {
            return Ok(());
        }
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
        }
        self.request(self.api.replace(&self.name, &PostParams::default(), &lease)).await.map(drop)
    }

    /// One try to take or renew: whether this replica holds the lease now.
    async fn attempt(&mut self) -> Result<bool, String> {
        let found = self.request(self.api.get_opt(&self.name)).await?;
        let record = found.as_ref().and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let unchanged = self.seen.as_ref().filter(|(before, _)| *before == record).map(|(_, since)| *since);
        let since = unchanged.unwrap_or_else(Instant::now);
        self.seen = Some((record.clone(), since));
        let step = step(&record, &self.identity, since.elapsed());
        if step == Step::Wait {
            return Ok(false);
        }
        let lease = Lease {
            metadata: found.as_ref().map_or_else(|| named(&self.name), |lease| lease.metadata.clone()),
            spec: Some(held(record, &self.identity, step == Step::Take, Timestamp::now())),
        };
        let params = PostParams::default();
        let written = match found {
            Some(_) => self.request(self.api.replace(&self.name, &params, &lease)).await,
            None => self.request(self.api.create(&params, &lease)).await,
        };
        written.map(|_| true)
    }

    async fn request<T>(&self, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, String> {
        match timeout(REQUEST_DEADLINE, request).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("the API server did not answer within {} s", REQUEST_DEADLINE.as_secs())),
        }
    }
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}

fn step(record: &LeaseSpec, identity: &str, unchanged_for: Duration) -> Step {
    match record.holder_identity.as_deref().unwrap_or_default() {
        "" => Step::Take,
        holder if holder == identity => Step::Renew,
        _ => {
            let granted = record.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
            if unchanged_for >= granted.map_or(DURATION, Duration::from_secs) { Step::Take } else { Step::Wait }
        }
    }
}

fn held(before: LeaseSpec, identity: &str, taken: bool, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(DURATION.as_secs() as i32),
        acquire_time: if taken { Some(MicroTime(now)) } else { before.acquire_time },
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(before.lease_transitions.unwrap_or(0) + i32::from(taken)),
        ..before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_when_free_or_silent_and_never_from_a_living_holder() {
        let now = Timestamp::from_second(1000).unwrap();
        let a = held(LeaseSpec::default(), "a", true, now);
        assert_eq!(step(&LeaseSpec::default(), "a", Duration::ZERO), Step::Take);
        assert_eq!(step(&a, "a", DURATION * 9), Step::Renew);
        assert_eq!(step(&a, "b", DURATION - Duration::from_millis(1)), Step::Wait);
        assert_eq!(step(&a, "b", DURATION), Step::Take);
        let released = LeaseSpec { holder_identity: None, ..a.clone() };
        assert_eq!(step(&released, "b", Duration::ZERO), Step::Take);
    }

    #[test]
    fn a_renewal_keeps_the_acquisition_and_a_takeover_counts() {
        let (first, second) = (Timestamp::from_second(1).unwrap(), Timestamp::from_second(2).unwrap());
        let a = held(LeaseSpec::default(), "a", true, first);
        let renewed = held(a.clone(), "a", false, second);
        assert_eq!((renewed.acquire_time.clone(), renewed.lease_transitions), (a.acquire_time, Some(1)));
        assert_eq!(renewed.renew_time, Some(MicroTime(second)));
        assert_eq!(held(renewed, "b", true, second).lease_transitions, Some(2));
    }

    #[test]
    fn a_holder_gives_up_before_a_standby_takes_over() {
        assert!(RENEW_DEADLINE + REQUEST_DEADLINE < DURATION);
        assert!(DURATION + RETRY_EVERY + REQUEST_DEADLINE <= Duration::from_secs(20));
    }
}
