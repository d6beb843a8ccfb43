//! The cluster as the metadata log describes it: an immutable value that every core holds one of.
//!
//! Owns the maps and how one record changes them. The maps are persistent (structure is shared between versions), so a
//! clone is O(1), applying a record is O(log n), and the difference between two versions is found in O(change). Leaves
//! the decision which records to write to its neighbours, and publishing to `quorum/`.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::{OrdMap, Vector};
use protocol::ids::{LeaderEpoch, NodeId, TopicId};

use super::record::{self, Address, Endpoint, Record};

/// A record that does not fit the image: the log was written by a broken broker, or damaged. Nothing can be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    #[error("metadata log names topic {0}, which does not exist at this point")]
    NoTopic(TopicId),
    #[error("metadata log names partition {1} of topic {0}, which does not exist at this point")]
    NoPartition(TopicId, i32),
    #[error("metadata log creates partition {found} of topic {topic} out of order (expected {expected})")]
    PartitionOrder {
        topic: TopicId,
        expected: usize,
        found: i32,
    },
    #[error("metadata log names broker {0}, which is not registered at this point")]
    NoBroker(NodeId),
    #[error("metadata log creates topic {0:?} a second time")]
    TopicTwice(Arc<str>),
}

/// One broker as it registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    pub node: NodeId,
    /// Goes up with every registration of this node id.
    pub epoch: i64,
    /// Random per process start.
    pub incarnation_id: [u8; 16],
    pub directory_id: [u8; 16],
    /// Advertised addresses, by listener.
    pub listeners: Vec<Endpoint>,
    pub rack: Option<Arc<str>>,
    pub fenced: bool,
    /// It is shutting down in order, or its disk answers nothing just now.
    pub stopping: bool,
    /// Where other brokers replicate from it.
    pub replication: Option<Address>,
    /// Cores of its data plane; 0: unknown.
    pub shards: u16,
}

impl Broker {
    /// Whether it may lead, and be in sync.
    pub fn serves(&self) -> bool {
        !self.fenced && !self.stopping
    }

    /// The advertised address of a listener.
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.listeners.iter().find(|endpoint| &*endpoint.name == listener)
    }
}

/// One topic. Shared between versions of the image until it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicImage {
    pub id: TopicId,
    pub name: Arc<str>,
    /// Belongs to the brokers (`__consumer_offsets`, `__transaction_state`), not to a user.
    pub internal: bool,
    /// Indexed by partition number.
    pub partitions: Vector<PartitionImage>,
    /// What was set on the topic; defaults are not here.
    pub configs: BTreeMap<String, String>,
}

impl TopicImage {
    pub fn partition(&self, partition: i32) -> Option<&PartitionImage> {
        usize::try_from(partition)
            .ok()
            .and_then(|index| self.partitions.get(index))
    }
}

/// Who holds, follows and leads one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionImage {
    /// In order of preference.
    pub replicas: Vec<NodeId>,
    pub isr: Vec<NodeId>,
    /// Eligible leader replicas (KIP-966).
    pub elr: Vec<NodeId>,
    pub leader: Option<NodeId>,
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: i32,
    /// Replicas that a reassignment brings, and those that leave when it is complete; both are among `replicas`.
    pub adding: Vec<NodeId>,
    pub removing: Vec<NodeId>,
}

impl PartitionImage {
    /// Whether a reassignment is under way.
    pub fn moves(&self) -> bool {
        !(self.adding.is_empty() && self.removing.is_empty())
    }

    /// How many copies there are to be; those that a reassignment brings count when it is complete.
    pub fn copies(&self) -> usize {
        self.replicas.len() - self.adding.len()
    }
}

