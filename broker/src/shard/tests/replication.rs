//! Leaders and followers of one partition, driven by hand: what a session would carry is carried by the test, so that every
//! order of events can be had. Simulated time and disks; the metadata decides as it does in a cluster.

use std::cell::RefCell;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use protocol::ids::{LeaderEpoch, ProducerEpoch, ProducerId};
use protocol::record::batch::{BatchBuilder, batches};
use protocol::record::compression::Compression;

use crate::log::{LogName, ReadPlan, RecoverFrom};
use crate::metadata::fixtures::{done, image, new_topic};
use crate::metadata::{Reply, Request, TopicReply};
use crate::rt::recorder::{Recorder, Survives};
use crate::rt::sim;
use crate::shard::bridge;
use crate::shard::error::PartitionError;
use crate::shard::lead::{FollowerRead, FollowerRecords};
use crate::shard::produce::{Acks, Produce, ProducePart};
use crate::shard::replicas::FoundLog;
use crate::shard::*;

const TOPIC: &str = "orders";
const LAG: Duration = Duration::from_secs(30);

struct Broker {
    node: NodeId,
    disk: Arc<Recorder>,
    faults: Faults,
    shard: RefCell<Option<Rc<Shard>>>,
}

/// Three brokers with one replica each of the one partition there is, led by broker 0.
struct Cluster {
    quorum: quorum::Handle,
    brokers: Vec<Broker>,
    id: TopicPartition,
}

impl Cluster {
    async fn new(min_isr: &str, faults: Faults) -> Cluster {
        let mut image = image(3);
        let mut topic = new_topic(TOPIC, 1, 3);
        (topic.partitions, topic.replication_factor) = (-1, -1);
        topic.assignments = vec![(0, vec![NodeId(0), NodeId(1), NodeId(2)])];
        topic.configs = vec![("min.insync.replicas".into(), Some(min_isr.into()))];
        let created = done(
            &mut image,
            &Request::CreateTopics {
                topics: vec![topic],
                validate_only: false,
            },
        );
        let Reply::CreateTopics(created) = created else {
            panic!("{created:?}")
        };
        let TopicReply { result, .. } = &created[0];
        result.as_ref().expect("a topic");
        image.offset = 1;
        let id = TopicPartition {
            topic_id: image.topic(TOPIC).expect("it is there").id,
            partition: 0,
        };
        let cluster = Cluster {
            quorum: quorum::Handle::deciding(image),
            brokers: (0..3)
                .map(|node| Broker {
                    node: NodeId(node),
                    disk: Arc::new(Recorder::in_memory()),
                    faults,
                    shard: RefCell::default(),
                })
                .collect(),
            id,
        };
        for broker in &cluster.brokers {
            cluster.start(broker, false).await;
        }
        cluster
    }

    async fn start(&self, broker: &Broker, crashed: bool) {
        let disk = Disk::simulated(broker.disk.clone());
        let root = PathBuf::from("/data");
        disk.create_dir_all(&root).expect("a directory");
        let checkpoints =
            DirectoryCheckpoints::load(&disk, &root, |error| panic!("{error}")).expect("checkpoint files");
        let checkpoints = Arc::new(checkpoints);
        let options = Arc::new(options(broker.node, broker.faults));
        let found = FoundLog {
            name: LogName {
                topic: TOPIC.into(),
                partition: 0,
                topic_id: self.id.topic_id,
            },
            dir: 0,
            path: root.join("orders-0"),
            from: RecoverFrom {
                clean: false,
                checkpoint: checkpoints.get(&(TOPIC.into(), 0)),
                now_ms: rt::wall_ms(),
            },
        };
        let found = if crashed { vec![found] } else { vec![] };
        let unclaimed = replicas::recover(&disk, found, &self.quorum.image(), &options, Arc::new(|| ()))
            .await
            .expect("it recovers");
        let (bridge, end) = bridge::pair().expect("a bridge");
        let port = rt::mesh::ports(1, 16).expect("ports").remove(0);
        let seed = Seed {
            id: ShardId(0),
            count: 1,
            options,
            disk,
            checkpoints: vec![checkpoints],
            port,
            bridge: bridge.clone(),
            quorum: self.quorum.clone(),
            counters: Arc::default(),
            throttles: Arc::default(),
            fatal: Arc::new(|reason| panic!("{reason}")),
        };
        let shard = Shard::start(seed, end, unclaimed);
        self.quorum
            .subscribe(Box::new(move |update| bridge.publish(update)));
        let offset = self.quorum.image().offset;
        shard.image_with(|image| image.offset >= offset).await;
        broker.shard.replace(Some(shard));
    }

