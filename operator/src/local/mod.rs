//! Local mode: the operator without Kubernetes. A manifest file is watched instead of an API server, and for each
//! KafkaCluster a broker process runs on 127.0.0.1; what to do is decided by the same validation, property building and
//! topic plans.
//!
//! One loop on one thread owns everything: it looks at the file and the processes a few times a second, acts on what
//! changed, and prints what a person wants to know. Ephemeral clusters keep their data in a folder that is emptied at
//! start, as a new pod would find it.

pub mod manifest;
pub mod process;
pub mod schema;
pub mod table;
pub mod watch;

use crate::broker::Broker;
use crate::cluster::model::Cluster;
use crate::cluster::validate::{Defaults, validate};
use crate::crd::KafkaTopic;
use crate::crd::kafka_cluster::{PullPolicy, StorageKind};
use crate::crd::kafka_topic::DeletionPolicy;
use crate::kafka::Kafka;
use crate::topic::plan::Wanted;
use crate::topic::status::{Outcome, events};
use manifest::Manifest;
use process::{Ports, Process, Seen};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use table::{ClusterRow, TopicRow};

/// How often the file and the processes are looked at.
const TICK: Duration = Duration::from_millis(100);
/// How often topics are compared again when nothing changed, so that drift is corrected.
const RESYNC: Duration = Duration::from_secs(10);

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The manifest.
    pub file: PathBuf,
    /// Where brokers keep their data.
    pub data: PathBuf,
    /// The broker's program.
    pub broker: PathBuf,
}

/// Where data goes when nobody says: below XDG_DATA_HOME if that is set, else in the current folder.
pub fn default_data() -> PathBuf {
    match std::env::var_os("XDG_DATA_HOME").filter(|home| !home.is_empty()) {
        Some(home) => Path::new(&home).join("millrace"),
        None => PathBuf::from("millrace-data"),
    }
}

/// The broker's program: next to this one, else on the PATH.
pub fn find_broker() -> Option<PathBuf> {
    const NAME: &str = "millrace-broker";
    let beside = std::env::current_exe()
        .ok()
        .and_then(|own| Some(own.parent()?.join(NAME)));
    let on_path = std::env::var_os("PATH");
    let on_path = on_path
        .iter()
        .flat_map(std::env::split_paths)
        .map(|folder| folder.join(NAME));
    beside.into_iter().chain(on_path).find(|path| path.is_file())
}

/// Runs until `stop` ends, then stops every broker.
pub async fn run(options: Options, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let (manifest, mistakes) = manifest::load(&options.file, &Manifest::default())?;
    if !mistakes.is_empty() {
        anyhow::bail!("{}", mistakes.join("\n"));
    }
    std::fs::create_dir_all(&options.data)?;
    let data = options.data.canonicalize()?;
    say(&format!("data in {}", data.display()));
    let mut local = Local {
        watch: watch::Watch::new(&options.file),
        options: Options { data, ..options },
        manifest,
        clusters: BTreeMap::new(),
        shown: String::new(),
    };
    local.adopt_manifest().await?;
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            () = local.turn() => {}
        }
        // Apart from the turn: a turn that is cut short must not lose a started step.
        if tokio::time::timeout(TICK, &mut stop).await.is_ok() {
            break;
        }
    }
    say("stopping");
    local.stop().await;
    Ok(())
}

/// One line to the person at the terminal. A closed terminal is not an error.
fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{line}");
}

struct Local {
    options: Options,
    watch: watch::Watch,
    manifest: Manifest,
    clusters: BTreeMap<String, Running>,
    shown: String,
}

/// One cluster: its process and its topics.
struct Running {
    cluster: Cluster,
    folder: PathBuf,
    ports: Ports,
    process: Process,
    properties: BTreeMap<String, String>,
    state: String,
    engine: String,
    ready: bool,
    welcomed: bool,
    pushed: Option<BTreeMap<String, String>>,
    wanted: BTreeMap<String, KafkaTopic>,
    owned: Owned,
    outcomes: BTreeMap<String, Outcome>,
    next_sync: Instant,
}

/// The topics this program made or took over, kept beside the data: a topic whose resource left the file while we were not
/// running is treated by its deletion policy all the same.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Owned {
    topics: BTreeMap<String, OwnedTopic>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct OwnedTopic {
    id: String,
    deletion: DeletionPolicy,
}

