//! The live objects of the Kubernetes cluster, kept up to date by watches. Controllers read here and never ask the API
//! server for one object, so a settled cluster causes no requests at all.

use futures::StreamExt;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Node, PersistentVolumeClaim, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::Api;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use crate::cluster::build::labels;
use crate::crd::{KafkaCluster, KafkaTopic};

/// (namespace, name).
pub type Key = (String, String);

/// The objects of one kind, of all watched namespaces.
pub struct Cache<K: Resource + Clone + 'static>(Vec<Store<K>>)
where
    K::DynamicType: std::hash::Hash + Eq + Clone;

impl<K: Resource<DynamicType = ()> + Clone + 'static> Cache<K> {
    /// One object.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let key = ObjectRef::new(name).within(namespace);
        self.0.iter().find_map(|store| store.get(&key))
    }

    /// All objects.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.0.iter().flat_map(Store::state).collect()
    }

    /// The objects that carry a cluster's label.
    pub fn of_cluster(&self, namespace: &str, cluster: &str) -> Vec<Arc<K>> {
        let ours = |object: &K| {
            object.meta().namespace.as_deref() == Some(namespace)
                && object
                    .labels()
                    .get(labels::CLUSTER)
                    .is_some_and(|value| value == cluster)
        };
        self.0.iter().flat_map(|store| store.state_filter(ours)).collect()
    }

    async fn ready(&self) {
        for store in &self.0 {
            // The writer lives as long as its watch, which never ends.
            let _ = store.wait_until_ready().await;
        }
    }
}

/// Everything that is watched.
pub struct Caches {
    /// KafkaClusters.
    pub clusters: Cache<KafkaCluster>,
    /// KafkaTopics.
    pub topics: Cache<KafkaTopic>,
    /// Below: what carries a cluster's label.
    pub sets: Cache<StatefulSet>,
    /// Services.
    pub services: Cache<Service>,
    /// Files of the brokers.
    pub config_maps: Cache<ConfigMap>,
    /// Accounts of the brokers.
    pub accounts: Cache<ServiceAccount>,
    /// Disruption budgets.
    pub budgets: Cache<PodDisruptionBudget>,
    /// Network policies.
    pub policies: Cache<NetworkPolicy>,
    /// Broker pods.
    pub pods: Cache<Pod>,
    /// Their volumes.
    pub claims: Cache<PersistentVolumeClaim>,
    /// Nodes, for their addresses.
    pub nodes: Cache<Node>,
}

/// Who is told of changes. Called on the watch's task; must not block.
#[derive(Clone)]
pub struct Listeners {
    /// A KafkaCluster changed.
    pub cluster: Arc<dyn Fn(&KafkaCluster) + Send + Sync>,
    /// A KafkaTopic changed.
    pub topic: Arc<dyn Fn(&KafkaTopic) + Send + Sync>,
    /// An object of this cluster changed.
    pub child: Arc<dyn Fn(Key) + Send + Sync>,
    /// The addresses of a node changed.
    pub node: Arc<dyn Fn() + Send + Sync>,
}

impl Caches {
    /// Starts all watches. An empty list of namespaces means all.
    pub fn start(client: &Client, namespaces: &[String], listeners: &Listeners) -> Caches {
        let (on_cluster, on_topic) = (listeners.cluster.clone(), listeners.topic.clone());
        Caches {
            clusters: start(client, namespaces, "", move |cluster: &KafkaCluster| {
                on_cluster(cluster)
            }),
            topics: start(client, namespaces, "", move |topic: &KafkaTopic| on_topic(topic)),
            sets: children(client, namespaces, listeners),
            services: children(client, namespaces, listeners),
            config_maps: children(client, namespaces, listeners),
            accounts: children(client, namespaces, listeners),
            budgets: children(client, namespaces, listeners),
            policies: children(client, namespaces, listeners),
            pods: children(client, namespaces, listeners),
            claims: children(client, namespaces, listeners),
            nodes: nodes(client, listeners.node.clone()),
        }
    }

    /// Until every watch has its first full list.
    pub async fn ready(&self) {
        self.clusters.ready().await;
        self.topics.ready().await;
        self.sets.ready().await;
        self.services.ready().await;
        self.config_maps.ready().await;
        self.accounts.ready().await;
        self.budgets.ready().await;
        self.policies.ready().await;
        self.pods.ready().await;
        self.claims.ready().await;
        self.nodes.ready().await;
    }
}

fn children<K>(client: &Client, namespaces: &[String], listeners: &Listeners) -> Cache<K>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
{
    let on_child = listeners.child.clone();
    start(client, namespaces, labels::CLUSTER, move |object: &K| {
        if let Some(cluster) = object.labels().get(labels::CLUSTER) {
            on_child((object.namespace().unwrap_or_default(), cluster.clone()));
        }
    })
}

fn start<K>(
    client: &Client,
    namespaces: &[String],
    labels: &str,
    on_change: impl Fn(&K) + Send + Sync + 'static,
) -> Cache<K>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
{
    let on_change = Arc::new(on_change);
    let apis: Vec<Api<K>> = match namespaces {
        [] => vec![Api::all(client.clone())],
        some => some
            .iter()
            .map(|namespace| Api::namespaced(client.clone(), namespace))
            .collect(),
    };
    Cache(
        apis.into_iter()
            .map(|api| run(api, labels, on_change.clone()))
            .collect(),
    )
}

/// Nodes report themselves every few seconds; only another address is news.
fn nodes(client: &Client, on_node: Arc<dyn Fn() + Send + Sync>) -> Cache<Node> {
    let known: Mutex<BTreeMap<String, Vec<(String, String)>>> = Mutex::default();
    let on_change = move |node: &Node| {
        let addresses = addresses(node);
        let mut known = known.lock().expect("no code panics while it holds the table");
        if known.insert(node.name_any(), addresses.clone()) != Some(addresses) {
            drop(known);
            on_node();
        }
    };
    Cache(vec![run(Api::all(client.clone()), "", Arc::new(on_change))])
}

/// (type, address) of a node.
pub fn addresses(node: &Node) -> Vec<(String, String)> {
    let status = node.status.as_ref();
    let addresses = status
        .and_then(|status| status.addresses.as_ref())
        .into_iter()
        .flatten();
    addresses
        .map(|one| (one.type_.clone(), one.address.clone()))
        .collect()
}

fn run<K>(api: Api<K>, labels: &str, on_change: Arc<impl Fn(&K) + Send + Sync + 'static>) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let (reader, writer) = store();
    let config = watcher::Config::default().labels(labels);
    let kind = K::kind(&()).into_owned();
    let stream = watch(api, config).default_backoff().reflect(writer);
    tokio::spawn(async move {
        let mut stream = std::pin::pin!(stream);
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Apply(object) | Event::InitApply(object) | Event::Delete(object)) => {
                    on_change(&object)
                }
                Ok(Event::Init | Event::InitDone) => {}
                Err(error) => tracing::warn!(kind, %error, "watch; it is tried again"),
            }
        }
    });
    reader
}
