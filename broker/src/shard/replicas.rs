//! The partitions this core holds, kept equal to what the metadata image says: opened, created, changed, deleted by
//! difference, so a change costs what changed and not what exists.
//!
//! Leaves the arrival of images to `bridge.rs` and files to `log/`. Slow directory work runs on the blocking pool.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures::stream::{StreamExt, iter};
use protocol::{TopicId, TopicPartition};

use super::new_logs::Missing;
use super::partitions::Partition;
use super::topic_config::TopicConfig;
use super::{Options, Shard};
use crate::log::{self, Log, LogConfig, LogError, LogName, RecoverFrom, Recovered, Stray, format};
use crate::metadata::image::{ImageDiff, MetadataImage, TopicImage};
use crate::rt;
use crate::rt::file::Disk;

/// Logs opened at once per core: each waits for the blocking pool and the disk, not for the core.
const OPEN_AT_ONCE: usize = 8;
/// How long a disk without room, or without a free name, for a new log is left alone.
const OPEN_AGAIN: Duration = Duration::from_secs(1);

/// A log directory entry found at start, before the image says whether it is still wanted.
#[derive(Clone, Debug)]
pub struct FoundLog {
    /// Which partition: name and number from the directory's name, id from its `partition.metadata`.
    pub name: LogName,
    /// Index into `log.dirs`.
    pub dir: usize,
    /// The directory.
    pub path: PathBuf,
    /// What its log directory knows of it.
    pub from: RecoverFrom,
}

impl FoundLog {
    /// The partition.
    pub fn id(&self) -> TopicPartition {
        TopicPartition {
            topic_id: self.name.topic_id,
            partition: self.name.partition,
        }
    }
}

/// Recovered logs that no image has claimed yet.
pub type Unclaimed = RefCell<BTreeMap<TopicPartition, (FoundLog, Recovered)>>;

/// Called after each recovered log. Any thread.
pub type Progress = Arc<dyn Fn() + Send + Sync>;

/// Recovers the logs of one core, several at once, each by the properties that its topic has in `image`, the newest one this
/// broker knows: what a torn write may look like depends on how the topic is flushed. A log that cannot be recovered is an
/// error of its directory and ends the start with the reason.
pub async fn recover(
    disk: &Disk,
    found: Vec<FoundLog>,
    image: &MetadataImage,
    options: &Options,
    progress: Progress,
) -> Result<Unclaimed, LogError> {
    let jobs = found.into_iter().map(|found| {
        let disk = disk.clone();
        let progress = progress.clone();
        let config = TopicConfig::effective(&options.given, image, options.node_id, found.name.topic_id);
        async move {
            let recovered = recover_one(disk, found.clone(), config.log).await?;
            progress();
            Ok((found.id(), (found, recovered)))
        }
    });
    let all: Vec<Result<_, LogError>> = iter(jobs).buffer_unordered(OPEN_AT_ONCE).collect().await;
    Ok(RefCell::new(all.into_iter().collect::<Result<_, _>>()?))
}

async fn recover_one(disk: Disk, found: FoundLog, config: LogConfig) -> Result<Recovered, LogError> {
    let recover = move || Log::recover(&disk, &found.path, &found.name, &config, found.from);
    rt::blocking(recover).await
}

impl Shard {
    /// Makes this core serve what `image` says, then shows the image to requests.
    pub(super) async fn install(self: &Rc<Self>, image: Arc<MetadataImage>) {
        let old = self.image();
        let diff = image.diff(&old);
        let changed = TopicChange::all_of(&diff);
        let deleted = diff.topics_deleted.iter().map(|topic| self.delete_topic(topic));
        iter(deleted)
            .buffer_unordered(OPEN_AT_ONCE)
            .collect::<Vec<()>>()
            .await;
        for change in &changed {
            self.delete_moved(change).await;
        }
        self.note_broker_epochs(&image, &diff);
        let opened = self.open_missing(&image, &diff, &changed).await;
        *self.image.borrow_mut() = image.clone();
        // With the image, and not before: who asked meanwhile was told, and made us remember, what held until now.
        self.forget_configs(&diff);
        for partition in opened {
            self.show(partition, &image);
        }
        for change in &changed {
            match change.reconfigured {
                true => self.refresh(&change.topic, every_partition(&change.topic)),
                false => self.refresh(&change.topic, change.partitions.iter().copied()),
            }
        }
        if all_configs(&diff) {
            for topic in image.topics.values() {
                self.refresh(topic, every_partition(topic));
            }
        }
        let own = image.broker(self.options.node_id);
        if own.is_some_and(|own| own.incarnation_id == self.options.incarnation_id) {
            self.set_strays_aside(&image).await;
        }
        if !diff.brokers.is_empty() {
            // Who was fenced and has caught up joins now; it may have nothing more to report.
            for partition in self.all_partitions() {
                if partition.leader_epoch().is_some() {
                    self.shared.isr_wanted.tell(partition.id);
                }
            }
        }
        self.count_partitions();
        self.coordinators.image_installed(self, &diff);
        self.image_changed.notify_all();
        self.begin_early();
    }

