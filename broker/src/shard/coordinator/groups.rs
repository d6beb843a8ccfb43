//! The group coordinators of one core: one per partition of `__consumer_offsets` that this core leads. Also makes that topic
//! on first use.
//!
//! Leaves what groups do to `group/`, and where a group's requests go to `api/`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use protocol::ErrorCode;
use protocol::ids::TopicPartition;

use super::Runner;
use crate::group::placement::partition_of;
use crate::group::{Groups, Limits, Reply, Request};
use crate::metadata::{self, ImageDiff, MetadataImage, NewTopic, TopicImage};
use crate::rt;
use crate::shard::Shard;

/// The internal topic that keeps groups.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// How long a client waits for the topic to be made before it is told to come again.
const CREATE_TIMEOUT: Duration = Duration::from_secs(5);

/// Largest record of the offsets topic.
const LARGEST_GROUP_BYTES: usize = 16 << 20;

/// What groups obey, and how their topic is made.
#[derive(Clone, Debug)]
pub struct GroupOptions {
    /// What groups obey.
    pub limits: Limits,
    /// `offsets.commit.timeout.ms`.
    pub commit_timeout: Duration,
    /// `offsets.topic.num.partitions`.
    pub offsets_partitions: i32,
    /// `offsets.topic.replication.factor`.
    pub offsets_replication_factor: i16,
    /// `offsets.topic.segment.bytes`.
    pub offsets_segment_bytes: i32,
}

impl Default for GroupOptions {
    /// Kafka 4.4's defaults.
    fn default() -> GroupOptions {
        GroupOptions {
            limits: Limits::default(),
            commit_timeout: Duration::from_secs(5),
            offsets_partitions: 50,
            offsets_replication_factor: 3,
            offsets_segment_bytes: 100 << 20,
        }
    }
}

/// The coordinators of one core.
#[derive(Default)]
pub struct Coordinators {
    /// By partition of the offsets topic.
    runners: RefCell<BTreeMap<i32, Rc<Runner<Groups>>>>,
    /// A request to make the topic is on its way from this core.
    creating: Cell<bool>,
    /// The broker goes down.
    stopping: Cell<bool>,
}

impl Coordinators {
    /// Serves a request on the core that owns its group's partition; ListGroups is for all partitions of this core.
    pub async fn serve(&self, shard: &Rc<Shard>, request: Request) -> Reply {
        if self.stopping.get() {
            return Reply::Refused(ErrorCode::CoordinatorNotAvailable);
        }
        let image = shard.image();
        let Some(topic) = image.topic(OFFSETS_TOPIC) else {
            return match request {
                Request::List(_) => Reply::List(Vec::new()),
                _ => Reply::Refused(ErrorCode::CoordinatorNotAvailable),
            };
        };
        let Some(group) = request.group() else {
            return self.serve_all(shard, topic, &request).await;
        };
        let number = partition_of(group, topic.partitions.len() as i32);
        match self.runner(shard, topic, number) {
            Some(runner) if matches!(request, Request::Commit { .. }) => {
                let limit = shard.options.groups.commit_timeout;
                let answer = rt::timeout(limit, runner.ask(request)).await.unwrap_or_else(|_| {
                    let ms = limit.as_millis();
                    tracing::warn!(partition = number, limit_ms = %ms, "an offset commit was not on disk in time; its client is told to try again");
                    // The commit may still happen; the client looks for the coordinator and commits again.
                    Err(ErrorCode::CoordinatorNotAvailable)
                });
                answer.unwrap_or_else(Reply::Refused)
            }
            Some(runner) => runner.ask(request).await.unwrap_or_else(Reply::Refused),
            None => Reply::Refused(ErrorCode::NotCoordinator),
        }
    }

    /// Asks every coordinator of this core, and puts the lists together; one that cannot answer spoils it.
    async fn serve_all(&self, shard: &Rc<Shard>, topic: &TopicImage, request: &Request) -> Reply {
        let numbers = 0..topic.partitions.len() as i32;
        let runners: Vec<_> = numbers
            .filter_map(|number| self.runner(shard, topic, number))
            .collect();
        let mut groups = Vec::new();
        for reply in join_all(runners.iter().map(|runner| runner.ask(request.clone()))).await {
            match reply {
                Ok(Reply::List(some)) => groups.extend(some),
                Ok(_) => {}
                Err(code) => return Reply::Refused(code),
            }
        }
        Reply::List(groups)
    }

