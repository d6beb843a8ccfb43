//! `millrace-operator run`: wiring of watches, queues, leader election and the two controllers, and what both need to
//! write: statuses, Events, finalizers.

use crate::cache::{Caches, Key, Listeners};
use crate::cluster::build::labels;
use crate::cluster::plan::Told;
use crate::cluster::validate::Defaults;
use crate::crd::{KafkaCluster, KafkaTopic, conditions};
use crate::lease::{Election, FenceLayer, Guard};
use crate::queue::Queue;
use crate::telemetry::Telemetry;
use crate::topic::controller::{Due, look};
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::client::ClientBuilder;
use kube::core::object::HasStatus;
use kube::{Client, Config, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the arguments said.
#[derive(Clone, Debug)]
pub struct Options {
    /// What a KafkaCluster leaves open.
    pub defaults: Defaults,
    /// Empty: all.
    pub watch_namespaces: Vec<String>,
    /// How often everything is looked at when nothing happens.
    pub full_reconciliation: Duration,
    /// `None`: no election.
    pub lease: Option<Duration>,
    /// Name of this process in the Lease and in Events.
    pub identity: String,
    /// Address of health and metrics.
    pub http: String,
}

/// Incarnation of a broker, and the dynamic properties it was told.
type LastTold = (String, BTreeMap<String, String>);

/// What both controllers share. One per process.
pub struct Context {
    /// Every write passes the fence.
    pub client: Client,
    /// The live objects.
    pub caches: Caches,
    /// What the arguments said.
    pub options: Options,
    due: Arc<Mutex<Due>>,
    topic_queue: Arc<Queue<Key>>,
    /// What brokers were told last, by cluster. Lost with the process; then they are told once more.
    told: Mutex<BTreeMap<Key, LastTold>>,
    /// Ids of topics by uid of their resource, ahead of the cache: a status just written may not be back yet.
    topic_ids: Mutex<BTreeMap<String, String>>,
    /// By uid: clusters whose namespace was seen going, and when. Writing into it is refused, and pointless.
    going: Mutex<BTreeMap<String, Instant>>,
    /// By uid: the version a status was written over, and the status. While the cache still shows that version, this
    /// is what there is; without it, one transition would be told twice.
    written: Mutex<BTreeMap<String, (String, serde_json::Value)>>,
}

/// Pause after a refusal because the namespace goes. Short, since an API server that lags behind another says so for a
/// moment of a namespace that was just made again.
pub(crate) const GOING: Duration = Duration::from_secs(10);

const POISON: &str = "no code panics while it holds the table";

impl Context {
    pub(crate) fn told(&self, key: &Key) -> Told {
        self.told.lock().expect(POISON).get(key).cloned()
    }

    pub(crate) fn remember_told(&self, key: &Key, incarnation: String, configs: BTreeMap<String, String>) {
        self.told
            .lock()
            .expect(POISON)
            .insert(key.clone(), (incarnation, configs));
    }

    pub(crate) fn forget(&self, key: &Key) {
        self.told.lock().expect(POISON).remove(key);
    }

    pub(crate) fn note_namespace_goes(&self, cluster: &KafkaCluster) {
        let mut going = self.going.lock().expect(POISON);
        going.retain(|_, since| since.elapsed() < GOING);
        going.insert(cluster.uid().unwrap_or_default(), Instant::now());
    }

    pub(crate) fn namespace_goes(&self, cluster: &KafkaCluster) -> bool {
        let going = self.going.lock().expect(POISON);
        let since = going.get(&cluster.uid().unwrap_or_default());
        since.is_some_and(|since| since.elapsed() < GOING)
    }

    /// The resource as the cache has it, with the status that was written over this very version, if one was.
    pub(crate) fn with_written<K>(&self, resource: &K) -> K
    where
        K: Resource<DynamicType = ()> + HasStatus + Clone,
        K::Status: DeserializeOwned,
    {
        let mut resource = resource.clone();
        let written = self.written.lock().expect(POISON);
        let status = written
            .get(&resource.uid().unwrap_or_default())
            .filter(|(over, _)| resource.resource_version().as_ref() == Some(over))
            .and_then(|(_, status)| serde_json::from_value(status.clone()).ok());
        if let Some(status) = status {
            *resource.status_mut() = Some(status);
        }
        resource
    }

    pub(crate) fn topic_id(&self, topic: &KafkaTopic) -> Option<String> {
        let remembered = self
            .topic_ids
            .lock()
            .expect(POISON)
            .get(&topic.uid().unwrap_or_default())
            .cloned();
        remembered.or_else(|| topic.status.as_ref()?.topic_id.clone())
    }

    pub(crate) fn remember_topic(&self, topic: &KafkaTopic, id: &str) {
        self.topic_ids
            .lock()
            .expect(POISON)
            .insert(topic.uid().unwrap_or_default(), id.to_owned());
    }

    /// What is kept by uid goes with the resource.
    fn forget_uid(&self, uid: &str) {
        self.written.lock().expect(POISON).remove(uid);
        self.topic_ids.lock().expect(POISON).remove(uid);
    }

    pub(crate) fn forget_topic(&self, topic: &KafkaTopic) {
        self.topic_ids
            .lock()
            .expect(POISON)
            .remove(&topic.uid().unwrap_or_default());
    }

    pub(crate) fn take_due(&self, cluster: &Key, most: usize) -> (Vec<String>, bool) {
        self.due.lock().expect(POISON).take(cluster, most)
    }

    /// The topic is looked at with the next look at its cluster's topics.
    pub(crate) fn topic_due(&self, topic: &KafkaTopic) {
        self.due
            .lock()
            .expect(POISON)
            .add(cluster_of(topic), topic.name_any());
    }

    /// All topics of a cluster, now.
    fn wake_topics(&self, cluster: &Key) {
        for topic in self.caches.topics.all() {
            if cluster_of(&topic) == *cluster {
                self.topic_due(&topic);
            }
        }
        self.topic_queue.add(cluster.clone());
    }

    /// Writes the status of a resource, whole: what is not in it any more is taken away.
    pub(crate) async fn write_status<K, S>(&self, resource: &K, status: &S) -> Result<(), String>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug,
        S: Serialize + Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &resource.namespace().unwrap_or_default());
        let body = json!({"apiVersion": K::api_version(&()), "kind": K::kind(&()), "status": status});
        let how = PatchParams::apply(labels::MANAGER).force();
        match api
            .patch_status(&resource.name_any(), &how, &Patch::Apply(&body))
            .await
        {
            Ok(_) => {
                let over = resource.resource_version().unwrap_or_default();
                let uid = resource.uid().unwrap_or_default();
                self.written
                    .lock()
                    .expect(POISON)
                    .insert(uid, (over, body["status"].clone()));
                Ok(())
            }
            // Deleted meanwhile.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Adds or removes one finalizer. The whole list is written, but only over the version that was read.
    pub(crate) async fn set_finalizer(
        &self,
        topic: &KafkaTopic,
        name: &str,
        wanted: bool,
    ) -> Result<(), String> {
        let mut all: Vec<String> = topic
            .finalizers()
            .iter()
            .filter(|one| *one != name)
            .cloned()
            .collect();
        if wanted {
            all.push(name.to_owned());
        }
        let api: Api<KafkaTopic> =
            Api::namespaced(self.client.clone(), &topic.namespace().unwrap_or_default());
        let body = json!({"metadata": {"resourceVersion": topic.resource_version(), "finalizers": all}});
        match api
            .patch(&topic.name_any(), &PatchParams::default(), &Patch::Merge(&body))
            .await
        {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// One Event. Callers tell transitions only. An Event that cannot be written is logged: it must not stop the work.
    pub(crate) async fn event<K: Resource<DynamicType = ()>>(
        &self,
        about: &K,
        warning: bool,
        reason: &str,
        text: &str,
    ) {
        let now = Timestamp::now();
        let namespace = about.meta().namespace.clone().unwrap_or_default();
        tracing::info!(
            kind = &*K::kind(&()),
            namespace,
            name = about.meta().name,
            reason,
            text,
            "event"
        );
        let event = Event {
            metadata: ObjectMeta {
                name: Some(format!(
                    "{}.{:x}",
                    about.meta().name.clone().unwrap_or_default(),
                    now.as_nanosecond()
                )),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            action: Some(reason.to_owned()),
            reason: Some(reason.to_owned()),
            // The API server takes 1024 bytes.
            note: Some(text.chars().take(250).collect()),
            type_: Some(if warning { "Warning" } else { "Normal" }.to_owned()),
            event_time: Some(MicroTime(now)),
            regarding: Some(about.object_ref(&())),
            reporting_controller: Some("millrace.dev/operator".to_owned()),
            reporting_instance: Some(self.options.identity.clone()),
            ..Event::default()
        };
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        if let Err(error) = api.create(&PostParams::default(), &event).await {
            tracing::warn!(reason, %error, "write event");
        }
    }
}

fn cluster_of(topic: &KafkaTopic) -> Key {
    (
        topic.namespace().unwrap_or_default(),
        topic.spec.cluster_ref.name.clone(),
    )
}

/// Runs until `stop` ends.
pub async fn run(options: Options, stop: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
    let config = Config::infer().await?;
    let plain = Client::try_from(config.clone())?;
    let telemetry = Telemetry::default();
    let election = options.lease.map(|lease| {
        Election::new(
            plain.clone(),
            &options.defaults.operator_namespace,
            &options.identity,
            lease,
        )
    });
    let guard = election.as_ref().map_or_else(Guard::open, Election::guard);
    let client = ClientBuilder::try_from(config)?
        .with_layer(&FenceLayer(guard.clone()))
        .build();

    let (clusters, topics): (Arc<Queue<Key>>, Arc<Queue<Key>>) = (Arc::default(), Arc::default());
    let due: Arc<Mutex<Due>> = Arc::default();
    let context_slot: Arc<std::sync::OnceLock<Arc<Context>>> = Arc::default();
    let listeners = listeners(&clusters, &topics, &due, &context_slot);
    let context = Arc::new(Context {
        caches: Caches::start(&plain, &options.watch_namespaces, &listeners),
        client,
        options: options.clone(),
        due,
        topic_queue: topics.clone(),
        told: Mutex::default(),
        topic_ids: Mutex::default(),
        going: Mutex::default(),
        written: Mutex::default(),
    });
    let _ = context_slot.set(context.clone());

    let http = tokio::spawn(telemetry.clone().serve_at(options.http.clone()));
    let (stopped, mut stopping) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        stop.await;
        let _ = stopped.send(true);
    });
    let mut until = stopping.clone();
    let election = election.map(|election| {
        tokio::spawn(election.run(async move {
            let _ = until.wait_for(|stopped| *stopped).await;
        }))
    });
    context.caches.ready().await;
    telemetry.ready.store(true, Ordering::Release);
    tokio::spawn(work(
        context.clone(),
        clusters.clone(),
        guard.clone(),
        telemetry.clone(),
        Controller::Cluster,
    ));
    tokio::spawn(work(
        context.clone(),
        topics,
        guard.clone(),
        telemetry.clone(),
        Controller::Topic,
    ));
    tokio::spawn(lead(context.clone(), clusters, guard, telemetry));
    tokio::select! {
        _ = stopping.wait_for(|stopped| *stopped) => {}
        ended = http => return Err(ended?.map_or_else(|error| error.into(), |()| anyhow::anyhow!("the HTTP server ended"))),
    }
    if let Some(election) = election {
        election.await?;
    }
    Ok(())
}

/// What a change wakes.
fn listeners(
    clusters: &Arc<Queue<Key>>,
    topics: &Arc<Queue<Key>>,
    due: &Arc<Mutex<Due>>,
    context: &Arc<std::sync::OnceLock<Arc<Context>>>,
) -> Listeners {
    let usable: Mutex<BTreeMap<Key, bool>> = Mutex::default();
    let (for_cluster, for_child, for_node) = (clusters.clone(), clusters.clone(), clusters.clone());
    let (for_topic, due) = (topics.clone(), due.clone());
    let (in_cluster, in_topic, in_node) = (context.clone(), context.clone(), context.clone());
    Listeners {
        cluster: Arc::new(move |cluster: &KafkaCluster| {
            let key = (cluster.namespace().unwrap_or_default(), cluster.name_any());
            for_cluster.add(key.clone());
            let status = cluster.status.as_ref();
            let available = status
                .is_some_and(|status| conditions::is_true(&status.conditions, conditions::READY))
                && cluster.metadata.deletion_timestamp.is_none();
            let before = usable.lock().expect(POISON).insert(key.clone(), available);
            // Becoming ready wakes the topics that wait; going away releases their finalizers.
            let Some(context) = in_cluster.get() else { return };
            let gone = context.caches.clusters.get(&key.0, &key.1).is_none();
            if gone {
                context.forget_uid(&cluster.uid().unwrap_or_default());
                usable.lock().expect(POISON).remove(&key);
            }
            if before != Some(available) || gone || cluster.metadata.deletion_timestamp.is_some() {
                context.wake_topics(&key);
            }
        }),
        topic: Arc::new(move |topic: &KafkaTopic| {
            let cluster = cluster_of(topic);
            due.lock().expect(POISON).add(cluster.clone(), topic.name_any());
            for_topic.add(cluster.clone());
            // Another resource may have waited for this one to let go of the topic.
            let Some(context) = in_topic.get() else { return };
            if context.caches.topics.get(&cluster.0, &topic.name_any()).is_none() {
                context.forget_uid(&topic.uid().unwrap_or_default());
                context.wake_topics(&cluster);
            }
        }),
        child: Arc::new(move |key| for_child.add(key)),
        node: Arc::new(move || {
            if let Some(context) = in_node.get() {
                for cluster in context.caches.clusters.all() {
                    for_node.add((cluster.namespace().unwrap_or_default(), cluster.name_any()));
                }
            }
        }),
    }
}

#[derive(Clone, Copy)]
enum Controller {
    Cluster,
    Topic,
}

/// Takes keys while this process leads, and looks at each on a task of its own: one that hangs holds up nobody.
async fn work(
    context: Arc<Context>,
    queue: Arc<Queue<Key>>,
    guard: Guard,
    telemetry: Telemetry,
    controller: Controller,
) {
    let mut held = guard.follow();
    loop {
        if held.wait_for(|held| *held).await.is_err() {
            return;
        }
        let key = queue.next().await;
        if !guard.may_write() {
            // Back in the queue until this process leads again.
            queue.done(&key);
            queue.add_after(key, Duration::from_secs(1));
            continue;
        }
        let (context, queue, telemetry) = (context.clone(), queue.clone(), telemetry.clone());
        tokio::spawn(async move {
            let again = match controller {
                Controller::Topic => {
                    let again = look(&context, &key).await;
                    telemetry.looked("topic", "ok");
                    again
                }
                Controller::Cluster => match crate::cluster::reconcile(&context, &key).await {
                    Ok(again) => {
                        telemetry.looked("cluster", "ok");
                        again
                    }
                    Err(error) => {
                        telemetry.looked("cluster", "status");
                        tracing::warn!(namespace = key.0, cluster = key.1, error, "reconcile");
                        Some(Duration::from_secs(2))
                    }
                },
            };
            queue.done(&key);
            if let Some(again) = again {
                queue.add_after(key, again.max(Duration::from_millis(50)));
            }
        });
    }
}

/// On becoming leader, and every so often after that, everything is looked at.
async fn lead(context: Arc<Context>, clusters: Arc<Queue<Key>>, guard: Guard, telemetry: Telemetry) {
    let mut held = guard.follow();
    loop {
        let leads = *held.borrow_and_update();
        telemetry.leader.set(i64::from(leads));
        if leads {
            for cluster in context.caches.clusters.all() {
                clusters.add((cluster.namespace().unwrap_or_default(), cluster.name_any()));
            }
            for topic in context.caches.topics.all() {
                context.topic_due(&topic);
                context.topic_queue.add(cluster_of(&topic));
            }
        }
        tokio::select! {
            changed = held.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(context.options.full_reconciliation) => {}
        }
    }
}