    /// Who is in which life: followers of an earlier one are refused from now on.
    fn note_broker_epochs(&self, image: &MetadataImage, diff: &ImageDiff) {
        let mut epochs = self.shared.broker_epochs.borrow_mut();
        for node in &diff.brokers {
            match image.broker(*node) {
                Some(broker) => epochs.insert(*node, broker.epoch),
                None => epochs.remove(node),
            };
        }
    }

    fn forget_configs(&self, diff: &ImageDiff) {
        let mut configs = self.configs.borrow_mut();
        if all_configs(diff) {
            return configs.clear();
        }
        let changed = diff.topics_changed.iter().map(|(_, topic)| topic);
        for topic in changed.chain(&diff.topics_deleted).chain(&diff.topics_created) {
            configs.remove(&topic.id);
        }
    }

    /// Opens every partition of new topics, and every new or moved one of others, that this core is to hold and does not
    /// hold yet.
    async fn open_missing(
        self: &Rc<Self>,
        image: &MetadataImage,
        diff: &ImageDiff,
        changed: &[TopicChange],
    ) -> Vec<Rc<Partition>> {
        let config = |topic: &TopicImage| {
            let given = &self.options.given;
            Rc::new(TopicConfig::effective(
                given,
                image,
                self.options.node_id,
                topic.id,
            ))
        };
        let mut missing = Vec::new();
        for topic in &diff.topics_created {
            missing.extend(self.missing_of(topic, every_partition(topic), &config(topic)));
        }
        for change in changed {
            let numbers = change.partitions.iter().copied();
            missing.extend(self.missing_of(&change.topic, numbers, &config(&change.topic)));
        }
        self.open_all(missing).await
    }

    /// What this core is to hold of some partitions of a topic and does not hold.
    fn missing_of(
        &self,
        topic: &Arc<TopicImage>,
        numbers: impl Iterator<Item = i32>,
        config: &Rc<TopicConfig>,
    ) -> Vec<Missing> {
        let missing = numbers.filter_map(|number| {
            self.counters.looked_at_partition();
            let partition = topic.partition(number)?;
            let id = TopicPartition {
                topic_id: topic.id,
                partition: number,
            };
            let wanted = partition.replicas.contains(&self.options.node_id) && self.owner(&id) == self.id;
            (wanted && self.partition(&id).is_none()).then(|| Missing {
                topic: topic.clone(),
                id,
                config: config.clone(),
            })
        });
        missing.collect()
    }

    /// Opens partitions, those that could be.
    async fn open_all(self: &Rc<Self>, missing: Vec<Missing>) -> Vec<Rc<Partition>> {
        self.make_together(&missing).await;
        let opened = iter(missing.into_iter().map(|missing| self.open(missing)));
        let opened: Vec<Option<Rc<Partition>>> = opened.buffer_unordered(OPEN_AT_ONCE).collect().await;
        opened.into_iter().flatten().collect()
    }

    /// Opens one partition: the log recovered at start, or made with others, if there is one, else a new one.
    async fn open(self: &Rc<Self>, missing: Missing) -> Option<Rc<Partition>> {
        let Missing { topic, id, config } = missing;
        let claimed = self.unclaimed.borrow_mut().remove(&id);
        let (dir, recovered, settled) = match claimed {
            Some((found, recovered)) => {
                let settled = found.from.clean && recovered.is_closed();
                (found.dir, recovered, settled)
            }
            None => {
                let dir = self.roomiest_dir(&[])?;
                let name = LogName {
                    topic: topic.name.clone(),
                    partition: id.partition,
                    topic_id: id.topic_id,
                };
                let path = self.dirs[dir].path.join(name.directory());
                let (disk, log_config) = (self.disk.clone(), config.log.clone());
                let fresh = RecoverFrom {
                    clean: true,
                    checkpoint: None,
                    now_ms: rt::wall_ms(),
                };
                let made = rt::blocking(move || Log::recover(&disk, &path, &name, &log_config, fresh)).await;
                match made {
                    Ok(recovered) => (dir, recovered, true),
                    Err(error) => {
                        tracing::error!(topic = %topic.name, partition = id.partition, %error, "create a log");
                        match error {
                            LogError::Io(error) if error.kind() == io::ErrorKind::StorageFull => {
                                self.open_later(topic.id);
                            }
                            // One of this name was on its way out while this one was made.
                            LogError::Io(error) if is_gone(&error) => self.open_later(topic.id),
                            LogError::Io(_) => self.take_dir_offline(dir),
                            // An earlier topic of this name lies there: the core that owned it may not have moved it yet.
                            LogError::WrongTopic { .. } => self.open_later(topic.id),
                            // What lies there cannot be used: this partition stays unknown, the others go on.
                            LogError::Metadata(_) | LogError::UnfinishedCompaction { .. } => {}
                        }
                        return None;
                    }
                }
            }
        };
        let mut log = Log::open(recovered, &self.handles, &self.tail_budget);
        log.apply_config(&config.log);
        self.dirs[dir].partitions.set(self.dirs[dir].partitions.get() + 1);
        let partition = Partition::new(id, topic.name.clone(), dir, log, config, self.shared.clone());
        partition.unsettled.set(!settled);
        Some(Rc::new(partition))
    }