/// The cluster at one point of the metadata log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataImage {
    /// Empty before the cluster is formed.
    pub cluster_id: Arc<str>,
    pub formed_at_ms: i64,
    /// Index of the last log entry applied; 0 before the first. Comparable between brokers.
    pub offset: u64,
    pub brokers: OrdMap<NodeId, Arc<Broker>>,
    pub topics: OrdMap<TopicId, Arc<TopicImage>>,
    pub topic_ids: OrdMap<Arc<str>, TopicId>,
    /// Names with `.` written as `_`, for names that have either: two names that meet here would meet in metric names.
    pub(super) collisions: OrdMap<Arc<str>, Arc<str>>,
    /// Dynamic broker properties: of one node, or (no node) of every broker.
    pub broker_configs: OrdMap<Option<NodeId>, Arc<BTreeMap<String, String>>>,
    /// Properties with one value for the whole cluster, as the quorum's leader was given them at start (`statics.rs`). Empty
    /// only before a leader of this version has led.
    pub static_configs: Arc<BTreeMap<String, String>>,
    /// Producer ids below this one are handed out.
    pub next_producer_id: i64,
    /// Partitions of all topics.
    pub partitions: u64,
    /// Who leads the metadata quorum, as far as this broker knows. Not from the log.
    pub controller: Option<NodeId>,
}

impl Default for MetadataImage {
    fn default() -> Self {
        MetadataImage {
            cluster_id: "".into(),
            formed_at_ms: 0,
            offset: 0,
            brokers: OrdMap::new(),
            topics: OrdMap::new(),
            topic_ids: OrdMap::new(),
            collisions: OrdMap::new(),
            broker_configs: OrdMap::new(),
            static_configs: Arc::default(),
            next_producer_id: 0,
            partitions: 0,
            controller: None,
        }
    }
}

/// What differs between two versions of the image. Found in O(change).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ImageDiff {
    pub topics_created: Vec<Arc<TopicImage>>,
    /// (old, new): partitions, their state, or configs.
    pub topics_changed: Vec<(Arc<TopicImage>, Arc<TopicImage>)>,
    pub topics_deleted: Vec<Arc<TopicImage>>,
    /// Registered, changed or removed.
    pub brokers: Vec<NodeId>,
    /// Levels of dynamic broker properties that changed; no node: the level of every broker.
    pub broker_configs: Vec<Option<NodeId>>,
    /// What holds for the whole cluster where nothing is set changed.
    pub static_configs: bool,
}