    /// No power: what was not synced is gone. The old shard's tasks stay, and have nothing to do without a log.
    async fn power_cut(&self, node: usize) {
        let broker = &self.brokers[node];
        drop(self.partition(node).give_up());
        broker.shard.replace(None);
        broker.disk.power_cut(Survives::Synced);
        self.start(broker, true).await;
    }

    fn shard(&self, node: usize) -> Rc<Shard> {
        self.brokers[node].shard.borrow().clone().expect("it runs")
    }

    fn partition(&self, node: usize) -> Rc<Partition> {
        self.shard(node).partition(&self.id).expect("it is there")
    }

    fn leader(&self) -> Option<usize> {
        (0..3).find(|node| self.partition(*node).leader_epoch().is_some())
    }

    fn isr(&self) -> Vec<i32> {
        let image = self.quorum.image();
        let state = image.partition(self.id.topic_id, 0).expect("it is there");
        state.isr.iter().map(|node| node.0).collect()
    }

    /// What a broker counted: leader elections, shrinks and expands of in-sync sets.
    fn counted(&self, node: usize) -> (u64, u64, u64) {
        let shard = self.shard(node);
        let counters = &shard.counters;
        let counted = |counter: &AtomicU64| counter.load(Relaxed);
        (
            counted(&counters.leader_elections),
            counted(&counters.isr_shrinks),
            counted(&counters.isr_expands),
        )
    }

    fn offsets(&self, node: usize) -> (i64, i64) {
        let partition = self.partition(node);
        let offsets = partition.log().expect("a log").offsets();
        (offsets.high_watermark.0, offsets.log_end.0)
    }

    async fn ask(&self, request: Request) -> Reply {
        let shard = self.shard(0);
        let reply = shard
            .submit(request, Duration::from_secs(5))
            .await
            .expect("decided");
        self.installed().await;
        reply
    }

    /// Every core has installed the newest metadata.
    async fn installed(&self) {
        let offset = self.quorum.image().offset;
        for node in 0..3 {
            self.shard(node).image_with(|image| image.offset >= offset).await;
        }
    }

    /// The controller takes a broker's sessions, its leaderships and its place in the ISR away, or lets it serve again.
    async fn fence(&self, node: i32, fenced: bool) {
        let request = Request::FenceBroker {
            node: NodeId(node),
            epoch: None,
            fenced,
        };
        self.ask(request).await;
    }

    fn append(&self, node: usize, batch: Bytes) -> Result<i64, PartitionError> {
        let placed = self
            .shard(node)
            .append_now(&self.partition(node), batch, Acks::All)?;
        Ok(placed.last_offset.0)
    }

    async fn sync(&self, node: usize) {
        self.shard(node).flushed().await;
    }

    fn fetch(
        &self,
        follower: usize,
        leader: usize,
        max_bytes: usize,
    ) -> Result<FollowerRead, PartitionError> {
        let following = self.partition(follower).following().expect("it follows");
        let node = self.brokers[follower].node;
        self.partition(leader)
            .read_for_follower(node, 1, following.position(max_bytes), rt::now())
    }