    /// There was no room to make a topic's logs, or no free name: tried again until there is. Clients hear that the
    /// partition is unknown, and ask again.
    fn open_later(&self, topic: TopicId) {
        if !self.opened_later.borrow_mut().insert(topic) {
            return;
        }
        let bridge = self.bridge.clone();
        rt::spawn(async move {
            rt::sleep(OPEN_AGAIN).await;
            bridge.open_again(topic);
        })
        .detach();
    }

    /// What [`Shard::open_later`] comes to. Never beside an image that is being installed: both would open the same log, or
    /// one would open what the other has just deleted.
    pub(super) async fn open_again(self: &Rc<Self>, topic: TopicId) {
        self.opened_later.borrow_mut().remove(&topic);
        let image = self.image();
        if let Some(topic) = image.topic_by_id(topic).cloned() {
            self.open_rest(&topic, &image).await;
            self.count_partitions();
        }
    }

    /// Opens and shows what this core still lacks of a topic.
    async fn open_rest(self: &Rc<Self>, topic: &Arc<TopicImage>, image: &MetadataImage) {
        let missing = self.missing_of(topic, every_partition(topic), &self.topic_config(topic.id));
        for partition in self.open_all(missing).await {
            self.show(partition, image);
        }
    }

    /// The working directory with the fewest partitions of this core, those counted that are planned for each; None when
    /// all have failed.
    pub(super) fn roomiest_dir(&self, planned: &[usize]) -> Option<usize> {
        let partitions = |dir: usize| {
            let more = planned.get(dir).copied().unwrap_or_default();
            self.dirs[dir].partitions.get() + more
        };
        (0..self.dirs.len())
            .filter(|dir| !self.dirs[*dir].offline.get())
            .min_by_key(|dir| (self.dirs[*dir].full.get(), partitions(*dir)))
    }

    /// Puts an opened partition where requests find it, under the leadership the image names.
    fn show(self: &Rc<Self>, partition: Rc<Partition>, image: &MetadataImage) {
        if let Some(state) = image.partition(partition.id.topic_id, partition.id.partition) {
            self.apply_state(&partition, state);
        }
        let damage = partition.log().ok().and_then(|log| log.damage().first().cloned());
        if let Some(damage) = damage {
            partition.found_damage(damage.from, &damage.reason);
        }
        if partition.is_dirty() {
            // A tail that recovery found in the page cache only: it is synced before anybody may read it.
            self.rounds.mark_dirty(&partition);
        }
        self.partitions.borrow_mut().insert(partition.id, partition);
    }

    /// Applies configs and leadership to those of some partitions of a topic that this core holds.
    fn refresh(self: &Rc<Self>, topic: &TopicImage, numbers: impl Iterator<Item = i32>) {
        for number in numbers {
            self.counters.looked_at_partition();
            let id = TopicPartition {
                topic_id: topic.id,
                partition: number,
            };
            if let (Some(partition), Some(state)) = (self.partition(&id), topic.partition(number)) {
                partition.apply_config(self.topic_config(topic.id));
                self.apply_state(&partition, state);
            }
        }
    }

    /// Stops serving a deleted topic and takes its directories out of the way; the files go later, in the background.
    async fn delete_topic(self: &Rc<Self>, topic: &TopicImage) {
        for number in every_partition(topic) {
            self.delete_replica(topic, number).await;
        }
    }

    /// Deletes the replicas of a changed topic that this broker is no longer to hold.
    async fn delete_moved(self: &Rc<Self>, change: &TopicChange) {
        for number in &change.partitions {
            self.counters.looked_at_partition();
            let state = change.topic.partition(*number);
            if state.is_some_and(|state| !state.replicas.contains(&self.options.node_id)) {
                self.delete_replica(&change.topic, *number).await;
            }
        }
    }

