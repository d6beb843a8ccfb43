//! Tests only: random histories of requests, judged by what replicas really hold.
//!
//! The model acknowledges a write when the partition has a leader and enough in-sync replicas, and remembers who has it.
//! A leader that was elected without losses being allowed must have all that was acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use protocol::ids::{NodeId, TopicPartition};

use super::fixtures::{decided, decided_at, done, image, new_topic};
use super::image::PartitionImage;
use super::{
    AlterResource, ConfigChange, ConfigOp, DamagedReplica, Defaults, IsrChange, LogEnd, LogEnds,
    MetadataImage, Registration, Reply, Request, Resource, TopicReassignments, statics,
};

/// splitmix64: a history is its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

const BROKERS: i32 = 4;

fn given(min_insync_replicas: usize) -> Defaults {
    Defaults {
        min_insync_replicas,
        ..Defaults::default()
    }
}

struct History {
    image: MetadataImage,
    /// Acknowledged writes each replica holds; all of them are prefixes of one history.
    holds: BTreeMap<NodeId, u64>,
    acknowledged: u64,
    min_isr: usize,
    /// The topic has no number of its own: what the quorum's leader was given at start holds.
    by_file: bool,
    /// `unclean.leader.election.enable` of the topic.
    unclean: bool,
    now_ms: i64,
    log_ends: LogEnds,
    /// Who said how far its log goes, under the present leader epoch and in its present life.
    spoke: BTreeSet<NodeId>,
    /// Who came back with an empty disk in this step.
    emptied: Option<NodeId>,
    incarnations: u8,
    /// What happened, for a person who reads a failure.
    told: Vec<String>,
}

impl History {
    fn begin(unclean: bool) -> History {
        History::begin_by(unclean, false)
    }

    fn begin_by(unclean: bool, by_file: bool) -> History {
        let mut topic = new_topic("t", 1, 3);
        topic.configs = vec![("unclean.leader.election.enable".into(), Some(unclean.to_string()))];
        let mut image = image(BROKERS);
        if by_file {
            let published = statics::publish(&image, &given(2));
            image.apply_each(&published.records).expect("they fit");
        } else {
            topic
                .configs
                .push(("min.insync.replicas".into(), Some("2".into())));
        }
        let create = Request::CreateTopics {
            topics: vec![topic],
            validate_only: false,
        };
        done(&mut image, &create);
        History {
            image,
            holds: BTreeMap::new(),
            acknowledged: 0,
            min_isr: 2,
            by_file,
            unclean,
            now_ms: 0,
            log_ends: LogEnds::default(),
            spoke: BTreeSet::new(),
            emptied: None,
            incarnations: 100,
            told: Vec::new(),
        }
    }

    fn partition(&self) -> PartitionImage {
        let topic = self.image.topic("t").expect("it was created");
        topic.partition(0).expect("it has one").clone()
    }

    fn held(&self, node: NodeId) -> u64 {
        self.holds.get(&node).copied().unwrap_or(0)
    }

    /// All that is in sync takes part in a write, if enough is.
    fn write(&mut self) {
        let partition = self.partition();
        if partition.leader.is_some() && partition.isr.len() >= self.min_isr {
            self.acknowledged += 1;
            for node in &partition.isr {
                self.holds.insert(*node, self.acknowledged);
            }
        }
    }

    fn ask(&mut self, request: &Request) -> Reply {
        let before = self.partition();
        let outcome = decided_at(&self.image, request, self.now_ms, &mut self.log_ends);
        self.image
            .apply_each(&outcome.records)
            .expect("decisions fit their image");
        let reply = outcome.reply;
        let after = self.partition();
        // Who holds no replica any more deletes it.
        self.holds.retain(|node, _| after.replicas.contains(node));
        if self.told.len() < 200 {
            let told = format!("{request:?}\n   -> {after:?}, acknowledged {}", self.acknowledged);
            self.told.push(told);
        }
        self.check(&before, &after);
        reply
    }