    /// One fetch of the follower's, taken in; true if anything came of it.
    async fn pull_once(&self, follower: usize, leader: usize) -> bool {
        let (shard, partition) = (self.shard(follower), self.partition(follower));
        let epoch = partition.following().expect("it follows").leader_epoch;
        let read = match self.fetch(follower, leader, 1 << 20) {
            Ok(read) => read,
            Err(PartitionError::OutOfRange { start, end }) => {
                shard
                    .follow_out_of_range(&partition, epoch, start, end)
                    .expect("taken");
                self.cut(follower).await;
                return true;
            }
            Err(error) => panic!("{error}"),
        };
        if let Some(end) = read.diverging {
            shard.follow_truncate(&partition, epoch, end).expect("taken");
            self.cut(follower).await;
            return true;
        }
        let records = match read.records {
            FollowerRecords::Now(records) => records,
            FollowerRecords::Cold(job) => job.run().await.expect("read"),
        };
        let more = !records.is_empty();
        shard
            .follow_append(&partition, epoch, records, read.high_watermark, read.log_start)
            .expect("taken");
        more
    }

    async fn cut(&self, follower: usize) {
        let (shard, partition) = (self.shard(follower), self.partition(follower));
        loop {
            let changed = shard.follow_changed.wait();
            shard.follow_changed.take();
            if partition.following().is_some() {
                return;
            }
            changed.await;
        }
    }

    fn report(&self, follower: usize, leader: usize) {
        let Some(following) = self.partition(follower).following() else {
            return;
        };
        self.partition(leader).follower_synced(
            self.brokers[follower].node,
            1,
            following.leader_epoch,
            following.synced,
            rt::now(),
        );
    }

    /// The follower gets all there is, syncs it, says so, and hears of the high watermark.
    async fn replicate(&self, follower: usize, leader: usize) {
        self.sync(leader).await;
        while self.pull_once(follower, leader).await {}
        self.sync(follower).await;
        self.report(follower, leader);
        self.pull_once(follower, leader).await;
    }

    async fn until_isr(&self, wanted: &[i32]) {
        for _ in 0..100 {
            if self.isr() == wanted {
                return self.installed().await;
            }
            rt::sleep(LAG / 10).await;
        }
        panic!("the ISR is {:?}, not {wanted:?}", self.isr());
    }

    /// All batches of a log up to its end as (base offset, leader epoch, bytes).
    async fn records(&self, node: usize) -> Vec<(i64, i32, Bytes)> {
        let partition = self.partition(node);
        let (mut at, end) = {
            let offsets = partition.log().expect("a log").offsets();
            (offsets.log_start, offsets.log_end)
        };
        let mut all = Vec::new();
        while at < end {
            let plan = partition.log().expect("a log").read(at, 1 << 20, end, true);
            let bytes = match plan.expect("readable") {
                ReadPlan::Cached(bytes) => bytes,
                ReadPlan::Cold(job) => job.run().await.expect("read"),
                ReadPlan::Empty => panic!("nothing at {at}"),
            };
            for batch in batches(&bytes) {
                let (_, batch) = batch.expect("a batch");
                let bytes = Bytes::copy_from_slice(batch.bytes());
                all.push((batch.base_offset().0, batch.leader_epoch().0, bytes));
                at = batch.next_offset();
            }
        }
        all
    }
}

pub(super) fn options(node_id: NodeId, faults: Faults) -> Options {
    Options {
        node_id,
        // As the image has it.
        incarnation_id: [node_id.0 as u8; 16],
        log_dirs: vec!["/data".into()],
        given: Arc::default(),
        receive_budget_bytes: 1 << 20,
        decoded_budget_bytes: 1 << 20,
        cold_read_bytes: 1 << 20,
        tail_cache_bytes: 1 << 20,
        open_files: 16,
        groups: coordinator::GroupOptions::default(),
        auto_create_topics: false,
        delete_topics: true,
        fetch_max_bytes: 1 << 20,
        describe_partitions_max: 100,
        producers_check: Duration::from_secs(600),
        retention_check: Duration::from_secs(600),
        checkpoint_every: Duration::from_secs(60),
        near_replicas: false,
        replica_lag_max: LAG,
        disk_reserve_bytes: 0,
        answer_before_sync: false,
        replication_faults: faults,
    }
}

