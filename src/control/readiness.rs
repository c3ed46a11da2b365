//! What the process still waits for, told by `/readyz`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;

use super::kinds::Kind;

const CHECK_EVERY: Duration = Duration::from_secs(5);

/// Sentences about what is missing, by topic. Shared between who waits and who tells.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<String, String>>>);

impl Readiness {
    /// Something is missing.
    pub fn missing(&self, topic: impl Into<String>, sentence: impl Into<String>) {
        self.lock().insert(topic.into(), sentence.into());
    }

    /// It is there now.
    pub fn found(&self, topic: &str) {
        self.lock().remove(topic);
    }

    /// What is missing; empty when the process is ready.
    pub fn sentences(&self) -> Vec<String> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps asking the API server which of the kinds it serves, tells the readiness which are missing, and publishes
/// those that are there (by plural). Never returns; it is the caller's to spawn and to drop.
pub async fn watch_kinds(
    client: Client,
    kinds: Vec<Kind>,
    readiness: Readiness,
    served: watch::Sender<BTreeSet<String>>,
) {
    loop {
        match served_plurals(&client, &kinds).await {
            Ok(found) => {
                readiness.found("api-server");
                for kind in &kinds {
                    let plural = &kind.crd.spec.names.plural;
                    let name = kind.crd.metadata.name.as_deref().unwrap_or(plural);
                    if found.contains(plural) {
                        readiness.found(name);
                    } else {
                        let sentence = format!("CustomResourceDefinition {name} is missing: apply it from crds/");
                        readiness.missing(name, sentence);
                    }
                }
                served.send_if_modified(|before| {
                    let changed = *before != found;
                    *before = found;
                    changed
                });
            }
            Err(error) => readiness.missing("api-server", format!("the API server does not answer: {error}")),
        }
        tokio::time::sleep(CHECK_EVERY).await;
    }
}

/// Discovery needs no permission of its own, unlike reading CustomResourceDefinitions.
async fn served_plurals(client: &Client, kinds: &[Kind]) -> Result<BTreeSet<String>, kube::Error> {
    let group_versions: BTreeSet<String> = kinds.iter().map(Kind::group_version).collect();
    let mut plurals = BTreeSet::new();
    for group_version in group_versions {
        match client.list_api_group_resources(&group_version).await {
            Ok(list) => plurals.extend(list.resources.into_iter().map(|resource| resource.name)),
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(plurals)
}
