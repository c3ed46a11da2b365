//! `howdah bench operator`: the operator itself, as a child process, on many idle objects in a namespace of its own.

mod child;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};
use tokio::time::sleep;

use super::process::Resident;
use super::{build, mib, verdict};
use crate::control::shutdown::Shutdown;
use crate::instance::crd::{
    AlterSystem, Configuration, Connection, PostgresInstance, PostgresInstanceSpec, SecretKeyReference,
};
use child::Operating;

/// Reconciles of one core in a second, while nothing changes.
const LEAST_RECONCILES: f64 = 100.0;
/// Memory apart from libtorch's pages.
const MOST_MIB: f64 = 50.0;
/// Growth through objects that are none of ours.
const MOST_GROWTH_MIB: f64 = 2.0;
/// Bytes of a foreign Secret or ConfigMap: just below what the API server takes.
const FOREIGN_BYTES: usize = 1_000_000;
/// Requests that prepare the namespace run so many at a time, so that others in the cluster are not held up.
const GENTLY: usize = 4;
/// After the last write, this long for the memory to come to rest.
const REST: Duration = Duration::from_secs(10);

/// How much is made in the cluster of KUBECONFIG. Everything lies in one namespace, which is removed at the end.
#[derive(Debug, Args)]
pub struct Operator {
    /// PostgresInstances whose Secret is missing: the cheapest objects that are reconciled to their end.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    objects: u32,
    /// Starts of the operator that are measured: at each, every object is reconciled once.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Foreign Secrets and ConfigMaps of 1 MB, half of each; 0 leaves them out.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(..=500))]
    foreign: u32,
    /// The namespace, which must not exist.
    #[arg(long, default_value = "howdah-bench")]
    namespace: String,
}

/// Prints the numbers; whether the promises are kept.
pub async fn run(options: Operator) -> Result<bool> {
    let loading = Resident::allocated_by_loading()?;
    super::super::choose_tls_provider();
    let client = Client::try_default().await.context("no cluster: set KUBECONFIG")?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let metadata = ObjectMeta { name: Some(options.namespace.clone()), ..ObjectMeta::default() };
    let namespace = Namespace { metadata, ..Namespace::default() };
    let created = namespaces.create(&PostParams::default(), &namespace).await;
    created.with_context(|| format!("the namespace {} can't be made", options.namespace))?;
    let interrupted = Shutdown::on_signals().context("signals can't be listened for")?;
    let measured = tokio::select! {
        measured = measure(&client, &options, loading) => measured,
        () = interrupted.requested() => Err(anyhow::anyhow!("interrupted")),
    };
    let removed = namespaces.delete(&options.namespace, &DeleteParams::default()).await;
    removed.with_context(|| format!("the namespace {} can't be removed; remove it by hand", options.namespace))?;
    measured
}

async fn measure(client: &Client, options: &Operator, loading: u64) -> Result<bool> {
    let Operator { objects, rounds, foreign, namespace } = options;
    println!("The operator on {objects} PostgresInstances in namespace {namespace}, {}:\n", build());
    let instances: Api<PostgresInstance> = Api::namespaced(client.clone(), namespace);
    create(&instances, *objects, instance).await?;
    settle(client, options).await?;

    let before = versions(&instances).await?;
    let (mut reconciles, mut seconds, mut wall, mut last) = (0.0, 0.0, 0.0, None);
    for _ in 0..*rounds {
        drop(last.take());
        let mut operating = Operating::start(client, namespace).await?;
        let round = operating.every_object_once(*objects).await?;
        reconciles += round.reconciles;
        seconds += round.cpu_seconds;
        wall += round.wall_seconds;
        last = Some(operating);
    }
    let operating = last.context("no round was run")?;
    let after = versions(&instances).await?;
    let writes = after.iter().filter(|(name, version)| before.get(*name) != Some(version)).count();
    let rate = reconciles / seconds;
    let fast = rate >= LEAST_RECONCILES && writes == 0;
    println!(
        "{reconciles:.0} idle reconciles took {seconds:.1} s of processor time and {wall:.1} s of the clock, starts included:"
    );
    println!(
        "{rate:.0} per second and core, at least {LEAST_RECONCILES:.0}, and {writes} objects written, none: {}",
        verdict(fast)
    );

    sleep(REST).await;
    let settled = operating.resident()?;
    let own = mib(settled.own.saturating_sub(loading));
    let small = own <= MOST_MIB;
    println!(
        "Resident: {own:.1} MiB, at most {MOST_MIB:.0}, beside libtorch's {:.1} MiB of files and {:.1} MiB that loading it \
         allocates: {}",
        mib(settled.libtorch),
        mib(loading),
        verdict(small)
    );
    if *foreign == 0 {
        return Ok(fast && small);
    }
    create(&Api::namespaced(client.clone(), namespace), foreign.div_ceil(2), secret).await?;
    create(&Api::namespaced(client.clone(), namespace), foreign / 2, config_map).await?;
    sleep(REST).await;
    let growth = mib(operating.resident()?.own.saturating_sub(loading)) - own;
    let steady = growth < MOST_GROWTH_MIB;
    println!(
        "Growth with {foreign} foreign Secrets and ConfigMaps of 1 MB: {growth:.2} MiB, below {MOST_GROWTH_MIB:.0}: {}",
        verdict(steady)
    );
    Ok(fast && small && steady)
}

/// Lets every object get its status.
async fn settle(client: &Client, options: &Operator) -> Result<()> {
    let mut operating = Operating::start(client, &options.namespace).await?;
    operating.every_object_once(options.objects).await?;
    let instances: Api<PostgresInstance> = Api::namespaced(client.clone(), &options.namespace);
    let listed = instances.list(&ListParams::default()).await.context("the instances can't be listed")?;
    let without = listed.iter().filter(|instance| instance.status.is_none()).count();
    ensure!(without == 0, "{without} instances have no status after their first reconcile");
    Ok(())
}

/// The version of each object.
async fn versions(instances: &Api<PostgresInstance>) -> Result<BTreeMap<String, Option<String>>> {
    let listed = instances.list_metadata(&ListParams::default()).await.context("the instances can't be listed")?;
    Ok(listed.into_iter().map(|object| (object.name_any(), object.resource_version())).collect())
}

async fn create<K>(api: &Api<K>, count: u32, make: fn(String) -> K) -> Result<()>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let made = stream::iter(0..count).map(|number| async move {
        api.create(&PostParams::default(), &make(format!("bench-{number}"))).await.map(drop)
    });
    made.buffer_unordered(GENTLY).try_collect::<Vec<()>>().await.context("the objects can't be made")?;
    Ok(())
}

fn instance(name: String) -> PostgresInstance {
    PostgresInstance::new(
        &name,
        PostgresInstanceSpec {
            connection: Connection { secret_ref: SecretKeyReference { name: name.clone(), key: "uri".into() } },
            configuration: Configuration { config_map: None, alter_system: Some(AlterSystem {}) },
            workload: None,
            resources: None,
        },
    )
}

fn secret(name: String) -> Secret {
    let payload = ByteString(vec![b'x'; FOREIGN_BYTES]);
    Secret {
        metadata: ObjectMeta { name: Some(format!("foreign-{name}")), ..ObjectMeta::default() },
        data: Some([("payload".to_owned(), payload)].into()),
        ..Secret::default()
    }
}

fn config_map(name: String) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta { name: Some(format!("foreign-{name}")), ..ObjectMeta::default() },
        data: Some([("payload".to_owned(), "x".repeat(FOREIGN_BYTES))].into()),
        ..ConfigMap::default()
    }
}