    fn check(&mut self, before: &PartitionImage, after: &PartitionImage) {
        let told = || self.told.join("\n");
        assert!(after.leader_epoch >= before.leader_epoch, "{}", told());
        assert!(after.partition_epoch >= before.partition_epoch, "{}", told());
        if after != before {
            assert!(after.partition_epoch > before.partition_epoch, "{}", told());
        }
        if after.leader != before.leader {
            assert!(after.leader_epoch > before.leader_epoch, "{}", told());
        }
        for list in [&after.isr, &after.elr] {
            assert!(
                list.iter().all(|node| after.replicas.contains(node)),
                "{}",
                told()
            );
        }
        assert!(
            after.isr.iter().all(|node| !after.elr.contains(node)),
            "{}",
            told()
        );
        if after.isr.len() >= self.min_isr.min(after.copies()) {
            assert!(
                after.elr.is_empty(),
                "nothing holds who is eligible back: {}",
                told()
            );
        }
        let moving = [&after.adding, &after.removing];
        let mut moving = moving.into_iter().flatten();
        assert!(moving.all(|node| after.replicas.contains(node)), "{}", told());
        assert!(!after.replicas.is_empty(), "{}", told());
        let Some(leader) = after.leader else { return };
        // Who is stopping goes on leading what nobody else can lead.
        let there = self.image.broker(leader).is_some_and(|broker| !broker.fenced);
        assert!(after.isr.contains(&leader) && there, "{}", told());
        if after.leader_epoch == before.leader_epoch {
            return;
        }
        self.spoke.clear();
        let eligible = before.isr.contains(&leader) || before.elr.contains(&leader);
        let trusted = !self.unclean || (eligible && self.emptied != Some(leader));
        let held = self.held(leader);
        assert!(
            !trusted || held == self.acknowledged,
            "{leader} leads with {held} of {} acknowledged writes: {}",
            self.acknowledged,
            told()
        );
        // Losses were allowed: what it has is the history from now on.
        self.acknowledged = held;
        self.holds
            .values_mut()
            .for_each(|holds| *holds = (*holds).min(held));
    }

    fn epoch(&self, node: NodeId) -> i64 {
        self.image.broker(node).map_or(0, |broker| broker.epoch)
    }

    fn fence(&mut self, node: NodeId, fenced: bool) {
        self.ask(&Request::FenceBroker {
            node,
            epoch: None,
            fenced,
        });
    }

    fn register(&mut self, node: NodeId, clean: bool, emptied: bool, fenced: bool) {
        self.incarnations = self.incarnations.wrapping_add(1);
        self.image.offset += 1;
        let mut directory_id = [0; 16];
        directory_id[..4].copy_from_slice(&node.0.to_le_bytes());
        let known = self.image.broker(node).map(|broker| broker.directory_id);
        if emptied {
            directory_id[8..].copy_from_slice(&self.image.offset.to_le_bytes());
            self.holds.remove(&node);
            self.emptied = Some(node);
        } else {
            directory_id = known.unwrap_or(directory_id);
        }
        let mut incarnation_id = [self.incarnations; 16];
        incarnation_id[8..].copy_from_slice(&self.image.offset.to_le_bytes());
        let registration = Registration {
            node,
            incarnation_id,
            directory_id,
            cluster_id: self.image.cluster_id.clone(),
            rack: None,
            fenced,
            listeners: vec![super::fixtures::endpoint("PLAINTEXT", "host", 9092)],
            replication: None,
            shards: 1,
            clean_shutdown: clean,
        };
        self.spoke.remove(&node);
        self.ask(&Request::RegisterBroker(registration));
        self.emptied = None;
    }