    async fn delete_replica(self: &Rc<Self>, topic: &TopicImage, partition: i32) {
        let id = TopicPartition {
            topic_id: topic.id,
            partition,
        };
        let removed = self.partitions.borrow_mut().remove(&id);
        let Some(removed) = removed else { return };
        let dir = &self.dirs[removed.dir];
        dir.partitions.set(dir.partitions.get() - 1);
        self.follow_changed.tell(id);
        let Some(log) = removed.give_up() else { return };
        // Renamed before anything else happens: a topic of the same name may come next.
        match log.delete().rename(&dir.checkpoints).await {
            Ok(unlink) => {
                let checkpoints = dir.checkpoints.clone();
                let remove = async move {
                    unlink.run().await?;
                    // Again: a full disk may have had no room for them before.
                    rt::blocking(move || checkpoints.write()).await
                };
                rt::spawn(report("remove a deleted log", remove)).detach();
            }
            Err(error) => {
                tracing::error!(topic = %topic.name, partition, %error, "move a deleted log away");
            }
        }
    }

    /// Logs on disk whose topic the cluster does not have (any more), or whose partition left this broker while it was
    /// away: renamed, never deleted, because a lost metadata directory must not take the data with it. To be called only
    /// with an image that knows of this start: a broker that comes back sees older ones first, which do not have what was
    /// created just before it went. Logs without records, as a crash leaves them that are being made, are removed.
    /// A topic that was made again under its name meanwhile could not have its directory until now, and gets it.
    async fn set_strays_aside(self: &Rc<Self>, image: &MetadataImage) {
        let mut names = BTreeSet::new();
        let mut by_dir: BTreeMap<usize, Vec<Stray>> = BTreeMap::new();
        for (_, (found, recovered)) in self.unclaimed.take() {
            names.insert(found.name.topic.clone());
            by_dir
                .entry(found.dir)
                .or_default()
                .push(stray(found, &recovered));
        }
        for (dir, strays) in by_dir {
            let (disk, checkpoints) = (self.disk.clone(), self.dirs[dir].checkpoints.clone());
            if let Err(error) = rt::blocking(move || log::set_aside(&disk, &checkpoints, &strays)).await {
                tracing::error!(dir = %self.dirs[dir].path.display(), %error, "set stray logs aside");
                self.take_dir_offline(dir);
            }
        }
        for name in names {
            let Some(topic) = image.topic(&name).cloned() else {
                continue;
            };
            self.open_rest(&topic, image).await;
        }
    }

    fn count_partitions(&self) {
        let partitions = self.partitions.borrow().len();
        self.counters.partitions.store(partitions as u64, Relaxed);
        self.counters.leaders.store(self.shared.led.get(), Relaxed);
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// What becomes of a log that nobody claims; said here, once.
fn stray(found: FoundLog, recovered: &Recovered) -> Stray {
    let FoundLog { name, path: dir, .. } = found;
    let blank = recovered.is_blank();
    let renamed = match blank {
        true => format::deleted_directory_name,
        false => format::stray_directory_name,
    };
    let aside = dir.with_file_name(renamed(&name.topic, name.partition, rt::random_uuid()));
    if blank {
        tracing::info!(dir = %dir.display(), "an empty log belongs to no partition of this broker; it is removed");
    } else {
        tracing::warn!(
            dir = %dir.display(), topic_id = %name.topic_id,
            "a log on disk belongs to no partition of this broker; it is renamed to {}", aside.display()
        );
    }
    Stray {
        name,
        dir,
        aside,
        blank,
    }
}

/// Whether topics may have other properties that did not change themselves.
fn all_configs(diff: &ImageDiff) -> bool {
    diff.static_configs || !diff.broker_configs.is_empty()
}

/// A topic that is not what it was.
struct TopicChange {
    topic: Arc<TopicImage>,
    /// Which of its partitions are not what they were, or are new.
    partitions: Vec<i32>,
    /// Its properties changed: that is about all of its partitions.
    reconfigured: bool,
}

impl TopicChange {
    fn all_of(diff: &ImageDiff) -> Vec<TopicChange> {
        let changed = diff.topics_changed.iter();
        let changes = changed.map(|(before, topic)| TopicChange {
            topic: topic.clone(),
            partitions: topic.changed_partitions(before),
            reconfigured: topic.configs != before.configs,
        });
        changes.collect()
    }
}

fn every_partition(topic: &TopicImage) -> std::ops::Range<i32> {
    0..topic.partitions.len() as i32
}

/// Runs what nobody waits for; a failure is said once.
async fn report(what: &'static str, work: impl Future<Output = io::Result<()>>) {
    if let Err(error) = work.await {
        tracing::warn!(%error, "{what}");
    }
}
