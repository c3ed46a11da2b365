//! Looks at an instance: its Secret, its server, its workload, its ConfigMap. Not seeing is a fact.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{Client, ResourceExt};
use tokio::time::timeout;

use super::crd::{PostgresInstance, SecretKeyReference, WorkloadReference};
use super::decide::OLDEST_MAJOR;
use super::facts::{ConfigurationKey, InstanceFacts, Server, Trouble, Workload};
use super::reason::Reason;
use crate::kubernetes::pod::PodFacts;
use crate::kubernetes::workload::WorkloadFacts;
use crate::postgres::error::{ConnectError, QueryError};
use crate::postgres::uri::Uri;
use crate::world::kubernetes::secret::{self, SecretText};
use crate::world::kubernetes::{KubeError, config_map, workload};
use crate::world::pgbench::database::DATABASE;
use crate::world::postgres::{self, container, rights, server};

/// A server that takes longer to accept a connection is unreachable.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// A server that takes longer to answer all questions is too busy to be tuned.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Gathers everything that is known of an instance. The sources are asked at the same time.
pub async fn facts(client: &Client, instance: &PostgresInstance) -> InstanceFacts {
    let namespace = instance.namespace().unwrap_or_default();
    let (server, workload, configuration) = tokio::join!(
        see_server(client, instance),
        see_workload(client, &namespace, instance.spec.workload.as_ref()),
        see_configuration(client, &namespace, instance),
    );
    let address = server.as_ref().ok().and_then(|server| server.facts.address.as_deref());
    let last = instance.status.as_ref().and_then(|status| status.pod.as_deref());
    let container = instance.spec.workload.as_ref().and_then(|reference| reference.container.as_deref());
    let workload = workload.map(|seen| {
        seen.map(|(facts, pods)| {
            let pod = server_pod(&pods, address, last).map(|pod| PodFacts::of(pod, container));
            Workload { facts, pod }
        })
    });
    InstanceFacts {
        name: instance.name_any(),
        namespace,
        generation: instance.metadata.generation,
        spec: instance.spec.clone(),
        server,
        workload,
        configuration,
    }
}

/// Opens a connection to the instance's server.
///
/// # Errors
/// Why there is none: the Secret, the URI, the network, the server or the role.
pub async fn open(client: &Client, instance: &PostgresInstance) -> Result<(postgres::Client, Uri), Trouble> {
    let namespace = instance.namespace().unwrap_or_default();
    let (found, uri) = connection(client, &namespace, &instance.spec.connection.secret_ref).await?;
    let server = postgres::connect(&uri, found.ca.as_deref().map(str::as_bytes), CONNECT_WITHIN);
    Ok((server.await.map_err(|error| connect_trouble(&error))?, uri))
}

/// Reads the URI of a connection, and the Secret that it stands in.
///
/// # Errors
/// The Secret or its key is missing, or is no URI that could be used.
pub async fn connection(
    client: &Client,
    namespace: &str,
    reference: &SecretKeyReference,
) -> Result<(SecretText, Uri), Trouble> {
    let found = secret::read(client, namespace, &reference.name, &reference.key)
        .await
        .map_err(|error| cluster_trouble(error, Reason::SecretMissing))?;
    let place = format!("key {:?} of Secret {namespace}/{}", reference.key, reference.name);
    let text = found.value.as_ref().filter(|text| !text.is_empty()).ok_or_else(|| {
        Trouble::new(
            Reason::SecretKeyMissing,
            format!("{place} is missing, empty or no text; put the connection URI there"),
        )
    })?;
    let uri: Uri = text.parse().map_err(|error| Trouble::new(Reason::InvalidUri, format!("{place}: {error}")))?;
    if uri.ssl_mode.verifies() && found.ca.is_none() {
        let message = format!(
            "sslmode={} needs the CA certificate in the key ca.crt of Secret {namespace}/{}",
            uri.ssl_mode.word(),
            reference.name
        );
        return Err(Trouble::new(Reason::TlsFailed, message));
    }
    Ok((found, uri))
}

async fn see_server(client: &Client, instance: &PostgresInstance) -> Result<Server, Trouble> {
    let (connection, _) = open(client, instance).await?;
    match timeout(ANSWER_WITHIN, ask(&connection)).await {
        Ok(answer) => answer.map_err(|error| query_trouble(&error)),
        Err(_) => {
            let message = format!("the server did not answer within {} s; check its load", ANSWER_WITHIN.as_secs());
            Err(Trouble::new(Reason::QueryFailed, message))
        }
    }
}

/// Asks a server everything that is to be known of it; one that is too old for that, only what it is.
///
/// # Errors
/// A question failed.
pub async fn ask(connection: &postgres::Client) -> Result<Server, QueryError> {
    let facts = server::server_facts(connection).await?;
    if facts.major() < OLDEST_MAJOR {
        return Ok(Server { facts, ..Server::default() });
    }
    let needs = rights::Needs { benchmark_database: DATABASE, alter_system: &[] };
    let container = match container::find(connection).await? {
        Some(cgroup) => container::read(connection, cgroup).await?,
        None => None,
    };
    Ok(Server {
        facts,
        rights: rights::rights(connection, &needs).await?,
        settings: server::settings(connection).await?,
        file_settings: match server::file_settings(connection).await {
            Ok(lines) => Some(lines),
            Err(QueryError::Denied { .. }) => None,
            Err(error) => return Err(error),
        },
        container,
    })
}