    /// The coordinator of a partition that this core leads; started if need be.
    fn runner(&self, shard: &Rc<Shard>, topic: &TopicImage, number: i32) -> Option<Rc<Runner<Groups>>> {
        let partition = shard.partition(&TopicPartition {
            topic_id: topic.id,
            partition: number,
        })?;
        partition.check_leader(-1).ok()?;
        let mut careful = false;
        if let Some(runner) = self.runners.borrow().get(&number) {
            if (!runner.is_stopped() || runner.rests()) && runner.runs_on(&partition) {
                return Some(runner.clone());
            }
            careful = runner.is_careful();
        }
        let runner = Runner::new(partition, careful);
        let groups = Groups::new(shard.options.groups.limits.clone());
        rt::spawn(runner.clone().run(shard.clone(), groups)).detach();
        if let Some(before) = self.runners.borrow_mut().insert(number, runner.clone()) {
            before.stop(ErrorCode::NotCoordinator);
        }
        Some(runner)
    }

    /// A new image is installed: takes up partitions that this core leads since, lets go of those it leads no more, and forgets
    /// what was committed for topics that are gone.
    pub fn image_installed(&self, shard: &Rc<Shard>, diff: &ImageDiff) {
        if self.stopping.get() {
            return;
        }
        let image = shard.image();
        let topic = image.topic(OFFSETS_TOPIC);
        for id in shard.shared.coordinated.take() {
            let runner = topic.and_then(|topic| self.runner(shard, topic, id.partition));
            let ended = match runner {
                Some(_) => None,
                None => self.runners.borrow_mut().remove(&id.partition),
            };
            if let Some(runner) = ended {
                runner.stop(ErrorCode::NotCoordinator);
            }
        }
        let gone: Vec<Arc<str>> = diff
            .topics_deleted
            .iter()
            .map(|topic| topic.name.clone())
            .collect();
        if let Some(topic) = topic.filter(|_| !gone.is_empty()) {
            for number in 0..topic.partitions.len() as i32 {
                if let Some(runner) = self.runner(shard, topic, number) {
                    runner.tell(Request::ForgetTopics(gone.clone()));
                }
            }
        }
    }

    /// The broker goes down: whoever is parked (joins may be for minutes) is told to come again.
    pub fn stop(&self) {
        self.stopping.set(true);
        for runner in self.runners.borrow().values() {
            runner.stop(ErrorCode::CoordinatorNotAvailable);
        }
    }

    /// The offsets topic as this core knows it, made if it does not exist. The error is for a client to retry.
    pub async fn offsets_topic(&self, shard: &Rc<Shard>) -> Result<Arc<TopicImage>, ErrorCode> {
        if let Some(topic) = shard.image().topic(OFFSETS_TOPIC) {
            return Ok(topic.clone());
        }
        if self.creating.replace(true) {
            // Somebody else of this core is at it.
            let made = shard.image_with(|image| image.topic(OFFSETS_TOPIC).is_some());
            let _ = rt::timeout(CREATE_TIMEOUT, made).await;
        } else {
            let made = shard
                .submit(create(&shard.options.groups, &shard.image()), CREATE_TIMEOUT)
                .await;
            self.creating.set(false);
            log_failure(made);
        }
        shard
            .image()
            .topic(OFFSETS_TOPIC)
            .cloned()
            .ok_or(ErrorCode::CoordinatorNotAvailable)
    }
}

fn create(options: &GroupOptions, image: &MetadataImage) -> metadata::Request {
    // More replicas than brokers cannot be had. Kafka refuses then, and a cluster of one broker with default properties
    // has no groups at all; we make as many as there are brokers.
    let brokers = i16::try_from(image.brokers.len().max(1)).unwrap_or(i16::MAX);
    let config = |name: &str, value: String| (name.to_owned(), Some(value));
    let topic = NewTopic {
        name: OFFSETS_TOPIC.to_owned(),
        partitions: options.offsets_partitions,
        replication_factor: options.offsets_replication_factor.min(brokers),
        assignments: Vec::new(),
        configs: vec![
            config("cleanup.policy", "compact".to_owned()),
            config("compression.type", "producer".to_owned()),
            config("segment.bytes", options.offsets_segment_bytes.to_string()),
            // A large group is one record, of some kilobytes per member.
            config("max.message.bytes", LARGEST_GROUP_BYTES.to_string()),
            // Commits are promises whatever the broker does with records.
            config("flush.policy", "sync".to_owned()),
        ],
    };
    metadata::Request::CreateTopics {
        topics: vec![topic],
        validate_only: false,
    }
}

fn log_failure(made: Result<metadata::Reply, metadata::ItemError>) {
    let error = match made {
        Ok(metadata::Reply::CreateTopics(replies)) => {
            replies.into_iter().find_map(|reply| reply.result.err())
        }
        Ok(_) => None,
        Err(error) => Some(error),
    };
    // Another core was faster: as good as our own.
    if let Some(error) = error.filter(|error| error.code != ErrorCode::TopicAlreadyExists) {
        tracing::warn!(
            code = error.code.name(),
            "create {OFFSETS_TOPIC}: {}",
            error.message
        );
    }
}