    /// The leader asks for an in-sync set of itself and some others, who have what it has by then.
    fn alter(&mut self, among: impl Fn(NodeId) -> bool) {
        let partition = self.partition();
        let Some(leader) = partition.leader else { return };
        let isr: Vec<_> = partition
            .replicas
            .iter()
            .copied()
            .filter(|node| *node == leader || among(*node))
            .map(|node| (node, self.epoch(node)))
            .collect();
        let request = Request::AlterPartition {
            node: leader,
            broker_epoch: self.epoch(leader),
            changes: vec![IsrChange {
                partition: TopicPartition {
                    topic_id: self.image.topic("t").expect("it was created").id,
                    partition: 0,
                },
                leader_epoch: partition.leader_epoch,
                partition_epoch: partition.partition_epoch,
                isr: isr.clone(),
            }],
        };
        if matches!(decided(&self.image, &request).reply, Reply::AlterPartition(Ok(items)) if items[0].is_ok())
        {
            let held = self.held(leader);
            isr.iter()
                .for_each(|(node, _)| _ = self.holds.insert(*node, held));
        }
        self.ask(&request);
    }

    /// A part of what a replica holds turns out to be damaged: it cuts only if it may.
    fn damage(&mut self, node: NodeId, left: u64) {
        let request = Request::GiveUpDamaged {
            node,
            broker_epoch: self.epoch(node),
            damaged: vec![DamagedReplica {
                partition: TopicPartition {
                    topic_id: self.image.topic("t").expect("it was created").id,
                    partition: 0,
                },
                leader_epoch: self.partition().leader_epoch,
            }],
        };
        if matches!(self.ask(&request), Reply::GiveUpDamaged(Ok(items)) if items[0].is_ok()) {
            let held = self.held(node);
            self.holds.insert(node, held.min(left));
        }
    }

    /// A replica says how far its log goes, if nobody leads. Where that makes one lead, it is the longest of those that
    /// live and spoke, and who is silent was waited for.
    fn say(&mut self, node: NodeId) {
        let partition = self.partition();
        if partition.leader.is_some() || !partition.replicas.contains(&node) {
            return;
        }
        let request = Request::LogEnds {
            node,
            broker_epoch: self.epoch(node),
            ends: vec![LogEnd {
                partition: TopicPartition {
                    topic_id: self.image.topic("t").expect("it was created").id,
                    partition: 0,
                },
                leader_epoch: partition.leader_epoch,
                last_epoch: 0,
                log_end: self.held(node) as i64,
            }],
        };
        if self.image.serves(node) {
            self.spoke.insert(node);
        }
        let spoke = self.spoke.iter().copied();
        let spoke: Vec<NodeId> = spoke.filter(|node| self.image.serves(*node)).collect();
        let longest = spoke.iter().map(|node| self.held(*node)).max();
        let Reply::LogEnds(Ok(elected)) = self.ask(&request) else {
            return;
        };
        for leader in elected {
            assert!(self.unclean, "{}", self.told.join("\n"));
            assert_eq!(Some(leader.log_end as u64), longest, "{}", self.told.join("\n"));
            assert!(spoke.contains(&leader.leader), "{}", self.told.join("\n"));
        }
    }

    fn min_isr(&mut self, min_isr: usize) {
        self.min_isr = min_isr;
        if self.by_file {
            // Another leader of the quorum. Whoever decides later was given 1, and must not go by it.
            let before = self.partition();
            let published = statics::publish(&self.image, &given(min_isr));
            self.image.apply_each(&published.records).expect("they fit");
            self.told
                .push(format!("{min_isr} is published -> {:?}", self.partition()));
            return self.check(&before, &self.partition());
        }
        self.ask(&Request::AlterConfigs {
            resources: vec![AlterResource {
                resource: Resource::Topic("t".into()),
                changes: vec![ConfigChange {
                    name: "min.insync.replicas".into(),
                    op: ConfigOp::Set,
                    value: Some(min_isr.to_string()),
                }],
            }],
            validate_only: false,
        });
    }

