//! Looks at an instance: its Secret, its server, its workload, its ConfigMap. Not seeing is a fact.

use std::time::Duration;

use kube::{Client, ResourceExt};
use tokio::time::timeout;

use super::crd::{PostgresInstance, SecretKeyReference, WorkloadReference};
use super::facts::{ConfigurationKey, InstanceFacts, Server, Trouble, Workload};
use super::reason::Reason;
use crate::kubernetes::pod::PodFacts;
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

async fn ask(connection: &postgres::Client) -> Result<Server, QueryError> {
    let needs = rights::Needs { benchmark_database: DATABASE, alter_system: &[] };
    let container = match container::find(connection).await? {
        Some(cgroup) => container::read(connection, cgroup).await?,
        None => None,
    };
    Ok(Server {
        facts: server::server_facts(connection).await?,
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

async fn see_workload(
    client: &Client,
    namespace: &str,
    reference: Option<&WorkloadReference>,
) -> Option<Result<Workload, Trouble>> {
    let WorkloadReference { kind, name, container } = reference?;
    let seen = async {
        let facts = workload::read(client, namespace, *kind, name).await?;
        let pods = workload::pods(client, namespace, &facts).await?;
        let lasting = pods.iter().rfind(|pod| pod.metadata.deletion_timestamp.is_none());
        let pod = lasting.or(pods.last()).map(|pod| PodFacts::of(pod, container.as_deref()));
        Ok(Workload { facts, pod })
    };
    Some(seen.await.map_err(|error| cluster_trouble(error, Reason::WorkloadMissing)))
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