impl MetadataImage {
    /// The same image with another leader of the metadata quorum.
    #[must_use]
    pub fn led_by(mut self, controller: Option<NodeId>) -> MetadataImage {
        self.controller = controller;
        self
    }

    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.topic_ids.get(name).and_then(|id| self.topics.get(id))
    }

    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<TopicImage>> {
        self.topics.get(&id)
    }

    pub fn partition(&self, topic: TopicId, partition: i32) -> Option<&PartitionImage> {
        self.topics
            .get(&topic)
            .and_then(|topic| topic.partition(partition))
    }

    pub fn broker(&self, node: NodeId) -> Option<&Arc<Broker>> {
        self.brokers.get(&node)
    }

    /// A dynamic property as it holds for one broker: its own value, else the cluster-wide one.
    pub fn broker_config(&self, node: NodeId, name: &str) -> Option<&str> {
        [Some(node), None]
            .iter()
            .find_map(|level| self.broker_configs.get(level)?.get(name))
            .map(String::as_str)
    }

    /// Whether a broker may lead, and be in sync.
    pub fn serves(&self, node: NodeId) -> bool {
        self.broker(node).is_some_and(|broker| broker.serves())
    }

    /// The name that stands in the way of `name`: the same but for `.` and `_`.
    pub fn collision(&self, name: &str) -> Option<&Arc<str>> {
        self.collisions.get(canonical(name)?.as_str())
    }

    /// What changed from `old` to this one, in O(change): shared structure is skipped.
    pub fn diff(&self, old: &MetadataImage) -> ImageDiff {
        use imbl::ordmap::DiffItem;
        let mut diff = ImageDiff::default();
        for item in old.topics.diff(&self.topics) {
            match item {
                DiffItem::Add(_, topic) => diff.topics_created.push(topic.clone()),
                DiffItem::Update { old, new } => diff.topics_changed.push((old.1.clone(), new.1.clone())),
                DiffItem::Remove(_, topic) => diff.topics_deleted.push(topic.clone()),
            }
        }
        for item in old.brokers.diff(&self.brokers) {
            diff.brokers.push(match item {
                DiffItem::Add(node, _) | DiffItem::Remove(node, _) => *node,
                DiffItem::Update { new, .. } => *new.0,
            });
        }
        for item in old.broker_configs.diff(&self.broker_configs) {
            diff.broker_configs.push(match item {
                DiffItem::Add(level, _) | DiffItem::Remove(level, _) => *level,
                DiffItem::Update { new, .. } => *new.0,
            });
        }
        diff.static_configs = old.static_configs != self.static_configs;
        diff
    }

    /// Changes the image by one record. An error leaves the image in an unspecified but sound state: drop it.
    pub fn apply(&mut self, record: &Record) -> Result<(), ApplyError> {
        match record {
            Record::Formed(formed) => {
                self.cluster_id = formed.cluster_id.clone();
                self.formed_at_ms = formed.formed_at_ms;
                Ok(())
            }
            Record::BrokerRegistered(broker) => {
                self.register(broker);
                Ok(())
            }
            Record::BrokerListeners(change) => {
                self.broker_mut(change.node)?.listeners = change.listeners.clone();
                Ok(())
            }
            Record::BrokerFenced(change) => {
                let broker = self.broker_mut(change.node)?;
                broker.fenced = change.fenced;
                broker.stopping = change.stopping;
                Ok(())
            }
            Record::BrokerRemoved(removed) => match self.brokers.remove(&removed.node) {
                Some(_) => Ok(()),
                None => Err(ApplyError::NoBroker(removed.node)),
            },
            Record::TopicCreated(topic) => self.create_topic(topic),
            Record::PartitionCreated(partition) => self.create_partition(partition),
            Record::PartitionChanged(partition) => self.change_partition(partition),
            Record::TopicDeleted(topic) => self.delete_topic(topic.id),
            Record::TopicConfig(config) => {
                let configs = &mut self.topic_mut(config.topic)?.configs;
                set_config(configs, &config.name, config.value.as_deref());
                Ok(())
            }
            Record::BrokerConfig(config) => {
                self.configure_brokers(config);
                Ok(())
            }
            Record::ProducerIds(ids) => {
                self.next_producer_id = ids.next;
                Ok(())
            }
            Record::StaticConfig(config) => {
                let configs = Arc::make_mut(&mut self.static_configs);
                set_config(configs, &config.name, Some(&config.value));
                Ok(())
            }
        }
    }

    /// Changes the image by several records, in order.
    pub fn apply_each<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a Record>,
    ) -> Result<(), ApplyError> {
        records.into_iter().try_for_each(|record| self.apply(record))
    }

    fn register(&mut self, broker: &record::BrokerRegistered) {
        let broker = Broker {
            node: broker.node,
            epoch: broker.epoch,
            incarnation_id: broker.incarnation_id,
            directory_id: broker.directory_id,
            listeners: broker.listeners.clone(),
            rack: broker.rack.clone(),
            fenced: broker.fenced,
            stopping: false,
            replication: broker.replication.clone(),
            shards: broker.shards,
        };
        self.brokers.insert(broker.node, Arc::new(broker));
    }

    fn create_topic(&mut self, topic: &record::TopicCreated) -> Result<(), ApplyError> {
        if self.topic_ids.contains_key(&topic.name) || self.topics.contains_key(&topic.id) {
            return Err(ApplyError::TopicTwice(topic.name.clone()));
        }
        let image = TopicImage {
            id: topic.id,
            name: topic.name.clone(),
            internal: is_internal(&topic.name),
            partitions: Vector::new(),
            configs: BTreeMap::new(),
        };
        self.topic_ids.insert(topic.name.clone(), topic.id);
        if let Some(canonical) = canonical(&topic.name) {
            self.collisions.insert(canonical.into(), topic.name.clone());
        }
        self.topics.insert(topic.id, Arc::new(image));
        Ok(())
    }

    fn create_partition(&mut self, partition: &record::PartitionCreated) -> Result<(), ApplyError> {
        let topic = self.topic_mut(partition.topic)?;
        let expected = topic.partitions.len();
        if usize::try_from(partition.partition) != Ok(expected) {
            return Err(ApplyError::PartitionOrder {
                topic: partition.topic,
                expected,
                found: partition.partition,
            });
        }
        topic.partitions.push_back(PartitionImage {
            replicas: partition.replicas.clone(),
            isr: partition.isr.clone(),
            elr: Vec::new(),
            leader: partition.leader,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
            adding: Vec::new(),
            removing: Vec::new(),
        });
        self.partitions += 1;
        Ok(())
    }

    fn change_partition(&mut self, change: &record::PartitionChanged) -> Result<(), ApplyError> {
        let topic = self.topic_mut(change.topic)?;
        let partition = usize::try_from(change.partition)
            .ok()
            .and_then(|index| topic.partitions.get_mut(index))
            .ok_or(ApplyError::NoPartition(change.topic, change.partition))?;
        *partition = PartitionImage {
            replicas: change.replicas.clone(),
            isr: change.isr.clone(),
            elr: change.elr.clone(),
            leader: change.leader,
            leader_epoch: change.leader_epoch,
            partition_epoch: change.partition_epoch,
            adding: change.adding.clone(),
            removing: change.removing.clone(),
        };
        Ok(())
    }

    fn delete_topic(&mut self, id: TopicId) -> Result<(), ApplyError> {
        let topic = self.topics.remove(&id).ok_or(ApplyError::NoTopic(id))?;
        self.topic_ids.remove(&topic.name);
        if let Some(canonical) = canonical(&topic.name) {
            self.collisions.remove(canonical.as_str());
        }
        self.partitions -= topic.partitions.len() as u64;
        Ok(())
    }

    fn configure_brokers(&mut self, config: &record::BrokerConfig) {
        let mut level = self.broker_configs.get(&config.node).cloned().unwrap_or_default();
        set_config(Arc::make_mut(&mut level), &config.name, config.value.as_deref());
        if level.is_empty() {
            self.broker_configs.remove(&config.node);
        } else {
            self.broker_configs.insert(config.node, level);
        }
    }

    fn topic_mut(&mut self, id: TopicId) -> Result<&mut TopicImage, ApplyError> {
        self.topics
            .get_mut(&id)
            .map(Arc::make_mut)
            .ok_or(ApplyError::NoTopic(id))
    }

    fn broker_mut(&mut self, node: NodeId) -> Result<&mut Broker, ApplyError> {
        self.brokers
            .get_mut(&node)
            .map(Arc::make_mut)
            .ok_or(ApplyError::NoBroker(node))
    }

    /// Records that build this image from nothing: the content of a snapshot. `offset` and `controller` are not in them.
    pub fn to_records(&self) -> impl Iterator<Item = Record> + '_ {
        let formed = (!self.cluster_id.is_empty()).then(|| {
            Record::from(record::Formed {
                cluster_id: self.cluster_id.clone(),
                formed_at_ms: self.formed_at_ms,
            })
        });
        let producers = (self.next_producer_id != 0).then(|| {
            Record::from(record::ProducerIds {
                next: self.next_producer_id,
            })
        });
        let brokers = self
            .brokers
            .values()
            .flat_map(|broker| std::iter::once(broker_record(broker)).chain(stopping_record(broker)));
        let configs = self.broker_configs.iter().flat_map(|(node, level)| {
            level.iter().map(|(name, value)| {
                Record::from(record::BrokerConfig {
                    node: *node,
                    name: name.as_str().into(),
                    value: Some(value.as_str().into()),
                })
            })
        });
        let statics = self.static_configs.iter().map(|(name, value)| {
            Record::from(record::StaticConfig {
                name: name.as_str().into(),
                value: value.as_str().into(),
            })
        });
        let topics = self.topics.values().flat_map(|topic| topic_records(topic));
        formed
            .into_iter()
            .chain(statics)
            .chain(producers)
            .chain(brokers)
            .chain(configs)
            .chain(topics)
    }
}

