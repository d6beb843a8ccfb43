//! New images on one core of a broker that holds a part of a large topic: a change costs what changed.

use std::sync::atomic::Ordering::Relaxed;

use super::replication::{options, world};
use crate::metadata::fixtures::{done, image, new_topic};
use crate::metadata::{IsrChange, Reply, Request, TopicReassignments};
use crate::rt::recorder::Recorder;
use crate::shard::bridge;
use crate::shard::replicas;
use crate::shard::*;

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 10_000;
const BROKERS: i32 = 100;
const ME: NodeId = NodeId(0);
/// An image looks at a partition that changed a few times, and at no other.
const FEW: u64 = 4;

/// Broker 0 of a hundred, which have one replica of each partition among them.
struct Core {
    quorum: quorum::Handle,
    shard: Rc<Shard>,
    topic: TopicId,
}

impl Core {
    async fn start() -> Core {
        let mut image = image(BROKERS);
        let create = Request::CreateTopics {
            topics: vec![new_topic(TOPIC, PARTITIONS, 1)],
            validate_only: false,
        };
        done(&mut image, &create);
        image.offset = 1;
        let topic = image.topic(TOPIC).expect("it is there").id;
        let quorum = quorum::Handle::deciding(image);
        let disk = Disk::simulated(Arc::new(Recorder::in_memory()));
        let root = PathBuf::from("/data");
        disk.create_dir_all(&root).expect("a directory");
        let checkpoints =
            DirectoryCheckpoints::load(&disk, &root, |error| panic!("{error}")).expect("checkpoint files");
        let options = Arc::new(options(ME, Faults::default()));
        let unclaimed = replicas::recover(&disk, vec![], &quorum.image(), &options, Arc::new(|| ()))
            .await
            .expect("nothing to recover");
        let (bridge, end) = bridge::pair().expect("a bridge");
        let seed = Seed {
            id: ShardId(0),
            count: 1,
            options,
            disk,
            checkpoints: vec![Arc::new(checkpoints)],
            port: rt::mesh::ports(1, 16).expect("ports").remove(0),
            bridge: bridge.clone(),
            quorum: quorum.clone(),
            counters: Arc::default(),
            throttles: Arc::default(),
            fatal: Arc::new(|reason| panic!("{reason}")),
        };
        let shard = Shard::start(seed, end, unclaimed);
        quorum.subscribe(Box::new(move |update| bridge.publish(update)));
        shard.image_with(|image| image.offset >= 1).await;
        Core { quorum, shard, topic }
    }

    /// Decided and installed; how many partitions the core looked at for it.
    async fn looks_for(&self, request: Request) -> u64 {
        let before = self.shard.counters.metadata_partitions_looked_at.load(Relaxed);
        let reply = self.shard.submit(request, Duration::from_secs(5)).await;
        if let Reply::AlterPartition(replies) = reply.expect("decided") {
            replies.expect("a leader's request")[0].as_ref().expect("changed");
        }
        let offset = self.quorum.image().offset;
        self.shard.image_with(|image| image.offset >= offset).await;
        self.check_counts();
        self.shard.counters.metadata_partitions_looked_at.load(Relaxed) - before
    }

    fn check_counts(&self) {
        let all = self.shard.all_partitions();
        let led = all.iter().filter(|partition| partition.leader_epoch().is_some());
        let counters = &self.shard.counters;
        assert_eq!(counters.leaders.load(Relaxed), led.count() as u64);
        assert_eq!(counters.partitions.load(Relaxed), all.len() as u64);
    }

    fn led_by(&self, leader: NodeId) -> i32 {
        let image = self.shard.image();
        let mut numbers = 0..PARTITIONS;
        let found = numbers.find(|number| {
            let state = image.partition(self.topic, *number);
            state.is_some_and(|state| state.leader == Some(leader))
        });
        found.expect("each leads some")
    }

    fn holds(&self, partition: i32) -> bool {
        self.shard.partition(&self.id(partition)).is_some()
    }

    fn id(&self, partition: i32) -> TopicPartition {
        TopicPartition {
            topic_id: self.topic,
            partition,
        }
    }

    /// The partition's one replica moves from its leader, step by step.
    async fn moves(&self, partition: i32, from: NodeId, to: NodeId) {
        let topics = vec![TopicReassignments {
            topic: TOPIC.into(),
            partitions: vec![(partition, Some(vec![to]))],
        }];
        let begun = Request::AlterReassignments {
            topics,
            may_change_factor: false,
        };
        let looked = self.looks_for(begun).await;
        assert!(looked <= FEW, "{looked} looked at for a move that begins");
        assert!(self.holds(partition), "the old copy or the new one is here");
        let state = self.shard.image().partition(self.topic, partition).cloned();
        let state = state.expect("it is there");
        let joined = Request::AlterPartition {
            node: from,
            broker_epoch: 1,
            changes: vec![IsrChange {
                partition: self.id(partition),
                leader_epoch: state.leader_epoch,
                partition_epoch: state.partition_epoch,
                isr: vec![(from, 1), (to, 1)],
            }],
        };
        let looked = self.looks_for(joined).await;
        assert!(looked <= FEW, "{looked} looked at for a move that ends");
        assert_eq!(self.holds(partition), to == ME);
    }
}

#[test]
fn of_ten_thousand_partitions_a_core_looks_at_the_one_that_changed() {
    world(|| async {
        let core = Core::start().await;
        let held = core.shard.all_partitions().len();
        assert_eq!(held as i32, PARTITIONS / BROKERS);
        core.check_counts();
        let other = NodeId(BROKERS - 1);
        let (mine, theirs) = (core.led_by(ME), core.led_by(other));
        core.moves(theirs, other, ME).await;
        let led = core.shard.partition(&core.id(theirs)).expect("held");
        assert!(led.leader_epoch().is_some(), "the only replica leads");
        core.moves(mine, ME, other).await;
        assert_eq!(core.shard.all_partitions().len(), held);
        let gone = Request::FenceBroker {
            node: other,
            epoch: None,
            fenced: true,
        };
        let looked = core.looks_for(gone).await;
        let changed = (PARTITIONS / BROKERS) as u64;
        assert!(
            (1..=FEW * changed).contains(&looked),
            "{looked} looked at for {changed} that changed"
        );
    });
}
