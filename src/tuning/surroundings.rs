//! What the tuning room works with: clients, a store, a thread.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt};

use super::crd::PostgresTuning;
use super::facts::{Trouble, is_same_place};
use super::reason::Reason;
use crate::control::metrics::Metrics;
use crate::instance;
use crate::instance::crd::{PostgresInstance, PostgresInstanceSpec};
use crate::learn::worker::Worker;
use crate::postgres::uri::Uri;
use crate::world::postgres;
use crate::world::store::Store;

/// What the tuning room works with.
#[derive(Clone)]
pub struct Surroundings {
    /// The API server.
    pub client: Client,
    /// Where checkpoints are kept.
    pub store: Arc<Store>,
    /// The thread on which models run.
    pub worker: Worker,
    /// The image of the benchmark's Job.
    pub benchmark_image: String,
    /// Where trials are counted.
    pub metrics: Arc<Metrics>,
}

impl Surroundings {
    /// The PostgresInstance of a tuning. Until a session has settled it is configured where the session found it: what is
    /// changed there is restored there, also when the object was deleted or points elsewhere by now. Then it says so.
    pub(super) async fn place(&self, tuning: &PostgresTuning) -> Result<(PostgresInstance, Option<String>), Trouble> {
        let namespace = tuning.namespace().unwrap_or_default();
        let name = &tuning.spec.instance_ref.name;
        let instances: Api<PostgresInstance> = Api::namespaced(self.client.clone(), &namespace);
        let found = instances.get_opt(name).await.map_err(|error| Trouble {
            reason: Reason::InstanceNotReady,
            message: format!("PostgresInstance {name} can't be read: {error}"),
        })?;
        let mut in_use = in_use(tuning).cloned();
        if let (Some(found), Some(before)) = (&found, &mut in_use)
            && before.configuration.alter_system.is_some()
            && before.connection != found.spec.connection
        {
            // Credentials that moved to another Secret are those of the same server, as far as anyone can tell.
            let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &namespace);
            if let Ok(None) = secrets.get_opt(&before.connection.secret_ref.name).await {
                before.connection = found.spec.connection.clone();
            }
        }
        place(found, in_use.as_ref(), &namespace, name).ok_or_else(|| Trouble {
            reason: Reason::InstanceMissing,
            message: format!("there is no PostgresInstance {name} in namespace {namespace}: create it"),
        })
    }

    /// The PostgresInstance of a tuning, where it is configured.
    pub(super) async fn instance(&self, tuning: &PostgresTuning) -> Result<PostgresInstance, Trouble> {
        self.place(tuning).await.map(|(instance, _)| instance)
    }

    /// A connection to the tuning's server.
    pub(super) async fn server(&self, tuning: &PostgresTuning) -> Result<(postgres::Client, Uri), Trouble> {
        let instance = self.instance(tuning).await?;
        instance::observe::open(&self.client, &instance).await.map_err(instance_trouble)
    }
}

/// What the session found, as long as something of it may be in effect.
fn in_use(tuning: &PostgresTuning) -> Option<&PostgresInstanceSpec> {
    let session = tuning.status.as_ref()?.session.as_ref().filter(|session| session.settled.is_none())?;
    session.instance.as_ref()
}

fn place(
    found: Option<PostgresInstance>,
    in_use: Option<&PostgresInstanceSpec>,
    namespace: &str,
    name: &str,
) -> Option<(PostgresInstance, Option<String>)> {
    match (found, in_use) {
        (Some(mut found), Some(before)) if !is_same_place(before, &found.spec) => {
            found.spec.configuration = before.configuration.clone();
            if before.configuration.alter_system.is_some() {
                found.spec.connection = before.connection.clone();
            }
            Some((found, Some(format!("PostgresInstance {name} was made to point elsewhere in mid-session"))))
        }
        (Some(found), _) => Some((found, None)),
        (None, Some(before)) => {
            let mut gone = PostgresInstance::new(name, before.clone());
            gone.metadata.namespace = Some(namespace.to_owned());
            Some((gone, Some(format!("PostgresInstance {name} was deleted in mid-session"))))
        }
        (None, None) => None,
    }
}

/// Why a step on the instance failed, in the words of a tuning.
pub(super) fn instance_trouble(trouble: instance::Trouble) -> Trouble {
    let reason = match trouble.reason {
        instance::Reason::FieldConflict => Reason::FieldConflict,
        _ => Reason::ConfigurationNotWritten,
    };
    Trouble { reason, message: trouble.message }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(key: &str) -> PostgresInstanceSpec {
        serde_json::from_value(json!({
            "connection": {"secretRef": {"name": "shop-postgres"}},
            "configuration": {"configMap": {"name": "shop-config", "key": key}},
        }))
        .unwrap()
    }

    #[test]
    fn a_session_restores_where_it_found_the_instance() {
        let placed = |found: Option<&str>, in_use: Option<&str>| {
            let found = found.map(|key| PostgresInstance::new("shop", spec(key)));
            let (instance, elsewhere) = place(found, in_use.map(spec).as_ref(), "db", "shop")?;
            Some((instance.spec.configuration.config_map?.key, elsewhere.is_some()))
        };
        assert_eq!(placed(Some("b.conf"), None), Some(("b.conf".into(), false)));
        assert_eq!(placed(Some("a.conf"), Some("a.conf")), Some(("a.conf".into(), false)));
        assert_eq!(placed(Some("b.conf"), Some("a.conf")), Some(("a.conf".into(), true)));
        assert_eq!(placed(None, Some("a.conf")), Some(("a.conf".into(), true)));
        assert_eq!(placed(None, None), None);
    }

    #[test]
    fn without_a_config_map_the_server_is_where_the_session_found_it() {
        let spec = |secret: &str| -> PostgresInstanceSpec {
            let connection = json!({"secretRef": {"name": secret}});
            serde_json::from_value(json!({"connection": connection, "configuration": {"alterSystem": {}}})).unwrap()
        };
        let found = PostgresInstance::new("shop", spec("new-server"));
        let (instance, elsewhere) = place(Some(found), Some(&spec("old-server")), "db", "shop").unwrap();
        assert_eq!(instance.spec.connection.secret_ref.name, "old-server");
        assert!(elsewhere.is_some());
    }
}