fn broker_record(broker: &Broker) -> Record {
    record::BrokerRegistered {
        node: broker.node,
        epoch: broker.epoch,
        incarnation_id: broker.incarnation_id,
        directory_id: broker.directory_id,
        rack: broker.rack.clone(),
        fenced: broker.fenced,
        listeners: broker.listeners.clone(),
        replication: broker.replication.clone(),
        shards: broker.shards,
    }
    .into()
}

/// A registration begins as not stopping, so a snapshot says it beside.
fn stopping_record(broker: &Broker) -> Option<Record> {
    let stopping = record::BrokerFenced {
        node: broker.node,
        fenced: broker.fenced,
        stopping: true,
    };
    broker.stopping.then(|| stopping.into())
}

fn topic_records(topic: &TopicImage) -> impl Iterator<Item = Record> + '_ {
    let created = record::TopicCreated {
        id: topic.id,
        name: topic.name.clone(),
    };
    let partitions = topic
        .partitions
        .iter()
        .enumerate()
        .flat_map(move |(number, partition)| {
            let created = record::PartitionCreated {
                topic: topic.id,
                partition: number as i32,
                replicas: partition.replicas.clone(),
                isr: partition.isr.clone(),
                leader: partition.leader,
            };
            let fresh =
                partition.partition_epoch == 0 && partition.leader_epoch.0 == 0 && partition.elr.is_empty();
            let changed = (!fresh).then(|| changed_record(topic.id, number as i32, partition).into());
            std::iter::once(Record::from(created)).chain(changed)
        });
    let configs = topic.configs.iter().map(move |(name, value)| {
        Record::from(record::TopicConfig {
            topic: topic.id,
            name: name.as_str().into(),
            value: Some(value.as_str().into()),
        })
    });
    std::iter::once(created.into()).chain(partitions).chain(configs)
}

