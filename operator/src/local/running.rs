//! One local cluster: its brokers and its topics.
//!
//! Owns restarting one broker at a time, keeping the topics, and what is remembered of them beside the data
//! (`topics.json`). Leaves what is remembered of the cluster to `place.rs`, and which broker goes next to `cluster::roll`.

use super::member::{Member, Turned};
use super::place::Place;
use super::process::{self, Ports};
use super::table::{ClusterRow, TopicRow};
use super::{Options, RESYNC, say};
use crate::cluster::model::Cluster;
use crate::cluster::roll::{self, Standing};
use crate::crd::KafkaTopic;
use crate::crd::kafka_cluster::StorageKind;
use crate::crd::kafka_topic::DeletionPolicy;
use crate::kafka::Kafka;
use crate::topic::plan::Wanted;
use crate::topic::status::{Outcome, events};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

/// A cluster that runs.
pub struct Running {
    pub(super) cluster: Cluster,
    place: Place,
    members: Vec<Member>,
    pub(super) welcomed: bool,
    waits: Option<Waits>,
    pushed: Option<BTreeMap<String, String>>,
    pub(super) wanted: BTreeMap<String, KafkaTopic>,
    owned: Owned,
    pub(super) outcomes: BTreeMap<String, Outcome>,
    next_sync: Instant,
}

/// A restart that has to wait.
struct Waits {
    since: Instant,
    said: bool,
}

