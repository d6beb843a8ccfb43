//! One local cluster: its brokers and its topics.
//!
//! Owns what is remembered beside the data (`cluster.json`: the cluster id, the ports brokers know of each other, whether
//! the cluster was formed; `topics.json`), restarting one broker at a time, and keeping the topics.

use super::member::{Member, Turned};
use super::process::{self, Between, Ports};
use super::table::{ClusterRow, TopicRow};
use super::{Options, RESYNC, say};
use crate::broker::Broker;
use crate::cluster::model::Cluster;
use crate::crd::KafkaTopic;
use crate::crd::kafka_cluster::StorageKind;
use crate::crd::kafka_topic::DeletionPolicy;
use crate::kafka::Kafka;
use crate::topic::plan::Wanted;
use crate::topic::status::{Outcome, events};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A cluster that runs.
pub struct Running {
    pub(super) cluster: Cluster,
    pub(super) folder: PathBuf,
    place: Place,
    members: Vec<Member>,
    pub(super) welcomed: bool,
    waits: Option<String>,
    pushed: Option<BTreeMap<String, String>>,
    pub(super) wanted: BTreeMap<String, KafkaTopic>,
    owned: Owned,
    pub(super) outcomes: BTreeMap<String, Outcome>,
    next_sync: Instant,
}

/// What several brokers must find again at the next run. A lone broker needs none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    cluster_id: String,
    formed: bool,
    between: BTreeMap<i32, Between>,
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

impl Place {
    /// As it was, where its ports are still free; a new one for a fresh folder.
    fn open(cluster: &Cluster, folder: &Path, taken: &mut BTreeSet<u16>) -> anyhow::Result<Place> {
        if !cluster.is_quorum() {
            return Ok(Place::default());
        }
        let kept = std::fs::read(folder.join("cluster.json")).ok();
        let mut place: Place = kept
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        if place.cluster_id.is_empty() {
            place.cluster_id = protocol::ids::uuid_text(uuid::Uuid::new_v4().as_bytes());
        }
        for id in cluster.node_ids() {
            if place.between.get(&id).is_none_or(|between| !between.is_free()) {
                place.between.insert(id, Between::choose(taken)?);
            }
        }
        place.save(folder)?;
        Ok(place)
    }

    fn save(&self, folder: &Path) -> std::io::Result<()> {
        let text = serde_json::to_vec_pretty(self).expect("ids and ports");
        let beside = folder.join("cluster.json.new");
        std::fs::write(&beside, text)?;
        std::fs::rename(beside, folder.join("cluster.json"))
    }

    /// The cluster with what this place knows of it.
    fn complete(&self, mut cluster: Cluster) -> Cluster {
        if cluster.is_quorum() {
            cluster.cluster_id.clone_from(&self.cluster_id);
            cluster.formed = self.formed;
        }
        cluster
    }
}

impl Running {
    pub(super) fn new(
        cluster: Cluster,
        options: &Options,
        taken: &mut BTreeSet<u16>,
    ) -> anyhow::Result<Running> {
        let folder = options.data.join(&cluster.name);
        if cluster.storage.kind == StorageKind::Ephemeral && folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        let place = Place::open(&cluster, &folder, taken)?;
        let cluster = place.complete(cluster);
        let mut members = Vec::new();
        for node_id in cluster.node_ids() {
            let between = place.between.get(&node_id).copied();
            let (ports, said) = Ports::choose(&cluster, node_id, taken, between)?;
            said.iter().for_each(|line| say(line));
            let folder = match cluster.is_quorum() {
                true => folder.join(node_id.to_string()),
                false => folder.clone(),
            };
            members.push(Member::new(node_id, ports, &options.broker, folder));
        }
        let owned = std::fs::read(folder.join("topics.json")).ok();
        let mut running = Running {
            owned: owned
                .and_then(|text| serde_json::from_slice(&text).ok())
                .unwrap_or_default(),
            folder,
            place,
            members,
            cluster,
            welcomed: false,
            waits: None,
            pushed: None,
            wanted: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            next_sync: Instant::now(),
        };
        running.write_down();
        Ok(running)
    }

    /// What the brokers' files should say.
    fn write_down(&mut self) {
        let voters = self
            .place
            .between
            .iter()
            .map(|(id, ports)| (*id, ports.control))
            .collect();
        for member in &mut self.members {
            member.wanted = process::local_properties(
                &self.cluster,
                member.node_id,
                &member.ports,
                &voters,
                &member.folder,
            );
        }
    }

    /// A changed spec: what is read at the start only restarts the brokers, one after the other; the rest is told to them.
    pub(super) async fn change(&mut self, cluster: Cluster) -> anyhow::Result<()> {
        let cluster = self.place.complete(cluster);
        if cluster == self.cluster {
            return Ok(());
        }
        if cluster.replicas != self.cluster.replicas {
            say(&format!(
                "cluster {} goes on as it was: here it keeps its number of brokers, {}; on Kubernetes it can be raised",
                self.cluster.name, self.cluster.replicas
            ));
            return Ok(());
        }
        if cluster.listeners != self.cluster.listeners {
            self.stop().await;
            let mut taken = BTreeSet::new();
            for member in &mut self.members {
                let (ports, said) =
                    Ports::choose(&cluster, member.node_id, &mut taken, member.ports.between)?;
                said.iter().for_each(|line| say(line));
                member.ports = ports;
            }
        }
        self.cluster = cluster;
        self.write_down();
        self.pushed = None;
        self.roll().await;
        Ok(())
    }