    /// To some of the brokers, or back.
    fn reassign(&mut self, target: Option<Vec<NodeId>>) {
        self.ask(&Request::AlterReassignments {
            topics: vec![TopicReassignments {
                topic: "t".into(),
                partitions: vec![(0, target)],
            }],
            may_change_factor: true,
        });
    }

    fn unregister(&mut self, node: NodeId) {
        self.ask(&Request::UnregisterBroker { node });
    }

    fn step(&mut self, dice: &mut Dice) {
        let node = NodeId(dice.below(BROKERS as u64) as i32);
        self.now_ms += dice.below(2_000) as i64;
        match dice.below(18) {
            0 | 1 => self.fence(node, true),
            2 | 3 => self.fence(node, false),
            4 | 5 => {
                let mask = dice.below(16);
                self.alter(|node| mask >> node.0 & 1 == 1);
            }
            6 => {
                let epoch = self.epoch(node);
                self.ask(&Request::ControlledShutdown { node, epoch });
            }
            7 => self.register(node, dice.below(2) == 0, false, dice.below(2) == 0),
            8 if dice.below(4) == 0 => self.register(node, true, true, dice.below(2) == 0),
            9 if dice.below(4) == 0 => self.min_isr(1 + dice.below(3) as usize),
            10 if dice.below(4) == 0 => self.unregister(node),
            11 if dice.below(3) == 0 => self.reassign(None),
            14..=16 => self.say(node),
            13 => {
                let left = dice.below(self.acknowledged + 1);
                self.damage(node, left);
            }
            12 => {
                let first = dice.below(BROKERS as u64) as i32;
                let count = 1 + dice.below(3) as i32;
                let target = (first..first + count).map(|node| NodeId(node % BROKERS));
                self.reassign(Some(target.collect()));
            }
            _ => self.alter(|_| true),
        }
        self.write();
    }
}

#[test]
fn what_was_acknowledged_is_never_lost_to_a_clean_election() {
    for seed in 0..500 {
        println!("seed {seed}");
        let mut dice = Dice(seed);
        let mut history = History::begin_by(seed % 2 == 0, seed % 4 >= 2);
        for _ in 0..80 {
            history.step(&mut dice);
        }
    }
}

/// Only `first` is left in sync, `second` is eligible; then a lower min.insync.replicas lets `first` acknowledge alone.
#[test]
fn a_lower_min_insync_replicas_ends_eligibility() {
    let mut history = History::begin(false);
    let replicas = history.partition().replicas;
    history.fence(replicas[2], true);
    history.fence(replicas[1], true);
    assert_eq!(history.partition().elr, [replicas[1]]);
    history.min_isr(1);
    history.write();
    history.fence(replicas[0], true);
    history.fence(replicas[1], false);
    assert_eq!(
        history.partition().leader,
        None,
        "it misses what was acknowledged"
    );
}

/// Whoever was eligible before losses were accepted is not eligible after.
#[test]
fn an_unclean_leader_ends_eligibility() {
    let mut history = History::begin(true);
    let replicas = history.partition().replicas;
    history.min_isr(1);
    history.write();
    for node in &replicas {
        history.fence(*node, true);
    }
    assert_eq!(history.partition().elr, [replicas[2]]);
    history.fence(replicas[0], false);
    assert_eq!(history.partition().leader, None, "it may miss records");
    history.say(replicas[0]);
    assert_eq!(history.partition().leader, Some(replicas[0]));
    assert!(history.partition().elr.is_empty(), "{:?}", history.partition());
}

/// Nobody knows what is on the disk of a broker that was unregistered and comes back.
#[test]
fn an_unregistered_broker_that_comes_back_is_not_eligible() {
    let mut history = History::begin(false);
    let replicas = history.partition().replicas;
    history.write();
    for node in &replicas {
        history.fence(*node, true);
    }
    let last = replicas[2];
    assert!(history.partition().elr.contains(&last));
    history.unregister(last);
    history.register(last, true, true, true);
    history.fence(last, false);
    assert_eq!(history.partition().leader, None, "its disk is empty");
}