/// A wait that lasts is said. Most are over when the broker before has caught up.
const WAIT_IS_SAID: Duration = Duration::from_secs(5);

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
        let place = Place::open(&cluster, &folder, taken)?;
        let cluster = place.complete(cluster);
        let owned = std::fs::read(folder.join("topics.json")).ok();
        let mut running = Running {
            owned: owned
                .and_then(|text| serde_json::from_slice(&text).ok())
                .unwrap_or_default(),
            members: members(&cluster, cluster.node_ids(), &place, &options.broker, taken)?,
            place,
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

    /// Where its data is.
    pub(super) fn folder(&self) -> &Path {
        self.place.folder()
    }

    /// What the brokers' files should say.
    fn write_down(&mut self) {
        let voters = self.place.voters();
        for member in &mut self.members {
            member.wanted = process::local_properties(
                &self.cluster,
                member.node_id,
                &member.next_ports,
                &voters,
                &member.folder,
            );
        }
    }

    /// A changed spec: new brokers start at the next turn, what is read at the start only restarts those there are, one
    /// after the other; the rest is told to them. Where it cannot be followed, the cluster goes on as it was.
    pub(super) fn change(
        &mut self,
        cluster: Cluster,
        options: &Options,
        taken: &mut BTreeSet<u16>,
    ) -> anyhow::Result<()> {
        let cluster = self.place.complete(cluster);
        if cluster == self.cluster {
            return Ok(());
        }
        let mut next_ports = Vec::new();
        for member in &self.members {
            let ports = &member.ports;
            next_ports.push(match cluster.listeners == self.cluster.listeners {
                true => (member.next_ports.clone(), Vec::new()),
                false => ports.change(&self.cluster, &cluster, member.node_id, taken)?,
            });
        }
        self.place.grow(&cluster, taken)?;
        let more = self.cluster.replicas..cluster.replicas;
        let more = members(&cluster, more, &self.place, &options.broker, taken)?;
        for (member, (ports, said)) in self.members.iter_mut().zip(next_ports) {
            said.iter().for_each(|line| say(line));
            member.next_ports = ports;
        }
        for member in more {
            say(&format!("{}: broker {} joins", cluster.name, member.node_id));
            self.members.push(member);
            // Its address is one more to paste.
            self.welcomed = false;
        }
        self.cluster = cluster;
        self.write_down();
        self.pushed = None;
        Ok(())
    }

    /// Restarts at most one broker, if one has to be and may be, as on Kubernetes.
    async fn roll(&mut self) {
        if !self.is_rolling() {
            self.waits = None;
            return;
        }
        let said = futures::future::join_all(self.members.iter().map(Member::facts)).await;
        let brokers = self.members.iter().zip(&said).map(|(member, said)| {
            let standing = Standing {
                ready: member.ready,
                going: false,
                down: !member.process.is_running(),
                reasons: member.restart_reasons(),
                facts: said.as_ref(),
            };
            (member.node_id, standing)
        });
        let next = match roll::next(&self.cluster, &brokers.collect()) {
            Ok(next) => next,
            Err(why) => return self.waits_for(&why),
        };
        let Some(member) =
            next.and_then(|next| self.members.iter().position(|one| one.node_id == next.node_id))
        else {
            return;
        };
        if next.is_some_and(|next| next.ask)
            && let Err(why) = self.members[member].may_stop().await
        {
            let title = self.members[member].title(&self.cluster);
            return self.waits_for(&format!("{title} may not stop yet: {why}"));
        }
        self.waits = None;
        let member = &mut self.members[member];
        say(&format!(
            "{}: restarting {}: {}",
            self.cluster.name,
            member.title(&self.cluster),
            member.restart_reasons().join(", ")
        ));
        member.stop().await;
    }

    fn waits_for(&mut self, why: &str) {
        let waits = self.waits.get_or_insert_with(|| Waits {
            since: Instant::now(),
            said: false,
        });
        if !waits.said && waits.since.elapsed() >= WAIT_IS_SAID {
            waits.said = true;
            say(&format!("{}: a restart waits: {why}", self.cluster.name));
        }
    }

    fn is_rolling(&self) -> bool {
        self.members.iter().any(|one| !one.restart_reasons().is_empty())
    }

    /// All brokers serve, as their files say.
    pub(super) fn settled(&self) -> bool {
        self.ready() && !self.is_rolling()
    }

    /// Stops all brokers. True when all ended by themselves.
    pub(super) async fn stop(&mut self) -> bool {
        let stops = self.members.iter_mut().map(Member::stop);
        futures::future::join_all(stops).await.iter().all(|clean| *clean)
    }

    fn ready(&self) -> bool {
        self.members.iter().all(|member| member.ready)
    }

    /// Ports of the listeners, which no other cluster can have.
    pub(super) fn listener_ports(&self) -> Vec<u16> {
        let ports = self.members.iter().flat_map(|member| {
            let now = member.ports.listeners.values();
            now.chain(member.next_ports.listeners.values())
        });
        ports.copied().collect()
    }

    /// host:port of every broker that has this listener, to paste.
    pub(super) fn addresses(&self, listener: &str) -> String {
        let each = self
            .members
            .iter()
            .filter_map(|member| member.ports.address(listener));
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
        let before: Vec<Ports> = self.members.iter().map(|member| member.ports.clone()).collect();
        let cluster = &self.cluster;
        // At once: one that does not answer must not keep the others waiting.
        let turns = self.members.iter_mut().map(|member| member.turn(cluster));
        for turned in futures::future::join_all(turns).await {
            match turned {
                Turned::Same => {}
                Turned::BecameReady => {
                    self.next_sync = Instant::now();
                    // It has not said what its engine is.
                    self.pushed = None;
                }
                Turned::Ended => self.pushed = None,
            }
        }
        let now = self.members.iter().map(|member| &member.ports);
        self.welcomed &= before
            .iter()
            .zip(now)
            .all(|(before, now)| before.listeners == now.listeners);
        self.remember_formed();
        self.roll().await;
        let Some(ready) = self.members.iter().position(|member| member.ready) else {
            return;
        };
        // A broker is ready while the metadata quorum counts on it, so one is enough; the first time, topics want them all.
        if !self.cluster.formed {
            return;
        }
        if self.pushed.as_ref() != Some(&self.cluster.dynamic_config) {
            self.push(ready).await;
        }
        if Instant::now() >= self.next_sync {
            self.sync_topics(ready).await;
        }
    }

    fn remember_formed(&mut self) {
        if !self.ready() {
            return;
        }
        match self.place.remember_formed() {
            Ok(false) => {}
            Ok(true) => {
                // The brokers read it at their next start.
                self.cluster = self.place.complete(self.cluster.clone());
                self.write_down();
            }
            Err(error) => say(&format!("{}: write cluster.json: {error}", self.cluster.name)),
        }
    }

    /// Tells a broker the dynamic properties of the cluster, and learns the brokers' engines.
    async fn push(&mut self, speaker: usize) {
        for member in self.members.iter_mut().filter(|member| member.ready) {
            if let Some(facts) = member.facts().await {
                member.engine = facts.engine;
            }
        }
        match self.members[speaker].tell(&self.cluster.dynamic_config).await {
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
        // All are on this machine; while listeners change, this broker may still have the former ones.
        let ports = &self.members[speaker].ports;
        let Some(address) = ports.listeners.keys().find_map(|name| ports.address(name)) else {
            return;
        };
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
        let path = self.folder().join("topics.json");
        let text = serde_json::to_vec_pretty(&self.owned).expect("names and ids");
        if std::fs::read(&path).ok().as_ref() == Some(&text) {
            return;
        }
        let beside = self.folder().join("topics.json.new");
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

/// Brokers that are not started yet.
fn members(
    cluster: &Cluster,
    node_ids: std::ops::Range<i32>,
    place: &Place,
    program: &Path,
    taken: &mut BTreeSet<u16>,
) -> anyhow::Result<Vec<Member>> {
    let mut members = Vec::new();
    for node_id in node_ids {
        let (ports, said) = Ports::choose(cluster, node_id, taken, place.between(node_id))?;
        said.iter().for_each(|line| say(line));
        members.push(Member::new(node_id, ports, program, place.broker(node_id)));
    }
    Ok(members)
}