impl Local {
    async fn turn(&mut self) {
        if self.watch.changed() {
            self.reload().await;
        }
        for running in self.clusters.values_mut() {
            running.turn().await;
        }
        self.show();
    }

    async fn reload(&mut self) {
        match manifest::load(&self.options.file, &self.manifest) {
            Err(error) => say(&format!("{error}; going on with what was there")),
            Ok((manifest, mistakes)) => {
                for mistake in &mistakes {
                    say(mistake);
                }
                self.manifest = manifest;
                if let Err(error) = self.adopt_manifest().await {
                    say(&format!("{error:#}"));
                }
            }
        }
    }

    /// Makes `clusters` follow the manifest.
    async fn adopt_manifest(&mut self) -> anyhow::Result<()> {
        let gone: Vec<String> = self
            .clusters
            .keys()
            .filter(|name| !self.manifest.clusters.contains_key(*name))
            .cloned()
            .collect();
        for name in gone {
            if let Some(mut running) = self.clusters.remove(&name) {
                running.process.stop().await;
                say(&format!(
                    "{name}: left the file; its broker is stopped, its data stays in {}",
                    running.folder.display()
                ));
            }
        }
        let mut taken: BTreeSet<u16> = self
            .clusters
            .values()
            .flat_map(|one| one.ports.listeners.values().copied())
            .collect();
        for (name, resource) in &self.manifest.clusters {
            let cluster = match validate(resource, None, &defaults()) {
                Ok(cluster) => cluster,
                Err(wrong) => {
                    for mistake in wrong {
                        say(&format!("the KafkaCluster \"{name}\" is invalid: {mistake}"));
                    }
                    continue;
                }
            };
            match self.clusters.get_mut(name) {
                Some(running) => running.change(cluster).await?,
                None => {
                    let running = Running::new(cluster, &self.options, &mut taken)?;
                    self.clusters.insert(name.clone(), running);
                }
            }
        }
        for topic in self.manifest.topics.values() {
            if !self.clusters.contains_key(&topic.spec.cluster_ref.name) {
                let cluster = &topic.spec.cluster_ref.name;
                say(&format!(
                    "{}: waits for the cluster {cluster}, which is not in the file",
                    topic.topic_name()
                ));
            }
        }
        for (name, running) in &mut self.clusters {
            let topics = self
                .manifest
                .topics
                .values()
                .filter(|topic| topic.spec.cluster_ref.name == *name);
            let mut wanted = BTreeMap::new();
            for topic in topics {
                if let Some(other) = wanted.insert(topic.topic_name().to_owned(), topic.clone()) {
                    say(&format!(
                        "two KafkaTopics want the topic {}; one of them wins",
                        other.topic_name()
                    ));
                }
            }
            running.want(wanted);
        }
        Ok(())
    }

    fn show(&mut self) {
        let clusters: Vec<ClusterRow> = self.clusters.values().map(Running::row).collect();
        let topics: Vec<TopicRow> = self.clusters.values().flat_map(Running::topic_rows).collect();
        let text = table::table(&clusters, &topics);
        if text != self.shown {
            say(&format!("\n{}", text.trim_end()));
            self.shown = text;
        }
        for running in self.clusters.values_mut() {
            if running.ready && !running.welcomed && running.outcomes.len() >= running.wanted.len() {
                running.welcomed = true;
                let listener = running
                    .cluster
                    .listeners
                    .first()
                    .map_or("", |listener| &listener.name);
                let topic = running.wanted.keys().next().map(String::as_str);
                say(&format!(
                    "\n{}",
                    table::next_commands(&running.ports.address(listener), topic)
                ));
            }
        }
    }

    async fn stop(&mut self) {
        let stops = self.clusters.values_mut().map(|running| running.process.stop());
        let clean = futures::future::join_all(stops).await;
        if clean.iter().all(|clean| *clean) {
            say("stopped; the next run finds the data");
        } else {
            say("a broker did not stop in time and was killed; it recovers at its next start");
        }
    }
}

/// Images are Kubernetes' business.
fn defaults() -> Defaults {
    Defaults {
        image: "local".to_owned(),
        pull_policy: PullPolicy::Never,
        pull_secrets: Vec::new(),
        operator_namespace: String::new(),
    }
}