fn batch(value: &str) -> Bytes {
    let mut builder = BatchBuilder::new(rt::wall_ms());
    builder.record(rt::wall_ms(), None, Some(value.as_bytes()));
    builder.build(Compression::None).expect("a batch")
}

fn idempotent(producer: i64, sequence: i32) -> Bytes {
    let mut builder =
        BatchBuilder::new(rt::wall_ms()).producer(ProducerId(producer), ProducerEpoch(0), sequence);
    builder.record(rt::wall_ms(), None, Some(b"value"));
    builder.build(Compression::None).expect("a batch")
}

pub(super) fn world<F: Future<Output = ()> + 'static>(scenario: impl FnOnce() -> F) {
    static SEED: AtomicU64 = AtomicU64::new(1);
    let seed = SEED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    println!("seed {seed}");
    sim::run(seed, scenario());
}

#[test]
fn records_are_committed_when_the_followers_have_synced_them() {
    world(|| async {
        let cluster = Cluster::new("2", Faults::default()).await;
        assert_eq!(cluster.leader(), Some(0));
        cluster.append(0, batch("one")).expect("appended");
        cluster.sync(0).await;
        assert_eq!(cluster.offsets(0), (0, 1), "nobody else has it");
        cluster.replicate(1, 0).await;
        assert_eq!(cluster.offsets(0), (0, 1), "one of the ISR lacks it");
        // Fetched is not synced.
        while cluster.pull_once(2, 0).await {}
        assert_eq!((cluster.offsets(0), cluster.offsets(2)), ((0, 1), (0, 1)));
        cluster.replicate(2, 0).await;
        cluster.replicate(1, 0).await;
        for node in 0..3 {
            assert_eq!(cluster.offsets(node), (1, 1), "broker {node}");
            assert_eq!(
                cluster.records(node).await,
                cluster.records(0).await,
                "byte for byte"
            );
        }
    });
}

#[test]
fn a_follower_gets_records_that_the_leader_has_not_synced_yet() {
    world(|| async {
        let cluster = Cluster::new("1", Faults::default()).await;
        cluster.append(0, batch("one")).expect("appended");
        assert!(cluster.pull_once(1, 0).await, "from memory, before any round");
        assert_eq!(cluster.offsets(1), (0, 1));
    });
}

#[test]
fn producers_and_epochs_are_the_same_on_every_replica() {
    world(|| async {
        let cluster = Cluster::new("1", Faults::default()).await;
        for sequence in 0..3 {
            cluster.append(0, idempotent(7, sequence)).expect("appended");
        }
        for follower in [1, 2] {
            cluster.replicate(follower, 0).await;
        }
        cluster.fence(0, true).await;
        assert_eq!(cluster.leader(), Some(1));
        cluster.append(1, idempotent(7, 3)).expect("the sequence goes on");
        let again = cluster.append(1, idempotent(7, 3));
        assert_eq!(again, Ok(3), "a retry is known to the new leader");
        cluster.replicate(2, 1).await;
        cluster.replicate(0, 1).await;
        let state = |node: usize| {
            let partition = cluster.partition(node);
            let log = partition.log().expect("a log");
            (log.epochs().clone(), format!("{:?}", log.producers().snapshot()))
        };
        for node in 0..3 {
            assert_eq!(cluster.records(node).await, cluster.records(1).await);
            assert_eq!(state(node).0, state(1).0, "leader epochs of broker {node}");
            assert!(
                state(node).1.contains("producer_id: ProducerId(7)"),
                "{}",
                state(node).1
            );
        }
    });
}