    /// Restarts at most one broker, and only while all others serve and it may stop.
    async fn roll(&mut self) {
        let pending = self
            .members
            .iter()
            .position(|one| !one.restart_reasons().is_empty());
        let Some(index) = pending else {
            self.waits = None;
            return;
        };
        if self.cluster.is_quorum() && self.members[index].ready {
            let others = self
                .members
                .iter()
                .filter(|one| one.node_id != self.members[index].node_id);
            if others.clone().any(|one| !one.ready) {
                return;
            }
            if let Err(why) = self.members[index].may_stop().await {
                let text = format!(
                    "{}: broker {} has to be restarted and may not stop yet: {why}",
                    self.cluster.name, self.members[index].node_id
                );
                if self.waits.as_ref() != Some(&text) {
                    say(&text);
                    self.waits = Some(text);
                }
                return;
            }
        }
        let member = &mut self.members[index];
        say(&format!(
            "{}: restarting {}: {}",
            self.cluster.name,
            member.title(&self.cluster),
            member.restart_reasons().join(", ")
        ));
        member.stop().await;
    }

    /// Stops all brokers. True when all ended by themselves.
    pub(super) async fn stop(&mut self) -> bool {
        let stops = self.members.iter_mut().map(Member::stop);
        futures::future::join_all(stops).await.iter().all(|clean| *clean)
    }

    /// All brokers serve.
    pub(super) fn ready(&self) -> bool {
        self.members.iter().all(|member| member.ready)
    }

    /// Ports of the listeners, which no other cluster can have.
    pub(super) fn listener_ports(&self) -> Vec<u16> {
        let ports = self
            .members
            .iter()
            .flat_map(|member| member.ports.listeners.values());
        ports.copied().collect()
    }

    /// host:port of every broker, to paste.
    pub(super) fn addresses(&self, listener: &str) -> String {
        let each = self.members.iter().map(|member| member.ports.address(listener));
        each.collect::<Vec<_>>().join(",")
    }

    pub(super) fn want(&mut self, wanted: BTreeMap<String, KafkaTopic>) {
        if wanted != self.wanted {
            self.wanted = wanted;
            self.outcomes.retain(|name, _| self.wanted.contains_key(name));
            self.next_sync = Instant::now();
        }
    }
    pub(super) async fn turn(&mut self) {
        for member in &mut self.members {
            let before = member.ports.listeners.clone();
            match member.turn(&self.cluster).await {
                Turned::Same => {}
                Turned::BecameReady => self.next_sync = Instant::now(),
                Turned::Ended => self.pushed = None,
            }
            self.welcomed &= before == member.ports.listeners;
        }
        self.remember_formed();
        self.roll().await;
        let Some(ready) = self.members.iter().position(|member| member.ready) else {
            return;
        };
        if self.members.iter().filter(|member| member.ready).count() < self.cluster.majority() {
            return;
        }
        if self.pushed.as_ref() != Some(&self.cluster.dynamic_config) {
            self.push(ready).await;
        }
        if Instant::now() >= self.next_sync {
            self.sync_topics(ready).await;
        }
    }

    /// From now on an empty metadata log is a lost one. The brokers read it at their next start.
    fn remember_formed(&mut self) {
        if !self.cluster.is_quorum() || self.place.formed || !self.ready() {
            return;
        }
        self.place.formed = true;
        if let Err(error) = self.place.save(&self.folder) {
            say(&format!("{}: write cluster.json: {error}", self.cluster.name));
        }
        self.cluster = self.place.complete(self.cluster.clone());
        self.write_down();
    }

    /// Tells a broker the dynamic properties of the cluster, and learns the brokers' engines.
    async fn push(&mut self, speaker: usize) {
        for member in self.members.iter_mut().filter(|member| member.ready) {
            let asked = async {
                let mut broker = Broker::connect(&member.ports.admin_address(), None, member.node_id).await?;
                broker.describe().await
            };
            if let Ok(facts) = asked.await {
                member.engine = facts.engine;
            }
        }
        let member = &self.members[speaker];
        let told = async {
            let mut broker = Broker::connect(&member.ports.admin_address(), None, member.node_id).await?;
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

    async fn sync_topics(&mut self, speaker: usize) {
        self.next_sync = Instant::now() + RESYNC;
        let wanted = self.wanted_topics();
        let listener = self.cluster.listeners.iter().find(|one| !one.is_nodeport());
        let address = self.members[speaker]
            .ports
            .address(listener.map_or("", |listener| &listener.name));
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

    pub(super) fn row(&self) -> ClusterRow {
        let listeners = self
            .cluster
            .listeners
            .iter()
            .map(|one| (one.name.clone(), self.addresses(&one.name)));
        let serving = self.members.iter().filter(|member| member.ready).count();
        let behind = self.members.iter().find(|member| !member.ready);
        let state = match (behind, self.cluster.is_quorum()) {
            (None, _) => "Ready".to_owned(),
            (Some(member), false) => member.state.clone(),
            (Some(member), true) => {
                format!(
                    "{serving}/{} ready; broker {}: {}",
                    self.members.len(),
                    member.node_id,
                    member.state
                )
            }
        };
        let engines: BTreeSet<&str> = self
            .members
            .iter()
            .map(|one| one.engine.as_str())
            .filter(|one| !one.is_empty())
            .collect();
        ClusterRow {
            name: self.cluster.name.clone(),
            state,
            engine: engines.into_iter().collect::<Vec<_>>().join(", "),
            listeners: listeners.collect(),
        }
    }

    pub(super) fn topic_rows(&self) -> Vec<TopicRow> {
        let waiting = || Outcome::Waiting("the broker is not ready yet".to_owned());
        let rows = self.wanted.keys().map(|name| TopicRow {
            name: name.clone(),
            cluster: self.cluster.name.clone(),
            outcome: self.outcomes.get(name).cloned().unwrap_or_else(waiting),
        });
        rows.collect()
    }
}