/// The workload and its pods, oldest first.
async fn see_workload(
    client: &Client,
    namespace: &str,
    reference: Option<&WorkloadReference>,
) -> Option<Result<(WorkloadFacts, Vec<Pod>), Trouble>> {
    let WorkloadReference { kind, name, .. } = reference?;
    let seen = async {
        let facts = workload::read(client, namespace, *kind, name).await?;
        let pods = workload::pods(client, namespace, &facts).await?;
        Ok((facts, pods))
    };
    Some(seen.await.map_err(|error| cluster_trouble(error, Reason::WorkloadMissing)))
}

/// The pod that runs the server, of a workload's pods, oldest first: the one with the server's address; where the server
/// does not say, as while it is down, the one that ran it last; else the newest.
fn server_pod<'a>(pods: &'a [Pod], address: Option<&str>, last: Option<&str>) -> Option<&'a Pod> {
    let lasting = || pods.iter().rev().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let address = address.and_then(|text| text.parse::<IpAddr>().ok());
    let is_at = |pod: &&Pod| {
        let status = pod.status.as_ref();
        let listed = status.and_then(|status| status.pod_ips.as_deref()).unwrap_or_default();
        let ips = status
            .and_then(|status| status.pod_ip.as_deref())
            .into_iter()
            .chain(listed.iter().map(|ip| ip.ip.as_str()));
        ips.filter_map(|ip| ip.parse().ok()).any(|ip| Some(ip) == address)
    };
    let is_last = |pod: &&Pod| last.is_some() && pod.metadata.name.as_deref() == last;
    lasting().find(is_at).or_else(|| lasting().find(is_last)).or_else(|| lasting().next()).or(pods.last())
}

async fn see_configuration(
    client: &Client,
    namespace: &str,
    instance: &PostgresInstance,
) -> Option<Result<ConfigurationKey, Trouble>> {
    let reference = instance.spec.configuration.config_map.as_ref()?;
    let found = config_map::read(client, namespace, &reference.name, &reference.key).await;
    Some(match found {
        Ok(key) => Ok(ConfigurationKey { text: key.text, other_owners: key.other_owners }),
        Err(error) => Err(cluster_trouble(error, Reason::ConfigMapMissing)),
    })
}

/// The trouble behind an error of the cluster; `missing` is the reason when the object does not exist.
pub(super) fn cluster_trouble(error: KubeError, missing: Reason) -> Trouble {
    let reason = match &error {
        KubeError::NotFound { .. } => missing,
        KubeError::Conflict { .. } => Reason::FieldConflict,
        KubeError::Forbidden { .. } => Reason::Forbidden,
        KubeError::Other { .. } => Reason::ApiServerFailed,
    };
    Trouble::new(reason, error.to_string())
}

/// The trouble behind a query that failed.
pub(super) fn query_trouble(error: &QueryError) -> Trouble {
    let reason = match error {
        QueryError::Denied { .. } => Reason::MissingRights,
        QueryError::Lost { .. } => Reason::Unreachable,
        QueryError::Failed { .. } => Reason::QueryFailed,
    };
    Trouble::new(reason, error.to_string())
}

fn connect_trouble(error: &ConnectError) -> Trouble {
    let reason = match error {
        ConnectError::WrongPassword(_) => Reason::WrongPassword,
        ConnectError::UnknownHost { .. }
        | ConnectError::Refused { .. }
        | ConnectError::Timeout { .. }
        | ConnectError::Other(_) => Reason::Unreachable,
        ConnectError::NoSuchDatabase(_) => Reason::NoSuchDatabase,
        ConnectError::Tls(_) => Reason::TlsFailed,
        ConnectError::StartingUp(_) => Reason::StartingUp,
        ConnectError::TooManyConnections(_) => Reason::TooManyConnections,
    };
    Trouble::new(reason, error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_replicas_the_server_s_pod_is_the_one_with_its_address() {
        let pod = |name: &str, ips: &[&str], deleted: bool| -> Pod {
            let ips: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
            let deleted = deleted.then_some("2024-05-01T10:00:00Z");
            let metadata = json!({"name": name, "deletionTimestamp": deleted});
            serde_json::from_value(json!({"metadata": metadata, "status": {"podIP": ips[0]["ip"], "podIPs": ips}}))
                .unwrap()
        };
        let pods = [pod("db-0", &["10.0.0.1", "fd00::1"], false), pod("db-1", &["10.0.0.2"], false)];
        let found = |pods: &[Pod], address, last| server_pod(pods, address, last)?.metadata.name.clone();
        assert_eq!(found(&pods, Some("10.0.0.1"), Some("db-1")).as_deref(), Some("db-0"));
        assert_eq!(found(&pods, Some("fd00:0::1"), None).as_deref(), Some("db-0"));
        // It does not answer, or a proxy answers in its place.
        assert_eq!(found(&pods, None, Some("db-0")).as_deref(), Some("db-0"));
        assert_eq!(found(&pods, Some("127.0.0.1"), Some("db-9")).as_deref(), Some("db-1"));
        assert_eq!(found(&pods, None, None).as_deref(), Some("db-1"));
        // One that is being deleted has a successor.
        let replaced = [pod("a", &["10.0.0.1"], true), pod("b", &["10.0.0.2"], false)];
        assert_eq!(found(&replaced, Some("10.0.0.1"), Some("a")).as_deref(), Some("b"));
        assert_eq!(found(&replaced[..1], Some("10.0.0.1"), None).as_deref(), Some("a"));
        assert_eq!(found(&[], None, None), None);
    }
}