impl Running {
    fn new(cluster: Cluster, options: &Options, taken: &mut BTreeSet<u16>) -> anyhow::Result<Running> {
        let folder = options.data.join(&cluster.name);
        if cluster.storage.kind == StorageKind::Ephemeral && folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        let (ports, said) = Ports::choose(&cluster, taken)?;
        said.iter().for_each(|line| say(line));
        let owned = std::fs::read(folder.join("topics.json")).ok();
        Ok(Running {
            properties: process::local_properties(&cluster, &ports, &folder),
            process: Process::new(&options.broker, &folder),
            owned: owned
                .and_then(|text| serde_json::from_slice(&text).ok())
                .unwrap_or_default(),
            folder,
            ports,
            cluster,
            state: "Starting".to_owned(),
            engine: String::new(),
            ready: false,
            welcomed: false,
            pushed: None,
            wanted: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            next_sync: Instant::now(),
        })
    }

    /// A changed spec: what is read at the start only restarts the broker, the rest is told to it.
    async fn change(&mut self, cluster: Cluster) -> anyhow::Result<()> {
        if cluster == self.cluster {
            return Ok(());
        }
        let added = cluster
            .listeners
            .iter()
            .any(|one| !self.ports.listeners.contains_key(&one.name));
        if added || cluster.listeners != self.cluster.listeners {
            let mut taken = BTreeSet::new();
            self.process.stop().await;
            let (ports, said) = Ports::choose(&cluster, &mut taken)?;
            said.iter().for_each(|line| say(line));
            self.ports = ports;
        }
        let wanted = process::local_properties(&cluster, &self.ports, &self.folder);
        let reasons: Vec<String> = differences(&self.properties, &wanted);
        if !reasons.is_empty() {
            say(&format!(
                "{}: restarting the broker: {}",
                cluster.name,
                reasons.join(", ")
            ));
            self.process.stop().await;
            self.ready = false;
            self.state = "Starting".to_owned();
        }
        self.properties = wanted;
        self.cluster = cluster;
        self.pushed = None;
        Ok(())
    }

    fn want(&mut self, wanted: BTreeMap<String, KafkaTopic>) {
        if wanted != self.wanted {
            self.wanted = wanted;
            self.outcomes.retain(|name, _| self.wanted.contains_key(name));
            self.next_sync = Instant::now();
        }
    }

    async fn turn(&mut self) {
        match self.process.look() {
            Seen::Running => {}
            Seen::Waiting if !self.process.may_start() => return,
            Seen::Waiting => {
                if let Err(error) = self.start() {
                    self.state = format!("cannot start: {error}");
                }
                return;
            }
            Seen::Ended(how) => {
                say(&format!(
                    "{}: the broker ended ({how}); it is started again; its log is {}",
                    self.cluster.name,
                    self.process.log().display()
                ));
                self.ready = false;
                self.pushed = None;
                self.state = format!("Crashed: {how}");
                return;
            }
        }
        if !self.ready && !self.become_ready().await {
            return;
        }
        if self.pushed.as_ref() != Some(&self.cluster.dynamic_config) {
            self.push().await;
        }
        if Instant::now() >= self.next_sync {
            self.sync_topics().await;
        }
    }

    /// Somebody may have taken a port since it was chosen, or since the broker ended.
    fn start(&mut self) -> std::io::Result<()> {
        if !self.ports.are_free() {
            let (ports, said) = Ports::choose(&self.cluster, &mut BTreeSet::new())?;
            said.iter().for_each(|line| say(line));
            self.properties = process::local_properties(&self.cluster, &ports, &self.folder);
            self.welcomed &= ports.listeners == self.ports.listeners;
            self.ports = ports;
        }
        self.process.start(&self.properties)
    }

    async fn become_ready(&mut self) -> bool {
        if let Err(reason) = process::ready(&self.ports).await {
            // The reasons of a normal start go by in milliseconds; only one that stays is worth a line.
            if self.process.started().elapsed() > Duration::from_secs(2) {
                self.state = format!("Starting: {reason}");
            }
            return false;
        }
        self.ready = true;
        self.process.settled();
        self.state = "Ready".to_owned();
        self.next_sync = Instant::now();
        true
    }

    /// Tells the broker its dynamic properties, and learns its engine.
    async fn push(&mut self) {
        let told = async {
            let mut broker = Broker::connect(&self.ports.admin_address(), None, 0).await?;
            self.engine = broker.describe().await?.engine;
            broker.set_dynamic(&self.cluster.dynamic_config).await
        };
        match told.await {
            Ok(changed) => {
                if changed {
                    let names: Vec<&str> = self.cluster.dynamic_config.keys().map(String::as_str).collect();
                    say(&format!(
                        "{}: dynamic properties are now: {}",
                        self.cluster.name,
                        names.join(", ")
                    ));
                }
            }
            Err(error) => say(&format!("{}: {error}", self.cluster.name)),
        }
        // Once per change and start: a refusal has been said, and saying it ten times a second helps nobody.
        self.pushed = Some(self.cluster.dynamic_config.clone());
    }