/// The record that says a partition is now as `partition` has it.
pub(super) fn changed_record(
    topic: TopicId,
    number: i32,
    partition: &PartitionImage,
) -> record::PartitionChanged {
    record::PartitionChanged {
        topic,
        partition: number,
        replicas: partition.replicas.clone(),
        isr: partition.isr.clone(),
        elr: partition.elr.clone(),
        leader: partition.leader,
        leader_epoch: partition.leader_epoch,
        partition_epoch: partition.partition_epoch,
        adding: partition.adding.clone(),
        removing: partition.removing.clone(),
    }
}

fn set_config(configs: &mut BTreeMap<String, String>, name: &str, value: Option<&str>) {
    match value {
        Some(value) => configs.insert(name.to_string(), value.to_string()),
        None => configs.remove(name),
    };
}

/// Topics that belong to the brokers.
pub fn is_internal(name: &str) -> bool {
    matches!(
        name,
        "__consumer_offsets" | "__transaction_state" | "__share_group_state"
    )
}

fn canonical(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::fixtures::{Build, image, topic_id};

    #[test]
    fn the_records_of_an_image_build_the_same_image() {
        let mut image = image(3);
        image.apply_all(&[
            record::TopicCreated {
                id: topic_id(1),
                name: "a.b".into(),
            }
            .into(),
            record::PartitionCreated {
                topic: topic_id(1),
                partition: 0,
                replicas: vec![NodeId(0), NodeId(1)],
                isr: vec![NodeId(0), NodeId(1)],
                leader: Some(NodeId(0)),
            }
            .into(),
            record::PartitionChanged {
                topic: topic_id(1),
                partition: 0,
                replicas: vec![NodeId(0), NodeId(1)],
                isr: vec![NodeId(1)],
                elr: vec![NodeId(0)],
                leader: Some(NodeId(1)),
                leader_epoch: LeaderEpoch(1),
                partition_epoch: 1,
                adding: Vec::new(),
                removing: Vec::new(),
            }
            .into(),
            record::TopicConfig {
                topic: topic_id(1),
                name: "retention.ms".into(),
                value: Some("5".into()),
            }
            .into(),
            record::BrokerConfig {
                node: None,
                name: "log.retention.ms".into(),
                value: Some("9".into()),
            }
            .into(),
            record::ProducerIds { next: 2000 }.into(),
            record::StaticConfig {
                name: "min.insync.replicas".into(),
                value: "2".into(),
            }
            .into(),
        ]);
        let mut again = MetadataImage::default();
        let records: Vec<_> = image.to_records().collect();
        again.apply_all(&records);
        again.offset = image.offset;
        assert_eq!(again, image);
        assert_eq!(image.collision("a_b").map(|name| &**name), Some("a.b"));
        assert_eq!(image.broker_config(NodeId(2), "log.retention.ms"), Some("9"));
    }

    #[test]
    fn a_record_that_does_not_fit_is_an_error() {
        let mut image = image(1);
        let unknown = record::TopicDeleted { id: topic_id(9) };
        assert_eq!(
            image.apply(&unknown.into()),
            Err(ApplyError::NoTopic(topic_id(9)))
        );
        let early = record::TopicCreated {
            id: topic_id(1),
            name: "t".into(),
        };
        image.apply(&early.clone().into()).unwrap();
        assert_eq!(
            image.apply(&early.into()),
            Err(ApplyError::TopicTwice("t".into()))
        );
        let skipped = record::PartitionCreated {
            topic: topic_id(1),
            partition: 1,
            replicas: vec![],
            isr: vec![],
            leader: None,
        };
        assert!(matches!(
            image.apply(&skipped.into()),
            Err(ApplyError::PartitionOrder {
                expected: 0,
                found: 1,
                ..
            })
        ));
    }

    #[test]
    fn deleting_a_topic_leaves_nothing_behind() {
        let empty = image(1);
        let mut image = empty.clone();
        image.apply_all(&[
            record::TopicCreated {
                id: topic_id(1),
                name: "a_b".into(),
            }
            .into(),
            record::PartitionCreated {
                topic: topic_id(1),
                partition: 0,
                replicas: vec![NodeId(0)],
                isr: vec![NodeId(0)],
                leader: Some(NodeId(0)),
            }
            .into(),
            record::TopicDeleted { id: topic_id(1) }.into(),
        ]);
        assert_eq!(image, empty);
    }

    /// With 10,000 partitions, a change of one shares everything else with the version before.
    #[test]
    fn one_change_among_ten_thousand_partitions_copies_only_its_neighbourhood() {
        let mut image = image(1);
        for topic in 0..100u64 {
            image.apply_all(&[record::TopicCreated {
                id: topic_id(topic),
                name: format!("t{topic}").into(),
            }
            .into()]);
            for partition in 0..100 {
                image.apply_all(&[record::PartitionCreated {
                    topic: topic_id(topic),
                    partition,
                    replicas: vec![NodeId(0)],
                    isr: vec![NodeId(0)],
                    leader: Some(NodeId(0)),
                }
                .into()]);
            }
        }
        assert_eq!(image.partitions, 10_000);
        let before = image.clone();
        image.apply_all(&[record::PartitionChanged {
            topic: topic_id(42),
            partition: 7,
            replicas: vec![NodeId(0)],
            isr: vec![NodeId(0)],
            elr: vec![],
            leader: None,
            leader_epoch: LeaderEpoch(1),
            partition_epoch: 1,
            adding: Vec::new(),
            removing: Vec::new(),
        }
        .into()]);
        let shared = before
            .topics
            .iter()
            .filter(|(id, topic)| Arc::ptr_eq(topic, &image.topics[*id]))
            .count();
        assert_eq!(shared, 99, "every other topic is the same allocation");
        let diff = image.diff(&before);
        assert_eq!(diff.topics_changed.len(), 1);
        assert_eq!(diff.topics_changed[0].1.partitions[7].leader, None);
        assert_eq!(diff.topics_changed[0].0.partitions[7].leader, Some(NodeId(0)));
        assert!(diff.topics_created.is_empty() && diff.topics_deleted.is_empty() && diff.brokers.is_empty());
    }
}