#[test]
fn a_laggard_leaves_and_comes_back_when_it_has_everything() {
    world(|| async {
        let cluster = Cluster::new("1", Faults::default()).await;
        cluster.append(0, batch("one")).expect("appended");
        cluster.replicate(1, 0).await;
        for _ in 0..20 {
            cluster.replicate(1, 0).await;
            rt::sleep(LAG / 10).await;
        }
        cluster.until_isr(&[0, 1]).await;
        assert_eq!(cluster.offsets(0), (1, 1), "it goes on without the laggard");
        assert_eq!(cluster.counted(0), (1, 1, 0), "the laggard left");
        cluster.replicate(2, 0).await;
        cluster.until_isr(&[0, 1, 2]).await;
        assert_eq!(cluster.counted(0), (1, 1, 1), "and joined");
        assert_eq!(cluster.counted(1), (0, 0, 0), "who follows counts nothing");
        cluster.fence(0, true).await;
        assert_eq!(
            cluster.counted(1),
            (1, 0, 0),
            "a new leader begins without the old one"
        );
        assert_eq!(cluster.counted(0), (1, 1, 1), "who resigns counts nothing");
    });
}

#[test]
fn with_too_few_in_sync_nothing_is_taken_and_nothing_is_committed() {
    world(|| async {
        let cluster = Cluster::new("2", Faults::default()).await;
        cluster.append(0, batch("one")).expect("appended");
        cluster.fence(1, true).await;
        cluster.fence(2, true).await;
        assert_eq!(cluster.isr(), [0]);
        cluster.sync(0).await;
        assert_eq!(cluster.offsets(0), (0, 1));
        assert_eq!(
            cluster.append(0, batch("two")),
            Err(PartitionError::NotEnoughReplicas)
        );
        assert_eq!(cluster.offsets(0), (0, 1), "refused before it was appended");
    });
}

#[test]
fn a_producer_that_tries_again_waits_for_its_own_records_and_leaves_nothing_behind() {
    world(|| async {
        let cluster = Cluster::new("2", Faults::default()).await;
        let (shard, partition) = (cluster.shard(0), cluster.partition(0));
        let send = |batches| {
            let parts = vec![ProducePart {
                partition: cluster.id,
                batches,
            }];
            let timeout = Duration::from_millis(50);
            shard.begin_produce(Produce {
                acks: Acks::All,
                timeout,
                parts,
            })
        };
        for _ in 0..5 {
            let outcome = send(idempotent(7, 0)).settle().await.remove(0);
            assert_eq!(outcome, Err(PartitionError::TimedOut), "no follower has it");
            assert_eq!(partition.waiting(), 0);
        }
        drop(send(idempotent(7, 0)));
        assert_eq!(partition.waiting(), 0, "nor does one whose client left");
        // One follower gets the first record and not the one behind it.
        while cluster.pull_once(1, 0).await {}
        let behind = send(batch("behind"));
        let again = send(idempotent(7, 0));
        while cluster.pull_once(2, 0).await {}
        for follower in [1, 2] {
            cluster.sync(follower).await;
            cluster.report(follower, 0);
        }
        cluster.sync(0).await;
        assert_eq!(cluster.offsets(0).0, 1, "what all three have");
        assert_eq!(partition.waiting(), 1, "what was sent again is on all three");
        let placed = again.settle().await.remove(0).expect("acknowledged");
        assert_eq!(placed.last_offset.0, 0);
        drop(behind);
    });
}

/// What a broker appended alone before it was cut off goes when it comes back; what was acknowledged stays everywhere.
async fn two_changes_of_leaders(faults: Faults) -> Cluster {
    let cluster = Cluster::new("1", faults).await;
    cluster.append(0, batch("committed")).expect("appended");
    for _ in 0..2 {
        cluster.replicate(1, 0).await;
        cluster.replicate(2, 0).await;
    }
    cluster.append(0, batch("only at 0")).expect("appended");
    cluster.append(0, batch("only at 0, too")).expect("appended");
    cluster.sync(0).await;
    cluster.fence(0, true).await;
    assert_eq!(cluster.leader(), Some(1));
    cluster.append(1, batch("at 1")).expect("appended");
    // To broker 2 alone, then leadership moves there.
    cluster.replicate(2, 1).await;
    cluster.fence(1, true).await;
    assert_eq!(cluster.leader(), Some(2));
    cluster.append(2, batch("at 2")).expect("appended");
    cluster.sync(2).await;
    cluster.replicate(0, 2).await;
    cluster.replicate(1, 2).await;
    cluster
}