    async fn sync_topics(&mut self) {
        self.next_sync = Instant::now() + RESYNC;
        let wanted = self.wanted_topics();
        let listener = self.cluster.listeners.iter().find(|one| !one.is_nodeport());
        let address = self.ports.address(listener.map_or("", |listener| &listener.name));
        let done = async {
            let mut kafka = Kafka::connect(&address).await?;
            crate::topic::reconcile(&mut kafka, &wanted).await
        };
        match done.await {
            Err(error) => {
                self.next_sync = Instant::now() + Duration::from_secs(1);
                let text = Outcome::Failed(error.to_string());
                self.outcomes
                    .extend(self.wanted.keys().map(|name| (name.clone(), text.clone())));
            }
            Ok(reconciled) => {
                for (name, (plan, outcome)) in reconciled {
                    let failed = matches!(outcome, Outcome::Failed(_));
                    if !failed {
                        events(&plan)
                            .iter()
                            .for_each(|(reason, text)| say(&format!("{name}: {reason}: {text}")));
                    } else {
                        self.next_sync = Instant::now() + Duration::from_secs(1);
                    }
                    self.remember(&name, outcome, failed);
                }
                self.save_owned();
            }
        }
    }

    fn wanted_topics(&self) -> BTreeMap<String, Wanted> {
        let owned_id = |name: &str| self.owned.topics.get(name).map(|owned| owned.id.clone());
        let listed = self
            .wanted
            .iter()
            .map(|(name, topic)| (name.clone(), Wanted::of(topic, owned_id(name))));
        let left = self
            .owned
            .topics
            .iter()
            .filter(|(name, _)| !self.wanted.contains_key(*name));
        let left = left.map(|(name, owned)| (name.clone(), Wanted::removed(name, owned.deletion, &owned.id)));
        listed.chain(left).collect()
    }

    fn remember(&mut self, name: &str, outcome: Outcome, failed: bool) {
        let Some(topic) = self.wanted.get(name) else {
            if !failed
                && let Some(owned) = self.owned.topics.remove(name)
                && owned.deletion == DeletionPolicy::Retain
            {
                say(&format!("{name}: Retained: the topic and its records stay"));
            }
            return;
        };
        if let Outcome::Synced(found)
        | Outcome::Refused {
            found: Some(found), ..
        } = &outcome
        {
            let owned = OwnedTopic {
                id: found.id.clone(),
                deletion: topic.spec.deletion_policy,
            };
            self.owned.topics.insert(name.to_owned(), owned);
        }
        self.outcomes.insert(name.to_owned(), outcome);
    }

    fn save_owned(&self) {
        let path = self.folder.join("topics.json");
        let text = serde_json::to_vec_pretty(&self.owned).expect("names and ids");
        if std::fs::read(&path).ok().as_ref() == Some(&text) {
            return;
        }
        let beside = self.folder.join("topics.json.new");
        let written = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, &path));
        if let Err(error) = written {
            say(&format!("write {}: {error}", path.display()));
        }
    }

    fn row(&self) -> ClusterRow {
        let listeners = self
            .cluster
            .listeners
            .iter()
            .map(|one| (one.name.clone(), self.ports.address(&one.name)));
        ClusterRow {
            name: self.cluster.name.clone(),
            state: self.state.clone(),
            engine: self.engine.clone(),
            listeners: listeners.collect(),
        }
    }

    fn topic_rows(&self) -> Vec<TopicRow> {
        let waiting = || Outcome::Waiting("the broker is not ready yet".to_owned());
        let rows = self.wanted.keys().map(|name| TopicRow {
            name: name.clone(),
            cluster: self.cluster.name.clone(),
            outcome: self.outcomes.get(name).cloned().unwrap_or_else(waiting),
        });
        rows.collect()
    }
}

/// "name old -> new" for every property that differs.
pub fn differences(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed = names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name));
    let text = |value: Option<&String>| value.map_or("unset", String::as_str).to_owned();
    changed
        .map(|name| format!("{name} {} -> {}", text(before.get(name)), text(after.get(name))))
        .collect()
}
