//! DescribeLogDirs (KIP-113, KIP-827): how large the replicas of this broker are, and how much room their disks have.
//!
//! Each broker tells of itself only; clients ask them all. Leaves sizes to the cores that own the partitions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use protocol::messages::describe_log_dirs::{
    DescribeLogDirsRequest, DescribeLogDirsRequestTopic, DescribeLogDirsResponse,
    DescribeLogDirsResponseResult, DescribeLogDirsResponseResultTopic,
    DescribeLogDirsResponseResultTopicPartition,
};
use protocol::{ErrorCode, Str};

use super::serve::Ctx;
use crate::rt;
use crate::rt::ShardId;
use crate::rt::file::Disk;
use crate::shard::mesh::{Answer, Message};
use crate::shard::queries::DirReplicas;

/// Asks every core; topics and partitions that are not here are left out, as in Kafka.
pub async fn handle(ctx: &Ctx, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let shard = ctx.shard();
    let wanted = Wanted::of(request.topics.as_deref());
    let cores = (0..shard.count).map(|core| shard.ask(ShardId(core), Message::Replicas));
    let mut dirs: Vec<Dir> = shard.options.log_dirs.iter().map(|_| Dir::default()).collect();
    for answer in futures::future::join_all(cores).await {
        let Answer::Replicas(replicas) = answer else {
            continue;
        };
        for (dir, of_core) in dirs.iter_mut().zip(replicas) {
            dir.add(of_core, &wanted);
        }
    }
    let mut response = DescribeLogDirsResponse::default();
    for (path, dir) in shard.options.log_dirs.iter().zip(dirs) {
        response.results.push(dir.told(path, &shard.disk).await);
    }
    response
}

/// Which replicas are asked for: none is all of them.
struct Wanted(Option<BTreeMap<String, BTreeSet<i32>>>);

impl Wanted {
    fn of(topics: Option<&[DescribeLogDirsRequestTopic]>) -> Wanted {
        Wanted(topics.map(|topics| {
            let mut wanted: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
            for topic in topics {
                let partitions = wanted.entry(topic.topic.to_string()).or_default();
                partitions.extend(&topic.partitions);
            }
            wanted
        }))
    }

    fn has(&self, topic: &str, partition: i32) -> bool {
        let Wanted(Some(wanted)) = self else { return true };
        wanted
            .get(topic)
            .is_some_and(|partitions| partitions.contains(&partition))
    }
}

/// One log directory, put together from what the cores say.
#[derive(Default)]
struct Dir {
    offline: bool,
    topics: BTreeMap<String, Vec<DescribeLogDirsResponseResultTopicPartition>>,
}

impl Dir {
    fn add(&mut self, of_core: DirReplicas, wanted: &Wanted) {
        self.offline |= of_core.offline;
        for replica in of_core.replicas {
            if !wanted.has(&replica.topic, replica.partition) {
                continue;
            }
            let partition = DescribeLogDirsResponseResultTopicPartition {
                partition_index: replica.partition,
                partition_size: i64::try_from(replica.size).unwrap_or(i64::MAX),
                offset_lag: replica.lag,
                is_future_key: false,
            };
            self.topics
                .entry(replica.topic.to_string())
                .or_default()
                .push(partition);
        }
    }

    async fn told(self, path: &Path, disk: &Disk) -> DescribeLogDirsResponseResult {
        let log_dir = Str::from(path.display().to_string());
        let failed = |log_dir| DescribeLogDirsResponseResult {
            error_code: ErrorCode::KafkaStorageError.code(),
            log_dir,
            ..Default::default()
        };
        if self.offline {
            return failed(log_dir);
        }
        let (disk, dir) = (disk.clone(), path.to_path_buf());
        let space = match rt::blocking(move || disk.space(&dir)).await {
            Ok(space) => space,
            Err(error) => {
                tracing::warn!(dir = %path.display(), %error, "cannot tell the room of a log directory");
                return failed(log_dir);
            }
        };
        let topics = self.topics.into_iter().map(|(name, mut partitions)| {
            partitions.sort_unstable_by_key(|partition| partition.partition_index);
            DescribeLogDirsResponseResultTopic {
                name: Str::from(name),
                partitions,
            }
        });
        DescribeLogDirsResponseResult {
            log_dir,
            topics: topics.collect(),
            total_bytes: i64::try_from(space.total).unwrap_or(i64::MAX),
            usable_bytes: i64::try_from(space.free).unwrap_or(i64::MAX),
            ..Default::default()
        }
    }
}