#[test]
fn histories_that_part_are_cut_by_epoch() {
    world(|| async {
        let cluster = two_changes_of_leaders(Faults::default()).await;
        for node in 0..3 {
            assert_eq!(
                cluster.records(node).await,
                cluster.records(2).await,
                "broker {node}"
            );
            assert_eq!(cluster.offsets(node).1, 3);
        }
    });
}

#[test]
fn without_the_epoch_check_histories_stay_apart() {
    world(|| async {
        let faults = Faults {
            skip_epoch_check: true,
            ..Faults::default()
        };
        let cluster = two_changes_of_leaders(faults).await;
        assert_ne!(
            cluster.records(0).await,
            cluster.records(2).await,
            "the test above sees what it is for"
        );
    });
}

/// Everybody has synced a record, and the followers have not heard that it is committed. The next leader still has it.
async fn a_new_leader_before_the_news(faults: Faults) -> Cluster {
    let cluster = Cluster::new("1", faults).await;
    cluster.append(0, batch("acknowledged")).expect("appended");
    cluster.sync(0).await;
    for follower in [1, 2] {
        while cluster.pull_once(follower, 0).await {}
        cluster.sync(follower).await;
        cluster.report(follower, 0);
    }
    assert_eq!(cluster.offsets(0), (1, 1), "committed: the producer was answered");
    cluster.fence(0, true).await;
    assert_eq!(cluster.leader(), Some(1));
    cluster.cut(2).await;
    // The second follower takes over before it has fetched anything from the first.
    cluster.fence(1, true).await;
    cluster
}

#[test]
fn what_was_acknowledged_survives_two_leaders_before_the_news() {
    world(|| async {
        let cluster = a_new_leader_before_the_news(Faults::default()).await;
        assert_eq!(cluster.offsets(2).1, 1);
        let faults = Faults {
            truncate_by_high_watermark: true,
            ..Faults::default()
        };
        let cluster = a_new_leader_before_the_news(faults).await;
        assert_eq!(cluster.offsets(2).1, 0, "by high watermark it would be lost");
    });
}

#[test]
fn a_follower_that_loses_power_goes_on_where_it_had_synced() {
    world(|| async {
        let cluster = Cluster::new("1", Faults::default()).await;
        for number in 0..10 {
            cluster.append(0, batch(&number.to_string())).expect("appended");
        }
        cluster.replicate(1, 0).await;
        for number in 10..20 {
            cluster.append(0, batch(&number.to_string())).expect("appended");
        }
        while cluster.pull_once(1, 0).await {}
        cluster.power_cut(1).await;
        assert_eq!(cluster.offsets(1).1, 10);
        cluster.replicate(1, 0).await;
        assert_eq!(cluster.offsets(1).1, 20);
        assert_eq!(cluster.records(1).await, cluster.records(0).await);
    });
}

#[test]
fn strangers_and_other_epochs_are_refused() {
    world(|| async {
        let cluster = Cluster::new("1", Faults::default()).await;
        let following = cluster.partition(1).following().expect("it follows");
        let leader = cluster.partition(0);
        let read = |node, broker_epoch, leader_epoch| {
            let mut position = following.position(1024);
            position.leader_epoch = LeaderEpoch(leader_epoch);
            leader
                .read_for_follower(NodeId(node), broker_epoch, position, rt::now())
                .map(drop)
        };
        let epoch = following.leader_epoch.0;
        assert_eq!(read(1, 1, epoch), Ok(()));
        assert_eq!(read(9, 1, epoch), Err(PartitionError::NotReplica));
        assert_eq!(
            read(1, 0, epoch),
            Err(PartitionError::NotReplica),
            "an earlier life"
        );
        assert_eq!(read(1, 1, epoch + 1), Err(PartitionError::UnknownEpoch));
        cluster.fence(0, true).await;
        assert_eq!(read(1, 1, epoch), Err(PartitionError::NotLeader));
    });
}
